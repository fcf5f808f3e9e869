"""The rule that all mask models share, drawn on paper: each pixel to its best mask, ties to the smaller, order largest
first, the minimum area after that. (What one call of it does at a time is in test_masks.py.)
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moonseg3r_core.masks.filters import MaskFilter
from moonseg3r_core.ops.pooling import paint_labels
from moonseg3r_core.types import MaskProposals


def drawn(*rows, scores):
    """Masks drawn as text, one string per mask: `#` is in, `/` ends a line."""
    masks = torch.tensor([[[c == "#" for c in line] for line in row.split("/")] for row in rows])
    return MaskProposals(masks, torch.tensor(scores))


def picture(proposals):
    """Proposals as text: 1 is the first mask."""
    return "/".join("".join(str(int(label)) for label in line) for line in paint_labels(proposals))


def rule(*rows, scores, min_area=1):
    out = MaskFilter(min_area)(drawn(*rows, scores=scores))
    return picture(out), out.scores.tolist()


def test_three_masks_over_one_another_go_by_score_alone():
    found, scores = rule("####./####./.....", ".###./.###./.###.", "..###/..###/..###", scores=[0.5, 0.75, 0.25])
    assert found == "31112/31112/01112"
    assert scores == [0.75, 0.25, 0.5]  # nine pixels; three; two


def test_where_the_best_mask_is_not_the_second_best_has_the_pixel():
    found, _ = rule("##...", ".###.", "#####", scores=[0.9, 0.8, 0.1])
    assert found == "11223"


def test_a_tie_goes_to_the_mask_that_is_smaller_as_it_came_not_to_what_is_left_of_it():
    # The first has six pixels and loses four to the third: two are left, fewer than the second's three. It came as the
    # larger of the two, so the pixel that they share is the second's.
    found, scores = rule("######...", ".....###.", "####.....", scores=[0.5, 0.5, 0.9])
    assert found == "111132220"
    assert scores == pytest.approx([0.9, 0.5, 0.5])


def test_the_order_is_by_what_is_left():
    found, scores = rule("########", "######..", scores=[0.25, 0.75])
    assert found == "11111122"  # the first was larger, and has two pixels left
    assert scores == [0.75, 0.25]


def test_masks_that_keep_equally_many_pixels_stay_in_their_order():
    assert rule("..##", "##..", scores=[0.25, 0.75]) == ("2211", [0.25, 0.75])


def test_the_minimum_area_counts_what_is_left_and_gives_no_pixel_back():
    found, _ = rule("#####", "..###", "...##", scores=[0.5, 0.7, 0.9], min_area=2)
    assert found == "11022"  # the middle one keeps one pixel: it goes, and the first does not get it


def test_a_mask_under_a_better_one_altogether_is_gone():
    assert rule(".##.", "####", scores=[0.5, 0.9])[0] == "1111"
    assert rule("####", "####", scores=[0.5, 0.5]) == ("1111", [0.5])  # the same mask twice is one


def test_a_mask_that_another_cuts_in_two_is_one_mask_still():
    assert rule("#####", "..#..", scores=[0.5, 0.9])[0] == "11211"


def test_a_hole_is_filled_by_the_worse_mask_beneath():
    found, _ = rule("####/####/####/####", "####/#..#/#..#/####", scores=[0.2, 0.8])
    assert found == "1111/1221/1221/1111"


def test_an_empty_mask_is_no_mask_however_sure():
    assert rule("....", "##..", scores=[1.0, 0.1])[0] == "1100"


def naive(proposals, min_area):
    """The rule pixel by pixel, without tensors: the pixels of each mask that is left, largest first."""
    masks, scores = proposals.masks.tolist(), proposals.scores.tolist()
    areas = [sum(map(sum, mask)) for mask in masks]
    won = [set() for _ in masks]
    for y in range(proposals.masks.shape[1]):
        for x in range(proposals.masks.shape[2]):
            covering = [i for i, mask in enumerate(masks) if mask[y][x]]
            if covering:
                won[min(covering, key=lambda i: (-scores[i], areas[i], i))].add((y, x))
    left = sorted((i for i in range(len(masks)) if len(won[i]) >= min_area), key=lambda i: (-len(won[i]), i))
    return [(won[i], scores[i]) for i in left]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 7), st.integers(1, 6))
def test_the_filter_is_the_rule_pixel_by_pixel(seed, count, min_area):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(count, 5, 6, generator=generator) < 0.5
    scores = torch.randint(1, 4, (count,), generator=generator) / 4  # with ties
    given_masks = MaskProposals(masks, scores)
    out = MaskFilter(min_area)(given_masks)
    found = [
        ({(int(y), int(x)) for y, x in m.nonzero()}, s) for m, s in zip(out.masks, out.scores.tolist(), strict=True)
    ]
    assert found == naive(given_masks, min_area)
