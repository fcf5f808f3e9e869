"""Images that must not reach the net, and outputs that must not be used."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from cut3r_scripted import ScriptedNet, broken_points, broken_pose, broken_state, camera, frame, unsure

from moonseg3r_core.reconstruction.cut3r.inference import NetRunner
from moonseg3r_core.reconstruction.cut3r.net.model import OutputRequest
from moonseg3r_core.reconstruction.cut3r.quality import compute_median_depth, find_confident
from moonseg3r_core.reconstruction.image_check import ImageCheck

SHARED = Path(__file__).resolve().parents[4] / "shared/data"
LEAF = frame(120, 300, 400).host_image


def gray(level, height=120, width=160, noise=0, seed=0):
    """An image around one grey level, with noise."""
    rng = np.random.default_rng(seed)
    image = level + (rng.integers(-noise, noise + 1, (height, width, 3)) if noise else np.zeros((height, width, 3)))
    return image.clip(0, 255).astype(np.uint8)


def smeared(image, pixels=25):
    """As a camera that turns sees it."""
    return cv2.blur(image, (pixels, 3))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (gray(0), "the image is black"),
        (gray(5, noise=4), "the image is black"),
        (gray(128), "the image is of one color"),
        (gray(255), "the image is of one color"),
        (gray(90, noise=2), "the image is of one color"),
        (LEAF, ""),
        (smeared(LEAF), ""),  # nothing sharper is known
        (gray(0, 1, 1), "the image is black"),
    ],
)
def test_the_first_image_is_checked_by_itself(image, reason):
    assert ImageCheck()(image) == reason


def test_a_dark_image_with_contrast_is_usable():
    assert ImageCheck()((LEAF * np.float32(0.1)).astype(np.uint8)) == ""


def test_a_blurred_image_is_one_of_a_quarter_of_the_usual_sharpness():
    check = ImageCheck()
    assert [check(LEAF) for _ in range(5)] == [""] * 5
    assert check(smeared(LEAF)) == "the image is blurred"
    assert check(LEAF) == ""


def test_a_camera_that_keeps_facing_a_plain_wall_is_accepted():
    check = ImageCheck()
    for _ in range(40):
        check(LEAF)
    seen = [check(smeared(LEAF)) for _ in range(20)]
    assert seen[0] == seen[6] == "the image is blurred"
    assert seen[8:] == [""] * 12


def test_black_images_do_not_make_the_next_ones_sharp():
    check = ImageCheck()
    for _ in range(5):
        check(LEAF)
    for _ in range(50):
        check(gray(0))
    assert check(smeared(LEAF)) == "the image is blurred"


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared/data beside the repository")
@pytest.mark.parametrize(
    "folder",
    ["kitchen/color", *(pytest.param(f, marks=pytest.mark.slow) for f in ("mono_livingroom", "mono_legokitchen", "rooms/room_12/color"))],
)  # fmt: skip
def test_no_image_of_a_real_sequence_is_refused_and_each_is_when_smeared(folder):
    check, refused, smears = ImageCheck(), [], []
    files = sorted((SHARED / folder).glob("*.jpg"), key=lambda path: int(path.stem.split("_")[-1]))[:60]
    for path in files:
        image = cv2.imread(str(path))[..., ::-1].copy()
        probe = ImageCheck()
        probe.load_state_dict(check.state_dict())
        smears.append(probe(cv2.GaussianBlur(image, (0, 0), image.shape[1] / 100)))
        refused.append(check(image))
    assert len(files) > 10
    assert refused == [""] * len(files)
    assert smears[3:] == ["the image is blurred"] * (len(files) - 3)


def check(number=0, damage=None, world=True, floor=1.5):
    net = ScriptedNet([camera(x=0.1 * i) for i in range(3)], damage={number: damage} if damage else {})
    run = NetRunner(net, "float32", floor)
    image = frame(number).image.permute(2, 0, 1)[None] / 255 * 2 - 1
    return run(run.encode(image), run.start(), OutputRequest(world=world)).check


def test_a_good_frame_has_a_pose_a_depth_and_no_fault():
    good = check(2)
    assert good.fault == ""
    assert good.depth == pytest.approx(2.02 - 31.5 / 64, abs=0.02)
    assert torch.equal(good.pose, torch.eye(4, dtype=torch.float64))


FAULTS = {
    "unsure": (unsure, "less than 1% of the points reach a confidence of 1.5"),
    "pose": (broken_pose, "the net gave no usable pose"),
    "no turn": (lambda o, s: (replace(o, pose=o.pose * 0), s), "the net gave no usable pose"),
    "far away": (lambda o, s: (replace(o, pose=o.pose + 1e9), s), "the net gave no usable pose"),
    "state": (broken_state, "the net's next state is not finite"),
    "points": (broken_points, "less than 1% of the points reach"),
    "infinite confidence": (
        lambda o, s: (replace(o, self_confidence=o.self_confidence * torch.inf), s), "less than 1% of the points",
    ),
    "no world point": (
        lambda o, s: (replace(o, world_points=o.world_points * torch.nan), s), "less than 1% of the points",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "reason"), FAULTS.values(), ids=FAULTS.keys())
def test_outputs_that_cannot_be_used_say_why(damage, reason):
    found = check(1, damage)
    assert reason in found.fault
    assert bool(found.pose.isfinite().all())


def test_the_world_head_is_not_checked_where_it_is_not_requested():
    assert check(world=False).fault == ""


def test_one_pixel_in_a_hundred_is_enough():
    def few(share):
        sure = torch.ones(1, 48, 64)
        sure.view(-1)[: round(share * 48 * 64)] = 2
        return lambda o, s: (replace(o, self_confidence=sure), s)

    assert check(1, few(0.011)).fault == ""
    assert check(1, few(0.009)).fault != ""


def test_a_point_is_confident_when_it_is_finite_and_near_and_of_enough_confidence():
    points = torch.tensor([[[0.0, 0, 1], [torch.nan, 0, 1], [0, torch.inf, 1], [0, 0, 1e7], [0, 0, 2], [0, 0, 3]]])
    confidence = torch.tensor([[1.5, 9, 9, 9, 1.4, torch.nan]])
    assert find_confident(points, confidence, 1.5).tolist() == [[True, False, False, False, False, False]]
    assert float(compute_median_depth(points, find_confident(points, confidence, 1.0))) == 1  # of 1 and 2 the lower
