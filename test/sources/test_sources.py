"""Recordings as streams: folders of images, ScanNet exports, videos, and what bad ones get."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources import open_source
from moonseg3r_core.sources.names import parse_numbers, parse_timestamps
from moonseg3r_core.sources.registration import choose_color_intrinsics, register_depth, resize_intrinsics

KITCHEN = Path(__file__).resolve().parents[3] / "shared" / "data" / "kitchen"


def paint(path: Path, value: int = 100, size: tuple[int, int] = (6, 8)) -> Path:
    """An image whose red is `value`, green 20, blue 30."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.empty((*size, 3), np.uint8)
    pixels[:] = (30, 20, value)  # OpenCV writes BGR
    assert cv2.imwrite(str(path), pixels)
    return path


def export(folder: Path, count: int = 4, depth_size: tuple[int, int] = (6, 8), fx: float = 10.0) -> Path:
    """A ScanNet export: frame n is n red, n + 1 metres away, its camera n metres along x."""
    for n in range(count):
        paint(folder / "color" / f"{n * 5}.png", n)
        (folder / "depth").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / "depth" / f"{n * 5}.png"), np.full(depth_size, 1000 * (n + 1), np.uint16))
        (folder / "pose").mkdir(exist_ok=True)
        pose = np.eye(4)
        pose[0, 3] = n
        np.savetxt(folder / "pose" / f"{n * 5}.txt", pose)
    (folder / "intrinsic").mkdir()
    k = np.diag([fx, fx, 1.0, 1.0])
    k[:2, 2] = (3.5, 2.5)
    np.savetxt(folder / "intrinsic" / "intrinsic_color.txt", k)
    return folder


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


class TestImages:
    def test_numbers_at_the_end_of_names_are_indices_in_numeric_order(self, tmp_path):
        for n in (10, 2, 1):
            paint(tmp_path / f"shot_{n}.png", n)
        source = open_source(str(tmp_path))
        assert source.kind == "images"
        frames = list(source)
        assert [frame.index for frame in frames] == [1, 2, 10]
        assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 2, 10]
        assert frames[0].image[0, 0].tolist() == [1, 20, 30]
        assert frames[2].stamp == pytest.approx(10 / 30)
        assert frames[0].depth is None
        assert frames[0].world_from_camera is None

    def test_names_without_unique_numbers_count_from_zero(self):
        assert parse_numbers(["a1", "b1"]) == [0, 1]
        assert parse_numbers(["left", "right"]) == [0, 1]
        assert parse_numbers(["left", "right2"]) == [0, 1]

    def test_names_that_are_times_are_stamps(self, tmp_path):
        assert parse_timestamps(["1305031102.5", "1305031102.6"]) == [1305031102.5, 1305031102.6]
        assert parse_timestamps(["1700000000000000000"]) == [1.7e9]
        assert parse_timestamps(["000012", "000013"]) is None
        for name in ("5.25", "5.50"):
            paint(tmp_path / f"{name}.png")
        assert [(frame.index, frame.stamp) for frame in open_source(str(tmp_path))] == [(0, 5.25), (1, 5.5)]

    @pytest.mark.parametrize(
        ("stride", "most", "expected"), [(1, None, 7), (3, None, 3), (3, 2, 2), (2, 9, 4), (9, 1, 1)]
    )
    def test_length_is_what_comes(self, tmp_path, stride, most, expected):
        for n in range(7):
            paint(tmp_path / f"{n}.png", n)
        source = open_source(str(tmp_path), stride=stride, max_frames=most)
        indices = [frame.index for frame in source]
        assert indices == list(range(0, 7, stride))[:most]
        assert len(source) == source.length == expected

    @pytest.mark.parametrize("suffix", [".jpg", ".png"])
    def test_a_truncated_image_is_left_out_counted_and_said_once(self, tmp_path, caplog, suffix):
        rng = np.random.default_rng(0)
        for n in range(4):
            cv2.imwrite(str(tmp_path / f"{n}{suffix}"), rng.integers(0, 255, (40, 60, 3), np.uint8))
        cut(tmp_path / f"1{suffix}")
        cut(tmp_path / f"2{suffix}")
        source = open_source(str(tmp_path))
        for _ in range(2):  # every walk starts anew
            caplog.clear()
            with caplog.at_level(logging.WARNING, "moonseg3r"):
                assert [frame.index for frame in source] == [0, 3]
            assert source.rejected == {"unreadable image": 2}
            assert len(caplog.records) == 1
            assert f"1{suffix}" in caplog.text

    def test_a_jpeg_thumbnail_does_not_hide_the_cut(self):
        from moonseg3r_core.io.images import is_truncated

        segment = b"\xff\xe1\x00\x08\xff\xd8\xff\xd9\x00\x00"  # an APP1 that holds a whole thumbnail
        head = b"\xff\xd8" + segment + b"\xff\xda\x00\x04\x00\x00"
        assert is_truncated(head + b"scan data")
        assert not is_truncated(head + b"scan data\xff\xd9 and a trailer")

    def test_all_rejected_is_an_error_that_says_why(self, tmp_path):
        (tmp_path / "0.png").write_bytes(b"no image")
        (tmp_path / "1.jpg").write_bytes(b"")
        with pytest.raises(SourceError, match=r"no usable frame: unreadable image \(2x\)"):
            list(open_source(str(tmp_path)))


class TestScanNet:
    def test_frames_hold_color_depth_pose_and_intrinsics(self, tmp_path):
        source = open_source(str(export(tmp_path)), stride=2)
        assert (source.kind, len(source), source.masks_folder) == ("scannet", 2, None)
        first, second = source
        assert (first.index, second.index) == (0, 10)
        assert second.stamp == pytest.approx(10 / 30)
        assert second.image[5, 7].tolist() == [2, 20, 30]
        assert torch.equal(second.depth, torch.full((6, 8), 3.0))
        assert torch.equal(second.intrinsics, torch.tensor([[10.0, 0, 3.5], [0, 10, 2.5], [0, 0, 1]]))
        assert second.world_from_camera[0, 3] == 2.0

    def test_masks_folder_is_found(self, tmp_path):
        (export(tmp_path) / "masks").mkdir()
        assert open_source(str(tmp_path)).masks_folder == tmp_path / "masks"

    def test_what_is_missing_is_none(self, tmp_path):
        export(tmp_path, 2)
        (tmp_path / "pose" / "0.txt").unlink()
        (tmp_path / "depth" / "5.png").unlink()
        first, second = open_source(str(tmp_path))
        assert first.world_from_camera is None
        assert first.depth is not None
        assert second.depth is None
        assert second.world_from_camera is not None

    def test_depth_and_poses_may_pad_their_numbers_otherwise(self, tmp_path):
        export(tmp_path, 2)
        (tmp_path / "depth" / "5.png").rename(tmp_path / "depth" / "000005.png")
        (tmp_path / "pose" / "5.txt").rename(tmp_path / "pose" / "0005.txt")
        _, second = open_source(str(tmp_path))
        assert second.depth is not None
        assert second.world_from_camera[0, 3] == 1.0

    def test_infinite_poses_pass(self, tmp_path):
        export(tmp_path, 1)
        np.savetxt(tmp_path / "pose" / "0.txt", np.full((4, 4), -np.inf))
        (frame,) = open_source(str(tmp_path))
        assert torch.isinf(frame.world_from_camera).all()

    @pytest.mark.parametrize("text", ["", "1 2 3", "a b c d"])
    def test_an_unreadable_pose_is_left_out(self, tmp_path, text):
        export(tmp_path)
        (tmp_path / "pose" / "5.txt").write_text(text)
        source = open_source(str(tmp_path))
        assert [frame.index for frame in source] == [0, 10, 15]
        assert source.rejected == {"unreadable pose": 1}

    def test_truncated_and_8_bit_depth_are_left_out(self, tmp_path):
        export(tmp_path)
        cut(tmp_path / "depth" / "0.png")
        cv2.imwrite(str(tmp_path / "depth" / "5.png"), np.zeros((6, 8), np.uint8))
        source = open_source(str(tmp_path))
        assert [frame.index for frame in source] == [10, 15]
        assert source.rejected == {"unreadable depth": 2}

    def test_depth_of_half_the_size_is_stretched(self, tmp_path):
        export(tmp_path, 1, depth_size=(3, 4))
        small = np.arange(12, dtype=np.uint16).reshape(3, 4) * 1000
        cv2.imwrite(str(tmp_path / "depth" / "0.png"), small)
        (frame,) = open_source(str(tmp_path))
        assert torch.equal(frame.depth, torch.from_numpy(np.kron(small / 1000, np.ones((2, 2)))).float())

    def test_depth_of_another_shape_is_an_error(self, tmp_path):
        export(tmp_path, 1, depth_size=(6, 6))
        with pytest.raises(SourceError, match=r"depth of 6x6 .* colour of 8x6; register"):
            list(open_source(str(tmp_path)))

    @pytest.mark.parametrize("rows", ["1 0 0", "nan 0 0\n0 1 0\n0 0 1", "0 0 0\n0 0 0\n0 0 0", "x"])
    def test_broken_intrinsics_are_an_error(self, tmp_path, rows):
        (export(tmp_path) / "intrinsic" / "intrinsic_color.txt").write_text(rows)
        with pytest.raises(SourceError, match=r"intrinsic_color\.txt must hold"):
            open_source(str(tmp_path))


class TestRegistration:
    K = np.array([[100.0, 0, 49.5], [0, 100, 39.5], [0, 0, 1]])

    def test_scaling_keeps_rays(self):
        large = resize_intrinsics(self.K, (80, 100), (160, 200))
        assert np.allclose(large, [[200, 0, 99.5], [0, 200, 79.5], [0, 0, 1]])
        assert np.allclose(resize_intrinsics(large, (160, 200), (80, 100)), self.K)

    def test_both_intrinsics_pick_the_pixel_on_the_same_ray(self):
        depth = np.arange(80 * 100, dtype=np.float32).reshape(80, 100)
        shifted = self.K.copy()
        shifted[0, 2] -= 10  # the depth camera's axis lies 10 pixels further left
        color = resize_intrinsics(self.K, (80, 100), (160, 200))
        carried = register_depth(depth, shifted, color, (160, 200))
        assert carried[0, 20] == depth[0, 0]
        assert carried[100, 100] == depth[50, 40]
        assert (carried[:, :19] == 0).all()  # left of the depth's view

    def test_intrinsics_of_a_larger_image_give_way_to_the_depths(self):
        large = resize_intrinsics(self.K, (80, 100), (240, 300))
        assert np.allclose(choose_color_intrinsics(large, self.K, (80, 100), (80, 100)), self.K)
        with pytest.raises(SourceError, match="intrinsic_color"):
            choose_color_intrinsics(large, None, (80, 100), (80, 100))
        assert choose_color_intrinsics(None, None, (80, 100), None) is None


def write_video(path: Path, pictures: list[np.ndarray]) -> Path:
    """Write an AVI of JPEGs, 10 pictures a second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write MJPG")
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path


class TestVideo:
    @pytest.fixture
    def video(self, tmp_path):
        return write_video(tmp_path / "clip.avi", [np.full((48, 64, 3), (0, 0, 25 * n), np.uint8) for n in range(9)])

    def test_frames_by_ordinal_and_rate(self, video):
        source = open_source(str(video), stride=3)
        assert (source.kind, len(source)) == ("video", 3)
        for _ in range(2):
            frames = list(source)
            assert [frame.index for frame in frames] == [0, 3, 6]
            assert [frame.stamp for frame in frames] == pytest.approx([0.0, 0.3, 0.6])
            assert [round(int(f.image[24, 32, 0]) / 25) for f in frames] == [0, 3, 6]
            assert int(frames[2].image[24, 32, 2]) < 10  # red, not blue

    @pytest.mark.parametrize(
        "name", ["2024-05-01T10:30:15.avi", "file:a.avi", "a?b#c%20d.avi", "~nobody.avi", "img%03d.avi"]
    )
    def test_a_name_is_no_url(self, video, monkeypatch, name):
        video.rename(video.parent / name)
        monkeypatch.chdir(video.parent)
        for spec in (name, f"./{name}"):
            assert len(list(open_source(spec, stride=4))) == 3

    def test_max_frames_stops(self, video):
        assert [frame.index for frame in open_source(str(video), stride=2, max_frames=2)] == [0, 2]

    def test_a_video_shorter_than_its_header_tells_is_counted(self, video, caplog):
        source = open_source(str(video), stride=2)
        source.total = 13
        with caplog.at_level(logging.WARNING, "moonseg3r"):
            assert [frame.index for frame in source] == [0, 2, 4, 6, 8]
        assert source.rejected == {"video ends early": 2}
        assert "9 of the 13 frames" in caplog.text

    def test_a_truncated_video_is_read_as_far_as_it_goes(self, tmp_path):
        rng = np.random.default_rng(0)
        noise = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(30)]
        cut(path := write_video(tmp_path / "clip.avi", noise))
        source = open_source(str(path))
        frames = len(list(source))
        assert 5 < frames < 30
        assert frames + sum(source.rejected.values()) == len(source)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.bag", "ROS 1 bag"),
        ("scan.r3d", "unpack it"),
        ("a.tar.gz", "unpack it"),
        ("scene.sens", "SensReader"),
        ("a.mcap.zst", "bag folder"),
        ("a.txt", "no video"),
        ("/dev/null", "neither a file"),
    ],
)
def test_files_of_other_kinds_are_refused(tmp_path, name, message):
    if not name.startswith("/dev"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SourceError, match=message):
        open_source(str(tmp_path / name))


@pytest.mark.parametrize("spec", ["abc", "", "1:0", "1:2:3", "-1"])
def test_synthetic_specs_are_checked(spec):
    with pytest.raises(SourceError, match="expected synthetic:SEED"):
        open_source(f"synthetic:{spec}")


@pytest.mark.parametrize("options", [{"stride": 0}, {"stride": -2}, {"max_frames": 0}])
def test_the_selection_is_checked(tmp_path, options):
    paint(tmp_path / "0.png")
    with pytest.raises(SourceError, match="must be a whole number >= 1"):
        open_source(str(tmp_path), **options)


def test_synthetic_room_is_a_source():
    source = open_source("synthetic:3:5", stride=2)
    frames = list(source)
    assert source.kind == "synthetic"
    assert len(frames) == len(source) == 3
    assert all(frame.depth is not None and frame.world_from_camera is not None for frame in frames)


def test_real_kitchen():
    if not KITCHEN.is_dir():
        pytest.skip("shared/data/kitchen is not on this machine")
    source = open_source(str(KITCHEN), stride=50)
    frames = list(source)
    assert len(source) == len(frames) == 4
    assert source.masks_folder == KITCHEN / "masks"
    assert [frame.index for frame in frames] == [0, 50, 100, 150]
    assert frames[0].size == (480, 640)
    assert torch.allclose(frames[0].intrinsics[0], torch.tensor([527.391409, 0, 319.125537]))
    assert frames[0].world_from_camera[0, 3].item() == pytest.approx(-0.318722204)
    assert all(0.4 < float(frame.depth[frame.depth > 0].median()) < 4 for frame in frames)
    assert all(a.stamp < b.stamp for a, b in pairwise(frames))
    assert not source.rejected
