"""The losses of the training of queries, without labels: pure functions of tensors (paper 3.3, 3.4, eq 5, 6, 10).

Letters as in `refinement.learned`: `B` frames, `M` masks, `N` cells, `D` query width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def compute_likeness(
    queries: Tensor, reference: Tensor, slope: Tensor | float = 1.0, offset: Tensor | float = 0.0
) -> Tensor:
    """Compute logits (B, M, N) of cells for masks: slope * (queries (B, M, D) . reference (B, N, D)) / D + offset.

    The paper has the bare product. Between normalized queries, the product over D is near the cosine, at most 1, and
    for many queries not far below 0. Slope and offset (learned, as in SigLIP's loss, Zhai et al. 2023) let the sigmoid
    come near 0 and 1.
    """
    return slope * (queries @ reference.transpose(-1, -2)) / queries.shape[-1] + offset


def compute_segmentation_loss(logits: Tensor, shares: Tensor, seen: Tensor) -> Tensor:
    """Compute L_seg (eq 5): the mean cross entropy of logits with the masks' shares of the cells, both (B, M, N).

    Cells are weighted by how much of them is `seen` (B, N); masks that cover nothing are left out. 0 without masks.
    With logits of the context map it is L_xseg (eq 10).
    """
    weights = seen[:, None, :] * (shares.sum(-1) > 0)[..., None]
    entropy = F.binary_cross_entropy_with_logits(logits, shares, reduction="none")
    return (entropy * weights).sum() / weights.sum().clamp(min=1e-6)


def compute_gram(features: Tensor) -> Tensor:
    """Compute G (B, N, N): the cosines of features (B, N, C) of all pairs of cells; 0 for a zero feature."""
    unit = F.normalize(features, dim=-1)
    return unit @ unit.transpose(-1, -2)


def compute_distillation_loss(reference: Tensor, semantic: Tensor, geometric: Tensor, cells: Tensor) -> Tensor:
    """Compute L_dist (eq 6) between the Gram matrices of reference features (B, N, D) and of F2d and F3d (B, N, C).

    The mean of squared differences over pairs of `cells` (B, N) bool, so that it does not grow with the grid. Cells with
    a zero feature (F3d without a point) and guides without channels are left out.
    """
    own, total = compute_gram(reference), reference.new_zeros(())
    for guide in (semantic, geometric):
        known = cells & (guide.abs().amax(-1) > 0) if guide.shape[-1] else torch.zeros_like(cells)
        pairs = (known[:, :, None] & known[:, None, :]).to(own.dtype)
        total = total + ((own - compute_gram(guide)).square() * pairs).sum() / pairs.sum().clamp(min=1)
    return total


def compute_context_map(context: Tensor, bank: Tensor) -> Tensor:
    """Compute F_ctx (B, N, D): the mean of the past queries seen at each cell.

    context (B, N, Q): share of each query of the bank (B, Q, D) in a cell; shares sum to 1 where any is seen, else 0.
    """
    return context @ bank
