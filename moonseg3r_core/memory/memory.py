"""The query index memory (paper section 3.4): past queries visible from a frame's pose are recalled."""

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
from moonseg3r_core.types import Corrections, Geometry, Queries, Recalled

# Metres. A key this far behind a measured depth is hidden; a point twice as far off its cell's median is left out.
_MARGIN = 0.3


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
        self._is_hidden = _OCCLUSIONS[occlusion]
        self._rasterize = make_rasterizer(rasterizer)
        self.bank = QueryBank(max_queries)
        self.map = QueryIndexMap(merge_distance, update, queries_per_key, max_keys)

    def correct(self, corrections: Corrections) -> None:
        """Place anew the keys that hang on key views that moved."""
        self.map.correct(corrections)

    def recall(self, geometry: Geometry) -> Recalled:
        """Recall the past queries visible from the frame's pose, and where each is visible (eq 9)."""
        slots, raster = self._render_keys(geometry)
        keys, pixels = torch.unique(slots[raster.index[raster.index >= 0].long()].cpu(), return_counts=True)
        offsets, members = self.map.get_queries(keys, self.bank.first)
        kept, offsets, members = select_most_seen(offsets, members, pixels, self.max_recalled)
        return Recalled(
            self.bank.gather(kept).to(geometry.device),
            self._make_index_map(slots, raster, keys, offsets, geometry),
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
        self.map.update(keys.positions.cpu().numpy(), indices[masks].numpy(), self.bank.first, geometry.anchor)

    def reset(self) -> None:
        """Forget everything."""
        self.bank.reset()
        self.map.reset()

    def state_dict(self) -> dict[str, Tensor]:
        """Return bank and map as plain CPU tensors by dotted name."""
        return prefix_states(bank=self.bank.state_dict(), map=self.map.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a saved memory within this one's limits. Raises InputError for an incomplete one."""
        load_parts(state, bank=self.bank, map=self.map)
        members = read_tensor(sub_state(state, "map"), "members", ("m",))
        require(are_within(members, 0, self.bank.end), "map.members must be of the queries in the bank")

    def _render_keys(self, geometry: Geometry) -> tuple[Tensor, Raster]:
        """Render the keys in view: their slots (n,), and the one of them (0..n-1) at each sample of the index map."""
        positions = self.map.positions.to(geometry.device)
        points = transform(positions, invert(geometry.world_from_camera))
        slots = (points[:, 2] > NEAR).nonzero()[:, 0]
        slots = slots[~self._are_keys_hidden(points[slots], geometry)]
        points = points[slots]
        k, depth = subsample_geometry(geometry, self.stride)
        half_spacing = geometry.intrinsics[0, 0] * (self.merge_distance / 2) / points[:, 2]
        # At 3/4 of a sample every key in view covers the centre of one, however far it is.
        radius = half_spacing.clamp(max=self.max_radius).clamp(min=0.75 * self.stride) / self.stride
        raster = self._rasterize(points, k, depth.shape[0], depth.shape[1], radius)
        hidden = self._is_hidden(raster.depth, depth, _MARGIN)
        return slots, Raster(raster.index.masked_fill(hidden, -1), raster.depth)

    def _are_keys_hidden(self, points: Tensor, geometry: Geometry) -> Tensor:
        """Return whether each key (n, 3) in camera metres is behind the depth at its own pixel; False outside the image."""
        pixels, z = project(points, geometry.intrinsics)
        height, width = geometry.depth.shape
        size = torch.tensor([width, height], device=pixels.device)
        inside = ((pixels > -0.5) & (pixels < size - 0.5)).all(-1)
        u, v = torch.where(inside[:, None], pixels, 0.0).round().long().unbind(-1)
        depth = geometry.depth.new_zeros(len(points))
        depth[inside] = geometry.depth[v[inside], u[inside]]
        return self._is_hidden(z, depth, _MARGIN)

    def _make_index_map(
        self, slots: Tensor, raster: Raster, keys: Tensor, offsets: Tensor, geometry: Geometry
    ) -> Tensor:
        """Make the index map (H, W) int32 of visible keys that have queries; a sample covers `stride` x `stride` pixels."""
        row_of_slot = torch.full((len(self.map.positions) + 1,), -1, dtype=torch.int32)
        holding = keys[offsets[1:] > offsets[:-1]]
        row_of_slot[holding] = torch.arange(len(holding), dtype=torch.int32)
        nothing = torch.full((1,), len(row_of_slot) - 1, device=slots.device)
        rows = row_of_slot.to(slots.device)[torch.cat((slots, nothing))][raster.index.long()]
        index_map = rows.repeat_interleave(self.stride, 0).repeat_interleave(self.stride, 1)
        return index_map[: geometry.grid.height, : geometry.grid.width].contiguous()


@dataclass(frozen=True)
class NoMemory(Stateless):
    """A memory that stores and recalls nothing (`memory.kind: none`)."""

    def correct(self, corrections: Corrections) -> None:
        pass

    def recall(self, geometry: Geometry) -> Recalled:
        return Recalled.empty(0, (geometry.grid.height, geometry.grid.width), geometry.device)

    def remember(self, queries: Queries, geometry: Geometry) -> None:
        pass


def subsample_geometry(geometry: Geometry, stride: int) -> tuple[Tensor, Tensor]:
    """Compute intrinsics and depth (h, w) of an image with one pixel for `stride` x `stride` of the geometry's."""
    k = geometry.intrinsics.clone()
    k[:2] /= stride
    k[:2, 2] -= (stride - 1) / (2 * stride)
    height, width = (-(-side // stride) for side in geometry.depth.shape)
    middle = stride // 2
    v = (torch.arange(height, device=k.device) * stride + middle).clamp(max=geometry.grid.height - 1)
    u = (torch.arange(width, device=k.device) * stride + middle).clamp(max=geometry.grid.width - 1)
    return k, geometry.depth[v[:, None], u[None, :]]


def select_most_seen(offsets: Tensor, members: Tensor, pixels: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Select at most `most` distinct queries (Q,), those at the most pixels, of equals the newest.

    offsets (V + 1,), members (m,): the query indices of each visible key; pixels (V,): its pixels. Returns the queries,
    and offsets and members in which queries are columns of the selection.
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
    """Drop the empty lists."""
    return torch.cat((offsets[:1], offsets[1:][offsets[1:] > offsets[:-1]])).to(device), members.to(device)


def is_behind(z: Tensor, depth: Tensor, margin: float) -> Tensor:
    """`depth`: return whether z lies more than `margin` metres behind a measured depth."""
    return (depth > 0) & (z > depth + margin)


def is_never_hidden(z: Tensor, depth: Tensor, margin: float) -> Tensor:
    """`nearest`: return False: only nearer keys hide others, which the rasteriser does."""
    return torch.zeros_like(z, dtype=torch.bool)


_OCCLUSIONS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"depth": is_behind, "nearest": is_never_hidden}
