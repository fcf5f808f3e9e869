"""The nano masks: regions from affinities on paper, the net and its file, and its training at toy size."""

import csv
import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from defaults import load_nano_masks, make_nano_masks
from torch import nn

from moonseg3r_core.cli import main
from moonseg3r_core.errors import ConfigError, InputError, OutputError
from moonseg3r_core.masks.affinities import (
    OFFSETS,
    compute_boundaries,
    compute_region_scores,
    join_regions,
    label_regions,
    list_border_pairs,
    pair_pixels,
    raise_affinities,
)
from moonseg3r_core.masks.geometry_channels import COUNT, compute_geometry_channels
from moonseg3r_core.masks.image_features import ImageFeatures
from moonseg3r_core.masks.mask_net import MaskNet, read_mask_net, write_mask_net
from moonseg3r_core.masks.nano import choose_network_size
from moonseg3r_core.ops.xfeat import XFEAT_SIZE
from moonseg3r_core.reconstruction.multi_view.net import read_multi_view_net
from moonseg3r_core.types import Frame, Geometry, MapView, PixelGrid
from moonseg3r_core.weights import find

pytest.importorskip("lightning_fabric")

from moonseg3r_core.training.common.engine import make_fabric
from moonseg3r_core.training.common.recipe import read_recipe
from moonseg3r_core.training.masks import pictures
from moonseg3r_core.training.masks.geometries import SHARES
from moonseg3r_core.training.masks.pictures import PictureStream, make_pictures
from moonseg3r_core.training.masks.recipe import MaskRecipe
from moonseg3r_core.training.masks.scores import compute_best_ious
from moonseg3r_core.training.masks.train import MaskRun, compute_affinity_loss, compute_pixel_weights, train_masks

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = MaskRecipe(
    widths=(8, 8, 8), steps=4, batch=2, height=32, width=64, frames=2, rooms=2, visits=50, warmup=2, rate=5e-3, held=0
)


@pytest.fixture(scope="module")
def estimator():
    """The net of the package that estimates geometry from several views."""
    return read_multi_view_net(find("multi_view"))


@pytest.fixture(scope="module", autouse=True)
def rendered_once():
    """The pictures of a seed and size are rendered once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "make_pictures", functools.cache(pictures.make_pictures))
        yield


def truth(ids):
    """The affinities that a net sure of `ids` would give."""
    found = np.ones((len(OFFSETS), *ids.shape), np.float32)
    for channel, (down, right) in zip(found, OFFSETS, strict=True):
        here, there = pair_pixels(ids, down, right)
        channel[: here.shape[0], : here.shape[1]] = here == there
    return found


def same_regions(labels, ids):
    """Whether two label images say the same of every pair of pixels."""
    both = len(np.unique(np.stack((labels.ravel(), ids.ravel())), axis=1).T)
    return both == len(np.unique(labels)) == len(np.unique(ids))


def find_regions(affinities):
    return label_regions(affinities, smooth=0.7, join=0.5)


def drawn(*rows, times=4):
    """An id image of letters, each a square of `times` pixels."""
    return np.kron(np.array([[ord(letter) for letter in row] for row in rows]), np.ones((times, times), int))


def test_regions_are_those_that_the_affinities_tell_of():
    for ids in (drawn("aab", "aab"), drawn("aaaa", "abba", "abba", "aaaa"), drawn("aaaaaaaaaa", times=5)):
        assert same_regions(find_regions(truth(ids)), ids)


def test_where_three_regions_meet_no_more_than_a_pixel_is_in_doubt():
    ids = drawn("aab", "aab", "ccb")
    labels = find_regions(truth(ids))
    assert len(np.unique(labels)) == 3
    wrong = sum((ids[labels == label] != np.bincount(ids[labels == label]).argmax()).sum() for label in range(3))
    assert wrong <= 1


def test_far_pairs_join_what_something_thin_hides():
    ids = drawn("aabaa", "aabaa", "aabaa")
    assert same_regions(find_regions(truth(ids)), ids)
    near = truth(ids)
    near[2:] = 0.5  # only neighbours are sure
    assert len(np.unique(find_regions(near))) == 3


def test_the_names_of_ids_do_not_matter():
    ids = drawn("aab", "cab")
    np.testing.assert_array_equal(find_regions(truth(ids)), find_regions(truth(200 - ids)))


def test_boundaries_stand_on_both_sides_of_a_border():
    expected = [[0, 1, 1, 0], [0, 1, 1, 0]]
    np.testing.assert_array_equal(compute_boundaries(truth(drawn("aabb", "aabb", times=1))), expected)


def test_pairs_are_counted_between_regions_only():
    quarter = np.full((len(OFFSETS), 1, 4), 0.25, np.float32)
    pairs = list_border_pairs(quarter, np.array([[0, 0, 1, 1]]))
    assert list(zip(*pairs, strict=True)) == [(0, 1, 0.25, 1), (0, 1, 0.25, 1)]  # 1 and 3 pixels apart


def test_of_far_pairs_a_quarter_stands_for_all():
    halves = np.zeros((40, 40), int)
    halves[:, 20:] = 1
    _, _, _, weight = list_border_pairs(np.zeros((len(OFFSETS), 40, 40), np.float32), halves)
    assert sorted(set(weight.tolist())) == [1, 4]
    assert weight.sum() == pytest.approx(40 * (1 + 3 + 9 + 13), abs=40)  # 27 apart there are 13 a row


def test_the_surest_regions_join_first_and_their_means_decide_the_rest():
    first, second = np.array([0, 0, 1]), np.array([1, 2, 2])
    sums = np.array([[1, 0.9], [3, 0.3], [1, 0.6]])  # 0-1 0.9, 0-2 0.1, 1-2 0.6: (0.3 + 0.6) / 4 in the end
    np.testing.assert_array_equal(join_regions(first, second, sums, 0.5, 3), [0, 0, 1])
    np.testing.assert_array_equal(join_regions(first, second, sums, 0.2, 3), [0, 0, 0])
    np.testing.assert_array_equal(join_regions(first, second, sums, 0.95, 3), [0, 1, 2])
    np.testing.assert_array_equal(join_regions(first[:0], second[:0], sums[:0], 0.5, 2), [0, 1])


def test_a_region_scores_by_how_alike_it_is_inside_and_how_unlike_what_is_around():
    ids = drawn("aab", "aab")
    sure = compute_region_scores(truth(ids), ids - ids.min())
    np.testing.assert_allclose(sure, [1, 1], atol=1e-5)
    unsure = 0.5 + 0.2 * (truth(ids) - 0.5) * 2  # 0.7 inside, 0.3 across
    np.testing.assert_allclose(compute_region_scores(unsure, ids - ids.min()), [0.49, 0.49], atol=1e-5)
    np.testing.assert_allclose(compute_region_scores(truth(0 * ids), 0 * ids), [1], atol=1e-5)  # all is one region


def geometry_of(depth, confidence=None):
    height, width = depth.shape
    k = torch.tensor([[width, 0, (width - 1) / 2], [0, width, (height - 1) / 2], [0, 0, 1.0]])
    sure = (depth > 0).float() if confidence is None else confidence
    grid = PixelGrid(height, width)
    return Geometry(torch.zeros(height, width, 3), sure, depth, torch.eye(4, dtype=torch.float64), k, grid)


def test_the_channels_of_a_geometry_do_not_change_with_its_unit():
    depth = torch.full((24, 32), 2.0)
    depth[:, 16:] = 4.0
    depth[:4] = 0
    given = torch.where(depth > 2, 0.5, 1.0) * (depth > 0)
    one = compute_geometry_channels(geometry_of(depth, given), (24, 32), 24, 32)
    other = compute_geometry_channels(geometry_of(depth * 7, given * 3), (24, 32), 24, 32)
    assert one.shape == (COUNT, 24, 32)
    np.testing.assert_allclose(other, one, atol=1e-4)
    inverse, *normal, edge, sure, known = one[:, 12]
    assert inverse[4] == pytest.approx(2 * inverse[28])
    np.testing.assert_allclose([axis[8] for axis in normal], [0, 0, -1], atol=1e-3)
    assert edge[15] > 0.9
    assert edge[4] == edge[28] == 0
    assert sure[4] - sure[28] == pytest.approx(np.log(2), abs=1e-4)
    assert known.all()
    assert (one[:, 0] == 0).all(), "nothing is known there"


def test_without_geometry_all_channels_are_nothing():
    assert (compute_geometry_channels(Geometry.empty(24, 32), (24, 32), 24, 32) == 0).all()


def test_without_xfeat_the_features_are_nothing():
    assert torch.equal(ImageFeatures(None)(torch.ones(2, 3, 64, 32)), torch.zeros(2, XFEAT_SIZE, 8, 4))


def test_pairs_that_the_map_shows_as_one_are_more_alike():
    ids = np.array([[1, 1, 2, 0, 0]])
    raised = raise_affinities(np.full((len(OFFSETS), 1, 5), 0.5, np.float32), ids, 0.3)
    np.testing.assert_allclose(raised[0, 0, :4], [0.65, 0.5, 0.5, 0.5])  # neighbours to the right
    assert (raised[1:] == 0.5).all()


class Telling(nn.Module):
    """A net that takes pixels of one color for one object; sure: the logit of that."""

    step = 4

    def __init__(self, sure=8):
        super().__init__()
        self.sure = sure
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, images, geometry, features):
        logits = torch.zeros(len(images), len(OFFSETS), *images.shape[2:])
        for channel, (down, right) in enumerate(OFFSETS):
            here, there = pair_pixels(images[0].permute(1, 2, 0).numpy(), down, right)
            same = torch.from_numpy((here == there).all(-1)).float()
            logits[0, channel, : same.shape[0], : same.shape[1]] = self.sure * (2 * same - 1)
        return logits


def frame_of(ids):
    image = torch.from_numpy(np.stack((ids, 255 - ids, ids // 2), -1).astype(np.uint8))
    return Frame(0, 0.0, image)


def test_the_stage_gives_disjoint_masks_largest_first():
    ids = drawn("aaabb", "acabb", "aaabb")
    frame = frame_of(ids)
    found = make_nano_masks(Telling(), min_area=1, long_side=20)(frame, Geometry.empty(*frame.size))
    expected = np.stack([ids == ord(letter) for letter in "abc"])  # 128, 96 and 16 pixels
    np.testing.assert_array_equal(found.masks.numpy(), expected)
    found = make_nano_masks(Telling(), min_area=17, long_side=20)(frame, Geometry.empty(*frame.size))
    np.testing.assert_array_equal(found.masks.numpy(), expected[:2])


def test_what_the_map_shows_whole_stays_whole():
    """A net that sees a stripe across a box; the map has the box as one instance, at every second pixel."""
    seen = drawn("aaaaa", "abcba", "aaaaa", times=8)
    frame = frame_of(seen)
    box = (seen == ord("b")) | (seen == ord("c"))
    masks = make_nano_masks(Telling(sure=2.0), min_area=1, long_side=40, prior=0.6)
    geometry = geometry_of(torch.ones(*frame.size))
    assert len(masks(frame, geometry)) == 4
    masks.show_map(MapView(torch.from_numpy(np.where(box, 7, 0)[::2, ::2]), 2))
    whole = masks(frame, geometry)
    assert len(whole) == 2
    np.testing.assert_array_equal(whole.masks[1].numpy(), box)
    assert len(masks(frame, geometry)) == 4, "the map is shown for one frame"


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (480, 640)])
def test_pictures_of_any_size_bring_masks_of_that_size(size):
    frame = Frame(0, 0.0, torch.full((*size, 3), 90, dtype=torch.uint8))
    found = make_nano_masks(MaskNet((8, 8, 8)).eval(), min_area=1)(frame, Geometry.empty(*size))
    assert found.masks.shape[1:] == size
    assert (found.masks.sum(0) == 1).all()


def test_the_inner_size_keeps_the_shape_of_the_picture():
    assert choose_network_size(240, 320, 256, 32) == (192, 256)
    assert choose_network_size(640, 360, 256, 32) == (256, 160)
    assert choose_network_size(1, 1000, 256, 32) == (32, 256)


def test_the_net_says_something_of_every_pixel():
    net = MaskNet((8, 16, 8))
    assert net.step == 8
    given = torch.zeros(2, 3, 24, 16), torch.zeros(2, COUNT, 24, 16), torch.zeros(2, XFEAT_SIZE, 3, 2)
    assert net(*given).shape == (2, len(OFFSETS), 24, 16)


def test_a_file_holds_the_net(tmp_path):
    net, file = MaskNet((8, 16, 8)), tmp_path / "net.safetensors"
    write_mask_net(file, net)
    again = read_mask_net(file)
    assert again.widths == net.widths
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor.half().float(), rtol=0, atol=0)
    model = load_nano_masks(file, min_area=7)
    assert (model.min_area, model.net.widths) == (7, (8, 16, 8))


def test_a_file_of_something_else_is_an_error_in_one_line(tmp_path):
    file = tmp_path / "net.safetensors"
    for content in (b"", b"nonsense"):
        file.write_bytes(content)
        with pytest.raises(InputError, match="must hold a mask net"):
            read_mask_net(file)
    with pytest.raises(InputError, match="cannot read"):
        read_mask_net(tmp_path / "none.safetensors")


def test_the_loss_is_nothing_for_the_truth_and_log_2_for_no_opinion():
    ids = drawn("aab", "ccb", times=16)
    sure = torch.from_numpy(truth(ids))[None] * 60 - 30
    assert compute_affinity_loss(sure, torch.from_numpy(ids)[None]) < 1e-6
    assert compute_affinity_loss(0 * sure, torch.from_numpy(ids)[None]) == pytest.approx(np.log(2))
    assert compute_affinity_loss(-sure, torch.from_numpy(ids)[None]) > 20


def test_pixels_of_small_objects_count_more():
    ids = torch.ones(2, 100, 100, dtype=torch.int32)
    ids[0, :10, :5] = 2  # 50 pixels; 200 would count once
    counts = compute_pixel_weights(ids)
    assert counts[0, 0, 0] == 2
    assert counts[0, 99, 99] == counts[1, 0, 0] == 0.25


def test_best_ious_on_paper():
    ids, labels = torch.zeros(20, 40, dtype=torch.int32), torch.zeros(20, 40, dtype=torch.int32)
    ids[:, :10], ids[:, 10:20], ids[:4, 30:] = 7, 8, 9  # 200, 200 and 40 pixels, the rest unlabelled
    labels[:10, :10], labels[10:, :10] = 1, 2
    labels[:, 10:30] = 3
    assert compute_best_ious(labels, ids) == {7: 0.5, 8: 0.5}
    assert compute_best_ious(0 * labels, ids) == {7: 0.0, 8: 0.0}


def test_pictures_are_those_of_their_seed(estimator):
    one, again = (make_pictures(1_000_003, 2, 32, 64, estimator) for _ in range(2))
    assert one.images.shape == (2, 32, 64, 3)
    assert torch.equal(one.images, again.images)
    assert torch.equal(one.ids, again.ids)
    assert torch.equal(one.channels, again.channels)
    assert (one.ids > 0).all()
    assert not torch.equal(one.ids[0], one.ids[1])


def test_the_geometry_of_pictures_is_estimated_a_cameras_exact_and_none(estimator):
    channels = make_pictures(1_000_003, 2, 32, 64, estimator).channels.float()
    assert channels.shape == (len(SHARES), 2, COUNT, 32, 64)
    estimated, camera, exact, none = channels
    assert (exact[:, -1] == 1).all(), "everything is known"
    assert (camera[:, -1] == 0).any()
    assert (none == 0).all()
    near = exact[:, 0]
    for other in (estimated, camera):
        known = other[:, -1] == 1
        assert known.any()
        assert 0 < (other[:, 0] - near)[known].abs().mean() < 0.5


def test_a_stream_goes_on_as_if_it_had_never_stopped(estimator):
    recipe = MaskRecipe(widths=(8, 8, 8), steps=3, batch=2, height=32, width=64, frames=2, rooms=2, visits=1.0)
    batches = list(PictureStream(recipe, estimator))
    assert len(batches) == 3
    again = next(iter(PictureStream(recipe, estimator, 2)))
    for one, other in zip(vars(again).values(), vars(batches[2]).values(), strict=True):
        assert torch.equal(one, other)
    assert again.images.min() >= -1
    assert again.images.max() <= 1


def test_a_training_that_stops_and_goes_on_ends_where_one_that_does_not_ends(tmp_path):
    straight = read_mask_net(train_masks(TINY, tmp_path / "a", device="cpu"))
    train_masks(TINY, tmp_path / "b", device="cpu", until=0.0)
    resumed = read_mask_net(train_masks(TINY, tmp_path / "b", device="cpu"))
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    with pytest.raises(InputError, match="of this recipe"):
        train_masks(MaskRecipe(widths=(8, 8, 8), steps=9, height=32, width=64, held=0), tmp_path / "b", device="cpu")


def test_a_training_begins_with_weights_of_its_widths(tmp_path):
    weights = train_masks(TINY, tmp_path / "a", device="cpu")
    run = MaskRun(make_fabric("cpu", "32-true", 0), TINY, tmp_path / "b", weights)
    for name, tensor in read_mask_net(weights).state_dict().items():
        assert torch.equal(run.net.state_dict()[name], tensor), name
    wider = dataclasses.replace(TINY, widths=(8, 8, 16))
    with pytest.raises(InputError, match=r"widths \[8, 8, 16\], got \[8, 8, 8\]"):
        train_masks(wider, tmp_path / "c", device="cpu", start=weights)


def test_the_recipe_of_a_run_stands_beside_its_checkpoint(tmp_path):
    train_masks(TINY, tmp_path, device="cpu", until=0.0)
    assert read_recipe(MaskRecipe, tmp_path / "recipe.yaml") == TINY


def test_out_must_be_a_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="cannot write the folder"):
        train_masks(TINY, tmp_path / "out", device="cpu")


def test_the_loss_falls(tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "{widths: [8, 8, 8], steps: 100, batch: 2, height: 32, width: 64, frames: 2, rooms: 2, visits: 100, warmup: 2,"
        " rate: 5.e-3, held: 1, held_frames: 1, score_every: 100, save_every: 100}"
    )
    assert main(["train", "masks", str(recipe), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 0
    assert "weights.safetensors" in capsys.readouterr().out
    with (tmp_path / "out" / "steps.csv").open() as file:
        first, last = (float(row["loss"]) for row in csv.DictReader(file))
    assert last < first
    with (tmp_path / "out" / "heldout.csv").open() as file:
        assert [0 <= float(row["iou"]) <= 1 for row in csv.DictReader(file)] == [True]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{steps: 0}", "steps must be a whole number >= 1"),
        ("{seed: 1000}", "seed must be a whole number >= 0 and <= 999"),
        ("{widths: []}", "widths must be"),
        ("{height: 100}", "multiples of 32"),
        ("{batch: 64}", "rooms must be"),
        ("{stepz: 3}", "did you mean 'steps'"),
        ("[1, 2]", "must hold keys and values"),
    ],
)
def test_a_recipe_that_is_none_is_an_error_in_one_line(tmp_path, content, words):
    (tmp_path / "recipe.yaml").write_text(content)
    with pytest.raises(ConfigError, match=words):
        read_recipe(MaskRecipe, tmp_path / "recipe.yaml")


def test_the_recipe_for_a_gpu_trains_the_same_net():
    recipe = read_recipe(MaskRecipe, Path(__file__).parents[2] / "config" / "train_masks_gpu.yaml")
    assert recipe.widths == MaskRecipe().widths


def test_the_recipe_of_the_package_is_the_usual_one():
    assert read_recipe(MaskRecipe, Path(__file__).parents[2] / "config" / "train_masks.yaml") == MaskRecipe()
