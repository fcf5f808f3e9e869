"""The nets that are trained together, and their losses along clips (paper 3.3 and 3.4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from moonseg3r_core.refinement.learned import QueryNet, QuerySizes, ReferenceNet, concatenate_features
from moonseg3r_core.training.queries.clips import QueryBatch
from moonseg3r_core.training.queries.losses import (
    compute_context_map,
    compute_distillation_loss,
    compute_likeness,
    compute_segmentation_loss,
)

_SLOPE, _OFFSET = 10.0, -4.0  # initial slope and offset of the logits


class QueryLearner(nn.Module):
    """eta and phi, and, for training alone, psi with the slope and offset of the logits.

    A batch -> the losses () by name, not weighted: seg, dist, and xseg for a net with context.
    """

    def __init__(self, sizes: QuerySizes) -> None:
        super().__init__()
        self.net, self.reference = QueryNet(sizes), ReferenceNet(sizes)
        self.log_slope = nn.Parameter(torch.full((2,), math.log(_SLOPE)))
        self.offset = nn.Parameter(torch.full((2,), _OFFSET))

    def forward(self, batch: QueryBatch) -> dict[str, Tensor]:
        features = concatenate_features(batch.geometric, batch.semantic)
        queries, reference = self.compute_queries(features, batch), self.reference(features)
        cells = batch.cells[:, None].expand(batch.seen.shape)
        pieces = batch.shown.shape[2] // max(batch.shares.shape[2], 1)
        shares = batch.shares.repeat(1, 1, max(pieces, 1), 1) * (batch.shown.sum(-1, keepdim=True) > 0)
        shares = shares.flatten(0, 1)
        losses = {
            "seg": compute_segmentation_loss(
                self._compute_logits(0, queries.flatten(0, 1), reference.flatten(0, 1)),
                shares,
                cells.flatten(0, 1).float(),
            ),
            "dist": compute_distillation_loss(
                *(part.flatten(0, 1) for part in (reference, batch.semantic, batch.geometric, cells))
            ),
        }
        if self.net.sizes.context:
            first = queries[:, :, : batch.shares.shape[2]]
            past = compute_context_map(batch.context, first.flatten(1, 2)[:, None])
            losses["xseg"] = compute_segmentation_loss(
                self._compute_logits(1, queries.flatten(0, 1), past.flatten(0, 1)), shares, batch.seen.flatten(0, 1)
            )
        return losses

    def compute_queries(self, features: Tensor, batch: QueryBatch) -> Tensor:
        """Compute queries (B, T, P M, D) from features (B, T, N, C).

        Queries of a frame attend to the recalled queries of earlier frames, of which the first piece of each mask counts.
        """
        if not self.net.sizes.context:
            rows = [part.flatten(0, 1) for part in (features, batch.shown)]
            empty = features.new_zeros(len(rows[0]), 0, self.net.sizes.width)
            return self.net(*rows, empty, empty[..., 0].bool()).unflatten(0, features.shape[:2])
        made, past = list[Tensor](), features.new_zeros(len(features), 0, self.net.sizes.width)
        for t in range(features.shape[1]):
            made.append(self.net(features[:, t], batch.shown[:, t], past, batch.known[:, t, : past.shape[1]]))
            past = torch.cat((past, made[-1][:, : batch.shares.shape[2]]), dim=1)
        return torch.stack(made, dim=1)

    def compute_masks(self, queries: Tensor, reference: Tensor) -> Tensor:
        """Compute the masks (B, M, N) in [0, 1] of queries (B, M, D) over reference features (B, N, D), eq 5."""
        return self._compute_logits(0, queries, reference).sigmoid()

    def _compute_logits(self, which: int, queries: Tensor, reference: Tensor) -> Tensor:
        return compute_likeness(queries, reference, self.log_slope[which].exp(), self.offset[which])
