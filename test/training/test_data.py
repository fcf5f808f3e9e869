"""The data of a training: camera paths through rooms, augmentation, and batches that depend on their number alone."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from training_toys import TOY

from moonseg3r_core.errors import InputError
from moonseg3r_core.geometry import find_rigid_fault
from moonseg3r_core.synthetic import furnish
from moonseg3r_core.training.data.augment import augment
from moonseg3r_core.training.data.camera_paths import sample_camera_path
from moonseg3r_core.training.data.clips import FIRST_HELD_OUT_SEED, FIRST_SEED, Clips, make_clip, mix_seeds
from moonseg3r_core.training.reconstruction.stream import ClipStream, count_entered_clips

CPU = torch.device("cpu")
FRAMES, SEEDS = 40, range(6)


@pytest.fixture(scope="module")
def rooms():
    return {seed: furnish(seed) for seed in SEEDS}


def wandered(room, seed=0):
    return sample_camera_path(room, FRAMES, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_path_keeps_off_the_furniture_and_within_the_room(rooms, seed):
    poses = wandered(rooms[seed])
    assert (np.abs(poses[:, :2, 3]) < np.array(rooms[seed].size[:2]) / 2).all()
    assert (poses[:, 2, 3] > 0).all()
    assert (poses[:, 2, 3] < rooms[seed].size[2]).all()
    for block in rooms[seed].blocks:
        c, s = np.cos(block.yaw), np.sin(block.yaw)
        along, across = ((poses[:, :2, 3] - (block.x, block.y)) @ np.array([[c, -s], [s, c]])).T
        inside = (np.abs(along) < block.half_x) & (np.abs(across) < block.half_y)
        assert not inside.any()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_path_is_rigid_and_smooth(rooms, seed):
    poses = torch.from_numpy(wandered(rooms[seed], seed))
    assert not any(find_rigid_fault(pose) for pose in poses)
    assert poses[:, :3, 3].diff(dim=0)[:, :2].norm(dim=1).max() < 0.16
    turns = torch.linalg.inv(poses[:-1]) @ poses[1:]
    cosine = (turns[:, :3, :3].diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    assert torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))).max() < 15


def test_equal_seeds_give_equal_paths_and_others_do_not(rooms):
    assert np.array_equal(wandered(rooms[0], 1), wandered(rooms[0], 1))
    assert not np.allclose(wandered(rooms[0], 1), wandered(rooms[0], 2))


def test_a_clip_is_a_function_of_its_seed():
    a, b, other = make_clip(5, 3, 32, 48), make_clip(5, 3, 32, 48), make_clip(6, 3, 32, 48)
    for name in ("images", "depth", "poses", "intrinsics"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    assert not torch.equal(a.images, other.images)
    assert (a.depth > 0).all()
    assert 50 <= 2 * torch.rad2deg(torch.atan(24 / a.intrinsics[0, 0])) <= 90


def test_rooms_of_trainings_are_never_those_held_out():
    assert Clips(0, 3, (32, 48)).first >= FIRST_SEED > FIRST_HELD_OUT_SEED
    assert Clips(1, 3, (32, 48)).first == Clips(0, 3, (32, 48)).first + FIRST_SEED


def test_mixed_seeds_are_the_same_everywhere():
    assert [mix_seeds(7, 1, 2), mix_seeds(3, 5)] == [3418810207754707518, 4895867234429419378]


def test_augmented_images_lie_in_range_and_each_clip_has_its_own_numbers():
    image = torch.randint(0, 256, (1, 3, 16, 24, 3), dtype=torch.uint8).expand(4, -1, -1, -1, -1)
    views = augment(image, torch.Generator().manual_seed(0))
    assert views.shape == (4, 3, 3, 16, 24)
    assert views.dtype == torch.float32
    assert views.min() >= -1
    assert views.max() <= 1
    assert min((views[a] - views[b]).abs().mean() for a in range(4) for b in range(a)) > 0.01
    assert torch.equal(views, augment(image, torch.Generator().manual_seed(0)))
    assert not torch.equal(views, augment(image, torch.Generator().manual_seed(1)))


def test_augmentation_moves_nothing():
    """A dark and a bright half keep their border, and their order."""
    image = torch.zeros(8, 1, 16, 24, 3, dtype=torch.uint8)
    image[..., 12:, :] = 255
    views = augment(image, torch.Generator().manual_seed(0)).mean((1, 2, 3))
    assert (views[:, 14:].mean(1) > views[:, :10].mean(1) + 0.3).all()


def batches(recipe, first=0, **others):
    return islice(ClipStream(recipe, CPU, first, workers=0, **others), recipe.steps - first)


def same(a, b):
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("views", "depth", "intrinsics", "poses"))


def test_a_batch_is_a_function_of_its_number_wherever_the_stream_begins():
    recipe = replace(TOY, visits=1.0)
    all_of_them = list(batches(recipe))
    assert [tuple(batch.views.shape) for batch in all_of_them] == [(2, 2, 3, 32, 48)] * 4 + [(2, 3, 3, 32, 48)] * 2
    assert count_entered_clips(recipe, 5) > count_entered_clips(recipe, 3) > count_entered_clips(recipe, 0)
    for first in (3, 5):
        again = list(batches(recipe, first))
        assert len(again) == recipe.steps - first
        assert all(map(same, again, all_of_them[first:]))
    assert not same(all_of_them[0], all_of_them[1])


def test_every_process_and_every_seed_has_rooms_of_its_own():
    first, second = (next(batches(TOY, rank=rank, ranks=2)) for rank in (0, 1))
    assert not same(first, second)
    assert not same(first, next(batches(replace(TOY, seed=1))))
    numbers = {clips.first + n * 2 for clips in (Clips(0, 3, (32, 48), rank, 2) for rank in (0, 1)) for n in range(5)}
    assert len(numbers) == 10


def test_a_frame_is_seen_as_often_as_the_recipe_says():
    recipe = replace(TOY, visits=0.5)
    counts = [count_entered_clips(recipe, step) for step in range(recipe.steps + 1)]
    assert counts == sorted(counts)
    assert counts[0] == recipe.rooms
    seen = sum(stage.steps * stage.batch * stage.window for stage in recipe.stages)
    assert counts[-1] == recipe.rooms + int(seen / (recipe.clip * recipe.visits))


def test_the_frames_of_a_batch_agree_on_depth_and_pose():
    """A point that depth and poses project into another frame has that frame's depth there."""
    recipe = replace(TOY, height=64, width=96, rooms=4)
    batch = next(batches(recipe))
    agreed = []
    for b in range(2):
        k, depth = batch.intrinsics[b], batch.depth[b]
        v, u = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
        rays = torch.stack(((u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], torch.ones_like(u)), -1)
        move = torch.linalg.inv(batch.poses[b, 1]) @ batch.poses[b, 0]
        there = (rays * depth[0][..., None]).flatten(0, 1) @ move[:3, :3].T + move[:3, 3]
        pixels = (there @ k.T)[:, :2] / there[:, 2:]
        x, y = pixels.round().long().unbind(1)
        inside = (x >= 0) & (x < 96) & (y >= 0) & (y < 64) & (there[:, 2] > 0)
        measured = depth[1][y[inside], x[inside]]
        agreed.append(((measured - there[inside, 2]).abs() / measured < 0.05).float().mean().item())
    assert min(agreed) > 0.75


def test_fewer_workers_than_none_are_refused():
    with pytest.raises(InputError, match="workers must be 0 or more, got -1"):
        ClipStream(TOY, CPU, workers=-1)
