"""Lifting, tokens, within-frame merge, matching, instances: cases on paper, then properties."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moonseg3r_core.fusion.borders import measure_borders
from moonseg3r_core.fusion.consensus import ViewConsensus
from moonseg3r_core.fusion.instances import Instances, PairwiseMean, RunningMean
from moonseg3r_core.fusion.lifting import (
    KeyBoxes,
    Lift,
    PointBoxes,
    compute_percentile_boxes,
    compute_percentile_boxes_plain,
    compute_state_tokens,
)
from moonseg3r_core.fusion.match import (
    BipartiteMatch,
    BoxSimilarity,
    JoinContained,
    OverlapSimilarity,
    QuerySimilarity,
    StateSimilarity,
    solve_assignment,
)
from moonseg3r_core.fusion.merge import BorderMerge, NoMerge, SimilarityMerge, merge_groups
from moonseg3r_core.fusion.overlap import Overlap, count_overlap
from moonseg3r_core.ops.grids import resample_to_grid, resample_to_image
from moonseg3r_core.ops.pooling import count_cell_pixels
from moonseg3r_core.types import Assignment, Frame, Geometry, MaskProposals, PixelGrid, Queries

PAPER = [QuerySimilarity(), StateSimilarity(), BoxSimilarity()]


def wall(height=32, width=48, depth=2.0):
    """A wall that faces the camera: x and y in centimetres of the pixel, z = depth."""
    v, u = torch.meshgrid(torch.arange(height) / 100, torch.arange(width) / 100, indexing="ij")
    points = torch.stack((u, v, torch.full_like(u, depth)), dim=-1)
    ones = torch.ones(height, width)
    return dataclasses.replace(Geometry.empty(height, width), points=points, confidence=ones, depth=depth * ones)


def proposals(*boxes, height=32, width=48):
    """Masks from (top, bottom, left, right)."""
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, (top, bottom, left, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    return MaskProposals(masks, torch.ones(len(boxes)))


def queries(features, boxes=None, tokens=None, labels=None, areas=None):
    features = torch.tensor(features, dtype=torch.float32)
    m = len(features)
    unit = torch.tensor([[0.0, 0, 0], [1, 1, 1]]) + torch.arange(m)[:, None, None] * 10.0
    return Queries(
        features=features,
        labels=torch.zeros(1, m, dtype=torch.int32) + torch.arange(1, m + 1, dtype=torch.int32)
        if labels is None
        else labels,
        areas=torch.ones(m, dtype=torch.int64) if areas is None else torch.tensor(areas),
        boxes=unit if boxes is None else torch.tensor(boxes, dtype=torch.float32),
        scores=torch.ones(m),
        state_tokens=None if tokens is None else torch.tensor(tokens, dtype=torch.float32),
    )


def seen(q):
    """The frame and the geometry that queries are of: a gray wall."""
    height, width = q.labels.shape
    return Frame(0, 0.0, torch.full((height, width, 3), 128, dtype=torch.uint8)), wall(height, width)


def nothing(k, m):
    return Overlap(torch.zeros(k, m), torch.zeros(k), torch.zeros(m), torch.ones(m))


def stored(q, ids=None, observations=1):
    ids = torch.arange(1, len(q) + 1) if ids is None else torch.tensor(ids)
    assignment = Assignment(ids, torch.ones(len(q), dtype=torch.bool), torch.zeros(len(q)))
    instances = Instances.empty()
    for _ in range(observations):
        instances = instances.update(q, assignment, 0, RunningMean())
    return instances


# lifting


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 700), st.integers(0, 5), st.integers(1, 400), st.integers(0, 2**31), st.sampled_from([0.0, 1, 50])
)
def test_boxes_at_once_are_those_mask_by_mask(points, masks, samples, seed, offset):
    random = torch.Generator().manual_seed(seed)
    cloud = torch.randn(points, 3, generator=random).round(decimals=1) + offset
    labels = torch.randint(0, masks + 1, (points,), generator=random) ** 2 // max(masks, 1)
    expected = compute_percentile_boxes_plain(cloud, labels, masks, samples)
    torch.testing.assert_close(
        compute_percentile_boxes(cloud, labels, masks, samples), expected, rtol=0, atol=0, equal_nan=True
    )


def test_boxes_of_more_masks_than_are_done_at_once():
    cloud, labels = torch.rand(3000, 3), torch.arange(3000) % 700
    labels[labels == 650] = 0
    expected = compute_percentile_boxes_plain(cloud, labels, 710)
    assert expected.isnan().all(dim=(1, 2)).nonzero().flatten().tolist() == [649, *range(699, 710)]
    torch.testing.assert_close(compute_percentile_boxes(cloud, labels, 710), expected, rtol=0, atol=0, equal_nan=True)


def test_lift_by_hand():
    lifted = Lift(PointBoxes(), 10)(proposals((0, 16, 0, 16), (16, 32, 20, 40)), wall())
    assert lifted.areas.tolist() == [256, 320]
    torch.testing.assert_close(lifted.boxes[0, 1], torch.tensor([0.15, 0.15, 2.0]), atol=0.01, rtol=0)
    assert lifted.labels[0, 0] == 1
    assert lifted.labels[20, 30] == 2
    assert lifted.state_tokens is None


def test_a_mask_without_points_has_no_place():
    geometry = wall()
    geometry.confidence[:, :16] = 0
    lifted = Lift(PointBoxes(), 10)(proposals((0, 16, 0, 16), (16, 32, 20, 40)), geometry)
    assert len(lifted) == 1
    assert set(lifted.labels.unique().tolist()) == {0, 1}
    assert lifted.labels[20, 30] == 1


def test_of_overlapping_masks_the_better_wins_and_of_equals_the_smaller():
    lifted = Lift(PointBoxes(), 10)(proposals((0, 32, 0, 48), (0, 16, 0, 16)), wall())
    assert lifted.areas.tolist() == [32 * 48 - 256, 256]
    unequal = dataclasses.replace(proposals((0, 32, 0, 24), (0, 16, 0, 48)), scores=torch.tensor([0.9, 0.5]))
    assert Lift(PointBoxes(), 10)(unequal, wall()).areas.tolist() == [32 * 24, 16 * 24]


@pytest.mark.parametrize("boxes", [PointBoxes(), KeyBoxes(16, 0.3)])
def test_no_masks_flow_through(boxes):
    lifted = Lift(boxes, 10)(MaskProposals.empty(32, 48), wall())
    assert len(lifted) == 0
    assert lifted.boxes.shape == (0, 2, 3)


def test_key_boxes_are_cell_means_padded():
    labels = torch.zeros(32, 48, dtype=torch.int32)
    labels[:16, :32] = 1
    box = KeyBoxes(cell=16, merge_distance=0.3)(wall(), labels, 1)[0]
    torch.testing.assert_close(box[0], torch.tensor([0.075 - 0.15, 0.075 - 0.15, 2.0 - 0.15]), atol=1e-5, rtol=0)
    torch.testing.assert_close(box[1], torch.tensor([0.235 + 0.15, 0.075 + 0.15, 2.0 + 0.15]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("height", [240, 232])
def test_key_boxes_of_a_size_that_cells_do_not_divide(height):
    """Two masks one above the other: neither box may reach far into the other, whatever the image's height."""
    labels = torch.ones(height, 48, dtype=torch.int32)
    labels[112:] = 2
    upper, lower = KeyBoxes(16, 0.3)(wall(height), labels, 2)
    assert upper[1, 1] == pytest.approx((96 + 7.5) / 100 + 0.15, abs=1e-3)
    assert lower[0, 1] == pytest.approx((112 + 7.5) / 100 - 0.15, abs=1e-3)


def test_a_mask_without_a_key_has_its_points_box():
    labels = torch.zeros(32, 48, dtype=torch.int32)
    labels[4:8, 4:8] = 1
    torch.testing.assert_close(KeyBoxes(16, 0.3)(wall(), labels, 1), PointBoxes()(wall(), labels, 1))


def test_grids_there_and_back():
    geometry = dataclasses.replace(Geometry.empty(8, 12), grid=PixelGrid(8, 12, 4.0, 4.0, 2.0, 2.0))
    image = torch.arange(32)[:, None] * 100 + torch.arange(48)
    on_grid = resample_to_grid(image, geometry)
    assert on_grid[1, 2] == 6 * 100 + 10
    assert resample_to_image(on_grid, geometry, (32, 48))[6, 10] == on_grid[1, 2]
    assert resample_to_image(on_grid, geometry, (40, 60))[39, 59] == 0


def test_cell_counts_by_hand():
    labels = torch.tensor([[1, 1, 0, 2], [1, 0, 0, 2]], dtype=torch.int32)
    assert count_cell_pixels(labels, 2, 1, 2).tolist() == [[3.0, 0.0], [0.0, 2.0]]
    valid = torch.tensor([[False, True, True, True]] * 2)
    assert count_cell_pixels(labels, 2, 1, 2, valid).tolist() == [[1.0, 0.0], [0.0, 2.0]]


def test_state_token_by_hand():
    """Eq 11: two state tokens, four patches of one pixel each; a mask over the first two patches."""
    attention = torch.tensor([[[0.1, 0.2, 0.3, 0.4]], [[0.4, 0.3, 0.2, 0.1]]])
    labels = torch.tensor([[1, 1, 0, 2]], dtype=torch.int32)
    tokens = compute_state_tokens(attention, labels, 2)
    torch.testing.assert_close(tokens, torch.tensor([[0.3, 0.7], [0.4, 0.1]]))
    assert compute_state_tokens(None, labels, 2) is None


# merge


def test_alike_masks_merge():
    q = queries([[1.0, 0.0], [0.99, 0.1], [0.0, 1.0]], areas=[30, 10, 5], tokens=[[1, 0], [0, 1], [5, 5]])
    merged = SimilarityMerge(0.8)(q, *seen(q))
    assert merged.areas.tolist() == [40, 5]
    assert merged.labels.tolist() == [[1, 1, 2]]
    torch.testing.assert_close(merged.features[0], (30 * q.features[0] + 10 * q.features[1]) / 40)
    assert merged.state_tokens.tolist() == [[1.0, 1.0], [5.0, 5.0]]
    assert merged.boxes[0].tolist() == [[0, 0, 0], [11, 11, 11]]


def test_a_chain_is_one_component():
    turn = torch.tensor([0.0, 0.5, 1.0])
    q = queries(torch.stack((turn.cos(), turn.sin()), 1).tolist())
    assert len(SimilarityMerge(0.8)(q, *seen(q))) == 1
    assert len(SimilarityMerge(0.9)(q, *seen(q))) == 3
    assert NoMerge()(q, *seen(q)) is q


def test_merging_each_with_itself_changes_nothing():
    q = queries([[1.0, 0.0], [0.0, 1.0]], areas=[3, 4])
    same = merge_groups(q, torch.tensor([0, 1]))
    torch.testing.assert_close(same.features, q.features)
    assert same.labels.equal(q.labels)
    assert same.boxes.equal(q.boxes)


def side_by_side(width=50, height=40):
    """Three masks in columns: the image changes between the second and the third alone."""
    labels = torch.zeros(height, 3 * width, dtype=torch.int32)
    image = torch.full((height, 3 * width, 3), 100, dtype=torch.uint8)
    for n in range(3):
        labels[:, n * width : (n + 1) * width] = n + 1
    image[:, 2 * width :] = 200
    return image, labels


def test_the_change_across_a_border_and_its_length():
    image, labels = side_by_side()
    change, pixels = measure_borders(image, labels, 3)
    step = 150 // 50
    assert pixels[0, 1] == pixels[1, 0] == step * 40, "a step from each of the columns before the border"
    assert change[0, 1] == 0
    assert pixels[0, 2] == change[0, 2] == 0, "no border, no change"
    torch.testing.assert_close(change[1, 2], torch.tensor(100 / 255 * 3**0.5))
    torch.testing.assert_close(change, change.T)


def test_borders_leap_over_gaps_of_a_fiftieth_of_the_width():
    image, labels = side_by_side()
    labels[:, 48:50] = 0
    assert measure_borders(image, labels, 3)[1][0, 1] == 40, "three across, two of them in the gap"
    labels[:, 47:50] = 0
    assert measure_borders(image, labels, 3)[1][0, 1] == 0


def test_borders_of_a_frame_turned_on_its_side():
    image, labels = side_by_side(width=60, height=180)
    change, pixels = measure_borders(image, labels, 3)
    turned, count = measure_borders(image.transpose(0, 1).contiguous(), labels.T.contiguous(), 3)
    torch.testing.assert_close((turned, count), (change, pixels))


def test_borders_of_nothing():
    for height, width, masks in ((4, 6, 0), (4, 6, 2), (1, 1, 1), (3, 500, 2)):
        labels = torch.zeros(height, width, dtype=torch.int32)
        change, pixels = measure_borders(torch.zeros(height, width, 3, dtype=torch.uint8), labels, masks)
        assert change.shape == pixels.shape == (masks, masks)
        assert not change.any()
        assert not pixels.any()


def test_alike_masks_merge_where_no_edge_is_between():
    image, labels = side_by_side()
    labels[:5, :5], labels[:5, 145:] = 4, 5
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    q = Queries(features, labels, torch.full((5,), 80), torch.zeros(5, 2, 3), torch.ones(5))
    _, geometry = seen(q)
    merged = BorderMerge(0.5)(q, Frame(0, 0.0, image), geometry)
    at = {
        name: int(merged.labels[20 if row else 2, column])
        for name, row, column in (
            ("left", 1, 10),
            ("middle", 1, 70),
            ("right", 1, 120),
            ("unlike", 0, 2),
            ("patch", 0, 147),
        )
    }
    assert at["left"] == at["middle"], "alike, and the image goes on"
    assert at["right"] not in (at["left"], at["unlike"]), "alike, with an edge between"
    assert at["unlike"] not in (at["left"], at["right"])
    assert at["patch"] == at["right"]
    assert len(SimilarityMerge(0.5)(q, *seen(q))) == 2, "which joins across edges and the room"


def test_a_short_border_says_nothing():
    image = torch.zeros(40, 150, 3, dtype=torch.uint8)
    labels = torch.zeros(40, 150, dtype=torch.int32)
    labels[:5, :50], labels[:5, 50:100] = 1, 2
    q = Queries(torch.ones(2, 2), labels, torch.full((2,), 250), torch.zeros(2, 2, 3), torch.ones(2))
    assert len(BorderMerge(0.5)(q, Frame(0, 0.0, image), seen(q)[1])) == 2, "5 rows of 3 steps are 15 pixels"
    labels[:7, :50], labels[:7, 50:100] = 1, 2
    assert len(BorderMerge(0.5)(q, Frame(0, 0.0, image), seen(q)[1])) == 1


def test_merge_of_a_mask_without_a_box():
    q = queries([[1.0], [1.0]], boxes=[[[0, 0, 0], [1, 1, 1]], [[torch.nan] * 3] * 2])
    assert SimilarityMerge(0.8)(q, *seen(q)).boxes.tolist() == [[[0, 0, 0], [1, 1, 1]]]


def test_merge_of_nothing():
    empty = Queries.empty(4, 6, 3)
    assert len(BorderMerge(0.8)(empty, *seen(empty))) == 0
    assert len(SimilarityMerge(0.8)(empty, *seen(empty))) == 0


# match


def test_first_frame_makes_new_instances_in_order():
    assignment = BipartiteMatch(1.8, PAPER)(queries([[1.0], [2.0]]), Instances.empty(), nothing(0, 2))
    assert assignment.instance_ids.tolist() == [1, 2]
    assert assignment.is_new.all()


def test_the_same_objects_in_another_order_keep_their_ids():
    first = queries([[1.0, 0.0], [0.0, 1.0]], tokens=[[1, 0], [0, 1]])
    turned = queries([[0.0, 1.0], [1.0, 0.0]], tokens=[[0, 1], [1, 0]], boxes=first.boxes.flip(0).tolist())
    assignment = BipartiteMatch(1.8, PAPER)(turned, stored(first), nothing(2, 2))
    assert assignment.instance_ids.tolist() == [2, 1]
    assert assignment.similarity.tolist() == pytest.approx([1.0, 1.0])


def test_the_threshold_scales_with_the_terms_present():
    """Without a state two terms remain, and 1.8 of three becomes 1.2 of two (docs/decisions.md, 9)."""
    seen = queries([[1.0, 0.0]])
    shifted = [[[0.4, 0, 0], [1.4, 1, 1]]]  # IoU 0.6 / 1.4 = 0.43: 1.43 is above 1.2
    assert BipartiteMatch(1.8, PAPER)(
        queries([[1.0, 0.0]], shifted), stored(seen), nothing(1, 1)
    ).instance_ids.tolist() == [1]
    far = [[[0.8, 0, 0], [1.8, 1, 1]]]  # IoU 0.2 / 1.8 = 0.11: 1.11 is below
    assert BipartiteMatch(1.8, PAPER)(
        queries([[1.0, 0.0]], far), stored(seen), nothing(1, 1)
    ).instance_ids.tolist() == [2]


def test_with_the_state_all_three_terms_count():
    seen = queries([[1.0, 0.0]], tokens=[[1, 0]])
    far = [[[0.8, 0, 0], [1.8, 1, 1]]]
    match = BipartiteMatch(1.8, PAPER)
    assert match(queries([[1.0, 0.0]], far, tokens=[[1, 0]]), stored(seen), nothing(1, 1)).instance_ids.tolist() == [1]
    assert match(queries([[1.0, 0.0]], far, tokens=[[0, 1]]), stored(seen), nothing(1, 1)).instance_ids.tolist() == [2]


def test_the_whole_is_better_than_the_greedy_choice():
    likeness = torch.tensor([[3.0, 2.9], [2.8, 0.5]])
    rows, columns = solve_assignment(likeness, 1.8)
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 10_000), st.sampled_from([-1.0, 0.3, 0.9, 2.0]))
def test_a_pruned_pair_is_never_assigned_and_never_fails_the_solver(k, m, seed, threshold):
    likeness = torch.rand(k, m, generator=torch.Generator().manual_seed(seed))
    likeness[likeness < 0.1] = torch.nan
    rows, columns = solve_assignment(likeness, threshold)
    assert (likeness[rows, columns] >= threshold).all()
    assert len(set(rows.tolist())) == len(rows)
    if threshold < 0 and not likeness.isnan().any():
        assert len(rows) == min(k, m)


def test_a_part_inside_an_instance_joins_it():
    seen = stored(queries([[1.0, 0.0]]))
    q = queries([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], boxes=[[[0, 0, 0], [1, 1, 1]]] + [[[5, 5, 5], [6, 6, 6]]] * 2)
    overlap = Overlap(
        torch.tensor([[50.0, 40.0, 10.0]]),
        torch.tensor([100.0]),
        torch.tensor([50.0, 40.0, 10.0]),
        torch.full((3,), 50.0),
    )
    inner = BipartiteMatch(1.8, PAPER)
    assert inner(q, seen, overlap).instance_ids.tolist() == [1, 2, 3]
    joined = JoinContained(inner, 0.5)(q, seen, overlap)
    assert joined.instance_ids.tolist() == [1, 1, 2]
    assert joined.is_new.tolist() == [False, False, True]


def test_overlap_by_hand():
    """Two instances (rows 1, 2), two masks; 0 is unlabelled on either side."""
    rows = torch.tensor([1, 1, 1, 1, 2, 2, 0, 0])
    labels = torch.tensor([1, 1, 1, 2, 2, 0, 2, 0])
    overlap = count_overlap(rows, labels, 2, 2)
    assert overlap.shared.tolist() == [[3, 1], [0, 1]]
    assert overlap.of_instance.tolist() == [4, 2]
    assert overlap.of_mask.tolist() == [3, 2]
    assert overlap.mask_pixels.tolist() == [3, 3]
    assert overlap.iou[0, 0] == pytest.approx(3 / 4)
    assert overlap.share[0, 1] == pytest.approx(1 / 3)
    assert overlap.cover[1, 1] == pytest.approx(1 / 2)
    assert OverlapSimilarity()(queries([[1.0], [1.0]]), stored(queries([[1.0], [1.0]])), overlap).equal(overlap.iou)


# instances


def test_running_mean_counts_all_observations_alike():
    instances = Instances.empty()
    for step, x in enumerate([3.0, 6.0, 9.0]):
        q = queries([[x]], tokens=[[2 * x]])
        instances = instances.update(
            q, Assignment(torch.tensor([1]), torch.tensor([False]), torch.tensor([0.5])), step, RunningMean()
        )
    assert instances.features.tolist() == [[6.0]]
    assert instances.state_tokens.tolist() == [[12.0]]
    assert instances.observations.tolist() == [3.0]
    assert (instances.first_frame.tolist(), instances.last_frame.tolist()) == ([0], [2])
    assert instances.scores.tolist() == pytest.approx([1.5 / 2.5])


def test_pairwise_mean_forgets_by_halves():
    instances = Instances.empty()
    for x in (4.0, 8.0, 0.0):
        instances = instances.update(
            queries([[x]]), Assignment(torch.tensor([1]), torch.tensor([False]), torch.zeros(1)), 0, PairwiseMean()
        )
    assert instances.features.tolist() == [[3.0]]


def test_two_masks_of_one_instance_are_one_observation():
    q = queries([[1.0], [3.0]], areas=[1, 3])
    instances = Instances.empty().update(
        q, Assignment(torch.tensor([1, 1]), torch.tensor([True, False]), torch.tensor([0.0, 0.6])), 0, RunningMean()
    )
    assert len(instances) == 1
    assert instances.features.tolist() == [[2.5]]
    assert instances.observations.tolist() == [1.0]
    assert instances.boxes[0].tolist() == [[0, 0, 0], [11, 11, 11]]


def test_ids_are_never_reused():
    instances = stored(queries([[1.0], [2.0], [3.0]]))
    assert instances.next_id == 4
    without = instances.join({3: 1})
    assert without.ids.tolist() == [1, 2]
    assert without.next_id == 4
    assert without.features[0].tolist() == [2.0]


def test_joins_may_chain():
    instances = stored(queries([[1.0], [2.0], [3.0]])).join({3: 1, 2: 1})
    assert instances.ids.tolist() == [1]
    assert instances.boxes[0].tolist() == [[0, 0, 0], [21, 21, 21]]


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(5)))
def test_relabelling_masks_relabels_the_assignment(order):
    q = queries(torch.eye(5).tolist(), tokens=torch.eye(5).tolist())
    instances = stored(queries(torch.eye(5)[:3].tolist(), tokens=torch.eye(5)[:3].tolist()))
    match = BipartiteMatch(1.8, PAPER)
    plain = match(q, instances, nothing(3, 5))
    index = torch.tensor(order)
    turned = dataclasses.replace(
        q, features=q.features[index], boxes=q.boxes[index], state_tokens=q.state_tokens[index]
    )
    shuffled = match(turned, instances, nothing(3, 5))
    old = ~plain.is_new
    assert shuffled.is_new.equal(plain.is_new[index])
    assert shuffled.instance_ids[old[index]].equal(plain.instance_ids[index][old[index]])


# consensus


def view(together):
    """Instances 1 and 2, 100 pixels each, under one mask or under one each."""
    shared = torch.tensor([[100.0, 0.0], [100.0, 0.0]] if together else [[100.0, 0.0], [0.0, 100.0]])
    return Overlap(shared, torch.tensor([100.0, 100.0]), shared.sum(0), shared.sum(0))


def test_instances_shown_as_one_join_after_enough_views():
    consensus, instances = ViewConsensus(cover=0.7, views=3, rate=0.6), stored(queries([[1.0], [2.0]]))
    assert [consensus(instances, view(True)) for _ in range(3)] == [{}, {}, {2: 1}]


def test_instances_shown_apart_stay_apart():
    consensus, instances = ViewConsensus(cover=0.7, views=3, rate=0.6), stored(queries([[1.0], [2.0]]))
    for together in (False, True) * 6:
        assert consensus(instances, view(together)) == {}


def test_consensus_joins_whole_groups_by_the_oldest_id():
    shared = torch.full((3, 1), 100.0)
    overlap = Overlap(shared, torch.full((3,), 100.0), torch.tensor([300.0]), torch.tensor([300.0]))
    consensus, instances = ViewConsensus(cover=0.7, views=1, rate=0.6), stored(queries([[1.0], [2.0], [3.0]]))
    joins = consensus(instances, overlap)
    assert joins == {2: 1, 3: 1}
    assert len(instances.join(joins)) == 1


def test_a_frame_counts_once_after_a_join():
    """Three instances, 2 and 3 become one: its frames with 1 are those it was shown in, not twice as many."""
    consensus, instances = ViewConsensus(cover=0.7, views=3, rate=0.9), stored(queries([[1.0], [2.0], [3.0]]))
    apart = torch.tensor([[100.0, 0.0], [0.0, 100.0], [0.0, 100.0]])
    for _ in range(2):
        assert consensus(instances, Overlap(apart, torch.full((3,), 100.0), apart.sum(0), apart.sum(0))) == {}
    assert consensus(instances, Overlap(apart, torch.full((3,), 100.0), apart.sum(0), apart.sum(0))) == {3: 2}
    assert consensus._both[1, 2] == 3


def test_consensus_of_nothing():
    assert ViewConsensus(0.7, 3, 0.6)(Instances.empty(), nothing(0, 0)) == {}
