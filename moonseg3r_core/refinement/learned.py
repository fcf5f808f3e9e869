"""Discriminative 3D queries from masks, in reading order (paper sections 3.1 to 3.3, eq 2 to 4).

Beside the letters of `types`: `B` frames of a batch, `N` = h w cells of the feature grid, `C` channels of F. A mask that
covers no cell is padding: no attention reads it.
"""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moonseg3r_core.errors import InputError
from moonseg3r_core.io.safetensors import read_net, write_net
from moonseg3r_core.ops.grids import sample_cells
from moonseg3r_core.ops.pooling import count_cell_pixels
from moonseg3r_core.types import FeatureMap, Geometry, Queries, Recalled
from moonseg3r_core.weights import find

_KIND = "query_net"


@dataclasses.dataclass(frozen=True)
class QuerySizes:
    """Sizes of a query net.

    geometric, semantic: channels of F3d and F2d. width: D of the queries. heads: of every attention. layers: of the
    decoder. hidden: width of the feed-forwards in multiples of D. context: whether recalled queries are attended to.
    """

    geometric: int
    semantic: int
    width: int = 256
    heads: int = 8
    layers: int = 3
    hidden: int = 4
    context: bool = True

    @property
    def channels(self) -> int:
        """C of F = [F3d, F2d]."""
        return self.geometric + self.semantic


def build(weights: str, device: torch.device) -> LearnedRefinement:
    """Build the refinement of `refinement.learned`. Raises WeightsError for weights that are missing or incomplete."""
    return LearnedRefinement(read_query_net(find(weights)).to(device))


class LearnedRefinement:
    """Lifted masks, features, geometry, recalled queries -> queries (eq 2-4) by a trained net."""

    def __init__(self, net: QueryNet) -> None:
        self.net = net

    @torch.no_grad()
    def __call__(self, queries: Queries, features: FeatureMap, geometry: Geometry, recalled: Recalled) -> Queries:
        """Raises InputError for features or remembered queries of other widths than the net was trained on."""
        cells = align_features(features, geometry)
        self._check(cells, recalled)
        cell_features = concatenate_features(cells.geometric, cells.semantic)[None]
        shares = compute_cell_shares(queries.labels, len(queries), *cells.size)[None]
        context = recalled.queries.view(1, len(recalled), self.net.sizes.width)
        known = torch.ones(context.shape[:2], dtype=torch.bool, device=context.device)
        return dataclasses.replace(queries, features=self.net(cell_features, shares, context, known)[0])

    def _check(self, cells: FrameFeatures, recalled: Recalled) -> None:
        sizes = self.net.sizes
        got = cells.geometric.shape[-1], cells.semantic.shape[-1]
        if got != (sizes.geometric, sizes.semantic):
            raise InputError(
                f"these query weights are for F3d and F2d of {sizes.geometric} and {sizes.semantic} channels, got {got[0]} "
                f"and {got[1]}; set reconstruction, features as they were trained, or refinement.kind=average."
            )
        if len(recalled) and recalled.queries.shape[1] != sizes.width:
            raise InputError(
                f"the memory must hold queries of width {sizes.width}, got {recalled.queries.shape[1]}: another refinement "
                "made them; load the map with the settings it was made with."
            )


@dataclasses.dataclass(frozen=True)
class FrameFeatures:
    """F3d (h w, C3) and F2d (h w, C2) of one frame on one grid of `size` (h, w), the finer of the two."""

    geometric: Tensor
    semantic: Tensor
    size: tuple[int, int]


def align_features(features: FeatureMap, geometry: Geometry) -> FrameFeatures:
    """Sample both feature maps on one grid; F3d has no channels where the reconstruction gives none."""
    geometric = geometry.features or FeatureMap.empty(1, 1, geometry.device)
    h, w = (max(sides) for sides in zip(features.features.shape[:2], geometric.features.shape[:2], strict=True))
    f3d, f2d = (sample_cells(each, geometry, h, w).flatten(0, 1) for each in (geometric, features))
    return FrameFeatures(f3d, f2d, (h, w))


def concatenate_features(geometric: Tensor, semantic: Tensor) -> Tensor:
    """Concatenate F (..., C) = [F3d, F2d] (eq 2), each scaled to mean square 1 so that both weigh the same."""
    parts = (geometric, semantic)
    return torch.cat([F.normalize(part, dim=-1) * part.shape[-1] ** 0.5 for part in parts], dim=-1)


def compute_cell_shares(labels: Tensor, masks: int, h: int, w: int) -> Tensor:
    """Compute the share (M, h w) of each cell's pixels that each mask has; labels (H, W) as in `Queries`."""
    return (count_cell_pixels(labels, masks, h, w) * (h * w / max(labels.numel(), 1))).clamp(max=1)


class QueryNet(nn.Module):
    """eta and phi: prototypes of the masks (eq 2), refined by decoder layers (eq 3, 4)."""

    def __init__(self, sizes: QuerySizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.project = nn.Linear(sizes.channels, sizes.width)
        self.embed = mlp(sizes.channels, sizes.width)
        self.nothing = nn.Parameter(torch.zeros(1, 1, sizes.width))
        self.layers = nn.ModuleList(DecoderLayer(sizes) for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(sizes.width)
        self._initialize()

    def _initialize(self) -> None:
        """Initialize layers to add nothing and eta to rotate: cosines of an untrained net's queries are near those of F."""
        nn.init.orthogonal_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        for name, parameter in self.layers.named_parameters():
            if ".out." in name or name.endswith(("feed_forward.1.2.weight", "feed_forward.1.2.bias")):
                nn.init.zeros_(parameter)

    def forward(self, features: Tensor, shares: Tensor, context: Tensor, known: Tensor) -> Tensor:
        """Return normed queries (B, M, D) of features (B, N, C), the masks' shares (B, M, N) of the cells, and context.

        context (B, Q, D): rows that are `known` (B, Q) bool are recalled queries, the others are padding.
        """
        queries = self.project(compute_prototypes(features, shares))
        cells = self.embed(features)
        if not self.sizes.context:
            context, known = context[:, :0], known[:, :0]
        context = torch.cat((self.nothing.expand(len(context), 1, -1), context), dim=1)
        inside, recalled, present = make_attention_masks(shares, known)
        for layer in self.layers:
            queries = layer(queries, cells, inside, context, recalled, present)
        return self.norm(queries)


def compute_prototypes(features: Tensor, shares: Tensor) -> Tensor:
    """Average features (B, N, C) under shares (B, M, N), weighted by pixels: (B, M, C). Eq 2 before eta (docs/decisions.md, 2)."""
    return shares @ features / shares.sum(-1, keepdim=True).clamp(min=1e-6)


def make_attention_masks(shares: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Make what is added to the logits of the three attentions.

    To cells (B, M, N): the log share that the mask has of the cell. To the context (B, 1, 1 + Q): 0 for known rows and
    for the learned "nothing" before them. To masks (B, 1, M): 0 for those that are no padding. All else is -inf.
    """
    masks = shares.sum(-1) > 0
    inside = torch.where(masks[..., None], shares.log(), 0.0)
    recalled = F.pad(known, (1, 0), value=True)[:, None]
    present = (masks | ~masks.any(-1, keepdim=True))[:, None]
    shut = shares.new_tensor(-torch.inf)
    return inside, torch.where(recalled, 0.0, shut), torch.where(present, 0.0, shut)


class DecoderLayer(nn.Module):
    """Cross-attention to the frame within the mask (eq 3) and to recalled queries (eq 4), self-attention, feed-forward.

    Each is a pre-norm residual (section 4.1).
    """

    def __init__(self, sizes: QuerySizes) -> None:
        super().__init__()
        width, heads = sizes.width, sizes.heads
        self.to_frame, self.to_context, self.to_masks = (Attention(width, heads) for _ in range(3))
        self.feed_forward = nn.Sequential(nn.LayerNorm(width), mlp(width, sizes.hidden * width, width))

    def forward(
        self, queries: Tensor, cells: Tensor, inside: Tensor, context: Tensor, recalled: Tensor, present: Tensor
    ) -> Tensor:
        """Refine queries (B, M, D) by cells (B, N, D) and context (B, 1 + Q, D), with masks of `make_attention_masks`."""
        queries = queries + self.to_frame(queries, cells, inside)
        queries = queries + self.to_context(queries, context, recalled)
        queries = queries + self.to_masks(queries, queries, present)
        return queries + self.feed_forward(queries)


class Attention(nn.Module):
    """Multi-head attention of queries (B, M, D) to tokens (B, L, D), both normed; `mask` (B, M or 1, L) adds to logits."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_queries, self.norm_tokens = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, queries: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        tokens = self.norm_tokens(tokens)
        q, k, v = self.query(self.norm_queries(queries)), self.key(tokens), self.value(tokens)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, v, mask[:, None].to(q.dtype))
        return self.out(attended.transpose(1, 2).flatten(2))


class ReferenceNet(nn.Module):
    """psi: features (..., N, C) -> reference features (..., N, D) that queries are compared with in training (eq 5, 6)."""

    def __init__(self, sizes: QuerySizes) -> None:
        super().__init__()
        self.layers = mlp(sizes.channels, sizes.width, sizes.width, sizes.width)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)


def write_query_net(path: Path, net: QueryNet) -> None:
    """Write a net to a file, its sizes in the header. Raises OutputError."""
    write_net(path, _KIND, net, dataclasses.asdict(net.sizes))


def read_query_net(path: Path) -> QueryNet:
    """Read a net from a file. Raises InputError for a file that holds no query net."""
    return read_net(path, _KIND, lambda facts: QueryNet(QuerySizes(**facts)), "moonseg3r train queries")


def mlp(*widths: int) -> nn.Sequential:
    """Make linear layers from width to width, with GELU between them."""
    layers: list[nn.Module] = []
    for inside, outside in pairwise(widths):
        layers += [nn.Linear(inside, outside), nn.GELU()]
    return nn.Sequential(*layers[:-1])
