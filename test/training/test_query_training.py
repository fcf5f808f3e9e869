"""The training of queries at toy size: clips and their cache, the run, its files, and input that it refuses."""

import logging
from collections import Counter
from dataclasses import asdict, fields, replace

import cv2
import numpy as np
import pytest
import torch
import yaml
from scipy.optimize import linprog
from training_toys import read_table

from moonseg3r_core.build import build_segmenter
from moonseg3r_core.cli import main
from moonseg3r_core.config import load_config
from moonseg3r_core.errors import ConfigError, InputError, MoonSeg3RError, OutputError, SourceError
from moonseg3r_core.refinement.learned import QuerySizes, concatenate_features, read_query_net
from moonseg3r_core.sources import open_source
from moonseg3r_core.synthetic import SyntheticSequence, write_scannet

pytest.importorskip("lightning_fabric")

from moonseg3r_core.training.common.engine import make_fabric
from moonseg3r_core.training.common.recipe import read_recipe
from moonseg3r_core.training.queries import stream as query_stream
from moonseg3r_core.training.queries.clips import QueryClip, cut_masks, make_batch, make_query_clip, move_world
from moonseg3r_core.training.queries.frozen_models import FrozenModels
from moonseg3r_core.training.queries.learner import QueryLearner
from moonseg3r_core.training.queries.recipe import QueryRecipe
from moonseg3r_core.training.queries.scenes import ROOMS, RoomScene, find_scenes
from moonseg3r_core.training.queries.stream import ClipCache, QueryStream
from moonseg3r_core.training.queries.train import QueryRun, train_queries
from moonseg3r_core.types import Geometry

FRAMES = 3
TOY = QueryRecipe(
    stack={"reconstruction.kind": "rgbd"}, width=16, heads=2, layers=1, hidden=2, epochs=2, frames=FRAMES, batch=2,
    scenes=3, rate=3e-3, warmup=1, ema=0.5, held=1, held_frames=FRAMES, score_every=2, save_every=3,
)  # fmt: skip
STEPS = 4  # two epochs of two batches, the second of which takes a scene again
ON_CPU = {"device": "cpu", "precision": "32-true"}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The folder that caches the clips of the rooms for all tests here."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
    """The folder of the toy run made at once."""
    return train_queries(TOY, [ROOMS], tmp_path_factory.mktemp("whole"), cache=cache, **ON_CPU).parent


@pytest.fixture(scope="module")
def rooms(cache):
    """The clips of the toy run's rooms."""
    cache = ClipCache(TOY, CPU, cache)
    return [cache(scene, 0, FRAMES) for scene in find_scenes([ROOMS], TOY.scenes)]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A folder of two small ScanNet exports with noisy masks, and of something else."""
    folder = tmp_path_factory.mktemp("recordings")
    for seed in (1, 2):
        write_scannet(folder / f"room_{seed}", SyntheticSequence(seed, frames=4, height=90, width=120))
    (folder / "notes.txt").write_text("nothing")
    (folder / "empty").mkdir()
    return folder


def written(path, **changes):
    """Write the toy recipe with some settings replaced by any values."""
    path.write_text(yaml.safe_dump({**asdict(TOY), **changes}))
    return path


def same_clips(one, other):
    for field in fields(QueryClip):
        left, right = getattr(one, field.name), getattr(other, field.name)
        assert left.dtype == right.dtype
        assert torch.equal(left, right), field.name


def toy_clip(masks, cells=4, seed=0):
    """A clip of random features; every mask covers some cell, and every frame recalls and shows all before it."""
    generator = torch.Generator().manual_seed(seed)
    total, frames = sum(masks), len(masks)
    ends = torch.tensor(masks).cumsum(0).tolist()
    known = [(t, q) for t in range(1, frames) for q in range(ends[t - 1])]
    context = [(t, n, q) for t, q in known for n in range(cells)]
    part = [1 / ends[t - 1] for t, _, _ in context]
    return QueryClip(
        geometric=torch.randn(frames, cells, 3, generator=generator).half(),
        semantic=torch.randn(frames, cells, 5, generator=generator).half(),
        shares=(0.1 + 0.8 * torch.rand(total, cells, generator=generator)).half(),
        masks=torch.tensor(masks), owners=torch.arange(total).int() % 3,
        context=torch.tensor(context).view(-1, 3).int(), context_shares=torch.tensor(part).half(),
        seen=(torch.arange(frames) > 0).half()[:, None].expand(-1, cells).contiguous(),
        known=torch.tensor(known).view(-1, 2).int(), pictures=torch.zeros(frames, 6, 8, 3, dtype=torch.uint8),
        size=torch.tensor([2, cells // 2]),
    )  # fmt: skip


def toy_learner(**changes):
    torch.manual_seed(0)
    sizes = replace(QuerySizes(3, 5, width=16, heads=2, layers=1), **changes)
    learner = QueryLearner(sizes)
    for parameter in learner.net.parameters():
        if parameter.dim() > 1 and not parameter.any():  # what is zero before training
            torch.nn.init.normal_(parameter, std=0.3)
    return learner


# The run


def test_a_run_writes_weights_scores_pictures_and_its_recipe(whole):
    names = {path.name for path in whole.iterdir()}
    assert {"weights.safetensors", "last.ckpt", "heldout.csv", "recipe.yaml", "pictures"} <= names
    assert read_recipe(QueryRecipe, whole / "recipe.yaml") == TOY
    assert torch.load(whole / "last.ckpt", weights_only=True)["step"] == STEPS
    scores = read_table(whole / "heldout.csv")
    assert [row["step"] for row in scores] == ["2", "4"]
    for name in ("seg", "dist", "xseg", "again", "nearest"):
        assert all(np.isfinite(float(row[name])) for row in scores), name


def test_every_epoch_has_its_picture(whole):
    pictures = sorted((whole / "pictures").iterdir())
    assert [path.name for path in pictures] == ["epoch_0001.png", "epoch_0002.png"]
    for path in pictures:
        image = cv2.imread(str(path))
        assert image.shape == (6 * 120, FRAMES * 160, 3)  # frame, masks, components, three queries
        assert all(image[row : row + 120].std() > 5 for row in range(0, 3 * 120, 120))


def test_the_weights_are_those_that_a_segmenter_takes(whole):
    weights = whole / "weights.safetensors"
    net = read_query_net(weights)
    sizes = net.sizes
    assert (sizes.width, sizes.heads, sizes.layers, sizes.hidden, sizes.context) == (16, 2, 1, 2, True)
    settings = {
        "reconstruction.kind": "rgbd", "masks.kind": "regions", "device": "cpu", "refinement.kind": "learned",
        "refinement.learned.weights": str(weights),
    }  # fmt: skip
    segmenter = build_segmenter(load_config(overrides=settings))
    walked = SyntheticSequence(5, frames=40, height=90, width=120)
    results = [segmenter.step(walked[index]) for index in range(2)]
    assert all(int(result.instance_ids.max()) > 0 for result in results)
    assert {tuple(query.shape) for query in segmenter.snapshot().descriptors.values()} == {(16,)}


def test_a_run_that_stopped_goes_on_exactly(tmp_path, cache, whole, capsys):
    expected = (whole / "weights.safetensors").read_bytes()
    weights = train_queries(TOY, [ROOMS], tmp_path, cache=cache, until=0, **ON_CPU)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["step"] == 1
    assert weights.read_bytes() != expected
    assert train_queries(TOY, [ROOMS], tmp_path, cache=cache, **ON_CPU).read_bytes() == expected
    assert read_table(tmp_path / "heldout.csv") == read_table(whole / "heldout.csv")
    capsys.readouterr()
    assert train_queries(TOY, [ROOMS], tmp_path, cache=cache, **ON_CPU).read_bytes() == expected
    assert "has made all 4 steps" in capsys.readouterr().out


def test_another_seed_trains_another_net(tmp_path, cache, whole):
    weights = train_queries(replace(TOY, seed=1, held=0), [ROOMS], tmp_path, cache=cache, **ON_CPU)
    assert weights.read_bytes() != (whole / "weights.safetensors").read_bytes()
    assert not (tmp_path / "heldout.csv").exists()


def test_another_recipe_does_not_go_on(tmp_path, cache):
    train_queries(TOY, [ROOMS], tmp_path, cache=cache, until=0, **ON_CPU)
    with pytest.raises(InputError, match="got one with another dist, layers; give the recipe") as refused:
        train_queries(replace(TOY, dist=0.0, layers=2), [ROOMS], tmp_path, cache=cache, **ON_CPU)
    assert len(str(refused.value).splitlines()) == 1


def test_without_its_loss_a_net_sees_no_context(tmp_path, cache):
    recipe = replace(TOY, xseg=0.0, epochs=1, score_every=1)
    weights = train_queries(recipe, [ROOMS], tmp_path, cache=cache, **ON_CPU)
    assert not read_query_net(weights).sizes.context
    assert "xseg" not in read_table(tmp_path / "heldout.csv")[0]


def test_a_run_in_bfloat16_learns_too(tmp_path, cache):
    """The default on a GPU: Fabric converts the batch."""
    recipe = replace(TOY, epochs=1, score_every=1)
    weights = train_queries(recipe, [ROOMS], tmp_path, cache=cache, device="cpu", precision="bf16-mixed")
    assert all(tensor.isfinite().all() for tensor in read_query_net(weights).state_dict().values())
    assert all(np.isfinite(float(row["seg"])) for row in read_table(tmp_path / "heldout.csv"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_run_on_a_gpu_learns_and_is_scored_too(tmp_path):
    train_queries(TOY, [ROOMS], tmp_path, device="cuda")
    assert all(np.isfinite(float(row["seg"])) for row in read_table(tmp_path / "heldout.csv"))


def test_pictures_that_cannot_be_written_are_an_error_in_one_line(tmp_path, cache):
    (tmp_path / "pictures").write_text("")
    with pytest.raises(OutputError, match="pictures") as refused:
        train_queries(replace(TOY, epochs=1), [ROOMS], tmp_path, cache=cache, **ON_CPU)
    assert len(str(refused.value).splitlines()) == 1


def test_the_losses_fall(tmp_path, rooms):
    clip = rooms[0]
    recipe = replace(TOY, epochs=100, warmup=0, rate=3e-3)
    torch.manual_seed(0)
    sizes = QuerySizes(clip.geometric.shape[-1], clip.semantic.shape[-1], width=16, heads=2, layers=1)
    run, batch = QueryRun(make_fabric("cpu", "32-true", 0), recipe, tmp_path, sizes), make_batch([clip])
    before = {name: loss.item() for name, loss in run.net(batch).items()}
    for _ in range(25):
        run.advance(batch)
    after = {name: loss.item() for name, loss in run.net(batch).items()}
    assert set(before) == {"seg", "dist", "xseg"}
    for name in before:
        assert after[name] < 0.9 * before[name], name


def test_recordings_are_trained_on_with_their_own_masks(tmp_path, recordings, cache):
    recipe = replace(TOY, held=0, epochs=1)
    train_queries(recipe, [str(recordings)], tmp_path / "folder", **ON_CPU)
    assert read_recipe(QueryRecipe, tmp_path / "folder" / "recipe.yaml") == replace(recipe, scenes=2)
    room = str(recordings / "room_1")
    train_queries(recipe, [room, ROOMS], tmp_path / "both", cache=cache, until=0, **ON_CPU)
    assert read_recipe(QueryRecipe, tmp_path / "both" / "recipe.yaml").scenes == 4
    (scene,) = find_scenes([room], 0)
    clip = make_query_clip(scene.read_window(0, FRAMES, 1), FrozenModels(TOY.config, CPU))
    labels = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (recordings / "room_1" / "masks").iterdir()]
    assert 0 < int(clip.masks.max()) <= max(len(np.unique(image)) - 1 for image in labels)


@pytest.fixture(scope="module")
def unposed(tmp_path_factory):
    """A folder of images, nothing beside them."""
    folder = tmp_path_factory.mktemp("images")
    walked = SyntheticSequence(3, frames=60, height=90, width=120)
    for index in range(4):
        cv2.imwrite(str(folder / f"{index}.png"), walked[index].image.numpy()[..., ::-1])
    return folder


@pytest.mark.usefixtures("stand_in")
def test_images_alone_are_trained_on_by_a_net_that_needs_no_more(tmp_path, unposed):
    stack = {"reconstruction.kind": "nano", "masks.kind": "regions"}
    weights = train_queries(replace(TOY, stack=stack, held=0, epochs=1, batch=1), [str(unposed)], tmp_path, **ON_CPU)
    assert read_query_net(weights).sizes.geometric == 160  # positions: 16 directions, 5 octaves, sine and cosine


def test_a_stack_without_a_memory_is_told_so(tmp_path, recordings, capsys):
    stack = {**TOY.stack, "memory.kind": "none"}
    recipe = written(tmp_path / "recipe.yaml", stack=stack, held=0)
    assert main(command(tmp_path, str(recordings), recipe=recipe)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "memory.kind" in line


@pytest.mark.usefixtures("stand_in")
def test_images_of_several_sizes_are_told_so(tmp_path):
    wide, tall = SyntheticSequence(3, 60, 90, 120), SyntheticSequence(3, 60, 120, 90)
    for index, sequence in enumerate([wide, wide, tall, wide]):
        cv2.imwrite(str(tmp_path / f"{index}.png"), sequence[index].image.numpy()[..., ::-1])
    stack = {"reconstruction.kind": "nano", "masks.kind": "regions"}
    with pytest.raises(MoonSeg3RError, match="size") as refused:
        train_queries(replace(TOY, stack=stack, held=0, frames=4), [str(tmp_path)], tmp_path / "out", **ON_CPU)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("held", [0, 1])
def test_scenes_without_usable_frames_are_said(tmp_path, unposed, cache, held):
    with pytest.raises(InputError, match="two usable frames or more, got none in") as refused:
        train_queries(replace(TOY, held=held), [str(unposed)], tmp_path, cache=cache, **ON_CPU)
    assert str(unposed) in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


# Scenes and windows


def test_data_are_recordings_folders_of_such_and_rooms(recordings):
    room, folder = str(recordings / "room_1"), str(recordings)
    assert [scene.name for scene in find_scenes([room], 5)] == [room]
    assert [scene.name for scene in find_scenes([folder], 5)] == [room, str(recordings / "room_2")]
    names = [scene.name for scene in find_scenes([ROOMS, "synthetic:3:8"], 2, first=40)]
    assert names == ["rooms:40", "rooms:41", "synthetic:3:8"]


@pytest.mark.parametrize(("name", "length"), [("recording", 4), ("longer than it", 9)])
def test_a_window_is_a_piece_of_a_recording(recordings, name, length):
    (scene,) = find_scenes([str(recordings / "room_1")], 0)
    every = [frame.index for frame in open_source(scene.name)]
    for number in range(3):
        indices = [frame.index for frame in scene.read_window(number, length, 1).frames]
        assert indices == every
    short = [[frame.index for frame in scene.read_window(number, 2, 1).frames] for number in range(8)]
    assert len({tuple(indices) for indices in short}) > 1
    assert all(indices[1] == indices[0] + 1 for indices in short)
    assert [frame.index for frame in scene.read_window(0, 2, 2).frames] == [0, 2]
    assert scene.read_window(0, 2, 1).masks_folder == recordings / "room_1" / "masks"


def test_the_same_number_is_the_same_window():
    scene = RoomScene(77)
    one, again, other = (scene.read_window(number, 2, 3) for number in (0, 0, 1))
    first, second = list(one.frames), list(again.frames)
    assert torch.equal(one.motion, again.motion)
    assert not torch.equal(one.motion, other.motion)
    assert [frame.index for frame in first] == [frame.index for frame in second]
    assert first[1].index == first[0].index + 3
    assert all(torch.equal(a.image, b.image) for a, b in zip(first, second, strict=True))
    masks = [window.masks(frames[0], None).masks for window, frames in ((one, first), (again, second))]
    assert torch.equal(*masks)
    assert one.ids(first[0].index).shape == first[0].size


def test_a_moved_world_is_turned_and_shifted_and_nothing_else():
    motion = RoomScene(77).read_window(0, 2, 1).motion
    torch.testing.assert_close(motion[:3, :3] @ motion[:3, :3].T, torch.eye(3, dtype=torch.float64))
    assert torch.linalg.det(motion).item() == pytest.approx(1)
    bare = Geometry.empty(2, 3)
    points, confidence = torch.randn(2, 3, 3), torch.tensor([[1.0, 1, 1], [1, 1, 0]])
    geometry = move_world(replace(bare, points=points * (confidence > 0)[..., None], confidence=confidence), motion)
    expected = points @ motion[:3, :3].T.float() + motion[:3, 3].float()
    expected[1, 2] = 0
    torch.testing.assert_close(geometry.points, expected)
    assert torch.equal(geometry.world_from_camera, motion)


def test_owners_are_the_objects_of_the_room(rooms):
    clip, window = rooms[0], find_scenes([ROOMS], 1)[0].read_window(0, FRAMES, 1)
    assert len(clip.owners) == len(clip.shares) == int(clip.masks.sum())
    ids = {int(n) for frame in window.frames for n in window.ids(frame.index).unique()}
    assert set(clip.owners.tolist()) <= ids
    assert (clip.owners > 0).float().mean() > 0.5


def test_a_clip_says_where_queries_of_earlier_frames_are_seen(rooms):
    for clip in rooms:
        ends = clip.masks.cumsum(0)
        frame, query = clip.known.long().unbind(1)
        assert (frame > 0).all()
        assert (query < ends[frame - 1]).all(), "only what was before"
        t, n, q = clip.context.long().unbind(1)
        assert {*zip(t.tolist(), q.tolist(), strict=True)} <= {*zip(frame.tolist(), query.tolist(), strict=True)}
        shown = torch.zeros(clip.seen.shape).index_put_((t, n), clip.context_shares.float(), accumulate=True)
        torch.testing.assert_close(shown, (clip.seen > 0).float(), atol=2e-3, rtol=0)
        assert (clip.seen[1:] > 0).float().mean() > 0.2
        assert clip.shares.max() <= 1


# The cache


def test_clips_that_were_kept_are_those_that_are_computed(tmp_path, monkeypatch, recordings):
    (scene,) = find_scenes([str(recordings / "room_1")], 0)
    plain_cache, cache = ClipCache(TOY, CPU), ClipCache(TOY, CPU, tmp_path / "new" / "cache")
    expected = plain_cache(scene, 0, FRAMES)
    same_clips(cache(scene, 0, FRAMES), expected)
    (file,) = (tmp_path / "new" / "cache").iterdir()

    monkeypatch.setattr(query_stream, "make_query_clip", None)
    same_clips(cache(scene, 0, FRAMES), expected)
    same_clips(ClipCache(replace(TOY, width=32, seg=3.0, seed=5), CPU, file.parent)(scene, 0, FRAMES), expected)


@pytest.mark.parametrize("damage", ["cut", "words", "empty", "another"])
def test_a_clip_that_is_damaged_is_computed_again(tmp_path, caplog, damage, recordings):
    (scene,) = find_scenes([str(recordings / "room_1")], 0)
    cache = ClipCache(TOY, CPU, tmp_path)
    expected = cache(scene, 0, FRAMES)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    if damage == "another":
        from safetensors.torch import save_file

        save_file({"shares": torch.zeros(3)}, file)
    else:
        file.write_bytes({"cut": content[:-9], "words": b"words", "empty": b""}[damage])
    with caplog.at_level(logging.WARNING, logger="moonseg3r"):
        same_clips(cache(scene, 0, FRAMES), expected)
    assert [record.getMessage().count("is damaged") for record in caplog.records] == [1]
    assert file.read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 1


def test_recordings_of_one_name_in_two_places_have_a_file_each(tmp_path, monkeypatch):
    monkeypatch.setattr(query_stream, "make_query_clip", lambda *_: toy_clip([1, 1]))
    for place in ("here", "there"):
        write_scannet(tmp_path / place / "scan", SyntheticSequence(1, frames=2, height=30, width=40))
        monkeypatch.chdir(tmp_path / place)
        for name in ("scan", "./scan"):
            (scene,) = find_scenes([name], 0)
            ClipCache(TOY, CPU, tmp_path / "cache")(scene, 0, 2)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_what_a_clip_depends_on_gives_it_another_file(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(query_stream, "make_query_clip", lambda *_: made.append(1) or toy_clip([1, 1]))
    scenes = [RoomScene(1), RoomScene(2)]
    for scene, window, frames in ((scenes[0], 0, 3), (scenes[0], 1, 3), (scenes[0], 0, 4), (scenes[1], 0, 3)):
        ClipCache(TOY, CPU, tmp_path)(scene, window, frames)
    for recipe in (replace(TOY, stride=2), replace(TOY, stack={**TOY.stack, "features.cell": 8})):
        ClipCache(recipe, CPU, tmp_path)(scenes[0], 0, 3)
    assert len(made) == len(list(tmp_path.iterdir())) == 6


def test_a_cache_must_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="name another with --cache"):
        ClipCache(TOY, CPU, tmp_path / "file")


# The stream


class RecordingCache:
    """A cache that records its calls and returns a clip of two masks, or None."""

    device = CPU

    def __init__(self, *usable):
        self.calls, self.usable = [], usable

    def __call__(self, scene, window, frames):
        self.calls.append((scene.seed, window, frames))
        return toy_clip([1, 1], seed=scene.seed) if scene.seed in self.usable or not self.usable else None


def list_calls(recipe, first=0, rank=0):
    """List the clips that a stream takes, batch by batch."""
    cache = RecordingCache()
    scenes = [RoomScene(seed) for seed in range(recipe.scenes)]
    count = sum(1 for _ in QueryStream(recipe, scenes, cache, first, rank))
    assert len(cache.calls) == count * recipe.batch
    return [tuple(cache.calls[n : n + recipe.batch]) for n in range(0, len(cache.calls), recipe.batch)]


def seeds(batches):
    return [seed for each in batches for seed, _, _ in each]


def test_an_epoch_takes_every_scene_once_in_an_order_of_its_own():
    recipe = replace(TOY, scenes=8, epochs=3)
    batches = list_calls(recipe)
    epochs = [seeds(batches[n : n + 4]) for n in (0, 4, 8)]
    assert all(sorted(order) == list(range(8)) for order in epochs)
    assert len({tuple(order) for order in epochs}) == 3
    assert list_calls(recipe) == batches
    assert list_calls(replace(recipe, seed=1)) != batches
    assert list_calls(recipe, first=5) == batches[5:]


def test_the_last_batch_of_an_epoch_is_full_too():
    for batches in (list_calls(replace(TOY, scenes=3, epochs=2)), list_calls(replace(TOY, scenes=1, epochs=4))):
        assert len(batches) == 4
    counts = Counter(seeds(list_calls(replace(TOY, scenes=3, epochs=1))))
    assert sorted(counts.values()) == [1, 1, 2]


def test_epochs_take_windows_in_turn():
    batches = list_calls(replace(TOY, scenes=2, epochs=5, windows=2))
    assert [{window for _, window, _ in each} for each in batches] == [{0}, {1}, {0}, {1}, {0}]


def test_processes_share_the_scenes_of_an_epoch():
    recipe = replace(TOY, scenes=8, epochs=1, processes=2)
    assert recipe.steps == 2
    assert sorted(seeds(list_calls(recipe)) + seeds(list_calls(recipe, rank=1))) == list(range(8))


def test_scenes_without_a_clip_are_left_out_of_their_batch():
    recipe, scenes = replace(TOY, scenes=2, epochs=1), [RoomScene(0), RoomScene(1)]
    (batch,) = QueryStream(recipe, scenes, RecordingCache(1))
    assert len(batch.shares) == 1
    with pytest.raises(InputError, match=r"rooms:\d, rooms:\d; leave them out"):
        next(iter(QueryStream(recipe, scenes, RecordingCache(5))))


# Batches, and what is learned of them


def test_masks_are_cut_in_two():
    clip = replace(toy_clip([2, 0, 30], cells=24), size=torch.tensor([4, 6]))
    shares = clip.shares.float()
    kept, off = cut_masks(clip, 0.0, dice(0))
    assert torch.equal(kept, shares)
    assert not off.any()
    kept, off = cut_masks(clip, 1.0, dice(0))
    assert torch.equal(kept + off, shares)
    assert not ((kept > 0) & (off > 0)).any()
    assert (kept > 0).any(1).all(), "something of every mask"
    assert (off > 0).any(1).sum() > 20
    assert torch.equal(kept, cut_masks(clip, 1.0, dice(0))[0])
    assert not torch.equal(kept, cut_masks(clip, 1.0, dice(1))[0])
    some = (cut_masks(clip, 0.5, dice(0))[1] > 0).any(1)
    assert 0 < some.sum() < len(shares)


def test_a_mask_is_cut_by_a_line():
    clip = replace(toy_clip([40], cells=24), size=torch.tensor([4, 6]))
    places = np.stack((np.arange(24) // 6, np.arange(24) % 6, np.ones(24)), 1)
    for kept in (cut_masks(clip, 1.0, dice(0))[0] > 0).numpy():
        sides = np.where(kept, -1.0, 1.0)[:, None] * places
        line = linprog(np.zeros(3), A_ub=sides, b_ub=np.full(24, -1e-3), bounds=(-99, 99))
        assert line.status == 0, "there is a line with what is kept on one side"


def dice(seed):
    return torch.Generator().manual_seed(seed)


def test_a_stream_makes_queries_of_pieces_and_targets_of_whole_masks():
    recipe = replace(TOY, scenes=2, epochs=3, cut=1.0)
    batches, again = (list(QueryStream(recipe, [RoomScene(0), RoomScene(1)], RecordingCache())) for _ in range(2))
    for batch, same in zip(batches, again, strict=True):
        assert torch.equal(batch.shown, same.shown)
        kept, off = batch.shown.chunk(2, dim=2)
        torch.testing.assert_close(kept + off, batch.shares)
        assert not torch.equal(kept, batch.shares)
    other = next(iter(QueryStream(recipe, [RoomScene(0), RoomScene(1)], RecordingCache(), first=1)))
    assert torch.equal(other.shown, batches[1].shown)
    whole = next(iter(QueryStream(replace(recipe, cut=0.0), [RoomScene(0), RoomScene(1)], RecordingCache())))
    assert torch.equal(whole.shown.chunk(2, dim=2)[0], whole.shares)


def test_a_stream_forgets_by_chance():
    recipe = replace(TOY, scenes=2, epochs=4, forget=0.5)
    every, some, none = (
        torch.cat([batch.known.any(-1)[:, 1:].flatten() for batch in stream_of(replace(recipe, forget=chance))])
        for chance in (0.0, 0.5, 1.0)
    )
    assert every.all()
    assert 0 < some.sum() < len(some)
    assert not none.any()


def stream_of(recipe):
    return QueryStream(recipe, [RoomScene(0), RoomScene(1)], RecordingCache())


def test_clips_side_by_side_are_padded():
    one, other = toy_clip([2, 0, 1]), toy_clip([1, 3], cells=6, seed=1)
    batch = make_batch([one, other])
    assert batch.shares.shape == (2, 2, 3, 6)
    assert batch.cells.tolist() == [[True] * 4 + [False] * 2, [True] * 6]
    torch.testing.assert_close(batch.shares[0, 0, :2, :4], one.shares[:2].float())
    assert not batch.shares[0, 0, 2].any()
    assert not batch.shares[0, 1].any(), "a frame without masks"
    torch.testing.assert_close(batch.shares[1, 1], other.shares[1:].float())
    assert batch.known[0, 1].nonzero().flatten().tolist() == [0, 1]
    assert batch.known[1, 1].nonzero().flatten().tolist() == [0]
    torch.testing.assert_close(batch.context[0, 1, :4].sum(-1), torch.ones(4))
    assert not batch.context[0, 1, 4:].any()
    assert batch.owners[0].tolist() == [[0, 1, 0], [0, 0, 0]]
    assert not batch.semantic[0, :, 4:].any()


def test_a_clip_without_masks_is_not_cut():
    assert cut_masks(toy_clip([0, 0]), 1.0, dice(0))[0].shape == (0, 4)


def test_clips_of_no_masks_make_a_batch():
    losses = toy_learner()(make_batch([toy_clip([0, 0]), toy_clip([0, 0], seed=1)]))
    assert losses["seg"].item() == losses["xseg"].item() == 0
    assert losses["dist"] > 0


@pytest.mark.parametrize("context", [True, False])
def test_queries_of_a_clip_are_the_same_in_any_company(context):
    clips, learner = [toy_clip([2, 0, 1]), toy_clip([1, 3, 2], cells=6, seed=1)], toy_learner(context=context).eval()
    together = make_batch(clips)
    with torch.no_grad():
        found = learner.compute_queries(concatenate_features(together.geometric, together.semantic), together)
        for row, clip in enumerate(clips):
            alone = make_batch([clip])
            expected = learner.compute_queries(concatenate_features(alone.geometric, alone.semantic), alone)[0]
            for t, count in enumerate(clip.masks.tolist()):
                torch.testing.assert_close(found[row, t, :count], expected[t, :count], atol=1e-5, rtol=0)


@pytest.mark.parametrize("context", [True, False])
def test_a_query_depends_on_earlier_frames_alone_and_only_with_context(context):
    learner, batch = toy_learner(context=context).eval(), make_batch([toy_clip([2, 2, 2])])
    features = concatenate_features(batch.geometric, batch.semantic)
    other = features.clone()
    other[:, 1] += torch.randn(other[:, 1].shape)
    with torch.no_grad():
        difference = (
            (learner.compute_queries(other, batch) - learner.compute_queries(features, batch)).abs().amax((0, 2, 3))
        )
    assert difference[0] == 0
    assert difference[1] > 1e-3
    assert (difference[2] > 1e-4) == context


def test_the_loss_of_a_recalled_query_trains_its_own_frame():
    """The loss of a recalled query reaches the features of its own frame."""
    learner, batch = toy_learner(), make_batch([toy_clip([2, 2])])
    batch.geometric.requires_grad_()
    learner(batch)["xseg"].backward()
    gradient = batch.geometric.grad.abs().amax((0, 2, 3))
    assert (gradient > 0).all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in learner.parameters())


def test_every_parameter_takes_part(rooms):
    """So that several processes need not search for unused ones."""
    clip = rooms[0]
    torch.manual_seed(0)
    for context in (True, False):
        sizes = QuerySizes(clip.geometric.shape[-1], clip.semantic.shape[-1], 16, 2, 1, context=context)
        learner = QueryLearner(sizes)
        torch.stack([*learner(make_batch([clip])).values()]).sum().backward()
        assert [name for name, p in learner.named_parameters() if p.grad is None] == []


# The recipe and the command


def test_the_weights_of_the_losses_are_the_papers():
    assert (QueryRecipe().seg, QueryRecipe().dist, QueryRecipe().xseg) == (1.0, 0.1, 0.5)


@pytest.mark.parametrize("kind", ["rgbd", "nano"])
def test_the_recipes_that_are_shipped_are_sound(kind, pytestconfig):
    recipe = read_recipe(QueryRecipe, pytestconfig.rootpath / "config" / f"train_queries_{kind}.yaml")
    assert recipe.config.reconstruction.kind == kind
    assert recipe.steps > recipe.warmup


def test_a_recipe_is_what_was_written(tmp_path):
    assert read_recipe(QueryRecipe, written(tmp_path / "toy.yaml")) == TOY


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 18, "heads": 4}, "width must be a multiple of heads (4), got 18"),
        ({"stack": {"reconstruction.kid": "rgbd"}}, "stack: unknown key 'reconstruction.kid'; did you mean"),
        ({"stack": {"reconstruction.kind": "lidar"}}, "stack: reconstruction.kind must be one of"),
        ({"stack": {"reconstruction": {"kind": "rgbd"}}}, "stack: unknown key 'reconstruction'"),
        ({"stack": "rgbd"}, "stack must be keys and values, got 'rgbd'"),
        ({"frames": 1}, "frames must be a whole number >= 2 and <= 1024, got 1"),
        ({"held_frames": 1}, "held_frames must be a whole number >= 2"),
        ({"xseg": -1}, "xseg must be a number >= 0"),
        ({"seed": 1000}, "seed must be a whole number >= 0 and <= 999"),
        ({"layerz": 2}, "unknown key 'layerz'; did you mean 'layers'?"),
    ],
)
def test_a_recipe_that_is_none_is_refused(tmp_path, changes, said):
    with pytest.raises(ConfigError) as refused:
        read_recipe(QueryRecipe, written(tmp_path / "recipe.yaml", **changes))
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def command(tmp_path, *data, recipe=None, **changes):
    recipe = recipe or written(tmp_path / "recipe.yaml", **changes)
    return ["train", "queries", "--config", str(recipe), *data, "-o", str(tmp_path / "out"), "--device", "cpu"]


def test_the_command_trains(tmp_path, capsys, cache, whole):
    assert main([*command(tmp_path, ROOMS), "--cache", str(cache), "--precision", "32-true"]) == 0
    weights = tmp_path / "out" / "weights.safetensors"
    assert f"Weights: {weights}" in capsys.readouterr().out
    assert weights.read_bytes() == (whole / "weights.safetensors").read_bytes()


def test_the_command_tells_of_itself(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "queries", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("DATA", "--config", "--cache", "--seed", "refinement.learned.weights"))


@pytest.mark.parametrize(
    ("data", "changes", "said"),
    [
        (["nowhere"], {}, "nowhere does not exist; give a video, a folder"),
        ([ROOMS], {"scenes": 0}, "must hold a scene, got none in rooms"),
        (["synthetic:x"], {}, "synthetic:"),
        ([ROOMS], {"width": 18, "heads": 4}, "width must be a multiple of heads (4), got 18"),
        ([ROOMS], {"stack": {"masks.kimd": "nano"}}, "unknown key 'masks.kimd'; did you mean"),
        ([ROOMS], {"stack": {"features.kind": "reconstruction", "reconstruction.kind": "rgbd"}}, "features.kind"),
    ],
)
def test_what_cannot_be_trained_is_said_in_a_line(tmp_path, capsys, data, changes, said):
    assert main(command(tmp_path, *data, **changes)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "out" / "last.ckpt").exists()


def test_no_rooms_are_refused_by_the_name_of_the_setting():
    with pytest.raises(InputError, match="scenes"):
        find_scenes([ROOMS], 0)


def test_a_recipe_that_is_not_there_is_said_in_a_line(tmp_path, capsys):
    for path in (tmp_path / "none.yaml", tmp_path):
        assert main(command(tmp_path, ROOMS, recipe=path)) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert str(path) in line


def test_a_folder_of_nothing_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError) as refused:
        find_scenes([str(tmp_path)], 0)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("given", [["rooms", "--config", "x.yaml"], ["--config", "x.yaml", "-o", "out"]])
def test_a_command_that_lacks_something_ends_with_2(capsys, given):
    with pytest.raises(SystemExit) as ended:
        main(["train", "queries", *given])
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
