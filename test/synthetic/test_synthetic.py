"""Furnished rooms: depth and ids drawn on paper, same seed same room, a walk that returns, files that return."""

from __future__ import annotations

import argparse
import json
import math
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from moonseg3r_core import synthetic
from moonseg3r_core.cli import synthetic as command
from moonseg3r_core.errors import InputError, OutputError
from moonseg3r_core.geometry import find_rigid_fault, transform, unproject
from moonseg3r_core.synthetic import DepthNoise, MaskNoise, Renderer, SyntheticSequence, walk, write_scannet
from moonseg3r_core.synthetic.furnisher import Furnisher
from moonseg3r_core.synthetic.layout import Block, Placement
from moonseg3r_core.synthetic.pieces import (
    Piece,
    Solid,
    make_ball,
    make_box,
    make_cup,
    make_pole,
    make_rotation_x,
    make_rotation_z,
)
from moonseg3r_core.synthetic.primitives import BOX, ELLIPSOID, FRUSTUM, Primitives
from moonseg3r_core.synthetic.prints import PRINTS
from moonseg3r_core.synthetic.scene import STRUCTURE, Scene, assemble
from moonseg3r_core.synthetic.textures import FAMILIES, Material, Materials, Paint
from moonseg3r_core.synthetic.truth import VOXEL, CloudAccumulator, GroundTruth

GREY = Material("plain", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
INTRINSICS = torch.tensor([[40.0, 0, 20], [0, 40.0, 15], [0, 0, 1]])  # pixel (15, 20) looks straight ahead
SIZE = (31, 41)
AHEAD = (15, 20)


@cache
def furnish(seed: int) -> Scene:
    """The room of a seed, furnished once for all tests."""
    return synthetic.furnish(seed)


def scene_of(*solids: Solid, size: tuple[float, float, float] = (6.0, 4.0, 3.0)) -> Scene:
    """A bare room in which each solid is an object of its own: ids 7, 8..."""
    placed = [Placement(Piece(f"solid {i}", (s,), (1, 1), 1), 0, 0, 0, 0) for i, s in enumerate(solids)]
    return assemble(0, size, placed, [GREY] * 6, np.random.default_rng(0))


@cache
def make_renderer(scene: Scene, device: str) -> Renderer:
    return Renderer(scene, torch.device(device))


def render(scene: Scene, intrinsics: torch.Tensor, pose: torch.Tensor, height: int, width: int, device: str = "cpu"):
    return make_renderer(scene, device)(intrinsics, pose, height, width)


def contain(p: Primitives, points: torch.Tensor, margin: float) -> torch.Tensor:
    """Which points (N, 3) lie inside which primitive, enlarged by `margin` metres: (N, P) bool."""
    local = torch.einsum("pji,npj->npi", p.rotation, points[:, None].to(p.center) - p.center)
    x, y, z = (local / (p.half + margin)).unbind(-1)
    radius = (1 + p.taper) / 2 + (p.taper - 1) / 2 * z
    box, ball = (x.abs() <= 1) & (y.abs() <= 1) & (z.abs() <= 1), x * x + y * y + z * z <= 1
    frustum = (x * x + y * y <= radius * radius) & (z.abs() <= 1)
    return torch.where(p.kind == BOX, box, torch.where(p.kind == ELLIPSOID, ball, frustum))


def compute_ground_truth(sequence: SyntheticSequence, voxel: float) -> GroundTruth:
    """The true cloud of all frames of a sequence."""
    cloud = CloudAccumulator(voxel)
    for frame in sequence:
        cloud.add(frame, sequence.render_ids(frame.index))
    return cloud.compute_truth(sequence.scene.structure_ids)


def camera(x: float, y: float, z: float, yaw: float = 0.0) -> torch.Tensor:
    """A level camera that looks along +x, turned by `yaw`."""
    c, s = math.cos(yaw), math.sin(yaw)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.tensor([[s, 0, c], [-c, 0, s], [0, -1, 0]], dtype=torch.float64)
    pose[:3, 3] = torch.tensor([x, y, z], dtype=torch.float64)
    return pose


def shot(scene: Scene, pose: torch.Tensor) -> tuple[float, int]:
    """Depth and id straight ahead."""
    _, depth, ids = render(scene, INTRINSICS, pose, *SIZE)
    return float(depth[AHEAD]), int(ids[AHEAD])


@pytest.mark.parametrize(
    ("solid", "depth"),
    [
        (make_box(1, 0, 1.5, 0.25, 0.5, 0.5, GREY), 2.75),  # from x = -2 to the face at 0.75
        (make_ball(1, 0, 1.5, 0.5, 0.5, 0.5, GREY), 2.5),
        (make_ball(1, 0, 1.5, 0.2, 0.5, 0.1, GREY), 2.8),
        (make_pole(1, 0, 0, 3, 0.3, GREY), 2.7),
        (make_pole(1, 0, 1, 2, 0.4, GREY, top=0.5), 2.7),  # radius 0.3 half way up
        (make_cup(1, 0, 1, 2, 0.2, 0.4, GREY), 2.7),
        (make_pole(1, 0, 1, 2, 0.4, GREY, top=0.0), 2.8),
        (Solid(FRUSTUM, (1.0, 0.0, 1.5), (0.3, 0.3, 0.4), GREY, make_rotation_x(math.pi / 2)), 2.7),
        (Solid(BOX, (1.0, 0.0, 1.5), (0.5, 0.5, 0.5), GREY, make_rotation_z(math.pi / 4)), 3 - math.sqrt(0.5)),
    ],
)
def test_a_ray_straight_at_a_solid_gives_the_depth_drawn_on_paper(solid: Solid, depth: float) -> None:
    assert shot(scene_of(solid), camera(-2, 0, 1.5)) == (pytest.approx(depth, abs=1e-5), 7)


def test_bare_walls_have_their_own_ids_and_the_planar_depth() -> None:
    scene = scene_of()
    for yaw, (depth, number) in {0.0: (2.0, 4), 0.5: (2.5, 6), 1.0: (4.0, 3), 1.5: (1.5, 5)}.items():
        assert shot(scene, camera(1, -0.5, 1.5, yaw * math.pi)) == (pytest.approx(depth, abs=1e-5), number)
    _, depth, ids = render(scene, INTRINSICS, camera(0, 0, 1.5), *SIZE)
    assert depth[15, 0] == pytest.approx(3.0, abs=1e-5)  # along z, not along the ray
    assert int(ids[15, 20]) == 4
    down = render(scene, INTRINSICS, camera(2.9, 0, 0.01), *SIZE)[2]
    assert {1, 4} == set(down.unique().tolist()) & {1, 4}


def test_the_nearer_of_two_hides_the_other() -> None:
    scene = scene_of(make_box(1, 0, 1.5, 0.2, 0.5, 0.5, GREY), make_ball(0, 0, 1.5, 0.1, 0.1, 0.1, GREY))
    assert shot(scene, camera(-2, 0, 1.5)) == (pytest.approx(1.9, abs=1e-5), 8)
    assert shot(scene, camera(-2, 0.3, 1.5)) == (pytest.approx(2.8, abs=1e-5), 7)
    assert shot(scene, camera(2.5, 0, 1.5, math.pi)) == (pytest.approx(1.3, abs=1e-5), 7)


def test_a_solid_that_reaches_behind_the_camera_is_seen() -> None:
    scene = scene_of(make_box(0, 0, 1.0, 2.9, 1.0, 0.1, GREY))  # a board under the camera, from behind it to before it
    _, depth, ids = render(scene, INTRINSICS, camera(0, 0, 1.5), *SIZE)
    assert int(ids[30, 20]) == 7
    assert depth[30, 20] == pytest.approx(0.4 / (15 / 40), abs=1e-5)


def test_bounds_in_the_image_change_nothing() -> None:
    """Points of every fourth pixel against all primitives: it lies on its own object, and nothing stands before it."""
    scene = furnish(3)
    pose = walk(scene, 5, 3)[2]
    _, depth, ids = render(scene, INTRINSICS, pose, *SIZE)
    points = transform(unproject(depth.double(), INTRINSICS), pose)[::2, ::2].reshape(-1, 3)
    inside = contain(scene.primitives, points, margin=2e-4)
    owner = ids[::2, ::2].reshape(-1)
    for pixel in torch.nonzero(~torch.isin(owner, torch.tensor(STRUCTURE)))[:, 0]:
        assert owner[pixel] in scene.primitives.object_id[inside[pixel]]  # the point lies on its own object
    before = pose[:3, 3] + torch.linspace(0.02, 0.995, 40)[:, None, None] * (points - pose[:3, 3])
    assert not contain(scene.primitives, before.reshape(-1, 3), margin=-1e-3).any()  # and nothing stands before it


def test_coarser_shadows_change_shadows_alone() -> None:
    scene = furnish(3)
    pose = walk(scene, 5, 3)[2]
    fine, coarse = (Renderer(scene, torch.device("cpu"), size)(INTRINSICS, pose, *SIZE) for size in (160, 24))
    for mine, other in zip(fine[1:], coarse[1:], strict=True):
        assert torch.equal(mine, other)
    changed = (fine[0] != coarse[0]).any(-1).float().mean()
    assert 0 < changed < 0.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_draws_what_the_cpu_draws() -> None:
    scene = furnish(3)
    pose = walk(scene, 5, 3)[2]
    image, depth, ids = render(scene, INTRINSICS, pose, *SIZE)
    image_cuda, depth_cuda, ids_cuda = render(scene, INTRINSICS, pose, *SIZE, device="cuda")
    same = ids == ids_cuda.cpu()
    assert same.float().mean() > 0.995
    assert (depth - depth_cuda.cpu()).abs()[same].max() < 1e-3
    assert (image.int() - image_cuda.cpu().int()).abs().float().mean() < 1


def test_a_seed_is_a_room_and_another_seed_another() -> None:
    pictures = []
    for seed in (5, 5, 6):
        scene = synthetic.furnish(seed)
        pictures.append(render(scene, INTRINSICS, walk(scene, 4, seed)[1], *SIZE))
    for mine, again, other in zip(*pictures, strict=True):
        assert torch.equal(mine, again)
        assert not torch.equal(mine, other)


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 12))])
def test_rooms_have_twelve_kinds_whose_solids_do_not_intersect(seed: int) -> None:
    scene = furnish(seed)
    assert len(scene.kinds) >= 12
    assert set(scene.names) == {*STRUCTURE, *scene.primitives.object_id.tolist()}
    p = scene.primitives
    unit = torch.rand(30, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    samples = p.center[:, None] + torch.einsum("pij,npj->pni", p.rotation, unit[:, None] * p.half)
    inside = contain(p, samples.reshape(-1, 3), margin=-1e-3)
    owner = p.object_id.repeat_interleave(30)
    own = inside & (torch.arange(len(p)).repeat_interleave(30)[:, None] == torch.arange(len(p)))
    foreign = inside & (owner[:, None] != p.object_id)
    assert own.any()
    assert not (own.any(1) & foreign.any(1)).any()
    bound = torch.tensor(scene.size) / 2 + 1e-3
    assert (samples[..., :2].abs() <= bound[:2]).reshape(-1, 2)[own.any(1)].all()


def test_seeds_differ_in_size_kinds_and_textures() -> None:
    scenes = [furnish(seed) for seed in range(8)]
    assert len({round(s.size[0], 2) for s in scenes}) == 8
    assert len(set.union(*(s.kinds for s in scenes))) >= 28
    assert set(torch.cat([s.materials.family for s in scenes]).tolist()) == {
        n for n, f in enumerate(FAMILIES) if f not in PRINTS
    }


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 300])
def test_a_walk_returns_to_where_it_began_and_stays_out_of_the_furniture(frames: int) -> None:
    scene = furnish(2)
    poses = torch.stack(walk(scene, frames, 0))
    assert poses.shape == (frames, 4, 4)
    assert torch.allclose(poses[0], poses[-1], atol=1e-9)
    assert all(find_rigid_fault(pose, 1e-9) is None for pose in poses)
    eyes = poses[:, :3, 3]
    assert ((eyes[:, 2] >= 1.2) & (eyes[:, 2] <= 1.7)).all()
    assert not contain(scene.primitives, eyes, margin=0.15).any()
    assert (poses[:, 2, 1] < -0.5).all()  # the camera's y points down


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 8))])
def test_walks_are_smooth_and_look_around(seed: int) -> None:
    scene = furnish(seed)
    poses = torch.stack(walk(scene, 160, seed))
    steps = (poses[1:, :3, 3] - poses[:-1, :3, 3]).norm(dim=-1)
    cosines = (poses[1:, :3, 2] * poses[:-1, :3, 2]).sum(-1)
    assert steps.max() < 0.2
    assert cosines.min() > math.cos(math.radians(20))
    assert (poses[:, :3, 2].T @ poses[:, :3, 2]).diagonal()[:2].min() > 5  # both ways across the room
    assert not contain(scene.primitives, poses[:, :3, 3], margin=0.15).any()


def test_frames_carry_what_was_drawn() -> None:
    sequence = SyntheticSequence(4, frames=6, height=48, width=64, fov_degrees=90)
    frames = list(sequence)
    assert [f.index for f in frames] == list(range(6))
    assert [f.stamp for f in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert frames[0].intrinsics[0, 0] == pytest.approx(32)  # half the width at 45 degrees
    assert sequence[-1].index == 5
    assert [f.index for f in sequence[1:3]] == [1, 2]
    assert (frames[2].depth > 0).all()
    assert set(sequence.render_ids(2).unique().tolist()) <= set(sequence.scene.names)
    assert float(frames[2].image.float().std()) > 10


def test_the_true_cloud_is_what_was_seen_with_the_majoritys_id() -> None:
    sequence = SyntheticSequence(4, frames=3, height=48, width=64)
    truth = compute_ground_truth(sequence, voxel=0.05)
    assert truth.points.dtype == torch.float32
    assert truth.instance_ids.dtype == torch.int32
    cells = torch.floor(truth.points.double() / 0.05)
    assert len(torch.unique(cells, dim=0)) >= 0.999 * len(cells)  # a mean on a voxel's border may round across
    votes: dict[tuple[float, ...], dict[int, int]] = {}
    for frame in sequence:
        points = transform(unproject(frame.depth, frame.intrinsics), frame.world_from_camera).reshape(-1, 3)
        ids = sequence.render_ids(frame.index).reshape(-1).tolist()
        for cell, number in zip(torch.floor(points.double() / 0.05).tolist(), ids, strict=True):
            tally = votes.setdefault(tuple(cell), {})
            tally[number] = tally.get(number, 0) + 1
    assert len(votes) == len(truth.points)
    wrong = [
        number for cell, number in zip(cells.tolist(), truth.instance_ids.tolist(), strict=True)
        if tuple(cell) in votes and votes[tuple(cell)].get(number, 0) < max(votes[tuple(cell)].values())
    ]  # fmt: skip
    assert len(wrong) <= 2
    assert truth.structure_ids == STRUCTURE


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seed": -1}, "seed"),
        ({"frames": 0}, "1 frame or more, got 0"),
        ({"height": 2}, "8 x 8"),
        ({"fov_degrees": 200.0}, "field of view"),
        ({"device": "abacus"}, "cpu always works"),
        ({"device": "cuda:99"}, "use cpu"),
    ],
)
def test_a_camera_that_cannot_be_is_refused_in_one_line(settings: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        SyntheticSequence(**{"seed": 0, **settings})


def blocks(height: int = 60, width: int = 80) -> torch.Tensor:
    """Twelve objects of 20 x 20 pixels."""
    v, u = torch.meshgrid(torch.arange(height) // 20, torch.arange(width) // 20, indexing="ij")
    return (7 + 4 * v + u).int()


def test_mask_noise_off_only_renumbers() -> None:
    quiet = MaskNoise(drop=0, small_drop=0, split=0, merge=0, jitter=0, erode=0, spurious=0)
    ids = blocks()
    labels = quiet(ids, seed=1)
    assert labels.dtype == torch.int32
    assert set(labels.unique().tolist()) == set(range(1, 13))
    assert len(torch.unique(torch.stack((ids.reshape(-1), labels.reshape(-1))), dim=1).T) == 12
    assert not torch.equal(labels, quiet(ids, seed=1, index=1))


def test_mask_noise_splits_drops_and_merges_at_its_rates() -> None:
    ids = blocks()
    off = {"drop": 0.0, "small_drop": 0.0, "split": 0.0, "merge": 0.0, "jitter": 0.0, "erode": 0.0, "spurious": 0.0}
    counts = {
        name: np.mean([int(MaskNoise(**off | {name: rate})(ids, 0, i).max()) for i in range(40)])
        for name, rate in {"split": 0.33, "drop": 0.25, "merge": 0.1}.items()
    }
    assert 12 * 1.2 < counts["split"] < 12 * (1 + 0.33 * 1.25 + 0.05)  # a line near a rim leaves a part too small
    assert counts["drop"] == pytest.approx(9, abs=0.7)
    assert 8 < counts["merge"] < 12
    torn = MaskNoise(**off | {"erode": 1.0})(ids, 0)
    assert int((torn == 0).sum()) > 500
    moved = MaskNoise(**off | {"jitter": 1.5})(ids, 0)
    kept = torch.stack([ids.reshape(-1), moved.reshape(-1)]).unique(dim=1, return_counts=True)[1].topk(12).values.sum()
    assert 0.8 < float(kept) / ids.numel() < 1.0


def test_mask_noise_is_seeded_and_takes_an_empty_picture() -> None:
    ids = blocks()
    assert torch.equal(MaskNoise()(ids, 3, 2), MaskNoise()(ids, 3, 2))
    assert not torch.equal(MaskNoise()(ids, 3, 2), MaskNoise()(ids, 4, 2))
    assert not MaskNoise(spurious=0)(torch.zeros(20, 20, dtype=torch.int32), 0).any()


def test_depth_noise_grows_with_the_square_and_tears_edges() -> None:
    near, far = (DepthNoise(speckle=0)(torch.full((60, 60), z), 0) for z in (1.0, 4.0))
    assert float(far.std() / near.std()) == pytest.approx(16, rel=0.25)
    assert float((far - 4).abs().max()) < 0.2
    stairs = torch.full((40, 40), 1.0)
    stairs[:, 20:] = 3.0
    noisy = DepthNoise(speckle=0)(stairs, 0)
    lost = noisy == 0
    assert lost[:, 16:24].any()
    assert not lost[:, :14].any()
    assert not DepthNoise()(torch.full((8, 8), 9.0), 0).any()


def test_write_scannet_returns_as_it_was(tmp_path: Path) -> None:
    sequence = SyntheticSequence(1, frames=3, height=48, width=64)
    folder = write_scannet(tmp_path / "room", sequence)
    for frame in sequence:
        n = frame.index
        color = cv2.imread(str(folder / "color" / f"{n}.jpg"))[..., ::-1]
        depth = cv2.imread(str(folder / "depth" / f"{n}.png"), cv2.IMREAD_UNCHANGED)
        ids = cv2.imread(str(folder / "instance" / f"{n}.png"), cv2.IMREAD_UNCHANGED)
        masks = cv2.imread(str(folder / "masks" / f"{n}.png"), cv2.IMREAD_UNCHANGED)
        assert np.abs(color.astype(float) - frame.image.numpy()).mean() < 6
        assert depth.dtype == ids.dtype == masks.dtype == np.uint16
        assert np.abs(depth / 1000 - frame.depth.numpy()).max() <= 0.000501
        assert np.array_equal(ids, sequence.render_ids(n).numpy())
        assert np.array_equal(masks, MaskNoise()(sequence.render_ids(n), 1, n).numpy())
        assert np.allclose(np.loadtxt(folder / "pose" / f"{n}.txt"), frame.world_from_camera, atol=1e-8)
    for name in ("color", "depth"):
        matrix = np.loadtxt(folder / "intrinsic" / f"intrinsic_{name}.txt")
        assert np.allclose(matrix[:3, :3], sequence.intrinsics, atol=1e-5)
    truth, again = np.load(folder / "gt.npz"), compute_ground_truth(sequence, VOXEL)
    assert np.array_equal(truth["points"], again.points)
    assert np.array_equal(truth["instance_ids"], again.instance_ids)
    assert truth["structure_ids"].tolist() == list(STRUCTURE)
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["names"]["1"] == "floor"
    with pytest.raises(OutputError, match="new or empty"):
        write_scannet(folder, sequence)


def test_the_command_renders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    line = ["synthetic", "render", "--seed", "2", "--frames", "2", "--width", "64", "--height", "48", "--noise", "-o"]
    args = parser.parse_args([*line, str(tmp_path / "r")])
    assert args.run(args) == 0
    assert "2 frames" in capsys.readouterr().out
    depth = cv2.imread(str(tmp_path / "r" / "depth" / "1.png"), cv2.IMREAD_UNCHANGED)
    exact = SyntheticSequence(2, frames=2, height=48, width=64)[1].depth.numpy()
    assert (depth == 0).any()
    assert 0.0001 < np.abs(depth / 1000 - exact)[depth > 0].mean() < 0.1


def test_textures_stay_within_their_colors() -> None:
    materials = Materials.from_materials([Material(f, (0.1, 0.2, 0.3), (0.8, 0.7, 0.6), 0.1, 2.0) for f in FAMILIES])
    points = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)).T
    normal, rows = torch.nn.functional.normalize(points, dim=0), torch.arange(4000) % len(FAMILIES)
    colors, emission = Paint(materials, torch.arange(len(FAMILIES)))(rows, points, normal, torch.zeros(4000))
    colors = colors.T
    assert not emission.any()
    assert colors.min() >= 0.1 * 0.88 - 1e-6
    assert colors.max() <= 0.8 * 1.12 + 0.02
    spread = torch.stack([colors[rows == i].std(0).mean() for i in range(len(FAMILIES))])
    assert (spread[1:] > 3 * spread[0]).all()  # all but `plain` vary


def test_blocks_overlap_as_drawn_on_paper() -> None:
    square = Block(0, 0, 1, 1, 0, 0, 1)
    assert square.overlaps(Block(1.9, 0, 1, 1, 0, 0.5, 2))
    assert not square.overlaps(Block(2.1, 0, 1, 1, 0, 0.5, 2))
    assert not square.overlaps(Block(0, 0, 1, 1, 0, 1, 2))  # stands on it
    assert square.overlaps(Block(2.3, 0, 1, 1, math.pi / 4, 0, 1))  # a corner reaches to 0.89
    assert not square.overlaps(Block(2.3, 2.3, 1, 1, math.pi / 4, 0, 1))


def test_a_furnisher_leaves_floor_to_walk_on() -> None:
    for seed in range(3):
        furnisher = Furnisher(np.random.default_rng(seed))
        furnisher.furnish()
        assert furnisher.free.sum() * 0.05**2 >= 0.16 * furnisher.size[0] * furnisher.size[1]
