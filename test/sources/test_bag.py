"""rosbag2 recordings: encodings, transforms, topics, pairing, damage. The bags are written here, small."""

from __future__ import annotations

import logging
import runpy
import struct
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ros_messages import SECOND, edge, flat, metres, odometry, pose_stamped, shift, tf
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from scipy.spatial.transform import Rotation

from moonseg3r_core.errors import FrameRejected, OutputError, SourceError
from moonseg3r_core.sources import Topics, open_source
from moonseg3r_core.sources.bag_reader import TYPES, Topic
from moonseg3r_core.sources.bag_topics import choose_topics
from moonseg3r_core.sources.encodings import (
    decode_compressed_depth,
    decode_compressed_image,
    decode_depth,
    decode_image,
)
from moonseg3r_core.sources.messages import decode_image_message
from moonseg3r_core.sources.transforms import TransformBuffer, TransformError, invert, make_pose
from moonseg3r_core.sources.write_bag import make_camera_info, make_compressed_image, make_header, make_image, write_bag
from moonseg3r_core.types import Frame

ROOT = Path(__file__).resolve().parents[2]
KITCHEN = ROOT.parent / "shared" / "data" / "kitchen"
RED = np.array([200, 100, 50], np.uint8)
K = torch.tensor([[10.0, 0, 3.5], [0, 10, 2.5], [0, 0, 1]])
COLOR, DEPTH, INFO = "/camera/color/image_raw", "/camera/depth/image_raw", "/camera/color/camera_info"


def record(
    folder: Path,
    messages: list[tuple[str, float, object]],
    storage: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode = CompressionMode.NONE,
) -> Path:
    """A bag folder of (topic, seconds, message)."""
    writer = Writer(folder, version=9, storage_plugin=storage)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for topic, stamp, message in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=TYPES)
            writer.write(connections[topic], round(stamp * SECOND), TYPES.serialize_cdr(message, kind))
    return folder


def rgbd(count: int = 6, rate: float = 10.0, size: tuple[int, int] = (6, 8)) -> list[tuple[str, float, object]]:
    """A posed recording: image n has n red, n + 1 metres of depth, and lies n metres along x."""
    found: list[tuple[str, float, object]] = []
    for n in range(count):
        stamp = 100 + n / rate
        ns = round(stamp * SECOND)
        found += [
            ("/tf", stamp, tf(edge(n, stamp))),
            (INFO, stamp, make_camera_info(K, size, ns)),
            (DEPTH, stamp, make_image(metres(n + 1, size), "16UC1", ns)),
            (COLOR, stamp, make_image(flat(n, size), "rgb8", ns)),
        ]
    return found


class TestEncodings:
    @pytest.mark.parametrize(
        ("encoding", "pixel"),
        [
            ("rgb8", RED),
            ("bgr8", RED[::-1]),
            ("8UC3", RED[::-1]),
            ("rgba8", np.append(RED, 255)),
            ("bgra8", np.append(RED[::-1], 255)),
        ],
    )
    def test_color(self, encoding, pixel):
        data = np.tile(pixel.astype(np.uint8), 6)
        decoded = decode_image(data.tobytes(), 2, 3, encoding, 3 * len(pixel), False)
        assert decoded.dtype == np.uint8
        assert np.array_equal(decoded, flat(RED, (2, 3)))

    def test_rows_may_be_padded_and_the_last_may_end_early(self):
        data = bytes([1, 2, 3, 99, 4, 5, 6])
        assert decode_image(data, 2, 1, "rgb8", 4, False).tolist() == [[[1, 2, 3]], [[4, 5, 6]]]

    def test_gray_is_spread_and_16_bits_keep_the_upper_8(self):
        assert decode_image(bytes([7, 9]), 1, 2, "mono8", 2, False).tolist() == [[[7] * 3, [9] * 3]]
        assert decode_image(b"\x34\x12", 1, 1, "mono16", 2, False)[0, 0, 0] == 0x12
        assert decode_image(b"\x12\x34", 1, 1, "mono16", 2, True)[0, 0, 0] == 0x12

    @pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
    @pytest.mark.parametrize("bits", [8, 16])
    def test_bayer(self, pattern, bits):
        value = dict(zip("rgb", RED.tolist(), strict=True))
        tile = np.array([value[c] for c in pattern], np.uint16).reshape(2, 2) << (bits - 8)
        mosaic = np.tile(tile, (4, 5)).astype("<u2" if bits == 16 else "u1")
        decoded = decode_image(mosaic.tobytes(), 8, 10, f"bayer_{pattern}{bits}", mosaic.strides[0], False)
        assert np.array_equal(decoded, flat(RED, (8, 10)))

    @pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv12", "nv21"])
    def test_yuv(self, encoding):
        # BT.601 in studio range, as OpenCV decodes it
        r, g, b = (float(c) for c in RED)
        y = round(16 + 0.257 * r + 0.504 * g + 0.098 * b)
        u = round(128 - 0.148 * r - 0.291 * g + 0.439 * b)
        v = round(128 + 0.439 * r - 0.368 * g - 0.071 * b)
        order = {"yuv422": (u, y, v, y), "uyvy": (u, y, v, y), "yuv422_yuy2": (y, u, y, v), "yuyv": (y, u, y, v)}
        if encoding.startswith("nv"):
            data, step = bytes([y] * 16 + ([u, v] if encoding == "nv12" else [v, u]) * 4), 4
        else:
            data, step = bytes(order[encoding] * 8), 8
        decoded = decode_image(data, 4, 4, encoding, step, False)
        assert np.abs(decoded.astype(int) - RED.astype(int)).max() <= 3

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((b"", 1, 1, "rgb9", 3, False), "unknown image encoding 'rgb9'"),
            ((b"ab", 1, 1, "rgb8", 3, False), "too short"),
            ((b"abcdef", 1, 2, "rgb8", 3, False), "step 3"),
            ((b"abcdef", 1, 3, "yuv422", 6, False), "even size"),
            ((b"", 0, 0, "rgb8", 0, False), "too short"),
        ],
    )
    def test_what_cannot_be_is_refused(self, arguments, message):
        with pytest.raises(FrameRejected, match=message):
            decode_image(*arguments)

    def test_depth(self):
        assert decode_depth(b"\xe8\x03\x00\x00", 1, 2, "16UC1", 4, False).tolist() == [[1.0, 0.0]]
        assert decode_depth(b"\x03\xe8", 1, 1, "16UC1", 2, True).tolist() == [[1.0]]
        values = np.array([1.5, np.nan, np.inf, -1.0], "<f4")
        assert decode_depth(values.tobytes(), 1, 4, "32FC1", 16, False).tolist() == [[1.5, 0.0, 0.0, 0.0]]
        swapped = decode_depth(values.astype(">f4").tobytes(), 1, 4, "32FC1", 16, True)
        assert (swapped.dtype, swapped[0, 0]) == (np.float32, 1.5)
        with pytest.raises(FrameRejected, match="unknown depth encoding 'rgb8'"):
            decode_depth(b"", 1, 1, "rgb8", 3, False)

    def test_compressed_depth(self):
        _, png = cv2.imencode(".png", np.array([[2000, 0]], np.uint16))
        head = struct.pack("<iff", 0, 100.0, 50.0)
        png = png.tobytes()
        assert decode_compressed_depth(head + png, "16UC1; compressedDepth png").tolist() == [[2.0, 0.0]]
        assert decode_compressed_depth(png, "16UC1; png compressed ").tolist() == [[2.0, 0.0]]
        inverse = decode_compressed_depth(head + png, "32FC1; compressedDepth png")
        assert inverse[0] == pytest.approx([100 / 1950, 0])
        with pytest.raises(FrameRejected, match="codec png"):
            decode_compressed_depth(head + b"abc", "16UC1; compressedDepth rvl")

    @pytest.mark.parametrize("format", ["16UC1; png compressed ", "32FC1; compressedDepth png"])
    def test_compressed_depth_is_no_color(self, format):
        message = SimpleNamespace(format=format, data=cv2.imencode(".png", np.full((4, 4), 2000, np.uint16))[1])
        with pytest.raises(FrameRejected, match="images are depth: expected color"):
            decode_image_message(message)

    def test_compressed_image(self):
        _, png = cv2.imencode(".png", flat(RED[::-1]))
        assert np.array_equal(decode_compressed_image(png), flat(RED))
        for broken in (b"", b"text", png.tobytes()[:-20]):
            with pytest.raises(FrameRejected):
                decode_compressed_image(broken)


class TestTransforms:
    def test_chains_run_both_ways_and_interpolate(self):
        buffer = TransformBuffer(10.0)
        buffer.add("map", "odom", 0, shift(10), static=True)
        buffer.add("odom", "/base", 1, shift(0))
        buffer.add("odom", "base", 2, shift(2, np.pi / 2))
        buffer.add("base", "camera", 0, shift(1), static=True)
        pose = buffer.lookup("map", "camera", 1.5)
        half = np.sqrt(0.5)  # 45 degrees: half of the turn
        assert np.allclose(pose[:3, 3], [10 + 1 + half, half, 0])
        assert np.allclose(pose[:2, :2], [[half, -half], [half, half]])
        assert np.allclose(buffer.lookup("camera", "map", 1.5), invert(pose))
        assert np.allclose(buffer.lookup("odom", "odom", 9), np.eye(4))

    @given(st.lists(st.floats(-10, 10), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 1e-3))
    def test_quaternions_turn_as_scipy_turns_them(self, quaternion):
        pose = make_pose((1, 2, 3), quaternion)
        assert np.allclose(pose[:3, :3], Rotation.from_quat(quaternion).as_matrix(), atol=1e-12)
        assert pose[:, 3].tolist() == [1, 2, 3, 1]

    def test_errors_say_what_is_missing(self):
        buffer = TransformBuffer(10.0)
        buffer.add("map", "camera", 5, shift(0))
        buffer.add("map", "camera", 6, shift(0))
        buffer.add("earth", "moon", 0, shift(0), static=True)
        for arguments, message in (
            (("map", "lens", 5), "unknown frame 'lens'; known frames: camera, earth, map, moon"),
            (("moon", "camera", 5), "not connected: roots 'earth', 'map'"),
            (("map", "camera", 4.5), "0.500 s before the oldest"),
            (("map", "camera", 7.25), "1.250 s after the newest"),
        ):
            with pytest.raises(TransformError, match=message):
                buffer.lookup(*arguments)

    def test_rings_and_broken_rotations_are_refused(self):
        buffer = TransformBuffer(10.0)
        buffer.add("a", "b", 0, shift(0))
        buffer.add("b", "a", 0, shift(0))
        with pytest.raises(TransformError, match="ring"):
            buffer.lookup("a", "b", 0)
        with pytest.raises(TransformError, match="own parent"):
            buffer.add("a", "a", 0, shift(0))
        for quaternion in (np.zeros(4), np.full(4, np.nan)):
            with pytest.raises(TransformError, match="must be finite with a rotation"):
                make_pose(np.zeros(3), quaternion)

    def test_an_edge_whose_time_goes_back_starts_anew(self):
        buffer = TransformBuffer(10.0)
        for stamp in (100.0, 101.0, 100.6):  # a little disorder, and all hold
            buffer.add("map", "camera", stamp, shift(stamp))
        assert buffer.lookup("map", "camera", 100.3)[0, 3] == pytest.approx(100.3)
        buffer.add("map", "camera", 97.0, shift(1))  # one late sample is left out
        buffer.add("map", "camera", 101.1, shift(101.1))
        assert buffer.lookup("map", "camera", 100.3)[0, 3] == pytest.approx(100.3)
        for stamp, x in ((97.0, 1), (97.5, 2), (98.0, 3)):
            buffer.add("map", "camera", stamp, shift(x))
        assert buffer.lookup("map", "camera", 97.25)[0, 3] == pytest.approx(1.5)
        with pytest.raises(TransformError, match="after the newest"):
            buffer.lookup("map", "camera", 99.0)

    def test_a_short_loop_at_two_samples_a_second_starts_anew_too(self):
        buffer = TransformBuffer(10.0)
        for n, stamp in enumerate([5.0, 5.5, 6.0, 6.5, 5.0, 5.5, 6.0]):
            buffer.add("map", "camera", stamp, shift(n))
        assert buffer.lookup("map", "camera", 5.5)[0, 3] == 5
        buffer.rewind(6.5)  # told by the images a little later
        assert buffer.lookup("map", "camera", 6.0)[0, 3] == 6

    def test_one_sample_ahead_is_replaced_by_the_next_good_one(self):
        buffer = TransformBuffer(10.0)
        for stamp in (100.0, 100.1, 5000.0, 100.2, 100.3):
            buffer.add("map", "camera", stamp, shift(stamp))
        assert buffer.lookup("map", "camera", 100.15)[0, 3] == pytest.approx(100.15)
        with pytest.raises(TransformError, match="after the newest"):
            buffer.lookup("map", "camera", 101.0)

    def test_a_correction_holds_after_its_newest_sample_and_shortly_before_its_oldest(self):
        buffer = TransformBuffer(10.0)
        buffer.add("map", "odom", 101.0, shift(5))  # post-dated
        for stamp in (100.0, 104.0):
            buffer.add("odom", "base", stamp, shift(stamp - 100))
        buffer.add("base", "camera", 0, shift(0), static=True)
        assert buffer.find_correction("map", "camera") == "odom"
        assert buffer.find_correction("odom", "camera") is None
        for stamp in (100.0, 101.0, 103.0):
            assert buffer.lookup("map", "camera", stamp, "odom")[0, 3] == 5 + stamp - 100
        with pytest.raises(TransformError, match="after the newest"):
            buffer.lookup("map", "camera", 103.0)
        with pytest.raises(TransformError, match="after the newest"):  # odometry itself does not hold
            buffer.lookup("map", "camera", 105.0, "odom")

    def test_parents(self):
        buffer = TransformBuffer(10.0)
        buffer.add("/map", "odom", 1, shift(0))
        assert [buffer.find_parent(frame) for frame in ("/odom", "odom", "map", "lens")] == ["map", "map", None, None]
        buffer.add("earth", "odom", 2, shift(0))
        assert buffer.find_parent("odom") == "earth"

    def test_memory_is_bounded(self):
        buffer = TransformBuffer(horizon=1.0)
        for n in range(1000):
            buffer.add("map", "camera", n / 100, shift(n))
        assert len(buffer._edges["camera"].stamps) <= 102
        with pytest.raises(TransformError, match="before the oldest"):
            buffer.lookup("map", "camera", 8.0)


def check_rgbd(frames: list[Frame], indices: list[int]) -> None:
    assert [frame.index for frame in frames] == indices
    for frame in frames:
        n = frame.index
        assert frame.stamp == pytest.approx(100 + n / 10)
        assert int(frame.image[0, 0, 0]) == n
        assert torch.equal(frame.depth, torch.full((6, 8), n + 1.0))
        assert torch.equal(frame.intrinsics, K)
        assert torch.allclose(frame.world_from_camera, torch.from_numpy(shift(n)))


class TestBags:
    @pytest.mark.parametrize("storage", list(StoragePlugin))
    @pytest.mark.parametrize("compression", list(CompressionMode))
    def test_every_storage(self, tmp_path, storage, compression):
        if storage == StoragePlugin.SQLITE3 and compression == CompressionMode.STORAGE:
            pytest.skip("SQLite has no compression of its own")
        bag = record(tmp_path / "bag", rgbd(), storage, compression)
        source = open_source(str(bag))
        assert (source.kind, len(source)) == ("bag", 6)
        for _ in range(2):
            check_rgbd(list(source), [0, 1, 2, 3, 4, 5])
        assert not source.rejected

    @pytest.mark.parametrize("storage", list(StoragePlugin))
    def test_a_file_alone_and_a_folder_without_metadata(self, tmp_path, storage):
        bag = record(tmp_path / "bag", rgbd(), storage)
        (file,) = (f for f in bag.iterdir() if f.suffix in (".mcap", ".db3"))
        check_rgbd(list(open_source(str(file))), [0, 1, 2, 3, 4, 5])
        (bag / "metadata.yaml").unlink()
        source = open_source(str(bag))
        check_rgbd(list(source), [0, 1, 2, 3, 4, 5])
        assert not source.rejected

    def test_stride_and_max_frames(self, tmp_path):
        bag = record(tmp_path / "bag", rgbd(9))
        source = open_source(str(bag), stride=2, max_frames=3)
        check_rgbd(list(source), [0, 2, 4])
        assert len(source) == 3

    def test_the_pose_is_interpolated_along_the_tree(self, tmp_path):
        messages = [("/tf_static", 99.0, tf(edge(10, 0, "base", "camera")))]
        messages += [("/tf", 100 + n, tf(edge(n, 100 + n, "odom", "base"))) for n in range(3)]
        messages += [("/image", 100.5 + n, make_image(flat(n), "rgb8", round((100.5 + n) * SECOND))) for n in range(2)]
        frames = list(open_source(str(record(tmp_path / "bag", messages))))
        assert [float(frame.world_from_camera[0, 3]) for frame in frames] == pytest.approx([10.5, 11.5])

    def test_the_world_is_the_map_though_odometry_came_first(self, tmp_path):
        messages = []
        for n in range(12):
            stamp = 100 + n / 4
            messages.append(("/tf", stamp, tf(edge(n, stamp, "odom", "camera"))))
            if n >= 2:
                messages.append(("/tf", stamp, tf(edge(100, stamp, "map", "odom"))))
            messages.append(("/image", stamp, make_image(flat(n), "rgb8", round(stamp * SECOND))))
        placed = [f for f in open_source(str(record(tmp_path / "bag", messages))) if f.world_from_camera is not None]
        assert [f.index for f in placed] == list(range(2, 12))
        assert all(float(f.world_from_camera[0, 3]) == 100 + f.index for f in placed)
        asked = open_source(str(tmp_path / "bag"), topics=Topics(world="odom"))
        assert [float(f.world_from_camera[0, 3]) for f in asked] == list(range(12))

    def test_a_jump_of_localization_tells_how_the_past_moved(self, tmp_path):
        messages = []
        for n in range(9):
            stamp = 100 + n / 4
            messages.append(("/tf", stamp, tf(edge(n, stamp, "odom", "camera"))))
            messages.append(("/tf", stamp, tf(edge(100 if n < 5 else 99.5, stamp, "map", "odom"))))
            messages.append(("/image", stamp, make_image(flat(n), "rgb8", round(stamp * SECOND))))
        frames = list(open_source(str(record(tmp_path / "bag", messages))))
        (jumped,) = [f for f in frames if len(f.moves)]
        assert jumped.index == 5
        assert jumped.moves.stamps.tolist() == [100.0, 101.25]
        assert jumped.moves.new_from_old[:, 0, 3].tolist() == pytest.approx([0, -0.5])

    def test_a_corrected_path_tells_how_the_past_moved(self, tmp_path):
        def path(shift, stamp, count):
            poses = [pose_stamped(n + shift * n / 4, 100 + n / 4) for n in range(count)]
            return ("/mapPath", stamp, TYPES.types["nav_msgs/msg/Path"](poses[0].header, poses))

        messages = []
        for n in range(9):
            stamp = 100 + n / 4
            messages.append(("/tf", stamp, tf(edge(n if n < 5 else n + 0.5, stamp, "map", "camera"))))
            messages.append(path(0.0, stamp, n + 1) if n < 5 else path(0.5, stamp, n + 1))
            messages.append(("/image", stamp, make_image(flat(n), "rgb8", round(stamp * SECOND))))
        folder = str(record(tmp_path / "bag", messages))
        assert not any(len(f.moves) for f in open_source(folder)), "no path is taken that nobody asked for"
        (moved,) = [f for f in open_source(folder, topics=Topics(path="/mapPath")) if len(f.moves)]
        assert moved.index == 5
        assert moved.moves.stamps.tolist() == [100 + n / 4 for n in range(5)]
        assert moved.moves.new_from_old[:, 0, 3].tolist() == pytest.approx([0.125 * n for n in range(5)])

    def test_moves_wait_for_an_image_that_can_be_decoded(self, tmp_path):
        paths = [[pose_stamped(n + shift, 100 + n / 4) for n in range(2)] for shift in (0.0, 0.5)]
        messages = [("/tf", 100.0 + n / 4, tf(edge(n, 100 + n / 4, "map", "camera"))) for n in range(4)]
        for n in range(4):
            image = make_image(flat(n), "rgb8", round((100 + n / 4) * SECOND))
            image.encoding = "nonsense" if n == 2 else "rgb8"
            messages.append(("/image", 100 + n / 4, image))
        for stamp, poses in zip((100.2, 100.4), paths, strict=True):
            messages.append(("/path", stamp, TYPES.types["nav_msgs/msg/Path"](poses[0].header, poses)))
        folder = str(record(tmp_path / "bag", sorted(messages, key=lambda message: message[1])))
        assert [len(f.moves) for f in open_source(folder, topics=Topics(path="/path"))] == [0, 0, 2]

    def test_a_path_in_another_frame_than_the_poses_is_said(self, tmp_path, caplog):
        path = TYPES.types["nav_msgs/msg/Path"](make_header(100 * SECOND, "slam"), [pose_stamped(0, 100.0)])
        messages = [("/path", 100.0, path), *rgbd(3)]
        with caplog.at_level(logging.WARNING, "moonseg3r"):
            list(open_source(str(record(tmp_path / "bag", messages)), topics=Topics(path="/path")))
        assert caplog.text.count("lies in frame 'slam', poses in 'map'; take those with --topic world=slam") == 1

    def test_rectified_images_have_the_projection_for_their_camera(self, tmp_path):
        info = make_camera_info(K, (6, 8), 100 * SECOND)
        info.p = np.array([12.0, 0, 4, 0, 0, 12, 3, 0, 0, 0, 1, 0])
        for topic, focal in (("/camera/image_rect", 12.0), ("/camera/image_direct", 10.0)):
            messages = [("/camera/camera_info", 100.0, info), (topic, 100.0, make_image(flat(1), "rgb8", 100 * SECOND))]
            (frame,) = open_source(str(record(tmp_path / str(focal), messages)))
            assert float(frame.intrinsics[0, 0]) == focal

    def test_no_transform_is_no_pose_and_is_said_once(self, tmp_path, caplog):
        messages = [m for m in rgbd() if m[0] != "/tf"]
        messages += [("/tf", 100 + n / 10, tf(edge(n, 100 + n / 10, "map", "lidar"))) for n in range(6)]
        with caplog.at_level(logging.WARNING, "moonseg3r"):
            frames = list(open_source(str(record(tmp_path / "bag", messages))))
        assert len(frames) == 6
        assert all(frame.world_from_camera is None for frame in frames)
        assert len([r for r in caplog.records if "no pose" in r.message]) == 1
        assert "no transform leads to the camera's frame 'camera'" in caplog.text

    def test_pose_topics(self, tmp_path):
        images = [m for m in rgbd() if m[0] != "/tf"]
        stamps = [100 + n / 10 for n in range(6)]
        poses = [("/slam/pose", s, pose_stamped(n, s)) for n, s in enumerate(stamps)]
        check_rgbd(list(open_source(str(record(tmp_path / "pose", images + poses)))), [0, 1, 2, 3, 4, 5])
        odom = [("/odom", s, odometry(n, s, "base")) for n, s in enumerate(stamps)]
        static = [("/tf_static", 100.0, tf(edge(0, 0, "base", "camera")))]
        check_rgbd(list(open_source(str(record(tmp_path / "odom", images + odom + static)))), [0, 1, 2, 3, 4, 5])
        wrong = [("/tf", s, tf(edge(50, s, "odom", "base"))) for s in stamps]
        both = record(tmp_path / "both", images + odom + static + wrong)
        assert {float(f.world_from_camera[0, 3]) for f in open_source(str(both))} == {50.0}
        check_rgbd(list(open_source(str(both), topics=Topics(pose="/odom"))), [0, 1, 2, 3, 4, 5])

    def test_depth_is_the_nearest_within_half_a_frame(self, tmp_path):
        messages = []
        for n, late in enumerate((0.02, -0.04, 0.06, 0.03)):
            stamp = 100 + n / 10
            messages.append((COLOR, stamp, make_image(flat(n), "rgb8", round(stamp * SECOND))))
            messages.append((DEPTH, stamp + late, make_image(metres(n + 1), "16UC1", round((stamp + late) * SECOND))))
        frames = list(open_source(str(record(tmp_path / "bag", messages))))
        # depths at .02, .06, .26, .33 for images at .0, .1, .2, .3: the third has none within .05, the fourth two
        depths = [None if f.depth is None else float(f.depth[0, 0]) for f in frames]
        assert depths == [1.0, 2.0, None, 4.0]

    def test_a_stride_leaves_the_frame_rate_as_it_is(self, tmp_path):
        messages = []
        for n in range(6):
            stamp = 100 + n / 10
            messages.append((COLOR, stamp, make_image(flat(n), "rgb8", round(stamp * SECOND))))
            messages.append((DEPTH, stamp, make_image(metres(1), "16UC1", round((stamp + 0.06) * SECOND))))
        frames = list(open_source(str(record(tmp_path / "bag", messages)), stride=3))
        assert [(frame.index, frame.depth is None) for frame in frames] == [(0, True), (3, False)]

    def test_compressed_color_and_depth(self, tmp_path):
        messages = []
        for n in range(3):
            ns = round((100 + n / 10) * SECOND)
            _, png = cv2.imencode(".png", metres(n + 1))
            data = np.frombuffer(struct.pack("<iff", 0, 0, 0) + png.tobytes(), np.uint8)
            kind = TYPES.types["sensor_msgs/msg/CompressedImage"]
            messages += [
                ("/camera/color/image_raw/compressed", ns / SECOND, make_compressed_image(flat(40 * n), "jpeg", ns)),
                (
                    "/camera/depth/image_raw/compressedDepth",
                    ns / SECOND,
                    kind(make_header(ns), "16UC1; compressedDepth png", data),
                ),
            ]
        frames = list(open_source(str(record(tmp_path / "bag", messages))))
        assert [round(int(f.image[3, 3, 0]) / 40) for f in frames] == [0, 1, 2]
        assert [float(f.depth[0, 0]) for f in frames] == [1.0, 2.0, 3.0]

    def test_region_of_interest_and_binning_move_the_camera(self, tmp_path):
        def bag(name, **changes):
            info = make_camera_info(scaled, (20, 24), 100 * SECOND)
            for key, value in changes.items():
                setattr(info, key, value)
            return record(
                tmp_path / name, [(INFO, 100.0, info), (COLOR, 100.0, make_image(flat(1), "rgb8", 100 * SECOND))]
            )

        scaled = torch.tensor([[20.0, 0, 11.5], [0, 20, 9.5], [0, 0, 1]])
        region = TYPES.types["sensor_msgs/msg/RegionOfInterest"](4, 2, 12, 16, False)  # x, y, height, width
        (frame,) = open_source(str(bag("bag", roi=region, binning_x=2, binning_y=2)))
        assert torch.allclose(frame.intrinsics, torch.tensor([[10.0, 0, 3.5], [0, 10, 3.5], [0, 0, 1]]))
        other = open_source(str(bag("whole")))
        assert other.absent["intrinsics"].startswith(f"{INFO}: camera_info must be for images of 8x6, got 24x20")
        assert next(iter(other)).intrinsics is None
        (frame,) = open_source(str(bag("none", k=np.zeros(9), p=np.zeros(12))))
        assert frame.intrinsics is None


class TestTopics:
    @staticmethod
    def image(name: str, kind: str = "Image") -> Topic:
        return Topic(name, f"sensor_msgs/msg/{kind}", 5)

    def test_a_depth_camera_with_infrared(self):
        names = ["/d/infra1/image_rect_raw", "/d/depth/image_rect_raw", "/d/color/image_raw/compressed"]
        names += ["/d/color/image_raw", "/d/aligned_depth_to_color/image_raw"]
        topics = [self.image(n, "CompressedImage" if n.endswith("compressed") else "Image") for n in names]
        topics += [self.image(f"/d/{n}/camera_info", "CameraInfo") for n in ("infra1", "depth", "color")]
        chosen = choose_topics(topics, Topics())
        assert chosen.color.name == "/d/color/image_raw"
        assert chosen.depth.name == "/d/aligned_depth_to_color/image_raw"
        assert chosen.camera_info.name == "/d/color/camera_info"
        assert chosen.pose is None

    def test_the_only_image_needs_no_name(self):
        chosen = choose_topics([self.image("/depth_camera/front"), self.image("/depth_camera/depth/front")], Topics())
        assert (chosen.color.name, chosen.depth.name) == ("/depth_camera/front", "/depth_camera/depth/front")

    def test_as_asked(self):
        topics = [self.image("/rgb/image"), self.image("/left"), self.image("/range_depth")]
        chosen = choose_topics(topics, Topics(color="/left"))
        assert (chosen.color.name, chosen.depth.name) == ("/left", "/range_depth")
        with pytest.raises(SourceError, match=r"no messages on depth topic /nope; it holds: /rgb/image \(sensor_msgs"):
            choose_topics(topics, Topics(depth="/nope"))

    def test_choice_is_said(self, tmp_path, caplog):
        with caplog.at_level(logging.INFO, "moonseg3r"):
            open_source(str(record(tmp_path / "bag", rgbd(2))))
        assert f"color {COLOR}, depth {DEPTH}, camera_info {INFO}, poses /tf" in caplog.text


class TestBadBags:
    def test_no_image_topic_lists_what_there_is(self, tmp_path):
        bag = record(tmp_path / "bag", [("/tf", 1.0, tf(edge(0, 1)))])
        with pytest.raises(SourceError, match=r"no colour image topic.*/tf \(tf2_msgs/msg/TFMessage, 1\)"):
            open_source(str(bag))

    def test_an_unknown_encoding_is_named(self, tmp_path):
        messages = rgbd(3)
        messages[3][2].encoding = "jpeg2000"
        source = open_source(str(record(tmp_path / "some", messages)))
        check_rgbd(list(source), [1, 2])
        assert [("jpeg2000" in reason, count) for reason, count in source.rejected.items()] == [(True, 1)]
        for topic, _, message in messages:
            if topic == COLOR:
                message.encoding = "jpeg2000"
        with pytest.raises(SourceError, match="unknown image encoding 'jpeg2000'"):
            list(open_source(str(record(tmp_path / "all", messages))))

    def test_a_broken_image_is_left_out(self, tmp_path):
        messages = rgbd(4)
        messages[7][2].data = messages[7][2].data[:10]
        source = open_source(str(record(tmp_path / "bag", messages)))
        check_rgbd(list(source), [0, 2, 3])
        assert sum(source.rejected.values()) == 1

    @pytest.mark.parametrize("storage", list(StoragePlugin))
    @pytest.mark.parametrize("with_metadata", [True, False])
    def test_a_truncated_bag_is_read_as_far_as_it_goes(self, tmp_path, caplog, storage, with_metadata):
        size = (96, 128)  # large enough for several chunks and pages
        bag = record(tmp_path / "bag", rgbd(60, size=size), storage)
        (file,) = (f for f in bag.iterdir() if f.suffix in (".mcap", ".db3"))
        data = file.read_bytes()
        file.write_bytes(data[: len(data) * 6 // 10])
        if not with_metadata:
            (bag / "metadata.yaml").unlink()
        with caplog.at_level(logging.WARNING, "moonseg3r"):
            source = open_source(str(bag))
            frames = list(source)
        assert [frame.index for frame in frames] == list(range(len(frames)))
        assert 20 <= len(frames) < 60
        assert all(int(frame.image[0, 0, 0]) == frame.index for frame in frames)
        assert source.rejected == {"damaged bag": 1}
        assert len([r for r in caplog.records if "damaged bag" in r.message]) == 1

    @pytest.mark.parametrize("name", ["a#b", "what?", "50%25", "2024-05-01T10:30:15"])
    @pytest.mark.parametrize("is_folder", [True, False])
    def test_a_name_is_no_url(self, tmp_path, caplog, name, is_folder):
        bag = record(tmp_path / "bag", rgbd(3), StoragePlugin.SQLITE3)
        bag.rename(tmp_path / name)
        path = tmp_path / name if is_folder else tmp_path / f"{name}.db3"
        if not is_folder:
            (tmp_path / name / "bag.db3").rename(path)
        with caplog.at_level(logging.WARNING, "moonseg3r"):
            source = open_source(str(path))
            check_rgbd(list(source), [0, 1, 2])
        assert not source.rejected
        assert "damaged" not in caplog.text

    def test_a_cut_mcap_out_of_order_is_sorted(self, tmp_path):
        messages = rgbd(60, size=(96, 128))
        for at in range(0, len(messages) - 8, 8):  # pairs of frames change places within a chunk
            messages[at : at + 8] = messages[at + 4 : at + 8] + messages[at : at + 4]
        bag = record(tmp_path / "bag", messages)
        file = bag / "bag.mcap"
        file.write_bytes(file.read_bytes()[: file.stat().st_size * 6 // 10])
        frames = list(open_source(str(file)))
        assert len(frames) >= 20
        assert all(int(frame.image[0, 0, 0]) == frame.index for frame in frames)

    def test_an_mcap_without_index_is_read(self, tmp_path):
        file = record(tmp_path / "bag", rgbd()) / "bag.mcap"
        data = bytearray(file.read_bytes())
        data[-28:-8] = bytes(20)  # the footer's offsets of the summary
        file.write_bytes(data)
        source = open_source(str(file))
        check_rgbd(list(source), [0, 1, 2, 3, 4, 5])
        assert not source.rejected

    @pytest.mark.parametrize("content", [b"", b"nothing of the kind" * 20])
    @pytest.mark.parametrize("name", ["a.mcap", "a.db3"])
    def test_no_bag_at_all(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match="cannot be read as a bag"):
            open_source(str(tmp_path / name))

    def test_broken_metadata(self, tmp_path):
        (tmp_path / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
        with pytest.raises(SourceError, match="cannot be read as a bag"):
            open_source(str(tmp_path))


class TestMakeBag:
    @staticmethod
    def frames(count: int = 3) -> list[Frame]:
        return [
            Frame(
                n, n / 10, torch.from_numpy(flat(n)), torch.full((6, 8), n + 1.0), K, torch.from_numpy(shift(n))
            )
            for n in range(count)
        ]  # fmt: skip

    @pytest.mark.parametrize("out", ["walk.mcap", "walk.db3", "walk"])
    @pytest.mark.parametrize("color", ["raw", "png"])
    def test_what_is_written_is_read(self, tmp_path, out, color):
        assert write_bag(self.frames(), tmp_path / out, color, start=100) == 3
        check_rgbd(list(open_source(str(tmp_path / out))), [0, 1, 2])
        assert [file.name for file in tmp_path.iterdir()] == [out]

    def test_frames_without_pose_or_depth(self, tmp_path):
        bare = Frame(0, 0.0, torch.from_numpy(flat(9)))
        bad = Frame(1, 0.1, torch.from_numpy(flat(9)), world_from_camera=torch.full((4, 4), torch.inf).double())
        write_bag([bare, bad], tmp_path / "a.mcap", "raw")
        assert [(f.depth, f.world_from_camera) for f in open_source(str(tmp_path / "a.mcap"))] == [(None, None)] * 2

    def test_unfit_outputs(self, tmp_path):
        (tmp_path / "there.mcap").touch()
        with pytest.raises(OutputError, match="exists already"):
            write_bag([], tmp_path / "there.mcap")
        with pytest.raises(OutputError, match="must end in"):
            write_bag([], tmp_path / "a.bag")
        with pytest.raises(OutputError, match="cannot write"):
            write_bag([], tmp_path / "there.mcap" / "a.mcap")

    def test_the_tool_on_the_kitchen(self, tmp_path, capsys):
        if not KITCHEN.is_dir():
            pytest.skip("shared/data/kitchen is not on this machine")
        main = runpy.run_path(str(ROOT / "tools" / "make_bag.py"))["main"]
        words = [str(KITCHEN), str(tmp_path / "kitchen.mcap"), "--stride", "40", "--color", "png"]
        assert main(words) == 0
        assert "4 frames, 0 left out" in capsys.readouterr().out
        replayed = list(open_source(str(tmp_path / "kitchen.mcap")))
        original = list(open_source(str(KITCHEN), stride=40))
        assert len(replayed) == len(original) == 4
        for there, here in zip(replayed, original, strict=True):
            assert torch.equal(there.image, here.image)
            assert torch.allclose(there.depth, here.depth)
            assert torch.allclose(there.world_from_camera, here.world_from_camera, atol=1e-3)  # made rigid
            assert there.stamp - 1000 == pytest.approx(here.stamp, abs=1e-6)
        assert main(words) == 2
        assert capsys.readouterr().err.count("\n") == 1
