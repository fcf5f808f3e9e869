"""Numbers that cannot be: what is told of a room whose depth, intrinsics or poses are changed, and what ends a run."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from ros_messages import metres

from moonseg3r_core import FrameMessages, decode_frame
from moonseg3r_core.cli import main
from moonseg3r_core.evaluation.evaluate import evaluate
from moonseg3r_core.resolve import RGBD_INPUTS
from moonseg3r_core.sources import InputConfig, open_source
from moonseg3r_core.sources.axes import FRAME_FROM_OPTICAL, convert_pose
from moonseg3r_core.sources.config import DEFAULT
from moonseg3r_core.sources.input_check import InputCheck
from moonseg3r_core.sources.plausibility import (
    describe_intrinsics,
    describe_range,
    describe_upward_view,
    guess_depth_scale,
    infer_depth_scale,
)
from moonseg3r_core.sources.write_bag import make_image
from moonseg3r_core.synthetic import SyntheticSequence, write_scannet

RANGE = (0.1, 8.0)


@pytest.fixture(scope="module")
def room():
    return list(SyntheticSequence(7, 40, 120, 160)[:24])


def store(depth, scale):
    """Depth as it is read from 16 bits of `scale` units in a metre that are taken as millimetres."""
    return (depth * scale).round().clamp(0, 65535) / 1000


def turn(pose, axes):
    turned = pose.clone()
    turned[:3, :3] = pose[:3, :3] @ torch.from_numpy(FRAME_FROM_OPTICAL[axes]).T
    return turned


def lengthen(pose, scale):
    longer = pose.clone()
    longer[:3, 3] *= scale
    return longer


CHANGES = {
    "input.depth_scale=5000": lambda f: replace(f, depth=store(f.depth, 5000)),
    "input.depth_scale=6553.5": lambda f: replace(f, depth=store(f.depth, 6553.5)),
    "input.depth_scale=10000": lambda f: replace(f, depth=store(f.depth, 10000)),
    "input.depth_scale=256": lambda f: replace(f, depth=store(f.depth, 256)),
    "input.depth_scale=1000": lambda f: replace(f, depth=f.depth * 1000),
    "input.camera_axes=body": lambda f: replace(f, world_from_camera=turn(f.world_from_camera, "body")),
    "input.camera_axes=opengl": lambda f: replace(f, world_from_camera=turn(f.world_from_camera, "opengl")),
    "input.poses=camera_from_world": lambda f: replace(f, world_from_camera=torch.linalg.inv(f.world_from_camera)),
    "input.pose_scale=1000": lambda f: replace(f, world_from_camera=lengthen(f.world_from_camera, 1000)),
    "input.camera_axes=body input.depth_scale=5000": lambda f: replace(
        f, depth=store(f.depth, 5000), world_from_camera=turn(f.world_from_camera, "body")
    ),
}


def look(frames, input=DEFAULT, needs=RGBD_INPUTS, **more):
    check = InputCheck(input, needs, RANGE, **more)
    for frame in frames:
        check.observe(frame, "camera_link")
    check.conclude()
    return check


@pytest.mark.parametrize("settings", CHANGES)
def test_the_reading_by_which_depth_agrees_is_named_and_the_run_refused(room, settings):
    check = look([CHANGES[settings](frame) for frame in room])
    (finding,) = check.findings
    assert f"with {settings} it agrees to 0." in finding.text
    assert "at the given poses of 'camera_link'; with" in finding.text
    assert check.refused == finding
    assert look([CHANGES[settings](f) for f in room], InputConfig(implausible="warn")).refused is None


@pytest.mark.parametrize("every", [1, 3, 6])
def test_right_numbers_bring_no_line(room, every):
    assert look(room[::every]).findings == []


def test_right_numbers_with_the_errors_of_a_sensor_bring_no_line(room):
    noise, frames = np.random.default_rng(0), []
    for frame in room:
        depth = frame.depth * (1 + 0.01 * torch.from_numpy(noise.normal(size=frame.depth.shape)).float())
        pose = frame.world_from_camera.clone()
        pose[:3, 3] += torch.from_numpy(noise.normal(scale=0.01, size=3))
        frames.append(replace(frame, depth=depth, world_from_camera=pose))
    assert look(frames).findings == []


def test_a_camera_that_stands_still_with_poses_that_tremble_is_not_refused(room):
    noise, frames = np.random.default_rng(0), []
    for _ in range(24):
        pose = room[0].world_from_camera.clone()
        pose[:3, 3] += torch.from_numpy(noise.normal(scale=0.5, size=3))
        frames.append(replace(room[0], world_from_camera=pose))
    assert look(frames).refused is None


def test_axes_that_are_set_are_not_doubted_and_those_of_the_recording_are_known(room):
    frames = [CHANGES["input.camera_axes=body"](frame) for frame in room]
    assert look(frames, InputConfig(camera_axes="optical")).refused is None
    read = [replace(f, world_from_camera=torch.from_numpy(convert_pose(f.world_from_camera.numpy(), InputConfig(), "opengl"))) for f in room]  # fmt: skip
    assert "with input.camera_axes=optical it agrees" in look(read, axes="opengl").refused.text


def test_what_is_not_used_is_not_judged(room):
    frames = [CHANGES["input.depth_scale=5000"](frame) for frame in room]
    assert look(frames, needs=()).findings == []
    assert look(frames, needs=("poses",)).refused is None


def test_depth_and_poses_that_belong_to_different_walks_are_said(room):
    frames = [replace(f, world_from_camera=g.world_from_camera) for f, g in zip(room, room[::-1], strict=True)]
    check = look(frames)
    assert "do they belong together?" in check.findings[0].text
    assert check.refused is None


def test_depth_out_of_range_names_a_unit_that_would_do():
    found = describe_range(np.full(10, 12.5), 0.1, 8.0, 1000.0, is_unit_right=False)
    assert "100% of the depth is not between 0.1 and 8 m, its median is 12.5 m" in found.text
    assert "input.depth_scale=5000 if that is the unit (then 2.5 m)" in found.text
    far = describe_range(np.full(10, 40.0), 0.1, 8.0, 1000.0, is_unit_right=True)  # outdoors, poses agree
    assert "depth_scale" not in far.text
    assert "widen reconstruction.rgbd.max_depth" in far.text
    assert describe_range(np.array([2.0, 2.0, 12.0]), 0.1, 8.0, 1000.0, False) is None


def test_units_are_inferred_and_guessed():
    assert infer_depth_scale(np.array([0.001, 2.345])) == 1000.0
    assert infer_depth_scale(np.array([0.0012345, 2.3])) == 1.0
    assert infer_depth_scale(np.array([2345.0])) == 1.0
    assert (guess_depth_scale(2000.0, 1.0), guess_depth_scale(20.0, 1000.0)) == (1000.0, 5000.0)
    assert guess_depth_scale(1e9, 1000.0) is None


@pytest.mark.parametrize(
    ("k", "words", "sure"),
    [
        ((500, 500, 319.5, 239.5), None, False),
        ((160, 160, 319.5, 239.5), None, False),  # 127 degrees
        ((600, 600, 200, 300), None, False),  # cropped
        ((0, 0, 0, 0), None, False),  # uncalibrated
        ((1000, 1000, 639.5, 479.5), "they are those of images of 1280x960", True),
        ((250, 250, 159.5, 119.5), "they are those of images of 320x240", True),
        ((0.8, 1.1, 0.5, 0.5), "are they in pixels?", True),
        ((500, 500, 900, 200), "principal point outside", False),
        ((500, 250, 319.5, 239.5), "far from square", False),
        ((20000, 20000, 319.5, 239.5), "a field of view that cameras do not have", False),
    ],
)
def test_intrinsics_of_images_of_640x480(k, words, sure):
    fx, fy, cx, cy = k
    found = describe_intrinsics(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), (480, 640))
    assert (found is None) == (words is None)
    assert found is None or (words in found.text and found.is_sure == sure)


def test_a_portrait_camera_is_right():
    assert describe_intrinsics(np.array([[500.0, 0, 239.5], [0, 500, 319.5], [0, 0, 1]]), (640, 480)) is None


def test_a_body_frame_looks_up_as_an_optical_one():
    level = np.eye(4)
    assert "set input.camera_axes=body" in describe_upward_view([level] * 5, "robot/camera_link").text
    assert describe_upward_view([level] * 5, "camera_color_optical_frame") is None
    forward = convert_pose(level, InputConfig(camera_axes="body"))
    assert describe_upward_view([forward] * 5, "camera_link") is None
    assert describe_upward_view([np.diag([1.0, -1, -1, 1])] * 5, "arm_camera") is None  # looks down


def test_settings_change_what_is_read_from_folders_and_messages(tmp_path):
    write_scannet(tmp_path / "room", SyntheticSequence(7, 2, 48, 64))
    given = InputConfig(depth_scale=5000, camera_axes="body", poses="camera_from_world", pose_scale=10)
    plain, changed = (next(iter(open_source(str(tmp_path / "room"), input=i))) for i in (InputConfig(), given))
    assert torch.allclose(changed.depth * 5, plain.depth)
    pose = torch.linalg.inv(plain.world_from_camera)
    expected = pose[:3, :3] @ torch.from_numpy(FRAME_FROM_OPTICAL["body"])
    assert torch.allclose(changed.world_from_camera[:3, :3], expected)
    assert torch.allclose(changed.world_from_camera[:3, 3], pose[:3, 3] / 10)
    image = make_image(np.zeros((6, 8, 3), np.uint8), "rgb8", 0)
    parts = FrameMessages(0, 0.0, image, make_image(metres(1), "16UC1", 0), None, plain.world_from_camera.numpy())
    live = decode_frame(parts, given)
    assert torch.equal(live.world_from_camera, changed.world_from_camera)
    assert torch.allclose(live.depth, torch.tensor(0.2))


@pytest.fixture
def wrong(tmp_path):
    """A ScanNet export with TUM's unit of depth."""
    write_scannet(tmp_path / "room", SyntheticSequence(7, 20, 120, 160))
    for file in (tmp_path / "room" / "depth").iterdir():
        depth = cv2.imread(str(file), cv2.IMREAD_UNCHANGED).astype(np.uint32) * 5
        cv2.imwrite(str(file), depth.clip(0, 65535).astype(np.uint16))
    return tmp_path


def run(folder, *settings):
    options = ["--quiet", "--set", "reconstruction.kind=rgbd", "masks.kind=regions", "device=cpu", *settings]
    status = main(["run", str(folder / "room"), "-o", str(folder / "out"), *options])
    return status, json.loads((folder / "out" / "summary.json").read_text())


def test_a_run_that_is_surely_wrong_ends_with_2_and_its_verdict(wrong, capsys):
    status, summary = run(wrong)
    assert status == 2
    assert "with input.depth_scale=5000 it agrees" in capsys.readouterr().err.splitlines()[-1]
    assert summary["verdict"].startswith("implausible input: depth differs by")
    status, summary = run(wrong, "input.depth_scale=5000")
    assert (status, summary["verdict"]) == (0, "ok")
    scored = evaluate(wrong / "out", wrong / "room").get_row(structure=True, ranked=False).pooled.ap50
    assert scored > 0.05  # the run's own setting counts for the ground truth's depth too


def test_a_run_that_is_told_to_goes_on_and_ends_with_its_verdict(wrong, capsys):
    status, summary = run(wrong, "input.implausible=warn")
    assert status == 0
    assert summary["frames"] == 20
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"moonseg3r: {summary['verdict']}"
    assert last.startswith("moonseg3r: implausible input: depth differs by")
