"""From masks to discriminative 3D queries, in reading order (paper sections 3.1 to 3.3, eq 2 to 4).

Beside the letters of `types`: `B` frames side by side, `N` = h w cells of the feature grid, `C` channels of F. A row of
masks that covers no cell stands for no mask: it pads a frame to the masks of the others, and nobody looks at it.
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
    """A query net's: channels of F3d and F2d, width D of the queries, heads of its attentions, decoder layers, and the
    width of their feed-forwards in multiples of D. context: whether it was trained to look at recalled queries; without,
    it looks at none.
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
    """Lifted masks become queries (eq 2-4) by a trained net, which the memory's recalled queries inform."""

    def __init__(self, net: QueryNet) -> None:
        self.net = net

    @torch.no_grad()
    def __call__(self, queries: Queries, features: FeatureMap, geometry: Geometry, recalled: Recalled) -> Queries:
        """Raises InputError for features or remembered queries of other widths than the net was trained on."""
        cells = frame_features(features, geometry)
        self._check(cells, recalled)
        seen = concatenated(cells.geometric, cells.semantic)[None]
        shares = cell_shares(queries.labels, len(queries), *cells.size)[None]
        context = recalled.queries.view(1, len(recalled), self.net.sizes.width)
        known = torch.ones(context.shape[:2], dtype=torch.bool, device=context.device)
        return dataclasses.replace(queries, features=self.net(seen, shares, context, known)[0])

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


def frame_features(features: FeatureMap, geometry: Geometry) -> FrameFeatures:
    """Both feature maps cell by cell; F3d has no channels where the reconstruction brings none."""
    geometric = geometry.features or FeatureMap.empty(1, 1, geometry.device)
    h, w = (max(sides) for sides in zip(features.features.shape[:2], geometric.features.shape[:2], strict=True))
    f3d, f2d = (sample_cells(each, geometry, h, w).flatten(0, 1) for each in (geometric, features))
    return FrameFeatures(f3d, f2d, (h, w))


def concatenated(geometric: Tensor, semantic: Tensor) -> Tensor:
    """F (..., C) = [F3d, F2d] (eq 2), each of mean square 1, so that neither drowns the other; no feature stays zero."""
    parts = (geometric, semantic)
    return torch.cat([F.normalize(part, dim=-1) * part.shape[-1] ** 0.5 for part in parts], dim=-1)


def cell_shares(labels: Tensor, masks: int, h: int, w: int) -> Tensor:
    """The share (M, h w) of each cell's pixels that is each mask's; labels (H, W) as in `Queries`."""
    return (count_cell_pixels(labels, masks, h, w) * (h * w / max(labels.numel(), 1))).clamp(max=1)


class QueryNet(nn.Module):
    """eta and phi: prototypes of the masks (eq 2), refined by three decoder layers (eq 3, 4)."""

    def __init__(self, sizes: QuerySizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.project = nn.Linear(sizes.channels, sizes.width)
        self.embed = mlp(sizes.channels, sizes.width)
        self.nothing = nn.Parameter(torch.zeros(1, 1, sizes.width))
        self.layers = nn.ModuleList(DecoderLayer(sizes) for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(sizes.width)
        self._begin_with_prototypes()

    def _begin_with_prototypes(self) -> None:
        """An untrained net gives prototypes whose cosines are near those of F: layers add nothing yet, eta turns F only."""
        nn.init.orthogonal_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        for name, parameter in self.layers.named_parameters():
            if ".out." in name or name.endswith(("feed_forward.1.2.weight", "feed_forward.1.2.bias")):
                nn.init.zeros_(parameter)

    def forward(self, features: Tensor, shares: Tensor, context: Tensor, known: Tensor) -> Tensor:
        """Queries (B, M, D), normed, of features (B, N, C), the masks' shares (B, M, N) of the cells, and
        context (B, Q, D), of which `known` (B, Q) bool are recalled queries and the others pad.
        """
        queries = self.project(prototypes(features, shares))
        cells = self.embed(features)
        if not self.sizes.context:
            context, known = context[:, :0], known[:, :0]
        context = torch.cat((self.nothing.expand(len(context), 1, -1), context), dim=1)
        inside, recalled, present = looks(shares, known)
        for layer in self.layers:
            queries = layer(queries, cells, inside, context, recalled, present)
        return self.norm(queries)


def prototypes(features: Tensor, shares: Tensor) -> Tensor:
    """Eq 2 before eta: features (B, N, C) averaged under shares (B, M, N), weighted by pixels (docs/decisions.md, 2): (B, M, C)."""
    return shares @ features / shares.sum(-1, keepdim=True).clamp(min=1e-6)


def looks(shares: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What is added to attention's logits: a query looks at cells by its mask's share of them (B, M, N), at the context
    that is known, and at nothing, which is always there (B, 1, 1 + Q), and at the frame's masks that are any (B, 1, M).
    """
    masks = shares.sum(-1) > 0
    inside = torch.where(masks[..., None], shares.log(), 0.0)
    recalled = F.pad(known, (1, 0), value=True)[:, None]
    present = (masks | ~masks.any(-1, keepdim=True))[:, None]
    shut = shares.new_tensor(-torch.inf)
    return inside, torch.where(recalled, 0.0, shut), torch.where(present, 0.0, shut)


class DecoderLayer(nn.Module):
    """Two cross-attentions, to the frame within the mask (eq 3) and to what is recalled (eq 4), a self-attention among
    the frame's masks, and a feed-forward; each normed first and added (section 4.1).
    """

    def __init__(self, sizes: QuerySizes) -> None:
        super().__init__()
        width, heads = sizes.width, sizes.heads
        self.to_frame, self.to_context, self.to_masks = (Attention(width, heads) for _ in range(3))
        self.feed_forward = nn.Sequential(nn.LayerNorm(width), mlp(width, sizes.hidden * width, width))

    def forward(
        self, queries: Tensor, cells: Tensor, inside: Tensor, context: Tensor, recalled: Tensor, present: Tensor
    ) -> Tensor:
        """Queries (B, M, D) after cells (B, N, D) and context (B, 1 + Q, D), each with its look of `looks`."""
        queries = queries + self.to_frame(queries, cells, inside)
        queries = queries + self.to_context(queries, context, recalled)
        queries = queries + self.to_masks(queries, queries, present)
        return queries + self.feed_forward(queries)


class Attention(nn.Module):
    """Multi-head attention of queries (B, M, D) to tokens (B, L, D), both normed, `look` (B, M or 1, L) added to logits."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_queries, self.norm_tokens = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, queries: Tensor, tokens: Tensor, look: Tensor) -> Tensor:
        tokens = self.norm_tokens(tokens)
        q, k, v = self.query(self.norm_queries(queries)), self.key(tokens), self.value(tokens)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        seen = F.scaled_dot_product_attention(q, k, v, look[:, None].to(q.dtype))
        return self.out(seen.transpose(1, 2).flatten(2))


class ReferenceNet(nn.Module):
    """psi: reference features (..., N, D) of features (..., N, C), which queries are held against (eq 5, 6). It is for
    training alone.
    """

    def __init__(self, sizes: QuerySizes) -> None:
        super().__init__()
        self.layers = mlp(sizes.channels, sizes.width, sizes.width, sizes.width)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)


def write_query_net(path: Path, net: QueryNet) -> None:
    """A net's file, its sizes in the header. Raises OutputError."""
    write_net(path, _KIND, net, dataclasses.asdict(net.sizes))


def read_query_net(path: Path) -> QueryNet:
    """The net of a file. Raises InputError for a file that is none of a query net."""
    return read_net(path, _KIND, lambda facts: QueryNet(QuerySizes(**facts)), "moonseg3r train queries")


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers from width to width, GELU between them."""
    layers: list[nn.Module] = []
    for inside, outside in pairwise(widths):
        layers += [nn.Linear(inside, outside), nn.GELU()]
    return nn.Sequential(*layers[:-1])
