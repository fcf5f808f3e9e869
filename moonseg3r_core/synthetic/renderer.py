"""Render a scene with exact depth and ids: ray casting, procedural textures, point lights with shadows."""

from __future__ import annotations

import torch
from torch import Tensor

from moonseg3r_core.synthetic.scene import ROOM_IDS, Scene
from moonseg3r_core.synthetic.shadows import SHADOW_SIZE, Shadows
from moonseg3r_core.synthetic.surfaces import Surfaces
from moonseg3r_core.synthetic.textures import Paint
from moonseg3r_core.synthetic.trace import Solids, View, trace

_GAMMA = 1 / 2.2
_BATCH = 1 << 14  # pixels that a CPU shades at once; they fit its caches


class Renderer:
    """A scene on a device: tables of its surfaces and materials, and the shadow maps of its lights.

    shadow_size: pixels along a face of a light's shadow cube map.
    """

    def __init__(self, scene: Scene, device: torch.device, shadow_size: int = SHADOW_SIZE) -> None:
        primitives = scene.primitives[scene.primitives.kind.argsort(stable=True)].to(device)
        materials = scene.materials.to(device)
        x, y, z = scene.size
        self._room = torch.tensor([[-x / 2, -y / 2, 0.0], [x / 2, y / 2, z]], device=device)
        room_ids = torch.tensor((*ROOM_IDS, 0), dtype=torch.int32, device=device)
        self._ids = torch.cat((primitives.object_id, room_ids))
        self._surfaces = Surfaces(primitives)
        self._paint = Paint(materials, torch.cat((primitives.material, torch.arange(7, device=device) % 6)))
        self._lights = scene.lights.T[:, :, None].to(device)
        self._colors = torch.cat((scene.ambient.reshape(1, 3), scene.light_colors))[:, :, None].to(device)
        opaque = primitives[materials.numbers[primitives.material, 2] < 0.8]
        self._solids = Solids(primitives)
        self._shadows = Shadows(Solids(opaque), scene.lights.to(device), shadow_size)

    def __call__(
        self, intrinsics: Tensor, world_from_camera: Tensor, height: int, width: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Render an image (H, W, 3) uint8 RGB, depth (H, W) float32 metres along z, and object ids (H, W) int32.

        intrinsics (3, 3) pixels, pixel i's center at u = i; world_from_camera (4, 4), OpenCV axes. Depth and id are 0
        where a ray hits nothing, which happens outside the room only.
        """
        fx, fy, cx, cy = (float(intrinsics[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
        pose = world_from_camera.to(device=self._room.device, dtype=torch.float32)
        view = View(fx, fy, cx, cy, height, width, pose[:3, :3].contiguous(), pose[:3, 3].contiguous())
        rays = view.compute_rays()
        depth, met = trace(self._solids, self._room, view, rays)
        is_hit = met < len(self._ids) - 1
        depth = torch.where(is_hit, depth, 0.0)
        points = (rays * depth).add_(view.position[:, None])
        part = _BATCH if points.device.type == "cpu" else len(met)
        color = torch.cat([self._shade(*some) for some in zip(points.split(part, 1), met.split(part), strict=True)], 1)
        color.mul_(255 * is_hit.float()).add_(0.5)
        image = color.to(torch.uint8).reshape(3, height, width).permute(1, 2, 0).contiguous()
        return image, depth.reshape(height, width), self._ids.index_select(0, met).reshape(height, width)

    def _shade(self, points: Tensor, met: Tensor) -> Tensor:
        """Compute colors (3, N) in [0, 1] after gamma."""
        patch = self._surfaces(points, met)
        color, emission = self._paint(met, patch.local, patch.normal_local, patch.flat)
        amounts = (self._compute_ambient(points, patch.normal, met), *self._compute_diffuse(points, patch.normal))
        light = torch.zeros_like(color)
        for tint, amount in zip(self._colors, amounts, strict=True):
            light.addcmul_(tint, amount)
        radiance = light.mul_(1 - emission).add_(1.3 * emission).mul_(color)
        return radiance.mul_(-1.6).exp_().neg_().add_(1).log_().mul_(_GAMMA).exp_()

    def _compute_ambient(self, points: Tensor, normal: Tensor, met: Tensor) -> Tensor:
        """Compute the share (N,) of ambient light: more from above, less in corners and near the floor."""
        low, high = points - self._room[0, :, None], self._room[1, :, None] - points
        x, y, z = torch.minimum(low, high)
        second = torch.maximum(torch.minimum(x, y), torch.minimum(torch.maximum(x, y), z))
        room = met >= len(self._solids)
        gap = torch.where(room, second, low[2].clamp(min=0))  # a wall has distance 0 to itself: its second distance
        return (0.75 + 0.25 * normal[2]).mul_(1 - 0.35 * gap.mul_(-1 / 0.18).exp_())

    def _compute_diffuse(self, points: Tensor, normal: Tensor) -> Tensor:
        """Compute Lambert's cosine over the squared distance, times the light that arrives: (L, N)."""
        away, normal = points[:, None] - self._lights, normal[:, None]
        squared = away.square().sum(0)
        distance = squared.sqrt()
        cosine = (normal * away).sum(0).neg_().clamp_(min=0).div_(distance.clamp(min=1e-6))
        lit = self._shadows.compute_light(away.addcmul_(normal, distance.mul_(0.012).add_(0.01)))
        return lit.mul_(cosine).div_(squared.add_(0.25))
