"""Pictures of a scene with exact depth and ids: traced primitives, procedural textures, lights with shadows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from moonseg3r_core.synthetic.primitives import BOX, Primitives, normals
from moonseg3r_core.synthetic.scene import ROOM_IDS, Scene
from moonseg3r_core.synthetic.textures import albedo, lattice
from moonseg3r_core.synthetic.trace import View, trace

SHADOW_SIZE = 160  # pixels of one face of a light's shadow cube
_BIAS = 0.02  # metres
_AWAY = 50.0  # metres: so far off the walls are for a shadow cube; they cast none in a convex room
_GAMMA = 1 / 2.2


def render(
    scene: Scene,
    intrinsics: Tensor,
    world_from_camera: Tensor,
    height: int,
    width: int,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor, Tensor]:
    """A picture (H, W, 3) uint8 RGB, its depth (H, W) float32 metres along z, its object ids (H, W) int32.

    intrinsics (3, 3) pixels, pixel i's center at u = i; world_from_camera (4, 4), OpenCV axes. Depth and id are 0
    where no surface is met, which inside the room is nowhere. A scene's shadows are drawn at its first picture.
    """
    return _renderer(scene, torch.device(device))(intrinsics, world_from_camera, height, width)


@lru_cache(maxsize=2)
def _renderer(scene: Scene, device: torch.device) -> Renderer:
    return Renderer(scene, device)


class Renderer:
    """One scene made ready on one device: its tensors, and a shadow cube for each of its lights."""

    def __init__(self, scene: Scene, device: torch.device) -> None:
        self.primitives = scene.primitives.to(device)
        self.materials = scene.materials.to(device)
        self.noise = lattice().to(device)
        x, y, z = scene.size
        self.room = torch.tensor([[-x / 2, -y / 2, 0.0], [x / 2, y / 2, z]], device=device)
        self.ids = torch.cat(
            (self.primitives.object_id, torch.tensor((*ROOM_IDS, 0), dtype=torch.int32, device=device))
        )
        self.rows = torch.cat((self.primitives.material, torch.arange(6, device=device)))
        self.lights, self.light_colors, self.ambient = (
            t.to(device) for t in (scene.lights, scene.light_colors, scene.ambient)
        )
        opaque = self.primitives[self.materials.numbers[self.primitives.material, 2] < 0.8]
        far = self.room + torch.tensor([[-_AWAY], [_AWAY]], device=device)
        self.shadows = [ShadowCube.of(opaque, far, light) for light in self.lights]

    def __call__(
        self, intrinsics: Tensor, world_from_camera: Tensor, height: int, width: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `render`."""
        view = _view(intrinsics, world_from_camera, height, width, self.room.device)
        depth, met = trace(self.primitives, self.room, view)
        seen = met >= 0
        depth = torch.where(seen, depth, 0.0)
        color = torch.where(seen[:, None], self._shade(view, depth, met.clamp(min=0)), 0.0)
        image = (color.clamp(0, 1) * 255 + 0.5).to(torch.uint8)
        return image.reshape(height, width, 3), depth.reshape(height, width), self.ids[met].reshape(height, width)

    def _shade(self, view: View, depth: Tensor, met: Tensor) -> Tensor:
        """(H * W, 3) colors in [0, 1], gamma applied."""
        points = view.position + depth[:, None] * view.rays()
        local, normal_local, normal, flat = self._surface(points, met)
        color = albedo(self.materials, self.rows[met], local, normal_local, flat, self.noise)
        emission = self.materials.numbers[self.rows[met], 2:3]
        light = self._sky(points, normal, met)
        for position, power, shadow in zip(self.lights, self.light_colors, self.shadows, strict=True):
            light = light + _diffuse(points, normal, position, shadow)[:, None] * power
        radiance = color * (light * (1 - emission) + 1.3 * emission)
        return (1 - torch.exp(-1.6 * radiance)) ** _GAMMA

    def _surface(self, points: Tensor, met: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Points and normals in their parts' frames, normals in the world (N, 3), and where surfaces are plane (N,)."""
        p, count = self.primitives, len(self.primitives)
        room = met >= count
        face = (met - count).clamp(min=0)
        inward = torch.nn.functional.one_hot(face // 2, 3) * (1.0 - 2.0 * (face % 2))[:, None]
        if not count:
            return points, inward, inward, room
        row = met.clamp(max=count - 1)
        turn = p.rotation[row]
        local = (turn * (points - p.center[row])[:, :, None]).sum(1)
        outward = normals(p.kind[row], local / p.half[row], p.half[row], p.taper[row])
        world = (turn * outward[:, None]).sum(2)
        keep = room[:, None]
        flat = room | (p.kind[row] == BOX)
        return (
            torch.where(keep, points, local),
            torch.where(keep, inward, outward),
            torch.where(keep, inward, world),
            flat,
        )

    def _sky(self, points: Tensor, normal: Tensor, met: Tensor) -> Tensor:
        """Ambient light (N, 3): more from above, less in the room's corners and near the floor."""
        upward = 0.75 + 0.25 * normal[:, 2]
        low, high = points - self.room[0], self.room[1] - points
        edge = torch.minimum(low, high).sort(-1).values
        room = met >= len(self.primitives)
        gap = torch.where(room, edge[:, 1], low[:, 2].clamp(min=0))  # a face lies in its own plane: its second distance
        return ((upward * (1 - 0.35 * torch.exp(-gap / 0.18)))[:, None]) * self.ambient


@dataclass(frozen=True)
class ShadowCube:
    """How far a light at `position` (3,) reaches: depths (6 * S * S,) of a cube's faces +z -z +x -x +y -y."""

    position: Tensor
    depths: Tensor

    @classmethod
    def of(cls, primitives: Primitives, room: Tensor, position: Tensor) -> ShadowCube:
        """The nearest surfaces around a light."""
        half, middle = SHADOW_SIZE / 2, (SHADOW_SIZE - 1) / 2
        faces = [
            trace(primitives, room, View(half, half, middle, middle, SHADOW_SIZE, SHADOW_SIZE, turn, position))[0]
            for turn in _cube_faces(position)
        ]
        return cls(position, torch.cat(faces))

    def lit(self, points: Tensor) -> Tensor:
        """(N,) in [0, 1]: the share of the light that reaches points (N, 3); four neighbouring depths are asked."""
        away = points - self.position
        axis = away.abs().argmax(-1)
        x, y, z = (away.gather(1, ((axis + i) % 3)[:, None])[:, 0] for i in (1, 2, 0))
        face, reach = 2 * ((axis + 1) % 3) + (z < 0).long(), z.abs()
        at = torch.stack((x, y * z.sign()), -1) / reach.clamp(min=1e-6)[:, None]
        at = (at + 1) * (SHADOW_SIZE / 2) - 0.5
        low = torch.floor(at)
        share = at - low
        lit = torch.zeros_like(reach)
        for du, dv in ((0, 0), (1, 0), (0, 1), (1, 1)):
            u, v = ((low[:, i] + d).clamp(0, SHADOW_SIZE - 1).long() for i, d in enumerate((du, dv)))
            weight = (share[:, 0] if du else 1 - share[:, 0]) * (share[:, 1] if dv else 1 - share[:, 1])
            depth = self.depths[(face * SHADOW_SIZE + v) * SHADOW_SIZE + u]
            lit = lit + weight * (depth > reach - _BIAS).float()
        return lit


def _diffuse(points: Tensor, normal: Tensor, light: Tensor, shadow: ShadowCube) -> Tensor:
    """(N,) Lambert's cosine over the squared distance, where the light reaches."""
    away = light - points
    squared = away.square().sum(-1)
    cosine = (normal * away).sum(-1) / squared.sqrt().clamp(min=1e-6)
    return (
        cosine.clamp(min=0) / (0.25 + squared) * shadow.lit(points + (0.01 + 0.012 * squared.sqrt()[:, None]) * normal)
    )


def _cube_faces(like: Tensor) -> Tensor:
    """(6, 3, 3) world_from_camera rotations that look along +z -z +x -x +y -y."""
    turns = []
    for axis in (2, 0, 1):
        for sign in (1.0, -1.0):
            turn = torch.zeros(3, 3)
            turn[axis, 2] = sign
            turn[(axis + 1) % 3, 0] = 1.0
            turn[(axis + 2) % 3, 1] = sign
            turns.append(turn)
    return torch.stack(turns).to(like)


def _view(intrinsics: Tensor, world_from_camera: Tensor, height: int, width: int, device: torch.device) -> View:
    fx, fy, cx, cy = (float(intrinsics[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    pose = world_from_camera.to(device=device, dtype=torch.float32)
    return View(fx, fy, cx, cy, height, width, pose[:3, :3].contiguous(), pose[:3, 3].contiguous())
