"""Local positions and normals of points on surfaces, from one table of all surfaces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moonseg3r_core.synthetic.primitives import BOX, ELLIPSOID, FRUSTUM, RIM, Primitives

_SIZES = (3, 9, 3, 3, 3, 1, 1)  # of a column: center, rotation, box weights, slope, constant, cap, flat


@dataclass(frozen=True)
class Patch:
    """N points: `local` (3, N) and `normal_local` (3, N) in their parts' frames, `normal` (3, N) in the world, and
    `flat` (N,) 1 where the surface is a plane along two axes, else 0.
    """

    local: Tensor
    normal_local: Tensor
    normal: Tensor
    flat: Tensor


class Surfaces:
    """The surfaces of P primitives, then the room's six faces -x, +x, -y, +y, -z, +z, then none.

    A normal is linear in the point (balls, cones' sides, walls), or, where the point's largest weighted coordinate
    passes `cap`, the axis of that coordinate (boxes, cones' caps).
    """

    def __init__(self, primitives: Primitives) -> None:
        p, count = primitives, len(primitives)
        box, ball, cone = ((p.kind == kind)[:, None].float() for kind in (BOX, ELLIPSOID, FRUSTUM))
        square, taper = 1 / p.half.square(), p.taper[:, None]
        slope, up = (taper - 1) / 2, p.center.new_tensor([[0.0, 0.0, 1.0]])
        linear = ball * square + cone * square * ((1 - up) - up * slope.square())
        constant = -cone * up * slope * (1 + taper) / 2 / p.half
        weights = (box + cone * up) / p.half
        parts = (p.center, p.rotation.flatten(1), weights, linear, constant, cone * (1 - RIM), box)
        table = p.center.new_zeros(count + 7, sum(_SIZES))
        table[:count] = torch.cat(parts, 1)
        table[count:, 3:12] = torch.eye(3).flatten().to(table)
        table[count:-1, 18:21] = torch.stack((torch.eye(3), -torch.eye(3)), 1).flatten(0, 1).to(table)
        table[count:, 22] = 1
        self._table = table.T.contiguous()

    def __call__(self, points: Tensor, met: Tensor) -> Patch:
        """Compute patches at world points (3, N), metres, on the surfaces `met` (N,)."""
        center, turn, weights, linear, constant, cap, flat = self._table.index_select(1, met).split(_SIZES)
        turn = turn.view(3, 3, -1)  # world axis, local axis
        off = points - center
        local = (turn[0] * off[0]).addcmul_(turn[1], off[1]).addcmul_(turn[2], off[2])
        weighted = local.abs().mul_(weights)
        largest = weighted.amax(0)
        capped = (largest - cap).gt_(0)
        axis = weighted.eq_(largest).mul_(capped)
        normal = constant.addcmul_(linear, local).mul_(1 - capped).addcmul_(axis, local.sign())
        normal = normal / normal.square().sum(0).sqrt_().clamp_(min=1e-12)
        world = (turn[:, 0] * normal[0]).addcmul_(turn[:, 1], normal[1]).addcmul_(turn[:, 2], normal[2])
        return Patch(local, normal, world, flat[0])
