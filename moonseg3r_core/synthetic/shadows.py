"""Shadows of point lights, as cube maps of depth."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from moonseg3r_core.synthetic.trace import Solids, View, trace_depth

SHADOW_SIZE = 160  # pixels of one face of a light's shadow cube
_BIAS = 0.02  # metres


class Shadows:
    """Depth cube maps of lights (L, 3): faces +x -x +y -y +z -z of size * size pixels, padded by their edges."""

    def __init__(self, solids: Solids, lights: Tensor, size: int) -> None:
        half, middle = size / 2, (size - 1) / 2
        cubes = lights.new_empty(len(lights) * 6, size, size)
        for face, (light, turn) in enumerate(product(lights, _make_face_rotations(lights))):
            view = View(half, half, middle, middle, size, size, turn, light)
            cubes[face] = trace_depth(solids, view).view(size, size)
        padded = torch.arange(-1, size + 1, device=lights.device).clamp(0, size - 1)
        self._depths = cubes[:, padded][:, :, padded].flatten()
        self._size = size
        self._first = torch.arange(len(lights), device=lights.device, dtype=torch.float32)[:, None] * 6

    def compute_light(self, away: Tensor) -> Tensor:
        """Compute the share (L, N) of light that reaches points at offsets `away` (3, L, N), interpolated from four depths."""
        x, y, z = away
        sizes = away.abs()
        far = sizes.amax(0)
        along_x = sizes[0].eq_(far)
        along_y = sizes[1].eq_(far).mul_(1 - along_x)
        along_z = 1 - along_x - along_y
        ahead = (along_x * x).addcmul_(along_y, y).addcmul_(along_z, z)
        face = ahead.lt_(0).add_(along_y, alpha=2).add_(along_z, alpha=4).add_(self._first)
        scale = (self._size / 2) / far.clamp(min=1e-6)
        u = (along_x * y).addcmul_(along_y, z).addcmul_(along_z, x).mul_(scale).add_((self._size + 1) / 2)
        v = (along_x * z).addcmul_(along_y, x).addcmul_(along_z, y).mul_(scale).add_((self._size + 1) / 2)
        column, row, width = u.floor(), v.floor(), self._size + 2
        index = face.mul_(width).add_(row).mul_(width).add_(column).to(torch.int32).flatten()
        near = far.sub_(_BIAS).flatten()
        lit = [self._depths[k:].index_select(0, index).gt_(near) for k in (0, 1, width, width + 1)]
        across = u.sub_(column).flatten()
        return torch.lerp(lit[0].lerp_(lit[1], across), lit[2].lerp_(lit[3], across), v.sub_(row).flatten()).view_as(u)


def _make_face_rotations(like: Tensor) -> Tensor:
    """Make world_from_camera rotations (6, 3, 3): z along +x -x +y -y +z -z, x and y along the next axes.

    Those of the negative faces are mirrored.
    """
    turns = torch.zeros(6, 3, 3)
    for face, (axis, sign) in enumerate(product((0, 1, 2), (1.0, -1.0))):
        turns[face, axis, 2] = sign
        turns[face, (axis + 1) % 3, 0] = turns[face, (axis + 2) % 3, 1] = 1.0
    return turns.to(like)
