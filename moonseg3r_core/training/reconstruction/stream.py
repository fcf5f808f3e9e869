"""Batches of windows of clips, from a pool of clips in which new ones replace the oldest."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from moonseg3r_core.errors import InputError
from moonseg3r_core.runtime.interrupt import ignore_sigint
from moonseg3r_core.training.data.augment import augment, mirror
from moonseg3r_core.training.data.clips import Clip, Clips, mix_seeds
from moonseg3r_core.training.reconstruction.recipe import CurriculumStage, ReconstructionRecipe

_STRIDES = range(1, 9)  # frames between those of a window, as far as the clip allows


@dataclass(frozen=True)
class Batch:
    """Views (B, T, 3, H, W) in [-1, 1], depth (B, T, H, W) metres, intrinsics (B, 3, 3), poses (B, T, 4, 4)."""

    views: Tensor
    depth: Tensor
    intrinsics: Tensor
    poses: Tensor


class ClipStream:
    """Batches number `first`, first + 1, ... of a recipe, on `device`: each depends on the seed, its number and the rank.

    `workers` processes render ahead, one core each; without any, this process renders.
    """

    def __init__(
        self,
        recipe: ReconstructionRecipe,
        device: torch.device,
        first: int = 0,
        workers: int = 1,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if workers < 0:
            raise InputError(f"workers must be 0 or more, got {workers}; 0 renders rooms in the training process.")
        self.recipe, self.device, self.number, self.rank = recipe, device, first, rank
        begin, end = count_entered_clips(recipe, first), count_entered_clips(recipe, recipe.steps)
        clips = Clips(recipe.seed, recipe.clip, (recipe.height, recipe.width), rank, ranks)
        numbers = Subset(clips, range(begin - recipe.rooms, end))
        with ignore_sigint():
            self._clips = iter(_make_loader(numbers, workers))
        self._pool: deque[Clip] = deque((next(self._clips) for _ in range(recipe.rooms)), maxlen=recipe.rooms)
        self._entered = begin

    def __iter__(self) -> Iterator[Batch]:
        while self.number < self.recipe.steps:
            while self._entered < count_entered_clips(self.recipe, self.number):
                self._pool.append(next(self._clips))
                self._entered += 1
            yield self._make_batch()
            self.number += 1

    def _make_batch(self) -> Batch:
        generator = torch.Generator().manual_seed(mix_seeds(self.recipe.seed, self.rank, self.number))
        stage = self.recipe.find_stage(self.number)
        chosen = torch.randperm(len(self._pool), generator=generator)[: stage.batch].tolist()
        clips = [_cut_window(self._pool[index], stage, generator) for index in chosen]
        images, depth, poses, intrinsics = (
            torch.stack(parts).to(self.device, non_blocking=True)
            for parts in zip(*((c.images, c.depth, c.poses, c.intrinsics) for c in clips), strict=True)
        )
        return Batch(augment(images, generator), depth.float(), intrinsics, poses)


def count_entered_clips(recipe: ReconstructionRecipe, step: int) -> int:
    """Count the clips that enter the pool before a step, so that every frame gets its visits."""
    frames, left = 0, step
    for stage in recipe.stages:
        frames += min(left, stage.steps) * stage.batch * stage.window
        left -= min(left, stage.steps)
    return recipe.rooms + int(frames / (recipe.clip * recipe.visits))


def _cut_window(clip: Clip, stage: CurriculumStage, generator: torch.Generator) -> Clip:
    """Cut a window out of a clip, with a random start, stride, direction and mirroring."""
    frames = len(clip.images)
    strides = [s for s in _STRIDES if (stage.window - 1) * s < frames]
    stride = strides[_sample_below(len(strides), generator)]
    span = (stage.window - 1) * stride
    rows = _sample_below(frames - span, generator) + stride * torch.arange(stage.window)
    rows = rows.flip(0) if _sample_below(2, generator) else rows
    images, depth, poses = clip.images[rows], clip.depth[rows], clip.poses[rows]
    if _sample_below(2, generator):
        images, depth, poses = mirror(images, depth, poses)
    return Clip(images, depth, poses, clip.intrinsics)


def _sample_below(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=generator))


def _make_loader(clips: Subset[Clip], workers: int) -> DataLoader[Clip]:
    """Make a loader of single clips, in order."""
    ahead: Any = {"prefetch_factor": 8, "multiprocessing_context": "spawn"} if workers else {}
    return DataLoader(
        clips, batch_size=None, num_workers=workers, worker_init_fn=_use_one_thread, collate_fn=_return_clip, **ahead
    )


def _use_one_thread(_number: int) -> None:
    """Use one thread in a worker: there is a core for each."""
    torch.set_num_threads(1)


def _return_clip(clip: Any) -> Any:
    return clip
