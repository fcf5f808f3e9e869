"""Depth of a stream's frames from several views: a first depth and a pose in, depth that agrees from frame to frame out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from moonseg3r_core.ops.precision import autocast_where_fast
from moonseg3r_core.reconstruction.config import MultiViewConfig
from moonseg3r_core.reconstruction.intrinsics import scale_intrinsics
from moonseg3r_core.reconstruction.multi_view.carry import carry_depth, fuse_depth
from moonseg3r_core.reconstruction.multi_view.net import (
    STEP,
    Encoded,
    FirstDepth,
    MultiViewNet,
    Prediction,
    Sources,
    read_multi_view_net,
)
from moonseg3r_core.reconstruction.multi_view.views import PastView, PastViews
from moonseg3r_core.runtime.state import cpu_copy, load_parts, prefix_states, read_tensor
from moonseg3r_core.stages import Stateful
from moonseg3r_core.types import PixelGrid
from moonseg3r_core.weights import find

LONG_SIDE = 256  # pixels of the images that the net sees; depth has half of it
_SURE = 0.05  # spread of log depth that doubles a confidence of 1


@dataclass(frozen=True)
class View:
    """What is known of a frame before its depth is refined.

    image (H, W, 3) uint8; depth (h, w) on the grid, 0 = unknown, in the map's unit, with the grid's intrinsics (3, 3);
    pose world_from_camera (4, 4) float64; anchor: the key view that the frame hangs on, 0 for none.
    """

    image: np.ndarray
    depth: Tensor
    intrinsics: Tensor
    grid: PixelGrid
    pose: Tensor
    anchor: int = 0


@dataclass(frozen=True)
class RefinedDepth:
    """Depth (h, w) on a view's grid, 0 = unknown, and the spread of its log (h, w); None for a first depth as it was."""

    depth: Tensor
    spread: Tensor | None = None

    @property
    def confidence(self) -> Tensor | None:
        """The confidence (h, w), 1 or more where depth is known; None where the first depth's own counts."""
        return None if self.spread is None else torch.where(self.depth > 0, 1 + _SURE / self.spread, 0.0)


class DepthRefinement(Stateful, Protocol):
    """A view and where anchors stand now -> RefinedDepth."""

    def __call__(self, view: View, anchor_poses: Mapping[int, Tensor]) -> RefinedDepth: ...

    @property
    def anchors(self) -> Collection[int]:
        """The anchors whose poses it wants to know."""

    def reset(self) -> None: ...


class SingleViewDepth:
    """Keeps a frame's first depth."""

    @property
    def anchors(self) -> Collection[int]:
        return ()

    def __call__(self, view: View, anchor_poses: Mapping[int, Tensor]) -> RefinedDepth:
        return RefinedDepth(view.depth)

    def reset(self) -> None:
        """Nothing is remembered."""

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Nothing is remembered."""


class MultiViewDepth:
    """Refines depth by a plane-sweep net over `count` past views, and fuses it with the depth of the frame before.

    The net sees images of 256 pixels along the long side; its depth, of half of that, is laid on the view's grid.
    use_first: whether the net is told of the first depth where it has past views; it always is where it has none.
    """

    def __init__(self, net: MultiViewNet, count: int, use_first: bool = True) -> None:
        self.net, self.count, self.use_first = net, count, use_first
        self._views = PastViews()
        self._former = _Former.make_empty()

    @property
    def anchors(self) -> Collection[int]:
        """The anchors that past views hang on."""
        return self._views.anchors | {self._former.place.anchor}

    def reset(self) -> None:
        """Forget all views."""
        self._views.reset()
        self._former = _Former.make_empty()

    @torch.no_grad()
    def __call__(self, view: View, anchor_poses: Mapping[int, Tensor]) -> RefinedDepth:
        known = view.depth[view.depth > 0]
        if not len(known):
            return RefinedDepth(view.depth)
        typical = float(known.median())
        frame = _shrink(view)
        encoded = self._encode(frame.image)
        self._views.correct(anchor_poses)
        found = self._predict(encoded, frame, view.pose, typical)
        depth, spread = self._fuse(
            found.log_depth[0].exp() * typical, found.log_spread[0].exp(), frame, view, anchor_poses
        )
        place = _Place.from_view(view, anchor_poses)
        matched, fine = encoded.matched[0].half(), encoded.matched_fine[0].half()
        self._views.add(PastView(matched, fine, view.pose, view.anchor, place.anchor_pose), typical)
        self._former = _Former(place, depth, spread)
        return _lay_on_grid(depth, spread, view)

    def _fuse(
        self, depth: Tensor, spread: Tensor, frame: _Shrunk, view: View, anchor_poses: Mapping[int, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Fuse a frame's depth (h, w) and spread with those of the frame before, where they tell of one surface."""
        former = self._former
        if former.depth.shape != depth.shape:
            return depth, spread
        relative = (torch.linalg.inv(view.pose) @ former.place.locate(anchor_poses)).float().to(depth.device)
        carried = carry_depth(former.depth[None], former.spread[None], relative[None], frame.intrinsics[None])
        return fuse_depth(depth, spread, carried[0][0], carried[1][0])

    def _predict(self, encoded: Encoded, frame: _Shrunk, pose: Tensor, typical: float) -> Prediction:
        """Predict the depth of a frame over its typical depth."""
        device, size = frame.image.device, tuple(encoded.matched.shape[2:])
        chosen = self._views.choose(pose, typical, self.count, size)
        relative = torch.stack([torch.linalg.inv(v.pose) @ pose for v in chosen]) if chosen else torch.eye(4)[None]
        relative[:, :3, 3] /= typical
        seen = [(v.matched, v.matched_fine) for v in chosen] or [(encoded.matched[0], encoded.matched_fine[0])]
        matched, fine = (torch.stack(maps).float().to(device)[None] for maps in zip(*seen, strict=True))
        used = torch.full((1, len(seen)), bool(chosen), device=device)
        sources = Sources(matched, fine, relative.float().to(device)[None], used)
        known = frame.first > 0 if self.use_first or not chosen else torch.zeros_like(frame.first, dtype=torch.bool)
        log_depth = torch.where(known, (frame.first / typical).clamp(min=1e-3).log(), 0.0)
        first = FirstDepth(log_depth[None], known[None])
        with autocast_where_fast(device):
            return self.net(encoded, sources, scale_intrinsics(frame.intrinsics, 2)[None], first)

    def _encode(self, image: Tensor) -> Encoded:
        with autocast_where_fast(image.device):
            found = self.net.encode(image)
        return Encoded(found.levels, found.matched.float(), found.matched_fine.float())

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of all views and of the depth of the frame before."""
        return prefix_states(views=self._views.state_dict(), former=self._former.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned; an empty state, as of older map files, has no views.

        Raises InputError for an incomplete state.
        """
        if not state:
            return self.reset()
        former = _Former.make_empty()
        views = PastViews()
        load_parts(state, views=views, former=former)
        self._views, self._former = views, former


def build_refinement(config: MultiViewConfig, device: torch.device, use_first: bool = True) -> DepthRefinement:
    """Build what `reconstruction.multi_view` configures. Raises WeightsError for missing weights."""
    if not config.sources:
        return SingleViewDepth()
    net = read_multi_view_net(find(config.weights)).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return MultiViewDepth(net, config.sources, use_first)


@dataclass(frozen=True)
class _Place:
    """Where a frame stood, world_from_camera (4, 4), while its anchor stood at anchor_pose (4, 4)."""

    pose: Tensor
    anchor: int
    anchor_pose: Tensor

    @classmethod
    def from_view(cls, view: View, anchor_poses: Mapping[int, Tensor]) -> _Place:
        return cls(view.pose, view.anchor, anchor_poses.get(view.anchor, torch.eye(4, dtype=torch.float64)))

    def locate(self, anchor_poses: Mapping[int, Tensor]) -> Tensor:
        """Locate the frame now."""
        now = anchor_poses.get(self.anchor)
        return self.pose if now is None else now @ torch.linalg.inv(self.anchor_pose) @ self.pose


@dataclass
class _Former:
    """The frame before: its place, depth (h, w) and the spread of its log (h, w)."""

    place: _Place
    depth: Tensor
    spread: Tensor

    @classmethod
    def make_empty(cls) -> _Former:
        eye = torch.eye(4, dtype=torch.float64)
        return cls(_Place(eye, 0, eye), torch.zeros(0, 0), torch.zeros(0, 0))

    def state_dict(self) -> dict[str, Tensor]:
        place = self.place
        return {
            "depth": cpu_copy(self.depth), "spread": cpu_copy(self.spread), "pose": cpu_copy(place.pose),
            "anchor": torch.tensor([place.anchor]), "anchor_pose": cpu_copy(place.anchor_pose),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        depth = read_tensor(state, "depth", ("h", "w"), torch.float32)
        spread = read_tensor(state, "spread", tuple(depth.shape), torch.float32)
        pose, anchor_pose = (read_tensor(state, name, (4, 4), torch.float64) for name in ("pose", "anchor_pose"))
        self.place = _Place(pose, int(read_tensor(state, "anchor", (1,))), anchor_pose)
        self.depth, self.spread = depth, spread


@dataclass(frozen=True)
class _Shrunk:
    """A frame as the net sees it: image (1, 3, 2 h, 2 w) in [-1, 1], first depth (h, w) with its intrinsics (3, 3)."""

    image: Tensor
    first: Tensor
    intrinsics: Tensor


def _shrink(view: View) -> _Shrunk:
    """Shrink what the view's grid covers of its image to the net's size."""
    grid, device = view.grid, view.depth.device
    scale = LONG_SIDE / max(grid.height, grid.width)
    height, width = (max(round(side * scale / STEP), 1) * STEP for side in (grid.height, grid.width))
    top, bottom = (round(grid.offset_v + grid.scale_v * (row - 0.5) + 0.5) for row in (0, grid.height))
    left, right = (round(grid.offset_u + grid.scale_u * (column - 0.5) + 0.5) for column in (0, grid.width))
    part = view.image[max(top, 0) : bottom, max(left, 0) : right]
    way = cv2.INTER_AREA if part.shape[1] >= width else cv2.INTER_LINEAR
    pixels = torch.from_numpy(cv2.resize(part, (width, height), interpolation=way)).to(device)
    image = pixels.permute(2, 0, 1)[None].float() / 127.5 - 1
    size = height // 2, width // 2
    first = view.depth if tuple(view.depth.shape) == size else _resize_depth(view.depth, size)
    factors = torch.tensor((size[1] / grid.width, size[0] / grid.height), device=device)
    intrinsics = view.intrinsics.to(device).float().clone()
    intrinsics[:2] *= factors[:, None]
    intrinsics[:2, 2] += (factors - 1) / 2
    return _Shrunk(image.contiguous(memory_format=torch.channels_last), first, intrinsics)


def _resize_depth(depth: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(depth[None, None], size, mode="nearest-exact")[0, 0]


def _lay_on_grid(depth: Tensor, spread: Tensor, view: View) -> RefinedDepth:
    """Lay depth and spread on the view's grid; unknown stays what the first depth does not know."""
    size = tuple(view.depth.shape)
    if tuple(depth.shape) != size:
        first = _resize_depth(view.depth, tuple(depth.shape))
        ratio = torch.where(first > 0, depth / first.clamp(min=1e-6), 1.0).log()[None, None]
        depth = F.interpolate(ratio, size, mode="bilinear", align_corners=False)[0, 0].exp() * view.depth
        spread = F.interpolate(spread[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    known = view.depth > 0
    return RefinedDepth(torch.where(known, depth, 0.0), spread)
