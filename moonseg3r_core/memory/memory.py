"""The query index memory (paper 3.4): what was remembered before a frame is recalled from the frame's pose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from moonseg3r_core.errors import ConfigError
from moonseg3r_core.geometry import invert, project, transform
from moonseg3r_core.memory.bank import QueryBank
from moonseg3r_core.memory.index_map import QueryIndexMap
from moonseg3r_core.memory.pytorch3d_rasterizer import make_rasterizer
from moonseg3r_core.memory.rasterizer import NEAR, Raster
from moonseg3r_core.ops.spatial_keys import compute_spatial_keys
from moonseg3r_core.runtime.state import (
    Stateless,
    are_within,
    load_parts,
    prefix_states,
    read_tensor,
    require,
    sub_state,
)
from moonseg3r_core.types import Geometry, Queries, Recalled

_MARGIN = (
    0.3  # metres: what lies so far behind a measured depth is hidden, twice as far off a cell's median no part of it
)


class IndexMemory:
    """Query bank and key index map (eq 7-9); the settings are those of `config.IndexMemoryConfig`."""

    def __init__(
        self,
        merge_distance: float,
        update: str,
        occlusion: str,
        rasterizer: str,
        max_radius: float,
        max_recalled: int,
        queries_per_key: int,
        max_queries: int,
        max_keys: int,
        cell: int,
        stride: int,
    ) -> None:
        if occlusion not in _OCCLUSIONS:
            raise ConfigError(
                f"memory.index.occlusion must be one of {', '.join(_OCCLUSIONS)}, got {occlusion!r}; choose one."
            )
        self.merge_distance, self.max_radius, self.max_recalled = merge_distance, max_radius, max_recalled
        self.cell, self.stride = cell, stride
        self._hidden = _OCCLUSIONS[occlusion]
        self._rasterize = make_rasterizer(rasterizer)
        self.bank = QueryBank(max_queries)
        self.map = QueryIndexMap(merge_distance, update, queries_per_key, max_keys)

    def recall(self, geometry: Geometry) -> Recalled:
        """The past queries visible from the frame's pose, and where they are seen (eq 9)."""
        slots, raster = self._look(geometry)
        keys, pixels = torch.unique(slots[raster.index[raster.index >= 0].long()].cpu(), return_counts=True)
        offsets, members = self.map.queries(keys, self.bank.first)
        kept, offsets, members = most_seen(offsets, members, pixels, self.max_recalled)
        return Recalled(
            self.bank.gather(kept).to(geometry.device),
            self._index_map(slots, raster, keys, offsets, geometry),
            *_drop_empty(offsets, members, geometry.device),
        )

    def remember(self, queries: Queries, geometry: Geometry) -> None:
        """Append the frame's queries to the bank (eq 7) and its keys to the map (eq 8)."""
        keys = compute_spatial_keys(geometry, queries.labels, self.cell, _MARGIN)
        masks = keys.masks.cpu()
        if len(masks) and not (int(masks.min()) >= -1 and int(masks.max()) < len(queries)):
            raise ValueError(
                f"queries.labels must be in 0..{len(queries)}, one more than the row of queries.features, got "
                f"{int(masks.min()) + 1}..{int(masks.max()) + 1}; number the masks as the queries are."
            )
        indices = torch.cat((self.bank.append(queries.features), torch.tensor([-1])))
        self.map.update(keys.positions.cpu().numpy(), indices[masks].numpy(), self.bank.first)

    def reset(self) -> None:
        """Forget everything."""
        self.bank.reset()
        self.map.reset()

    def state_dict(self) -> dict[str, Tensor]:
        """Everything remembered, as plain CPU tensors by dotted name."""
        return prefix_states(bank=self.bank.state_dict(), map=self.map.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` gave, within this memory's own limits. Raises InputError where a part is missing."""
        load_parts(state, bank=self.bank, map=self.map)
        members = read_tensor(sub_state(state, "map"), "members", ("m",))
        require(are_within(members, 0, self.bank.end), "map.members must be of the queries in the bank")

    def _look(self, geometry: Geometry) -> tuple[Tensor, Raster]:
        """The slots (n,) of the keys in view, and which of those (0..n-1) each sample of the index map shows."""
        positions = self.map.positions.to(geometry.device)
        points = transform(positions, invert(geometry.world_from_camera))
        slots = (points[:, 2] > NEAR).nonzero()[:, 0]
        slots = slots[~self._key_hidden(points[slots], geometry)]
        points = points[slots]
        k, depth = samples(geometry, self.stride)
        half_spacing = geometry.intrinsics[0, 0] * (self.merge_distance / 2) / points[:, 2]
        # At 3/4 of a sample every key in view covers the centre of one, however far it is.
        radius = half_spacing.clamp(max=self.max_radius).clamp(min=0.75 * self.stride) / self.stride
        raster = self._rasterize(points, k, depth.shape[0], depth.shape[1], radius)
        hidden = self._hidden(raster.depth, depth, _MARGIN)
        return slots, Raster(raster.index.masked_fill(hidden, -1), raster.depth)

    def _key_hidden(self, points: Tensor, geometry: Geometry) -> Tensor:
        """Whether each key (n, 3) in camera metres lies behind what its own pixel shows now; not so outside the image."""
        pixels, z = project(points, geometry.intrinsics)
        height, width = geometry.depth.shape
        size = torch.tensor([width, height], device=pixels.device)
        inside = ((pixels > -0.5) & (pixels < size - 0.5)).all(-1)
        u, v = torch.where(inside[:, None], pixels, 0.0).round().long().unbind(-1)
        depth = geometry.depth.new_zeros(len(points))
        depth[inside] = geometry.depth[v[inside], u[inside]]
        return self._hidden(z, depth, _MARGIN)

    def _index_map(self, slots: Tensor, raster: Raster, keys: Tensor, offsets: Tensor, geometry: Geometry) -> Tensor:
        """Rows (H, W) int32 of the visible keys that have queries, every sample spread over its pixels."""
        row_of_slot = torch.full((len(self.map.positions) + 1,), -1, dtype=torch.int32)
        holding = keys[offsets[1:] > offsets[:-1]]
        row_of_slot[holding] = torch.arange(len(holding), dtype=torch.int32)
        nothing = torch.full((1,), len(row_of_slot) - 1, device=slots.device)
        rows = row_of_slot.to(slots.device)[torch.cat((slots, nothing))][raster.index.long()]
        spread = rows.repeat_interleave(self.stride, 0).repeat_interleave(self.stride, 1)
        return spread[: geometry.grid.height, : geometry.grid.width].contiguous()


@dataclass(frozen=True)
class NoMemory(Stateless):
    """Remembers nothing (`memory.kind: none`)."""

    def recall(self, geometry: Geometry) -> Recalled:
        return Recalled.empty(0, (geometry.grid.height, geometry.grid.width), geometry.device)

    def remember(self, queries: Queries, geometry: Geometry) -> None:
        pass


def samples(geometry: Geometry, stride: int) -> tuple[Tensor, Tensor]:
    """Intrinsics and depth (h, w) of an image of which each pixel stands for `stride` x `stride` of the geometry's."""
    k = geometry.intrinsics.clone()
    k[:2] /= stride
    k[:2, 2] -= (stride - 1) / (2 * stride)
    height, width = (-(-side // stride) for side in geometry.depth.shape)
    middle = stride // 2
    v = (torch.arange(height, device=k.device) * stride + middle).clamp(max=geometry.grid.height - 1)
    u = (torch.arange(width, device=k.device) * stride + middle).clamp(max=geometry.grid.width - 1)
    return k, geometry.depth[v[:, None], u[None, :]]


def most_seen(offsets: Tensor, members: Tensor, pixels: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """The distinct queries kept (Q,), and the keys' members as columns of those: offsets (V + 1,), members (m,).

    Given each visible key's query indices and its pixels (V,). Beyond `most`, the queries seen at the most pixels are
    kept, of equals the newest.
    """
    key = torch.repeat_interleave(offsets.diff())
    queries, column = torch.unique(members, return_inverse=True)
    seen = torch.zeros_like(queries).index_add_(0, column, pixels[key])
    newest_first = torch.argsort(seen.flip(0), descending=True, stable=True)[:most]
    kept = torch.sort(len(queries) - 1 - newest_first).values
    place = torch.full_like(queries, -1)
    place[kept] = torch.arange(len(kept))
    columns = place[column]
    counts = torch.bincount(key[columns >= 0], minlength=len(pixels))
    return queries[kept], torch.cat((offsets[:1], counts.cumsum(0))), columns[columns >= 0]


def _drop_empty(offsets: Tensor, members: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """The lists without the empty ones."""
    return torch.cat((offsets[:1], offsets[1:][offsets[1:] > offsets[:-1]])).to(device), members.to(device)


def behind(z: Tensor, depth: Tensor, margin: float) -> Tensor:
    """`depth`: what lies more than `margin` metres behind a measured depth is hidden."""
    return (depth > 0) & (z > depth + margin)


def never(z: Tensor, depth: Tensor, margin: float) -> Tensor:
    """`nearest`: only nearer keys hide, which is the rasteriser's own rule."""
    return torch.zeros_like(z, dtype=torch.bool)


_OCCLUSIONS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"depth": behind, "nearest": never}
