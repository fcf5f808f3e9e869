"""What a run leaves behind: the folder, the pictures, the page."""

import dataclasses
import json
import re

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moonseg3r_core.config import Config
from moonseg3r_core.errors import OutputError
from moonseg3r_core.io.ply import read_ply
from moonseg3r_core.io.tum import read_tum
from moonseg3r_core.reconstruction.config import UNTRAINED
from moonseg3r_core.report import (
    FrameCounts,
    Gallery,
    OutputFolder,
    Picture,
    ReportData,
    Summary,
    charts,
    make_verdict,
    render_page,
    shrink_ids,
)
from moonseg3r_core.report.gallery import select_evenly
from moonseg3r_core.report.overlay import draw_cutout, draw_overlay, find_best_pictures, find_outlines
from moonseg3r_core.report.palette import UNLABELLED, compute_colors, format_hex_color
from moonseg3r_core.report.topdown import compute_page_axes, estimate_up, rasterize_map, refine_up
from moonseg3r_core.types import Instance, InstanceMap


def an_instance(id, observations=5, points=30):
    return Instance(id, points, (0.0, 0.0, 0.0), (-0.5, -0.5, 0.0), (0.5, 0.5, 0.25), 0.75, 0, 9, observations)


def a_map(instances=()):
    """A floor of 3 x 2 metres at height 0 (world up = +z), an instance 1 m high in a corner of it."""
    floor = [(x / 10, y / 10, 0.0) for x in range(30) for y in range(20)]
    box = [(x / 10, y / 10, z / 10) for x in range(5) for y in range(5) for z in range(10)]
    points = torch.tensor(floor + box)
    ids = torch.tensor([0] * len(floor) + [7] * len(box), dtype=torch.int32)
    return InstanceMap(
        points, torch.full((len(points), 3), 100, dtype=torch.uint8), ids, torch.ones(len(points)), instances
    )


def upright_poses(count=8):
    """Cameras at 1.5 m that turn about +z and look 30 degrees down."""
    poses = np.zeros((count, 4, 4))
    for pose, angle in zip(poses, np.linspace(0, 2 * np.pi, count, endpoint=False), strict=True):
        ahead = np.array([np.cos(angle) * np.cos(0.5), np.sin(angle) * np.cos(0.5), -np.sin(0.5)])
        right = np.array([np.sin(angle), -np.cos(angle), 0.0])
        pose[:3, :3] = np.stack((right, np.cross(ahead, right), ahead), axis=1)
        pose[:, 3] = 1.0 + np.cos(angle), 1.0 + np.sin(angle), 1.5, 1.0
    return poses


def a_summary(**changes):
    values = {
        "version": "0.1.0", "source": "some/room", "source_kind": "scannet", "frames": 10, "held": {}, "skipped": {},
        "instances": 1, "instances_withheld": 2, "points": 850, "seconds": 2.0, "fps": 5.0, "stage_ms": {"masks": 3.0, "lift": 4.0},
        "peak_memory_mib": 512.0, "peak_gpu_memory_mib": 0.0, "device": "cpu", "masks_kind": "regions",
        "config": {"masks": {"kind": "regions"}}, "requested": {"masks": {"kind": "auto"}}, "weights": {}, "interrupted": False, "error": "", "verdict": "ok",
    }  # fmt: skip
    return Summary(**(values | changes))


def a_picture(index=3):
    ids = np.zeros((48, 64), np.int32)
    ids[10:30, 20:50] = 7
    return Picture(index, np.full((48, 64, 3), 120, np.uint8), ids)


def test_an_id_has_one_colour_whatever_stands_beside_it():
    assert (compute_colors(np.array([[7, 0], [3, 7]]))[1, 1] == compute_colors(np.array([7]))[0]).all()
    assert tuple(compute_colors(np.array(0))) == UNLABELLED
    assert format_hex_color(7) == "#{:02x}{:02x}{:02x}".format(*compute_colors(np.array(7)))


def test_the_first_sixty_ids_are_told_apart():
    table = compute_colors(np.arange(61)).astype(int)
    distance = np.abs(table[:, None] - table[None]).max(-1) + 255 * np.eye(61, dtype=int)
    assert distance.min() >= 12
    neighbours = np.abs(table[1:-1] - table[2:]).max(-1)
    assert neighbours.min() >= 60


@given(st.integers(0, 400), st.integers(2, 20))
@settings(max_examples=40, deadline=None)
def test_the_gallery_is_bounded_and_even_however_long_the_stream(length, most):
    gallery = Gallery(most, width=640)
    for index in range(length):
        gallery.offer(index, np.zeros((2, 3, 3), np.uint8))
    kept = list(gallery.images)
    assert len(kept) <= most
    assert len(kept) >= min(length, most // 2)
    assert len(set(np.diff(kept))) <= 1
    assert kept[:1] == [0][:length]


def test_pictures_are_chosen_evenly_with_both_ends():
    pictures = [a_picture(index) for index in range(11)]
    assert [p.index for p in select_evenly(pictures, 3)] == [0, 5, 10]
    assert select_evenly([], 3) == []


def test_a_wide_image_is_shrunk_and_its_ids_with_it():
    gallery = Gallery(4, width=32)
    gallery.offer(0, np.zeros((48, 64, 3), np.uint8))
    assert gallery.images[0].shape == (24, 32, 3)
    ids = np.kron(np.array([[1, 2], [3, 400]]), np.ones((24, 32), int))
    assert (shrink_ids(ids, (24, 32, 3)) == ids[::2, ::2]).all()


def test_outlines_are_the_pixels_of_an_instance_beside_another_id():
    ids = np.array([[0, 0, 0, 0, 0], [0, 5, 5, 5, 0], [0, 5, 5, 5, 0], [0, 5, 5, 5, 0], [0, 0, 0, 0, 0]])
    expected = (ids == 5) & ~np.pad(np.ones((1, 1), bool), 2)
    assert (find_outlines(ids) == expected).all()


def test_an_overlay_tints_instances_and_pales_the_rest():
    picture = a_picture()
    shown = draw_overlay(picture)
    assert shown.shape == (8 * 48, 8 * 64, 3)  # small pictures are enlarged, for legible numbers
    assert (shown[2 * 8, 2 * 8] > 120).all()
    assert np.abs(shown[13 * 8, 23 * 8].astype(int) - (60 + compute_colors(np.array(7)) / 2)).max() <= 1


def test_a_cutout_has_its_size_even_at_the_border_of_the_image():
    picture = a_picture()
    picture.ids[:] = 0
    picture.ids[40:, 60:] = 9
    assert draw_cutout(picture, 9, 40, 30).shape == (30, 40, 3)
    assert set(find_best_pictures([picture, a_picture()])) == {7, 9}


def test_up_is_found_in_a_world_that_is_tilted_and_turned():
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    poses = upright_poses()
    poses[:, :3] = turn @ poses[:, :3]
    rotation = compute_page_axes(a_map().points.numpy() @ turn.T, poses)
    assert np.allclose(rotation @ rotation.T, np.eye(3))
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert np.rad2deg(np.arccos(rotation[2] @ turn[:, 2])) < 1


def test_a_wall_that_leans_does_not_tilt_the_map_of_cameras_that_turned():
    across, along = np.random.default_rng(1).uniform(-2, 2, (2, 4000))
    wall = np.stack((across, along, 2 * along), axis=1)  # leans by 27 degrees
    floor = a_map().points.numpy() + np.random.default_rng(2).normal(scale=0.15, size=(len(a_map()), 3))
    points = np.concatenate((wall, floor))
    up, doubt = estimate_up(upright_poses())
    assert refine_up(points, up, 0.35)[2] < 0.99  # what a wide search would take for up
    assert np.rad2deg(np.arccos(compute_page_axes(points, upright_poses())[2, 2])) < 3
    assert doubt < 0.1


def test_cameras_that_do_not_turn_leave_up_to_the_floor():
    looking_down = upright_poses()[:1].repeat(5, axis=0)
    tilt = np.deg2rad(15)
    looking_down[:, :3, :3] = looking_down[:, :3, :3] @ [
        [1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)],
    ]  # fmt: skip
    up, doubt = estimate_up(looking_down)
    assert doubt == 0.35
    assert up[2] < 0.99
    assert compute_page_axes(a_map().points.numpy(), looking_down)[2, 2] > 0.999


def test_the_map_shows_the_instance_in_its_place():
    view = rasterize_map(a_map(), upright_poses(), voxel=0.1)
    assert set(view.labels) == {7}
    rotation = compute_page_axes(a_map().points.numpy(), upright_poses())
    assert view.labels[7] == pytest.approx((rotation @ [0.2, 0.2, 0.5])[:2], abs=0.06)
    left, right, bottom, top = view.extent
    assert left < view.path[:, 0].min() < view.path[:, 0].max() < right
    assert bottom < view.path[:, 1].min() < view.path[:, 1].max() < top
    x, y = view.labels[7]
    cell = (right - left) / view.by_instance.shape[1]
    pixel = view.by_instance[int((y - bottom) / cell), int((x - left) / cell)].astype(float)
    wanted = compute_colors(np.array(7)).astype(float)
    assert pixel @ wanted / np.linalg.norm(pixel) / np.linalg.norm(wanted) > 0.999


def test_nothing_to_draw_is_no_map():
    assert rasterize_map(InstanceMap.empty(), upright_poses(), 0.02) is None
    assert rasterize_map(a_map(), np.zeros((0, 4, 4)), 0.02) is None


NANO = {"reconstruction": {"kind": "nano", "nano": {"pose": "model"}}}


def empty_page(**changes):
    summary = a_summary(**{"frames": 0, "instances": 0, "stage_ms": {}} | changes)
    return render_page(ReportData(summary, InstanceMap.empty(), (), np.zeros((0, 4, 4)), [], [], []))


def test_the_page_holds_its_pictures_and_loads_nothing():
    summary, instances = a_summary(config=NANO), (an_instance(7),)
    times = [{"masks": 3.0, "lift": 4.0}] * 10
    html = render_page(
        ReportData(summary, a_map(instances), instances, upright_poses(), [a_picture()], range(10), times, 0.1)
    )
    assert not re.search(r"https?:|src=\"(?!data:)|href=\"(?!data:)|url\(|@import|<script", html)
    images = re.findall(r'src="data:image/(jpeg|png);base64,([^"]+)"', html)
    assert [kind for kind, _ in images] == ["jpeg", "png", "jpeg", "png"]  # overlay, map, cutout, times
    decoder = __import__("base64").b64decode
    for _, data in images:
        assert cv2.imdecode(np.frombuffer(decoder(data), np.uint8), cv2.IMREAD_COLOR) is not None
    assert format_hex_color(7) in html
    assert "1.00 &times; 1.00 &times; 0.25" in html
    assert summary.estimated in html
    assert "geometry: nano &middot;" in html
    assert "Time per stage" in html


def test_the_page_says_what_went_wrong():
    html = empty_page(skipped={"pose is <not> rigid": 3}, interrupted=True, verdict="no instance: because")
    assert "pose is &lt;not&gt; rigid" in html
    assert "Interrupted" in html
    assert "no instance: because" in html


def test_a_run_of_random_weights_says_so_and_frames_without_points_say_why():
    html = empty_page(held={"the image is black": 3}, weights={"cut3r-512": UNTRAINED, "other": "ab"})
    assert "UNTRAINED: cut3r-512 has random weights" in html
    assert "the image is black" in html
    assert "3 brought no points of their own" in html
    assert a_summary(weights={"other": "ab12"}).untrained == ""


@pytest.mark.parametrize("kind", ["nano", "cut3r"])
@pytest.mark.parametrize(("pose", "said"), [("model", True), ("tracked", True), ("given", False)])
def test_lengths_of_estimated_poses_are_not_called_metres_without_a_word(kind, pose, said):
    config = {"reconstruction": {"kind": kind, kind: {"pose": pose}, "rgbd": {"cell": 16}}}
    notice = a_summary(config=config).estimated
    assert ("the net's unit" in notice) == said
    assert notice.startswith("Depth is estimated from color")
    assert a_summary().estimated == a_summary(config={"reconstruction": {"kind": "rgbd", "rgbd": {}}}).estimated == ""


@pytest.mark.parametrize(
    ("counts", "withheld", "expected"),
    [
        (FrameCounts(), 0, "the source gave no frame"),
        (FrameCounts(skipped={"no depth": 3, "bad pose": 1}), 0, "none of the 4 frames read could be used. 4 frames skipped, 3 of them with: no depth"),
        (FrameCounts(used=5), 4, "4 candidates, each seen in fewer than 4 frames or holding fewer than 30 points"),
        (FrameCounts(used=5, without_depth=5), 0, "5 without depth"),
        (FrameCounts(used=5, without_depth=5, held={"black": 3, "blurred": 2}), 0, "5 without points of their own, 3 of them: black"),
        (FrameCounts(used=5, without_masks=4, skipped={"bad pose": 1}), 0, "4 whose masks are all void"),
    ],
)  # fmt: skip
def test_a_run_without_an_instance_says_why(counts, withheld, expected):
    assert expected in make_verdict(counts, 0, withheld, Config().map)


def test_ids_survive_their_file(tmp_path):
    out = OutputFolder(tmp_path / "out")
    out.claim()
    out.clear()
    ids = np.array([[0, 1], [300, 65535]], np.int32)
    out.write_frame(12, ids)
    assert (out.read_frame(12) == ids).all()
    assert cv2.imread(str(tmp_path / "out/frames/12.png"), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    assert list(out.list_frames()) == [12]


def test_an_id_beyond_uint16_is_refused(tmp_path):
    out = OutputFolder(tmp_path)
    out.clear()
    with pytest.raises(OutputError, match="up to 65535, got 65536"):
        out.write_frame(0, np.array([[65536]]))
    assert list(out.list_frames()) == []


def test_absorbed_ids_are_rewritten(tmp_path):
    out = OutputFolder(tmp_path)
    out.clear()
    out.write_frame(0, np.array([[1, 2, 3, 0]]))
    out.write_frame(1, np.array([[4, 4, 4, 4]]))
    untouched = (tmp_path / "frames/1.png").stat().st_mtime_ns
    out.relabel({3: 1, 2: 1, 70000: 1})
    assert out.read_frame(0).tolist() == [[1, 1, 1, 0]]
    assert (tmp_path / "frames/1.png").stat().st_mtime_ns == untouched


def test_the_map_and_its_instances_survive_their_files(tmp_path):
    out = OutputFolder(tmp_path)
    out.clear()
    map = a_map((an_instance(7), an_instance(9, observations=1)))
    out.write_map(map)
    out.write_trajectory([0.0, 0.5], list(torch.from_numpy(upright_poses(2))))
    assert out.read_instances() == map.instances
    assert torch.equal(read_ply(tmp_path / "map.ply").instance_ids, map.instance_ids)
    assert torch.allclose(read_tum(tmp_path / "trajectory.tum")[1], torch.from_numpy(upright_poses(2)), atol=1e-6)
    keys = "id points centroid box_min box_max score first_frame last_frame observations descriptor"
    assert [list(row) for row in json.loads((tmp_path / "instances.json").read_text())] == [keys.split()] * 2


def test_queries_are_kept_as_directions_and_none_where_there_is_none(tmp_path):
    out = OutputFolder(tmp_path)
    queries = {7: [3.0, 4.0], 9: [0.0, 0.0], 11: [torch.nan, 1.0], 12: [1.0, 2.0]}
    map = a_map(tuple(an_instance(id) for id in (7, 8, 9, 11, 12)))
    out.write_map(dataclasses.replace(map, descriptors={id: torch.tensor(query) for id, query in queries.items()}))
    written = {row["id"]: row["descriptor"] for row in json.loads((tmp_path / "instances.json").read_text())}
    assert written == {7: [0.6, 0.8], 8: None, 9: None, 11: None, 12: [0.44721, 0.89443]}
    read = out.read_descriptors()
    assert list(read) == [7, 12]
    np.testing.assert_allclose(read[12], np.array([1, 2]) / np.sqrt(5), atol=1e-5)
    np.testing.assert_allclose([np.linalg.norm(values) for values in read.values()], 1, atol=1e-12)


def test_an_earlier_result_is_replaced_and_nothing_else_touched(tmp_path):
    out = OutputFolder(tmp_path)
    out.claim()
    out.clear()
    out.write_frame(99, np.zeros((1, 1), int))
    (tmp_path / "notes.txt").write_text("mine")
    out.claim()
    out.clear()
    assert list(out.list_frames()) == []
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    out = OutputFolder(tmp_path)
    out.clear()
    out.write_report("old")

    def full(self, content):
        open(self, "w").close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        out.write_report("new")
    assert (tmp_path / "report.html").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["frames", "report.html", "summary.json"]


def test_a_folder_that_is_no_result_says_so(tmp_path):
    with pytest.raises(OutputError, match="moonseg3r run"):
        OutputFolder(tmp_path).read_summary()
    with pytest.raises(OutputError, match="uint16"):
        OutputFolder(tmp_path).read_frame(0)


def test_numbers_on_the_map_do_not_cover_one_another():
    labels = {7: (0.0, 0.0), 3: (0.5, 0.0), 4: (0.0, 0.9), 5: (1.0, 0.0), 6: (0.9, 0.9)}
    assert charts.choose_legible(labels, np.array([1.0, 0.5])) == [7, 4, 5], "3 lies on 7, 6 on 4"
    assert charts.choose_legible({}, np.array([1.0, 0.5])) == []
