"""The losses of queries: values computed by hand, gradients, and the property that each loss is for."""

import math

import pytest
import torch

from moonseg3r_core.refinement.learned import compute_cell_shares
from moonseg3r_core.training.queries.clips import compute_context
from moonseg3r_core.training.queries.losses import (
    compute_context_map,
    compute_distillation_loss,
    compute_gram,
    compute_likeness,
    compute_segmentation_loss,
)
from moonseg3r_core.types import Recalled

ALL = torch.ones(1, 4)  # every cell is seen


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def rotation(width):
    return torch.linalg.qr(torch.randn(width, width))[0]


def logit(share):
    return math.log(share / (1 - share))


def test_likeness_is_the_mean_product_sloped_and_offset():
    queries, reference = torch.tensor([[[1.0, 3.0], [2.0, 0.0]]]), torch.tensor([[[2.0, -1.0]]])
    # (1 * 2 - 3 * 1) / 2 = -0.5 and (2 * 2 + 0) / 2 = 2
    assert compute_likeness(queries, reference).flatten().tolist() == [-0.5, 2.0]
    assert compute_likeness(queries, reference, slope=4.0, offset=1.0).flatten().tolist() == [-1.0, 9.0]
    assert compute_likeness(queries, reference, torch.tensor(4.0), torch.tensor(1.0)).flatten().tolist() == [-1.0, 9.0]


def test_likeness_of_queries_of_mean_square_one_is_their_cosine():
    queries = torch.nn.functional.layer_norm(torch.randn(2, 3, 16), (16,))
    cosine = torch.nn.functional.cosine_similarity(queries[:, :, None], queries[:, None], dim=-1)
    torch.testing.assert_close(compute_likeness(queries, queries), cosine, atol=1e-4, rtol=0)


def test_segmentation_is_the_cross_entropy_of_cells_by_how_much_they_are_seen():
    logits, shares = torch.tensor([[[logit(0.75), 0.0]]]), torch.tensor([[[1.0, 0.0]]])
    seen = torch.tensor([[1.0, 0.5]])
    expected = (-math.log(0.75) + 0.5 * -math.log(0.5)) / 1.5
    assert compute_segmentation_loss(logits, shares, seen).item() == pytest.approx(expected)


def test_logits_of_zero_cost_log_two():
    shares = torch.rand(2, 3, 4)
    assert compute_segmentation_loss(torch.zeros(2, 3, 4), shares, ALL.expand(2, 4)).item() == pytest.approx(
        math.log(2)
    )


def test_segmentation_is_least_where_the_sigmoid_is_the_share():
    shares = torch.tensor([[[0.1, 0.5, 0.9, 0.25]]])
    best = torch.logit(shares).requires_grad_()
    least = compute_segmentation_loss(best, shares, ALL)
    least.backward()
    assert best.grad.abs().max() < 1e-6
    for _ in range(10):
        assert compute_segmentation_loss(best + torch.randn(best.shape), shares, ALL) > least


@pytest.mark.parametrize("size", [(17, 9), (484, 648)])
def test_certain_logits_never_have_a_negative_loss(size):
    """Cells differ in size where they do not divide the image; no share exceeds 1."""
    h, w = (-(-side // 16) for side in size)
    shares = compute_cell_shares(torch.ones(size, dtype=torch.int32), 1, h, w)[None]
    logits = torch.where(shares < 1, torch.logit(shares), 100.0)
    assert compute_segmentation_loss(logits, shares, torch.ones(1, h * w)) >= 0


def test_segmentation_pulls_a_cell_of_the_mask_up_and_all_others_down():
    logits = torch.zeros(1, 1, 4, requires_grad=True)
    compute_segmentation_loss(logits, torch.tensor([[[1.0, 0.75, 0.25, 0.0]]]), ALL).backward()
    # (sigmoid - share) / cells
    assert logits.grad.flatten().tolist() == pytest.approx([-0.125, -0.0625, 0.0625, 0.125])


def test_what_is_not_seen_and_masks_that_pad_do_not_count():
    shares, seen = torch.rand(1, 2, 4), torch.tensor([[1.0, 1.0, 0.0, 0.3]])
    logits = torch.randn(1, 2, 4)
    expected = compute_segmentation_loss(logits, shares, seen)
    padded = torch.cat((shares[:, :1], torch.zeros(1, 2, 4), shares[:, 1:]), dim=1)
    wild = torch.cat((logits[:, :1], 1e4 * torch.randn(1, 2, 4), logits[:, 1:]), dim=1)
    wild[..., 2] = 1e4
    wild.requires_grad_()
    found = compute_segmentation_loss(wild, padded, seen)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert wild.grad[:, 1:3].abs().max() == wild.grad[..., 2].abs().max() == 0
    assert (wild.grad[:, 0, :2] != 0).all()


@pytest.mark.parametrize(
    ("masks", "seen"), [(0, ALL), (3, ALL), (3, 0 * ALL)], ids=["none", "padding alone", "nothing seen"]
)
def test_segmentation_without_masks_is_zero_and_moves_nothing(masks, seen):
    logits = torch.randn(1, masks, 4, requires_grad=True)
    loss = compute_segmentation_loss(logits, torch.zeros(1, masks, 4), seen)
    assert loss.item() == 0
    loss.backward()
    assert not logits.grad.any()


def test_gram_holds_cosines_and_zero_is_unlike_all():
    features = torch.tensor([[[2.0, 0.0], [3.0, 3.0], [0.0, -1.0], [0.0, 0.0]]])
    half = math.sqrt(0.5)
    expected = [[1, half, 0, 0], [half, 1, -half, 0], [0, -half, 1, 0], [0, 0, 0, 0]]
    torch.testing.assert_close(compute_gram(features)[0], torch.tensor(expected))


def test_distillation_on_paper():
    reference = torch.tensor([[[1.0, 0.0], [5.0, 0.0]]])
    across, alike = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]), torch.tensor([[[3.0, 4.0], [3.0, 4.0]]])
    cells = torch.ones(1, 2, dtype=torch.bool)
    # Two of the four pairs have cosine 1 in place of 0; the other guide agrees with the reference.
    assert compute_distillation_loss(reference, across, alike, cells).item() == pytest.approx(2 / 4)
    assert compute_distillation_loss(reference, alike, across, cells).item() == pytest.approx(2 / 4)
    assert compute_distillation_loss(reference, across, across, cells).item() == pytest.approx(1)
    assert compute_distillation_loss(reference, alike, alike, cells).item() == pytest.approx(0, abs=1e-6)


def alike_guides(cells=6):
    """Features with one Gram matrix: rotated, and each cell scaled."""
    features = torch.randn(1, cells, 5)
    return [(0.1 + 3 * torch.rand(1, cells, 1)) * features @ rotation(5) for _ in range(3)]


def test_features_with_both_gram_matrices_cost_nothing_at_any_rotation_or_scale():
    cells = torch.ones(1, 6, dtype=torch.bool)
    reference, semantic, geometric = alike_guides()
    wider = torch.nn.functional.pad(semantic, (0, 3)) @ rotation(8)
    assert compute_distillation_loss(reference, wider, geometric, cells).item() == pytest.approx(0, abs=1e-6)
    other = torch.randn(1, 6, 5)
    assert compute_distillation_loss(reference, other, geometric, cells) > 0.05
    assert compute_distillation_loss(reference, semantic, other, cells) > 0.05
    assert compute_distillation_loss(other, semantic, geometric, cells) > 0.1


def test_cells_that_are_not_any_do_not_count():
    reference, semantic, geometric = (torch.randn(1, 6, 5) for _ in range(3))
    cells = torch.tensor([[True, True, True, True, False, False]])
    expected = compute_distillation_loss(*(part[:, :4] for part in (reference, semantic, geometric, cells)))
    torch.testing.assert_close(compute_distillation_loss(reference, semantic, geometric, cells), expected)


def test_a_guide_does_not_count_where_it_has_no_feature():
    cells = torch.ones(1, 6, dtype=torch.bool)
    reference, semantic, geometric = alike_guides()
    reference[:, 0], geometric[:, 0] = torch.randn(5), 0.0
    nothing = torch.zeros(1, 6, 0)
    assert compute_distillation_loss(reference, nothing, geometric, cells).item() == pytest.approx(0, abs=1e-6)
    assert compute_distillation_loss(reference, semantic, geometric, cells) > 0.01


def test_a_guide_without_channels_does_not_count():
    cells = torch.ones(1, 6, dtype=torch.bool)
    reference, nothing = torch.randn(1, 6, 5, requires_grad=True), torch.zeros(1, 6, 0)
    semantic = torch.randn(1, 6, 5)
    alone = compute_distillation_loss(reference, semantic, nothing, cells)
    torch.testing.assert_close(alone, compute_distillation_loss(reference, nothing, semantic, cells))
    torch.testing.assert_close(2 * alone, compute_distillation_loss(reference, semantic, semantic, cells))
    silence = compute_distillation_loss(reference, nothing, nothing, cells)
    silence.backward()
    assert silence.item() == 0
    assert not reference.grad.any()


def test_distillation_turns_the_reference_toward_the_guide():
    reference = torch.tensor([[[1.0, 0.0], [1.0, 0.5]]], requires_grad=True)
    across, cells = torch.eye(2)[None], torch.ones(1, 2, dtype=torch.bool)
    before = compute_distillation_loss(reference, across, across, cells)
    before.backward()
    with torch.no_grad():
        after = reference - 0.1 * reference.grad
    assert compute_distillation_loss(after, across, across, cells) < before
    assert compute_gram(after)[0, 0, 1] < compute_gram(reference)[0, 0, 1]


def test_the_gradients_are_those_of_the_formulas():
    double = torch.float64
    queries, reference = torch.randn(1, 2, 3, dtype=double), torch.randn(1, 4, 3, dtype=double)
    slope, offset = torch.tensor(2.0, dtype=double), torch.tensor(-0.5, dtype=double)
    shares, seen = torch.rand(1, 2, 4, dtype=double), torch.rand(1, 4, dtype=double)
    leaves = [part.requires_grad_() for part in (queries, reference, slope, offset)]
    assert torch.autograd.gradcheck(
        lambda *given: compute_segmentation_loss(compute_likeness(*given), shares, seen), leaves
    )

    semantic, geometric = (torch.randn(1, 4, 3, dtype=double) for _ in range(2))
    geometric[:, 0] = 0
    cells = torch.tensor([[True, True, True, False]])
    assert torch.autograd.gradcheck(lambda r: compute_distillation_loss(r, semantic, geometric, cells), (reference,))

    context = torch.softmax(torch.randn(1, 4, 2, dtype=double), dim=-1)
    assert torch.autograd.gradcheck(lambda bank: compute_context_map(context, bank), (queries,))


def test_a_reference_of_zero_has_a_finite_gradient():
    reference = torch.zeros(1, 3, 4, requires_grad=True)
    cells = torch.ones(1, 3, dtype=torch.bool)
    compute_distillation_loss(reference, torch.randn(1, 3, 5), torch.zeros(1, 3, 0), cells).backward()
    assert reference.grad.isfinite().all()


def test_the_context_map_is_the_mean_of_the_queries_seen_in_a_cell():
    bank = torch.tensor([[[2.0, 0.0], [0.0, 4.0], [1.0, 1.0]]])
    shares = torch.tensor([[[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]])
    assert compute_context_map(shares, bank)[0].tolist() == [[1.0, 2.0], [1.0, 1.0], [0.0, 0.0]]


def test_what_is_recalled_is_shown_by_the_pixels_of_its_keys():
    """Cells of 2 x 2 pixels: key 0 holds query 1, key 1 queries 0 and 1, key 2 query 2; the last cell shows nothing."""
    index_map = torch.tensor([[0, 0, 1, -1, -1, -1], [0, 0, 2, -1, -1, -1]], dtype=torch.int32)
    recalled = Recalled(torch.zeros(3, 1), index_map, torch.tensor([0, 1, 3, 4]), torch.tensor([1, 0, 1, 2]))
    shares, seen = compute_context(recalled, 1, 3)
    assert shares.tolist() == [[0.0, 1.0, 0.0], [0.25, 0.25, 0.5], [0.0, 0.0, 0.0]]
    assert seen.tolist() == [1.0, 0.5, 0.0]


def test_an_empty_memory_shows_nothing():
    shares, seen = compute_context(Recalled.empty(7, (4, 6)), 2, 3)
    assert shares.shape == (6, 0)
    assert seen.tolist() == [0.0] * 6
    assert compute_context_map(shares[None], torch.zeros(1, 0, 7)).abs().sum() == 0
