"""What queries are trained by, without a label: pure functions of tensors (paper 3.3 and 3.4, eq 5, 6 and 10).

Letters as in `refinement.learned`: `B` frames, `M` masks, `N` cells, `D` query width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def compute_likeness(
    queries: Tensor, reference: Tensor, slope: Tensor | float = 1.0, offset: Tensor | float = 0.0
) -> Tensor:
    """Logits (B, M, N) that a cell is of a mask: queries (B, M, D) held against reference features (B, N, D), the dot
    product over D, sloped and offset.

    The paper has the bare product. Between two normed queries this one is near the cosine, which is at most 1 and
    for many queries cannot be far below 0: without slope and offset (learned, as in SigLIP's loss, Zhai et al. 2023) its
    sigmoid could say neither yes nor no.
    """
    return slope * (queries @ reference.transpose(-1, -2)) / queries.shape[-1] + offset


def compute_segmentation_loss(logits: Tensor, shares: Tensor, seen: Tensor) -> Tensor:
    """L_seg (eq 5) of logits (B, M, N): the mean cross entropy with the masks' shares (B, M, N) of the cells, over cells
    by how much of them is `seen` (B, N), and over masks that cover any. 0 where there are none.

    Held against the context map, whose gaps are not seen, it is L_xseg (eq 10).
    """
    weights = seen[:, None, :] * (shares.sum(-1) > 0)[..., None]
    entropy = F.binary_cross_entropy_with_logits(logits, shares, reduction="none")
    return (entropy * weights).sum() / weights.sum().clamp(min=1e-6)


def compute_gram(features: Tensor) -> Tensor:
    """G (B, N, N): the cosines of features (B, N, C) of all pairs of cells; a zero feature is unlike all."""
    unit = F.normalize(features, dim=-1)
    return unit @ unit.transpose(-1, -2)


def compute_distillation_loss(reference: Tensor, semantic: Tensor, geometric: Tensor, cells: Tensor) -> Tensor:
    """L_dist (eq 6): how far the Gram matrix of reference features (B, N, D) is from those of F2d and F3d (B, N, C).

    The mean of the squared differences of all pairs of `cells` (B, N) bool, so that it does not grow with the grid.
    Features that are zero or absent (F3d where there is no point) say nothing.
    """
    own, total = compute_gram(reference), reference.new_zeros(())
    for guide in (semantic, geometric):
        told = cells & (guide.abs().amax(-1) > 0) if guide.shape[-1] else torch.zeros_like(cells)
        pairs = (told[:, :, None] & told[:, None, :]).to(own.dtype)
        total = total + ((own - compute_gram(guide)).square() * pairs).sum() / pairs.sum().clamp(min=1)
    return total


def compute_context_map(context: Tensor, bank: Tensor) -> Tensor:
    """F_ctx (B, N, D): the mean of the past queries seen at each cell. context (B, N, Q): the share that each query of
    the bank (B, Q, D) has in a cell, summing to 1 where any is seen, else 0.
    """
    return context @ bank
