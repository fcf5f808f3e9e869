"""Outputs of the frozen models along a clip: the input of the training of queries.

Where a query is recalled does not depend on its features. So the memory runs once, with numbers as queries, and
training needs neither models nor memory: a clip is computed once and may be cached.
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
from moonseg3r_core.refinement.learned import align_features, compute_cell_shares
from moonseg3r_core.training.queries.frozen_models import FrozenModels
from moonseg3r_core.training.queries.scenes import Window
from moonseg3r_core.types import Frame, Geometry, Queries, Recalled

_PICTURE_SIDE = 80  # pixels of the longer side of a clip's pictures, about


@dataclass(frozen=True)
class QueryClip:
    """T frames with all their masks, m in all, frame after frame.

    geometric (T, N, C3) and semantic (T, N, C2) float16: F3d and F2d. shares (m, N) float16: part of a cell that a mask
    covers. masks (T,) int64: masks of each frame. context (e, 3) int32 and context_shares (e,) float16: the share of
    query q in cell n of frame t, as rows t n q, of queries 0..m-1 (eq 10). seen (T, N) float16: part of a cell where any
    query is recalled. known (k, 2) int32: frame t recalls query q. owners (m,) int32: object of each mask, 0 where
    unknown, for scores alone. pictures (T, h', w', 3) uint8. size (2,) int64: h and w.
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
    """B clips of T frames, padded to the most masks and cells of any.

    geometric (B, T, N, C3), semantic (B, T, N, C2), shares (B, T, M, N). shown (B, T, P M, N): the P pieces of the masks
    that queries are made of, one after another. cells (B, N) bool: cells that are no padding. seen (B, T, N). context
    (B, T, N, T M) and known (B, T, T M) bool: by frame and row of the query. owners (B, T, M) int32.
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
        """Copy the batch to a device."""
        return QueryBatch(**{name: part.to(device, non_blocking=True) for name, part in self._asdict().items()})


@torch.no_grad()
def make_query_clip(window: Window, models: FrozenModels) -> QueryClip | None:
    """Compute the clip of a window; None for less than two usable frames. Raises as the models do."""
    stages, device = models.prepare(window), models.device
    outputs = [made for frame in window.frames if (made := _FrameOutputs.compute(frame.to(device), stages, window))]
    return _assemble_clip(outputs, window) if len(outputs) > 1 else None


@dataclass(frozen=True)
class _FrameOutputs:
    """Outputs of the frozen models for one frame."""

    frame: Frame
    geometry: Geometry
    queries: Queries
    recalled: Recalled
    features: Any

    @classmethod
    def compute(cls, frame: Frame, stages: dict[str, Any], window: Window) -> _FrameOutputs | None:
        reconstruction, memory = stages["reconstruction"], stages["memory"]
        try:
            geometry = reconstruction(frame)
            proposals = stages["masks"](frame, geometry)
        except FrameRejected:
            return None
        geometry = reconstruction.add_features(move_world(geometry, window.motion))
        recalled = memory.recall(geometry)
        queries = stages["lift"](proposals, geometry)
        numbers = torch.arange(len(queries), dtype=torch.float32) + memory.bank.end
        memory.remember(dataclasses.replace(queries, features=numbers[:, None].to(frame.image.device)), geometry)
        return cls(frame, geometry, queries, recalled, align_features(stages["features"](frame, geometry), geometry))


def move_world(geometry: Geometry, motion: Tensor) -> Geometry:
    """Move the world by a rigid motion (4, 4), so that queries do not depend on the origin of a recording."""
    points = torch.where(geometry.valid[..., None], transform(geometry.points, motion), 0.0)
    return dataclasses.replace(geometry, points=points, world_from_camera=motion @ geometry.world_from_camera)


def compute_context(recalled: Recalled, h: int, w: int) -> tuple[Tensor, Tensor]:
    """Compute where recalled queries are seen (eq 10): the share (h w, Q) of each query among the pixels of a cell that
    show any, and the part (h w,) of a cell's pixels that do.

    A pixel whose key holds several queries shows each in equal parts.
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
    shares = [compute_cell_shares(output.queries.labels, len(output.queries), h, w) for output in outputs]
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
    """The rows of frame t of a clip's context, context_shares, seen and known."""
    share, seen = compute_context(output.recalled, h, w)
    numbers = output.recalled.queries[:, 0].long() if len(output.recalled) else torch.zeros(0, dtype=torch.int64)
    numbers = numbers.to(share.device)
    cell, column = share.nonzero().unbind(1)
    frame = torch.full_like(cell, t)
    known = torch.stack((torch.full_like(numbers, t), numbers), dim=1)
    return torch.stack((frame, cell, numbers[column]), dim=1), share[cell, column], seen, known


def _find_owners(output: _FrameOutputs, window: Window) -> Tensor:
    """Find the object (M,) int32 that most pixels of each mask belong to; 0 where the scene has no ids."""
    count = len(output.queries)
    if window.ids is None or not count:
        return torch.zeros(count, dtype=torch.int32)
    labels = resample_to_image(output.queries.labels, output.geometry, output.frame.size)
    return find_owners(labels.cpu(), window.ids(output.frame.index).cpu(), count).int()


def _shrink(image: Tensor) -> Tensor:
    step = max(1, max(image.shape[:2]) // _PICTURE_SIDE)
    return image[::step, ::step].contiguous()


def cut_masks(clip: QueryClip, chance: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cut some masks of a clip in two, by a line through a random cell: the shares (m, N) of both pieces.

    The second piece of a whole mask is zero. The query of each piece has to find the whole mask, as the queries of
    an object that is split between masks have to match.
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
    """Make a batch of clips of the same models, each cut to the frames of the shortest.

    pieces: for each clip the pieces (m, N) of its masks that queries are made of, as many for every clip; None: the masks.
    """
    seen = pieces or [(clip.shares,) for clip in clips]
    frames, most = min(map(len, clips)), max(int(clip.masks.max()) for clip in clips)
    cells = max(clip.shares.shape[1] for clip in clips)
    rows = [_pad_clip(clip, part, frames, max(most, 1), cells) for clip, part in zip(clips, seen, strict=True)]
    return QueryBatch(**{name: torch.stack([row[name] for row in rows]) for name in rows[0]})


def _pad_clip(clip: QueryClip, pieces: tuple[Tensor, ...], frames: int, most: int, cells: int) -> dict[str, Tensor]:
    """Pad a clip to `frames`, `most` masks a frame and `cells`."""
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
