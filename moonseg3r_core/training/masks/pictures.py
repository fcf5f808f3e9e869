"""Pictures of procedural rooms with object ids and the geometry that a robot would have, rendered on demand."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.masks.geometry_channels import COUNT
from moonseg3r_core.reconstruction.multi_view.net import MultiViewNet
from moonseg3r_core.synthetic import Renderer
from moonseg3r_core.synthetic.sequence import make_intrinsics
from moonseg3r_core.training.data.augment import augment
from moonseg3r_core.training.data.clips import FIRST_SEED, Clip, mix_seeds
from moonseg3r_core.training.data.strewn_rooms import make_strewn_room
from moonseg3r_core.training.masks.geometries import NO_GEOMETRY, SHARES, describe_geometries
from moonseg3r_core.training.masks.recipe import MaskRecipe

_APART = 2  # frames of a path from one picture to the next
_FINER = 1.25  # pictures are rendered larger by this factor, then shrunk, as antialiasing
_COLORLESS = 0.12  # share of pictures with geometry whose color is left out
_MIRRORED = (1.0, -1.0, *[1.0] * (COUNT - 2))  # signs of the channels in a mirrored picture: the normal's x turns round
_NOT_DESCRIBED = 0.15  # share of the others without features, as where XFeat is not installed


@dataclass(frozen=True)
class Pictures:
    """Views of one room: images (F, H, W, 3) uint8, ids (F, H, W) int32, and channels of their geometry by its kind
    (K, F, COUNT, H, W) float16, as `geometries.SHARES` lists the kinds.
    """

    images: Tensor
    ids: Tensor
    channels: Tensor


@dataclass(frozen=True)
class PictureBatch:
    """images (B, 3, H, W) in [-1, 1], channels of the geometry (B, COUNT, H, W), ids (B, H, W), and which pictures
    XFeat's features are given of (B,) bool.
    """

    images: Tensor
    channels: Tensor
    ids: Tensor
    described: Tensor


def make_pictures(seed: int, frames: int, height: int, width: int, net: MultiViewNet) -> Pictures:
    """Render the pictures of a seed: room, things strewn over it, path and horizontal field of view (45 to 90 degrees).

    net: estimates one kind of the geometry from several pictures.
    """
    rng = np.random.default_rng((seed, 29))
    scene, path = make_strewn_room(seed, frames * _APART, rng)
    poses = torch.from_numpy(path[::_APART]).float()
    size = round(height * _FINER), round(width * _FINER)
    intrinsics = make_intrinsics(*size, float(rng.uniform(45, 90)))
    renderer = Renderer(scene, next(net.parameters()).device)
    images, depths, ids = zip(*(map(Tensor.cpu, renderer(intrinsics, pose, *size)) for pose in poses), strict=True)
    clip = Clip(torch.stack(images), torch.stack(depths).half(), poses, intrinsics)
    return Pictures(
        torch.stack([_resize(image, height, width, cv2.INTER_AREA) for image in images]),
        torch.stack([_resize(part, height, width, cv2.INTER_NEAREST_EXACT) for part in ids]),
        describe_geometries(clip, height, width, net, seed),
    )


class PictureStream:
    """Batches number `first`, first + 1, ... of a recipe.

    A batch depends on the seed and its number alone. It takes pictures of a pool of rooms; new rooms replace the oldest.
    """

    def __init__(self, recipe: MaskRecipe, net: MultiViewNet, first: int = 0) -> None:
        self.recipe, self.net, self.number = recipe, net, first
        self._entered = count_entered_rooms(recipe, first)
        rooms = range(self._entered - recipe.rooms, self._entered)
        self._pool = deque((self._make_room(number) for number in rooms), maxlen=recipe.rooms)

    def __iter__(self) -> Iterator[PictureBatch]:
        while self.number < self.recipe.steps:
            while self._entered < count_entered_rooms(self.recipe, self.number):
                self._pool.append(self._make_room(self._entered))
                self._entered += 1
            yield self._make_batch()
            self.number += 1

    def _make_room(self, number: int) -> Pictures:
        recipe, seed = self.recipe, FIRST_SEED * (1 + self.recipe.seed) + number
        return make_pictures(seed, recipe.frames, recipe.height, recipe.width, self.net)

    def _make_batch(self) -> PictureBatch:
        generator = torch.Generator().manual_seed(mix_seeds(self.recipe.seed, self.number))
        rooms = torch.randperm(len(self._pool), generator=generator)[: self.recipe.batch].tolist()
        frames = torch.randint(self.recipe.frames, (len(rooms),), generator=generator).tolist()
        kinds = torch.multinomial(torch.tensor(SHARES), len(rooms), True, generator=generator)
        chosen = [(self._pool[room], frame) for room, frame in zip(rooms, frames, strict=True)]
        channels = torch.stack([r.channels[k, f].float() for (r, f), k in zip(chosen, kinds.tolist(), strict=True)])
        flip = (torch.rand(len(rooms), generator=generator) < 0.5)[:, None, None]
        images = torch.stack([room.images[frame] for room, frame in chosen])
        images = augment(torch.where(flip[..., None], images.flip(2), images)[:, None], generator)[:, 0]
        colorless = (torch.rand(len(rooms), generator=generator) < _COLORLESS) & (kinds != NO_GEOMETRY)
        described = ~colorless & (torch.rand(len(rooms), generator=generator) > _NOT_DESCRIBED)
        mirrored = channels.flip(3) * torch.tensor(_MIRRORED)[:, None, None]
        ids = torch.stack([room.ids[frame] for room, frame in chosen])
        return PictureBatch(
            images * ~colorless[:, None, None, None],
            torch.where(flip[:, None], mirrored, channels),
            torch.where(flip, ids.flip(2), ids),
            described,
        )


def count_entered_rooms(recipe: MaskRecipe, step: int) -> int:
    """Count the rooms that enter the pool before a step, so that every picture gets its visits."""
    return recipe.rooms + int(step * recipe.batch / (recipe.frames * recipe.visits))


def _resize(image: Tensor, height: int, width: int, way: int) -> Tensor:
    return torch.from_numpy(cv2.resize(image.numpy(), (width, height), interpolation=way))
