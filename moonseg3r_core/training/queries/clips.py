"""What the frozen models say along a clip, and all that follows from it: the input of the training of queries.

Where a query will be recalled does not depend on what it is. So the memory runs once, on queries that are numbers, and
training needs neither models nor memory: a clip is computed once and may be kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from moonseg3r_core.errors import FrameRejected, InputError
from moonseg3r_core.evaluation.metrics.queries import find_owners
from moonseg3r_core.geometry import transform
from moonseg3r_core.ops.grids import resample_to_image
from moonseg3r_core.ops.pooling import count_cell_pixels
from moonseg3r_core.refinement.learned import cell_shares, frame_features
from moonseg3r_core.training.queries.frozen_models import FrozenModels
from moonseg3r_core.training.queries.scenes import Window
from moonseg3r_core.types import Frame, Geometry, Queries, Recalled

_PICTURE_SIDE = 80  # pixels along the longer side of a clip's pictures


@dataclass(frozen=True)
class QueryClip:
    """T frames with all their masks, m in all, one frame's after another's.

    geometric (T, N, C3) and semantic (T, N, C2) float16: F3d and F2d; shares (m, N) float16 of the cells; masks (T,)
    int64, how many each frame has; context (e, 3) int32 and context_shares (e,) float16: what share of frame t's cell n
    is query q's, of queries 0..m-1 (eq 10); seen (T, N) float16, the share of a cell where any query is recalled; known
    (k, 2) int32: frame t recalls query q; owners (m,) int32, the object of each mask where a scene knows it, for scores
    alone, else 0; pictures (T, h', w', 3) uint8; size (2,) int64, h and w.
    """

    geometric: Tensor
    semantic: Tensor
    shares: Tensor
    masks: Tensor
    context: Tensor
    context_shares: Tensor
    seen: Tensor
    known: Tensor
    owners: Tensor
    pictures: Tensor
    size: Tensor

    def __len__(self) -> int:
        return len(self.masks)


class QueryBatch(NamedTuple):
    """B clips of T frames side by side, padded to the most masks and cells of any: geometric (B, T, N, C3), semantic
    (B, T, N, C2), shares (B, T, M, N), and what queries see of them, shown (B, T, P M, N), in P pieces, one after another;
    cells (B, N) bool, those that are any; seen (B, T, N); context (B, T, N, T M) and known (B, T, T M) bool, by frame and
    row of the query; owners (B, T, M) int32.
    """

    geometric: Tensor
    semantic: Tensor
    shares: Tensor
    shown: Tensor
    cells: Tensor
    seen: Tensor
    context: Tensor
    known: Tensor
    owners: Tensor

    def to(self, device: torch.device) -> QueryBatch:
        """The same on a device."""
        return QueryBatch(**{name: part.to(device, non_blocking=True) for name, part in self._asdict().items()})


@torch.no_grad()
def make_query_clip(window: Window, models: FrozenModels) -> QueryClip | None:
    """What the models say of a window; None where less than two of its frames can be used. Raises as they do."""
    chosen, device = models.prepare(window), models.device
    walked = [
        made for frame in window.frames if (made := _FrameOutputs.compute(frame.to(device), chosen, window)) is not None
    ]
    return _assemble_clip(walked, window) if len(walked) > 1 else None


@dataclass(frozen=True)
class _FrameOutputs:
    """One frame through the frozen models."""

    frame: Frame
    geometry: Geometry
    queries: Queries
    recalled: Recalled
    features: Any

    @classmethod
    def compute(cls, frame: Frame, chosen: dict[str, Any], window: Window) -> _FrameOutputs | None:
        reconstruction, memory = chosen["reconstruction"], chosen["memory"]
        try:
            geometry = reconstruction(frame)
            proposals = chosen["masks"](frame, geometry)
        except FrameRejected:
            return None
        geometry = reconstruction.add_features(move_world(geometry, window.motion))
        recalled = memory.recall(geometry)
        queries = chosen["lift"](proposals, geometry)
        numbers = torch.arange(len(queries), dtype=torch.float32) + memory.bank.end
        memory.remember(dataclasses.replace(queries, features=numbers[:, None].to(frame.image.device)), geometry)
        return cls(frame, geometry, queries, recalled, frame_features(chosen["features"](frame, geometry), geometry))


def move_world(geometry: Geometry, motion: Tensor) -> Geometry:
    """The same in a world moved by a rigid motion (4, 4): no query may live on where a recording's origin happens to be."""
    points = torch.where(geometry.valid[..., None], transform(geometry.points, motion), 0.0)
    return dataclasses.replace(geometry, points=points, world_from_camera=motion @ geometry.world_from_camera)


def compute_context(recalled: Recalled, h: int, w: int) -> tuple[Tensor, Tensor]:
    """Where each recalled query is seen (eq 10): its share (h w, Q) of each cell's pixels that show any, and the share
    (h w,) of a cell's pixels that do. A pixel whose key holds several queries shows each in equal parts.
    """
    visible = len(recalled.offsets) - 1
    keys = count_cell_pixels(recalled.index_map + 1, visible, h, w)
    holds = keys.new_zeros(visible, len(recalled))
    counts = recalled.offsets.diff()
    holds[torch.repeat_interleave(counts), recalled.members] = 1.0
    holds /= counts.clamp(min=1)[:, None]
    pixels = keys.sum(0)
    seen = pixels * (h * w / max(recalled.index_map.numel(), 1))
    return keys.T @ holds / pixels.clamp(min=1)[:, None], seen.clamp(max=1)


def _assemble_clip(outputs: Sequence[_FrameOutputs], window: Window) -> QueryClip:
    sizes = {output.features.size for output in outputs}
    if len(sizes) > 1:
        raise InputError(
            f"the images of a scene must have one size, got grids of {sorted(sizes)} cells; part the recording."
        )
    h, w = sizes.pop()
    rows = [_list_context(output, t, h, w) for t, output in enumerate(outputs)]
    shares = [cell_shares(output.queries.labels, len(output.queries), h, w) for output in outputs]
    cast = {
        "geometric": torch.stack([output.features.geometric for output in outputs]).half(),
        "semantic": torch.stack([output.features.semantic for output in outputs]).half(),
        "shares": torch.cat(shares).half(),
        "masks": torch.tensor([len(output.queries) for output in outputs]),
        "context": torch.cat([row[0] for row in rows]).int(),
        "context_shares": torch.cat([row[1] for row in rows]).half(),
        "seen": torch.stack([row[2] for row in rows]).half(),
        "known": torch.cat([row[3] for row in rows]).int(),
        "owners": torch.cat([_find_owners(output, window) for output in outputs]),
        "pictures": torch.stack([_shrink(output.frame.image) for output in outputs]),
        "size": torch.tensor([h, w]),
    }
    return QueryClip(**{name: part.cpu().contiguous() for name, part in cast.items()})


def _list_context(output: _FrameOutputs, t: int, h: int, w: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Frame t's rows of a clip's context, context_shares, seen and known."""
    share, seen = compute_context(output.recalled, h, w)
    numbers = output.recalled.queries[:, 0].long() if len(output.recalled) else torch.zeros(0, dtype=torch.int64)
    numbers = numbers.to(share.device)
    cell, column = share.nonzero().unbind(1)
    frame = torch.full_like(cell, t)
    known = torch.stack((torch.full_like(numbers, t), numbers), dim=1)
    return torch.stack((frame, cell, numbers[column]), dim=1), share[cell, column], seen, known


def _find_owners(output: _FrameOutputs, window: Window) -> Tensor:
    """The object (M,) int32 that most of each mask's pixels belong to; 0 where the scene does not know."""
    count = len(output.queries)
    if window.ids is None or not count:
        return torch.zeros(count, dtype=torch.int32)
    labels = resample_to_image(output.queries.labels, output.geometry, output.frame.size)
    return find_owners(labels.cpu(), window.ids(output.frame.index).cpu(), count).int()


def _shrink(image: Tensor) -> Tensor:
    step = max(1, max(image.shape[:2]) // _PICTURE_SIDE)
    return image[::step, ::step].contiguous()


def cut_masks(clip: QueryClip, chance: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The shares (m, N) of a clip's masks, some of them, by chance, cut in two by a line through one of their cells, and
    what was cut off (m, N), zero for the others.

    Each piece has to find all of its mask, as those of an object that masks split have to find one another.
    """
    shares = clip.shares.float()
    if not len(shares):
        return shares, shares
    w, cells = int(clip.size[1]), torch.arange(shares.shape[1])
    places = torch.stack((cells // w, cells % w), dim=1).float()
    pivot = places[torch.multinomial(shares, 1, generator=generator)[:, 0]]
    angle = 2 * torch.pi * torch.rand(len(shares), generator=generator)
    side = (places[None] - pivot[:, None]) @ torch.stack((angle.cos(), angle.sin()), dim=1)[..., None]
    cut = torch.rand(len(shares), generator=generator) < chance
    off = torch.where(cut[:, None] & (side[..., 0] < -0.5), shares, 0.0)
    return shares - off, off


def make_batch(clips: Sequence[QueryClip], pieces: Sequence[tuple[Tensor, ...]] | None = None) -> QueryBatch:
    """Clips of the same models side by side, each cut to the frames of the shortest; of whose masks queries see `pieces`
    (m, N), as many of each, or all.
    """
    seen = pieces or [(clip.shares,) for clip in clips]
    frames, most = min(map(len, clips)), max(int(clip.masks.max()) for clip in clips)
    cells = max(clip.shares.shape[1] for clip in clips)
    rows = [_pad_clip(clip, part, frames, max(most, 1), cells) for clip, part in zip(clips, seen, strict=True)]
    return QueryBatch(**{name: torch.stack([row[name] for row in rows]) for name in rows[0]})


def _pad_clip(clip: QueryClip, pieces: tuple[Tensor, ...], frames: int, most: int, cells: int) -> dict[str, Tensor]:
    """A clip's part of a batch of `frames`, `most` masks a frame and `cells`."""
    spare = cells - clip.shares.shape[1]
    masks = clip.masks[:frames]
    total = int(masks.sum())
    place = torch.cat([t * most + torch.arange(count) for t, count in enumerate(masks.tolist())])
    shares, owners = torch.zeros(1 + len(pieces), frames * most, cells), torch.zeros(frames * most, dtype=torch.int32)
    held = [part[:total].float() for part in (clip.shares, *pieces)]
    shares[:, place, : cells - spare], owners[place] = torch.stack(held), clip.owners[:total]
    context, known = torch.zeros(frames, cells, frames * most), torch.zeros(frames, frames * most, dtype=torch.bool)
    t, n, q = clip.context[clip.context[:, 0] < frames].long().unbind(1)
    context[t, n, place[q]] = clip.context_shares[: len(t)].float()
    t, q = clip.known[clip.known[:, 0] < frames].long().unbind(1)
    known[t, place[q]] = True
    return {
        "geometric": pad(clip.geometric[:frames].float(), (0, 0, 0, spare)),
        "semantic": pad(clip.semantic[:frames].float(), (0, 0, 0, spare)),
        "shares": shares[0].view(frames, most, cells),
        "shown": shares[1:].unflatten(1, (frames, most)).transpose(0, 1).flatten(1, 2),
        "cells": torch.arange(cells) < cells - spare,
        "seen": pad(clip.seen[:frames].float(), (0, spare)),
        "context": context,
        "known": known,
        "owners": owners.view(frames, most),
    }
