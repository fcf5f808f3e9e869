"""Pictures of procedural rooms with object ids, rendered on demand."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.synthetic import Renderer
from moonseg3r_core.synthetic.sequence import make_intrinsics
from moonseg3r_core.training.data.augment import augment
from moonseg3r_core.training.data.clips import FIRST_SEED, mix_seeds
from moonseg3r_core.training.data.strewn_rooms import make_strewn_room
from moonseg3r_core.training.masks.recipe import MaskRecipe

_APART = 8  # frames of a path from one picture to the next
_FINER = 1.25  # pictures are rendered larger by this factor, then shrunk, as antialiasing


@dataclass(frozen=True)
class Pictures:
    """Views of one room: images (F, H, W, 3) uint8, ids (F, H, W) int32."""

    images: Tensor
    ids: Tensor


def make_pictures(seed: int, frames: int, height: int, width: int) -> Pictures:
    """Render the pictures of a seed: room, things strewn over it, path and horizontal field of view (50 to 90 degrees)."""
    rng = np.random.default_rng((seed, 29))
    scene, path = make_strewn_room(seed, frames * _APART, rng)
    poses = torch.from_numpy(path[::_APART]).float()
    size = round(height * _FINER), round(width * _FINER)
    intrinsics = make_intrinsics(*size, float(rng.uniform(50, 90)))
    renderer = Renderer(scene, torch.device("cpu"))
    drawn = [renderer(intrinsics, pose, *size) for pose in poses]
    images = [cv2.resize(image.numpy(), (width, height), interpolation=cv2.INTER_AREA) for image, _, _ in drawn]
    ids = [cv2.resize(ids.numpy(), (width, height), interpolation=cv2.INTER_NEAREST_EXACT) for _, _, ids in drawn]
    return Pictures(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(ids)))


class PictureStream:
    """Batches number `first`, first + 1, ... of a recipe: images (B, 3, H, W) in [-1, 1], ids (B, H, W).

    A batch depends on the seed and its number alone. It takes pictures of a pool of rooms; new rooms replace the oldest.
    """

    def __init__(self, recipe: MaskRecipe, first: int = 0) -> None:
        self.recipe, self.number = recipe, first
        self._entered = count_entered_rooms(recipe, first)
        rooms = range(self._entered - recipe.rooms, self._entered)
        self._pool = deque((self._make_room(number) for number in rooms), maxlen=recipe.rooms)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while self.number < self.recipe.steps:
            while self._entered < count_entered_rooms(self.recipe, self.number):
                self._pool.append(self._make_room(self._entered))
                self._entered += 1
            yield self._make_batch()
            self.number += 1

    def _make_room(self, number: int) -> Pictures:
        recipe = self.recipe
        return make_pictures(FIRST_SEED * (1 + recipe.seed) + number, recipe.frames, recipe.height, recipe.width)

    def _make_batch(self) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(mix_seeds(self.recipe.seed, self.number))
        rooms = torch.randperm(len(self._pool), generator=generator)[: self.recipe.batch].tolist()
        frames = torch.randint(self.recipe.frames, (len(rooms),), generator=generator).tolist()
        images = torch.stack([self._pool[room].images[frame] for room, frame in zip(rooms, frames, strict=True)])
        ids = torch.stack([self._pool[room].ids[frame] for room, frame in zip(rooms, frames, strict=True)])
        flip = torch.rand(len(rooms), 1, 1, generator=generator) < 0.5
        images = torch.where(flip[..., None], images.flip(2), images)
        return augment(images[:, None], generator)[:, 0], torch.where(flip, ids.flip(2), ids)


def count_entered_rooms(recipe: MaskRecipe, step: int) -> int:
    """Count the rooms that enter the pool before a step, so that every picture gets its visits."""
    return recipe.rooms + int(step * recipe.batch / (recipe.frames * recipe.visits))
