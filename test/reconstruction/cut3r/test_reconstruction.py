"""CUT3R as a stage: with a scripted net whose right answers are known, then with the real one untrained."""

import dataclasses
import math

import pytest
import torch
from cut3r_scripted import (
    FOCAL,
    ScriptedNet,
    broken_points,
    broken_pose,
    broken_state,
    camera,
    depth_of,
    frame,
    intrinsics,
    make_reconstruction,
    unsure,
)
from walks import make_segmenter

from moonseg3r_core.errors import FrameRejected, InputError
from moonseg3r_core.features.reconstruction import ReconstructionFeatures
from moonseg3r_core.fusion.lifting import compute_state_tokens, make_label_image
from moonseg3r_core.geometry import transform, unproject
from moonseg3r_core.reconstruction.cut3r.net.attention import StateAttention
from moonseg3r_core.reconstruction.cut3r.net.heads import make_pose_matrix
from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r, OutputRequest
from moonseg3r_core.reconstruction.cut3r.net.sizes import SIZES
from moonseg3r_core.reconstruction.cut3r.preprocess import fit_image
from moonseg3r_core.refinement.average import AverageRefinement, average_under_masks
from moonseg3r_core.types import FeatureMap, MaskProposals

PATH = [camera(x=0.1 * i, y=0.03 * i * i, z=-0.05 * i, turn=3.0 * i) for i in range(20)]
START = camera(x=5, y=-1, z=2, turn=40)  # the world's origin is the first camera, wherever that stands
BLACK = torch.zeros(48, 64, 3, dtype=torch.uint8)


def scripted(path=PATH, units=None, damage=None, **settings):
    net = ScriptedNet([START @ pose for pose in path], units or {}, damage or {})
    return make_reconstruction(net, **settings)


def smeared(image):
    """As out of focus."""
    smooth = torch.nn.functional.avg_pool2d(image.permute(2, 0, 1).float(), 11, 1, 5, count_include_pad=False)
    return smooth.permute(1, 2, 0).to(torch.uint8)


def parts(geometry):
    """A Geometry's fields by name, features and corrections as tensors."""
    maps = {name: getattr(geometry, name).features for name in ("features", "image_features")}
    return vars(geometry) | maps | {"corrections": None} | vars(geometry.corrections)


def same_bits(one, two):
    """Whether two Geometries or two states hold the same tensors to the last bit."""
    if dataclasses.is_dataclass(one):
        one, two = parts(one), parts(two)
    return one.keys() == two.keys() and all(
        a.numpy().tobytes() == b.numpy().tobytes() if isinstance(a, torch.Tensor) else a == b
        for a, b in ((one[name], two[name]) for name in one)
    )


def finite(geometry):
    """Whether no tensor of a Geometry holds NaN or infinity."""
    return all(bool(t.isfinite().all()) for t in parts(geometry).values() if isinstance(t, torch.Tensor))


@pytest.mark.parametrize("points", ["world", "self"])
def test_points_lie_where_paper_says(points):
    stage = scripted(points=points)
    for number in range(4):
        geometry = stage(frame(number))
        seen = transform(unproject(depth_of(number), intrinsics()), PATH[number])
        assert torch.allclose(geometry.points, seen, atol=1e-5)
        assert torch.allclose(geometry.world_from_camera, PATH[number], atol=1e-6)
        assert torch.allclose(geometry.depth, depth_of(number), atol=1e-6)
        assert geometry.confidence.unique().tolist() == [4.0 if points == "world" else 3.0]
        assert geometry.held is None
        assert geometry.grid.is_image((48, 64))
        assert geometry.state_attention is None
    assert {request.world for request in stage.net.requests} == {points == "world"}  # a dense head is saved


def test_intrinsics_are_the_frames_own_or_estimated():
    stage, own = scripted(), torch.tensor([[90.0, 0, 33], [0, 91, 22], [0, 0, 1]])
    assert torch.equal(stage(frame(0, intrinsics=own)).intrinsics, own)
    assert torch.allclose(stage(frame(1)).intrinsics, intrinsics(), rtol=1e-4)
    assert torch.allclose(stage(frame(2, intrinsics=torch.zeros(3, 3))).intrinsics, intrinsics(), rtol=1e-4)


def test_a_larger_image_is_seen_on_the_nets_grid():
    own = torch.tensor([[2 * FOCAL, 0, 64.5], [0, 2 * FOCAL, 48.5], [0, 0, 1]])  # twice the net's camera
    geometry = scripted()(frame(0, 96, 128, intrinsics=own))
    assert (geometry.grid.height, geometry.grid.width, geometry.grid.scale_u, geometry.grid.offset_v) == (
        48,
        64,
        2,
        0.5,
    )
    assert torch.allclose(geometry.intrinsics, intrinsics(), atol=1e-5)


def test_unconfident_pixels_have_no_point():
    def damage(outputs, state):
        outputs.world_confidence[0, 3, 4] = 1.4
        outputs.world_points[0, 5, 6, 1] = math.nan
        outputs.world_confidence[0, 7, 8] = math.inf
        outputs.self_confidence[0, 9, 10] = 1.4
        outputs.self_points[0, 11, 12, 2] = -1.0
        outputs.features[0, 0, 0, 0] = math.nan
        return outputs, state

    geometry = scripted(damage={0: damage})(frame(0))
    none = (~geometry.valid).nonzero().tolist()
    assert none == [[3, 4], [5, 6], [7, 8]]
    assert geometry.points[5, 6].tolist() == geometry.points[3, 4].tolist() == [0, 0, 0]
    assert (geometry.depth == 0).nonzero().tolist() == [[9, 10], [11, 12]]
    assert finite(geometry)


@pytest.mark.parametrize("size", [(96, 128), (64, 48), (200, 140)])
def test_features_and_attention_lie_under_the_masks_of_a_cropped_image(size):
    """The scripted net's F3d is the mean color of its cells: under a mask it must be the color painted there."""
    height, width = size
    stage = scripted(attention=StateAttention())
    stage.net.sizes = dataclasses.replace(stage.net.sizes, image_size=128)
    seen = frame(0, height, width)
    corner = torch.zeros(size, dtype=torch.bool)
    corner[: height * 3 // 8, : width * 3 // 8] = True
    seen.image[corner] = torch.tensor([255, 0, 204], dtype=torch.uint8)
    geometry = stage(seen)
    labels = make_label_image(MaskProposals(corner[None], torch.ones(1)), geometry)
    assert geometry.features.features.shape[:2] == (geometry.grid.height // 16, geometry.grid.width // 16)
    inner = labels.clone()  # without the cells that the mask covers in part
    cells = torch.nn.functional.avg_pool2d((labels == 1).float()[None], 16)[0]
    inner[(cells < 1).repeat_interleave(16, 0).repeat_interleave(16, 1)] = 0
    assert int((inner == 1).sum()) >= 256
    color = average_under_masks(geometry.features.features, inner, 1)[0]
    assert torch.allclose(color, torch.tensor([1.0, -1.0, 0.6]), atol=0.05)  # a smoothing filter rings
    whole = int((inner == 1).sum()) / 256
    assert torch.allclose(
        compute_state_tokens(geometry.state_attention, inner, 1), torch.full((1, 4), whole), atol=0.02
    )


def test_a_standing_camera_changes_nothing():
    stage = scripted([PATH[0]] * 50)
    first, before = stage(frame(0)), stage.state_dict()
    for _ in range(30):
        assert same_bits(stage(frame(0)), first)
    assert stage.key_frames == 1
    assert all(
        torch.equal(tensor, before[name])
        for name, tensor in stage.state_dict().items()
        if name.split(".")[0] in ("state", "keys", "chunks", "placement")
    )


def test_only_key_frames_change_the_state():
    stage = scripted([camera(x=0.02 * i) for i in range(20)], key_translation=0.05, key_rotation=90.0)
    updates = []
    for number in range(8):
        stage(frame(number))
        updates.append(int(stage.state_dict()["state.tokens"][0, 0, 1]))
    assert updates == [1, 1, 1, 1, 2, 2, 2, 2]  # 5% of 1.5 m is 7.5 cm
    assert stage.key_frames == 2


def test_key_frames_are_the_same_whatever_the_unit_of_a_submap():
    def keys(units):
        stage = scripted([camera(x=0.02 * i) for i in range(20)], units=units, reset_every=2, key_translation=0.05)
        return [(stage(frame(number)), stage.key_frames)[1] for number in range(20)]

    assert keys({}) == keys({8: 0.01}) == keys({8: 50.0})
    assert keys({})[-1] == 5


@pytest.mark.parametrize("points", ["world", "self"])
@pytest.mark.parametrize("every", [1, 3, 7])
def test_a_new_submap_of_another_scale_and_origin_goes_on_where_the_old_one_was(every, points):
    units = {number: 0.3 + (number * 0.77) % 3 for number in range(1, 20)} | {0: 1.0}
    stage = scripted(units=units, reset_every=every, key_rotation=0.0, points=points)
    for number, pose in enumerate(PATH):
        geometry = stage(frame(number))
        seen = transform(unproject(depth_of(number), intrinsics()), pose)
        assert torch.allclose(geometry.world_from_camera, pose, atol=1e-5)
        assert torch.allclose(geometry.points, seen, atol=1e-4)
        assert torch.allclose(geometry.depth, depth_of(number), atol=1e-5)
    assert stage.net.encoded == list(range(20))  # the boundary frame once too
    assert len(stage.net.requests) == 20 + 19 // every
    assert int(stage.state_dict()["chunks.counts"][0]) == 19 // every


def test_an_alignment_that_fails_is_tried_again():
    def blind(outputs, state):
        return unsure(outputs, state) if int(state.tokens[0, 0, 1]) == 1 else (outputs, state)

    stage = scripted(damage={3: blind, 4: blind}, units={5: 2.0}, reset_every=3, key_rotation=0.0)
    submaps = []
    for number in range(8):
        assert torch.allclose(stage(frame(number)).world_from_camera, PATH[number], atol=1e-5)
        submaps.append(int(stage.state_dict()["chunks.counts"][0]))
    assert submaps == [0, 0, 0, 0, 0, 1, 1, 1]


DAMAGE = {"unsure": unsure, "pose": broken_pose, "points": broken_points, "state": broken_state}


def held_as(geometry, pose, reason):
    return (
        reason in str(geometry.held)
        and not bool(geometry.valid.any() | geometry.points.any() | geometry.depth.any())
        and torch.equal(geometry.world_from_camera, pose)
        and finite(geometry)
    )


@pytest.mark.parametrize(
    ("image", "reason"),
    [(BLACK, "black"), (BLACK + 128, "of one color"), (smeared(frame(5).image), "blurred")],
    ids=["black", "constant", "blurred"],
)
def test_an_image_that_shows_nothing_is_held_without_inference(image, reason):
    stage = scripted()
    for number in range(4):
        last = stage(frame(number))
    before = stage.state_dict()
    held = stage(dataclasses.replace(frame(5), image=image))
    assert held_as(held, last.world_from_camera, reason)
    assert stage.net.encoded == [0, 1, 2, 3]
    assert held.features.features.shape == last.features.features.shape
    assert torch.equal(stage.state_dict()["state.tokens"], before["state.tokens"])
    assert torch.allclose(stage(frame(6)).world_from_camera, PATH[6], atol=1e-6)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_outputs_that_cannot_be_used_are_held_and_leave_no_trace(damage):
    stage = scripted(damage={2: damage}, attention=StateAttention())
    last = [stage(frame(number)) for number in range(2)][-1]
    before = stage.state_dict()
    held = stage(frame(2))
    assert held_as(held, last.world_from_camera, "")
    assert held.held
    assert held.state_attention.shape == last.state_attention.shape
    after = stage.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if not name.startswith("images."))
    assert stage(frame(3)).held is None


@pytest.mark.parametrize("damage", [None, *DAMAGE.values()], ids=["black", *DAMAGE.keys()])
def test_before_any_pose_is_known_such_a_frame_is_rejected(damage):
    stage = scripted(damage={3: damage} if damage else {})
    bad = frame(3) if damage else dataclasses.replace(frame(3), image=BLACK)
    with pytest.raises(FrameRejected, match=r": no frame before it could be placed; start where"):
        stage(bad)
    assert torch.allclose(stage(frame(4)).world_from_camera, torch.eye(4, dtype=torch.float64), atol=1e-6)


def test_an_image_too_small_is_rejected_and_changes_nothing():
    stage = scripted()
    stage(frame(0))
    before = stage.state_dict()
    with pytest.raises(FrameRejected, match="at least 16 x 16"):
        stage(frame(1, 5, 64))
    assert same_bits(stage.state_dict(), before)


def robot(number, **more):
    """Frame `number` of a robot whose world lies elsewhere and counts in metres, four to the net's unit."""
    pose = PATH[number].clone()
    pose[:3, 3] *= 4
    return frame(number, world_from_camera=camera(x=7, turn=-80) @ pose, **more)


def test_given_poses_that_no_landmark_confirms_hold_every_frame():
    stage = scripted(pose="given")
    for number in range(6):  # the texture does not move as the poses do
        geometry, there = stage(robot(number)), robot(number).world_from_camera
        assert torch.equal(geometry.world_from_camera, there)
        assert held_as(geometry, there, "the scale is not known before the camera has moved: 3 more images must show")
    assert not any(request.world for request in stage.net.requests)


def test_a_black_image_with_a_pose_is_held_at_that_pose():
    black = dataclasses.replace(robot(0), image=BLACK)
    assert held_as(scripted(pose="given")(black), black.world_from_camera, "black")


SETTINGS = [
    {},
    {"reset_every": 3, "key_rotation": 0.0},
    {"points": "self", "attention": StateAttention()},
    {"pose": "given", "reset_every": 4},
]


def shown(number):
    """A walk with good frames, a black one, blurred ones, and a change of size."""
    if number == 6:
        return dataclasses.replace(robot(number), image=BLACK)
    if number in (10, 11):
        return dataclasses.replace(robot(number), image=smeared(frame(number).image))
    return robot(number, height=64, width=48) if number > 13 else robot(number)


@pytest.mark.parametrize("chosen", SETTINGS)
@pytest.mark.parametrize("pause", [0, 8, 12])
def test_going_on_equals_never_having_stopped(pause, chosen):
    never, again = (scripted(damage={9: unsure}, units={5: 2.0}, **chosen) for _ in range(2))
    for number in range(pause):
        never(shown(number))
    again.load_state_dict(never.state_dict())
    assert same_bits(never.state_dict(), again.state_dict())
    for number in range(pause, 20):
        assert same_bits(never(shown(number)), again(shown(number)))
    assert same_bits(never.state_dict(), again.state_dict())


def test_reset_forgets_everything():
    stage = scripted(reset_every=3, key_rotation=0.0)
    fresh = stage.state_dict()
    for number in range(8):
        stage(shown(number))
    stage.reset()
    assert same_bits(stage.state_dict(), fresh)
    assert torch.allclose(stage(frame(9)).world_from_camera, torch.eye(4, dtype=torch.float64), atol=1e-6)


def test_a_saved_state_is_a_copy_and_must_be_whole():
    stage = scripted()
    stage(frame(0))
    state = stage.state_dict()
    kept = {name: tensor.clone() for name, tensor in state.items()}
    for number in (1, 2, 3):
        stage(frame(number))
    assert same_bits(state, kept)
    for name in state:
        with pytest.raises(InputError, match=rf"^{name} must be in a saved state"):
            scripted().load_state_dict({n: t for n, t in state.items() if n != name})
    with pytest.raises(InputError, match=r"state\.tokens must be \(1, 4, 3\), got \(1, 4, 7\)"):
        scripted().load_state_dict(state | {"state.tokens": torch.zeros(1, 4, 7)})


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return Cut3r(SIZES["cut3r-tiny"]).eval().requires_grad_(False)


def moving(number, height=96, width=128):
    """Frame `number` of a camera that walks along the texture, given poses too."""
    return dataclasses.replace(frame(number, height, width), world_from_camera=PATH[number])


@pytest.mark.parametrize("points", ["world", "self"])
def test_the_stage_gives_what_the_net_gives(tiny, points):
    stage = make_reconstruction(tiny, points=points, attention=StateAttention((-1,)), key_rotation=0)
    state = tiny.start()
    for number in range(3):
        view, grid = fit_image(moving(number).host_image, 64)
        with torch.no_grad():
            outputs, state = tiny(view, state, OutputRequest(attention=StateAttention((-1,))))
        geometry = stage(moving(number))
        pose = make_pose_matrix(outputs.pose[0])
        carried = transform(outputs.self_points[0], pose)
        assert torch.allclose(geometry.points, outputs.world_points[0] if points == "world" else carried, atol=1e-5)
        assert torch.allclose(geometry.world_from_camera, pose)
        assert torch.equal(geometry.features.features, outputs.features[0])
        assert torch.equal(geometry.state_attention, outputs.attention[0])
        assert geometry.grid == grid
    assert torch.equal(stage.state_dict()["state.tokens"], state.tokens)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_inside_is_float32_outside(tiny, precision):
    stages = [make_reconstruction(tiny, precision=p, attention=StateAttention()) for p in ("float32", precision)]
    for number in range(3):
        exact, half = (stage(moving(number)) for stage in stages)
        assert half.points.dtype == half.features.features.dtype == half.state_attention.dtype == torch.float32
        assert torch.allclose(half.features.features, exact.features.features, atol=0.1)
    assert not torch.equal(half.features.features, exact.features.features)
    assert {t.dtype for n, t in stages[1].state_dict().items() if n in ("state.tokens", "state.memory")} == {
        torch.float32
    }


@pytest.mark.parametrize("chosen", SETTINGS)
def test_sizes_may_change_in_mid_stream_and_a_pause_changes_nothing(tiny, chosen):
    sizes = [(96, 128), (128, 96), (48, 64), (100, 100), (96, 128), (17, 64), (90, 160)]
    never, again = (make_reconstruction(tiny, **chosen) for _ in range(2))
    for number, size in enumerate(sizes):
        again.load_state_dict(never.state_dict())
        one, two = never(moving(number, *size)), again(moving(number, *size))
        assert same_bits(one, two)
        assert finite(one)
        assert one.features.features.shape == (one.grid.height // 16, one.grid.width // 16, 48)
    assert same_bits(never.state_dict(), again.state_dict())
    assert never.key_frames == len(sizes)


@pytest.mark.parametrize("size", [(100, 100), (140, 64)])
def test_both_kinds_of_features_lie_under_the_masks_of_a_cropped_image(size):
    """F2d here is the image itself: under a mask both must be the color painted there, whatever is cropped away."""
    stage, queries = scripted(), []
    stage.net.sizes = dataclasses.replace(stage.net.sizes, image_size=128)
    seen, mask = frame(1, *size), torch.zeros(size, dtype=torch.bool)
    grid = stage(seen).grid
    edges = torch.tensor([15.5, 31.5])  # of the second cell from the left and from above
    top, bottom = (edges * grid.scale_v + grid.offset_v + 0.5).round().int().tolist()
    left, right = (edges * grid.scale_u + grid.offset_u + 0.5).round().int().tolist()
    mask[top:bottom, left:right] = True
    seen.image[..., 1] = 230
    seen.image[mask] = torch.tensor([250, 10, 90], dtype=torch.uint8)

    def spy(*given):
        queries.append(AverageRefinement()(*given))
        return queries[-1]

    segmenter, _ = make_segmenter()
    masks, image = MaskProposals(mask[None], torch.ones(1)), FeatureMap(seen.image / 127.5 - 1, seen.size)
    segmenter.replace_stages(reconstruction=stage, masks=lambda *_: masks, features=lambda *_: image, refinement=spy)
    segmenter.step(seen)
    segmenter.reset()
    segmenter.replace_stages(features=ReconstructionFeatures())
    segmenter.step(seen)
    color = torch.nn.functional.normalize(torch.tensor([250, 10, 90]) / 127.5 - 1, dim=0)
    assert float(queries[0].features[0, :3] @ color) > 0.98  # F3d
    assert float(queries[0].features[0, 3:] @ color) > 0.995  # F2d
    tokens = torch.nn.functional.normalize(queries[1].features[0, 3:6], dim=0)
    assert float(tokens @ color) > 0.98  # F2d of the reconstruction's encoder, laid as F3d is
