"""Selection among overlapping masks: drawn on paper, and against a plain loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch.nn.functional import interpolate

from moonseg3r_core.masks.automatic import (
    compute_box_ious,
    compute_boxes,
    compute_mask_ious,
    compute_stability,
    make_point_grid,
    remove_small_regions,
    suppress,
)
from moonseg3r_core.types import MaskProposals


def drawn(*rows):
    """Masks drawn as text, one string per mask: `#` is in, `/` ends a line."""
    return torch.tensor([[[c == "#" for c in line] for line in row.split("/")] for row in rows])


def picture(mask):
    return "/".join("".join("#" if pixel else "." for pixel in line) for line in mask.tolist())


def numbered(scores):
    """Proposals that can be told apart after a choice: mask n has n + 1 pixels."""
    masks = torch.arange(len(scores) + 1)[None, None] <= torch.arange(len(scores))[:, None, None]
    return MaskProposals(masks, torch.tensor(scores, dtype=torch.float32))


def rows_of(found):
    return (found.masks.sum((1, 2)) - 1).tolist()


def by_a_plain_loop(ious, scores, limit):
    """The rows that stay, best first, one pair after the other."""
    kept = []
    for row in sorted(range(len(scores)), key=lambda r: (-scores[r], r)):
        if not any(ious[row][better] > limit for better in kept):
            kept.append(row)
    return kept


def test_points_are_the_centres_of_equal_cells_row_by_row():
    assert make_point_grid(2).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    assert make_point_grid(1).tolist() == [[0.5, 0.5]]


def test_a_mask_is_stable_when_the_cutoff_does_not_matter():
    logits = torch.tensor([[[9.0, 9.0, -9.0]], [[9.0, 0.5, -0.5]], [[-9.0, -9.0, -9.0]]])
    assert compute_stability(logits)[:2].tolist() == pytest.approx([1, 1 / 3])
    assert compute_stability(logits)[2].isnan()
    assert compute_stability(logits, offset=0.4)[1] == pytest.approx(2 / 2)


def test_boxes_hold_the_first_and_last_column_and_row():
    assert compute_boxes(drawn("..../.##./.#..", "#.../..../...#")).tolist() == [[1, 1, 2, 2], [0, 0, 3, 2]]
    assert compute_boxes(torch.zeros(0, 4, 5, dtype=torch.bool)).shape == (0, 4)


def test_overlaps_of_boxes_and_masks():
    boxes = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6], [4, 4, 4, 9]])
    assert compute_box_ious(boxes)[0].tolist() == pytest.approx([1, 1 / 3, 0, 0])
    assert compute_box_ious(boxes)[3, 3].isnan()  # a line has no area, and stands for no other
    assert compute_mask_ious(drawn("###.", ".###", "...#"))[0].tolist() == pytest.approx([1, 2 / 4, 0])


def test_overlaps_of_masks_larger_than_what_is_compared_at_once():
    masks = torch.rand(3, 300, 500, generator=torch.manual_seed(0)) > 0.5
    plain = [[float((a & b).sum() / (a | b).sum()) for b in masks] for a in masks]
    assert compute_mask_ious(masks).tolist() == pytest.approx(torch.tensor(plain), abs=1e-6)


def test_the_best_of_a_chain_frees_those_that_only_the_second_would_stand_for():
    ious = torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.9], [0.0, 0.9, 1.0]])
    assert rows_of(suppress(numbered([0.9, 0.8, 0.7]), ious, 0.5)) == [0, 2]
    assert rows_of(suppress(numbered([0.8, 0.9, 0.7]), ious, 0.5)) == [1]
    assert rows_of(suppress(numbered([0.7, 0.8, 0.9]), ious, 0.9)) == [2, 1, 0]  # at the limit a mask stays
    assert rows_of(suppress(numbered([0.5, 0.5, 0.5]), ious, 0.5)) == [0, 2]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9999), count=st.integers(0, 25), limit=st.sampled_from([0.125, 0.25, 0.5]))
def test_suppression_equals_a_plain_loop(seed, count, limit):
    generator = torch.manual_seed(seed)
    corner, extent = (torch.randint(0, 6, (count, 2), generator=generator) for _ in range(2))
    ious = compute_box_ious(torch.cat((corner, corner + extent), dim=1).float())
    scores = (torch.randint(0, 5, (count,), generator=generator) / 4).tolist()
    assert rows_of(suppress(numbered(scores), ious, limit)) == by_a_plain_loop(ious.tolist(), scores, limit)


HOLED = "#####..../#.#.#..../###.#..../#####..../........."
SCATTERED = "##.....#./##......./..#....../......##."


@pytest.mark.parametrize(
    ("area", "before", "after"),
    [
        (0, HOLED, HOLED),
        (1, HOLED, HOLED),
        (2, HOLED, "#####..../###.#..../###.#..../#####..../........."),
        (3, HOLED, "#####..../#####..../#####..../#####..../........."),
        (25, HOLED, "#####..../#####..../#####..../#####..../........."),
        (26, HOLED, "/".join(["#########"] * 5)),  # what lies around is a small region too
        (1, SCATTERED, SCATTERED),
        (2, SCATTERED, "##......./##......./..#....../......##."),  # touching at a corner is enough
        (3, SCATTERED, "##......./##......./..#....../........."),
        (6, SCATTERED, "##......./##......./..#....../........."),  # the largest stays, however small
    ],
)
def test_small_holes_are_filled_and_small_islands_go(area, before, after):
    assert picture(remove_small_regions(drawn(before), area)[0]) == after


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9999), area=st.sampled_from([2, 5, 12, 40]), share=st.sampled_from([0.15, 0.4, 0.6, 0.9]))
def test_a_look_around_each_mask_equals_a_look_at_the_whole_image(seed, area, share):
    torch.manual_seed(seed)
    masks = interpolate(torch.rand(4, 1, 5, 6), (12, 15))[:, 0] < share
    masks &= box_mask(12, 15) & (torch.rand(4, 12, 15) < 0.95)
    masks = masks[masks.any(2).any(1)]
    assert remove_small_regions(masks, area).tolist() == [
        by_whole_images(mask.numpy(), area).tolist() for mask in masks
    ]


def box_mask(height, width):
    """A random box (height, width) bool."""
    rows, columns = (torch.randint(0, side + 1, (2,)).sort().values for side in (height, width))
    inside = (torch.arange(height) >= rows[0]) & (torch.arange(height) < rows[1])
    return inside[:, None] & (torch.arange(width) >= columns[0]) & (torch.arange(width) < columns[1])


def by_whole_images(mask, area):
    holes, count = ndimage.label(~mask, np.ones((3, 3)))
    for region in range(1, count + 1):
        mask = mask | (holes == region) & ((holes == region).sum() < area)
    islands, count = ndimage.label(mask, np.ones((3, 3)))
    areas = [(islands == region).sum() for region in range(1, count + 1)]
    return sum((islands == region) & (a >= min(area, max(areas))) for region, a in enumerate(areas, 1)) > 0


def test_nothing_in_nothing_out():
    none = MaskProposals.empty(4, 5)
    assert remove_small_regions(none.masks, 9).shape == (0, 4, 5)
    assert (
        len(suppress(none, compute_mask_ious(none.masks), 0.5))
        == len(suppress(none, compute_box_ious(compute_boxes(none.masks)), 0.5))
        == 0
    )
