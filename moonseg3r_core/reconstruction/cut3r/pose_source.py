"""Where a frame's camera stands and how long the net's unit is: by the net, by matched features, or by the robot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.geometry import find_rigid_fault
from moonseg3r_core.reconstruction.cut3r.scale import OdometryScale
from moonseg3r_core.reconstruction.cut3r.submaps import Similarity, Submaps
from moonseg3r_core.reconstruction.odometry.tracker import Tracker
from moonseg3r_core.runtime.state import cpu_copy, load_parts, prefix_states, read_tensor
from moonseg3r_core.stages import Stateful
from moonseg3r_core.types import Frame, Held, PixelGrid


@dataclass(frozen=True)
class PoseEstimate:
    """A frame's camera (4, 4), the map's units per unit of the net, one number or each pixel's (h, w), and how the net's
    world lies in the map's; `held` says why its points cannot be placed. `camera` (4, 4) is what tells how far it has
    moved, `unit` how many of its units the net's is.
    """

    world_from_camera: Tensor
    scale: float | Tensor
    chunk: Similarity
    camera: Tensor
    unit: float
    held: Held | None = None


@dataclass(frozen=True)
class NetPose:
    """What the net makes of a frame: its camera (4, 4) in the chained world, and depth (h, w) on a grid, 0 = unknown,
    with the grid's intrinsics (3, 3).
    """

    camera: Tensor
    depth: Tensor
    grid: PixelGrid
    intrinsics: Tensor


class PoseSource(Stateful, Protocol):
    """Frame and what the net makes of it -> Place."""

    def check(self, frame: Frame) -> None:
        """Raises FrameRejected for a frame that lacks what is needed."""

    def get_fallback(self, frame: Frame) -> Tensor | None:
        """The pose of a frame whose outputs cannot be used, None where nothing is known."""

    def __call__(self, frame: Frame, seen: NetPose, chunks: Submaps) -> PoseEstimate: ...

    def reset(self) -> None: ...


class NetPoses:
    """The net's own; its unit is that of the first chunk. The last one stands in."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._last: Tensor | None = None

    def check(self, frame: Frame) -> None:
        """Any frame will do."""

    def get_fallback(self, frame: Frame) -> Tensor | None:
        return self._last

    def __call__(self, frame: Frame, seen: NetPose, chunks: Submaps) -> PoseEstimate:
        self._last = seen.camera
        scale = chunks.similarity.scale
        return PoseEstimate(seen.camera, scale, chunks.similarity, seen.camera, scale)

    def state_dict(self) -> dict[str, Tensor]:
        return {"last": torch.zeros(0, 4, 4, dtype=torch.float64) if self._last is None else cpu_copy(self._last[None])}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        last = read_tensor(state, "last", ("0 or 1", 4, 4), torch.float64)
        self._last = last[0] if len(last) else None


class OdometryPoses:
    """By landmarks recognised (see `tracking`); its unit is the net's in the mean. The last one stands in."""

    def __init__(self) -> None:
        self._tracker = Tracker()
        self.reset()

    def reset(self) -> None:
        self._tracker.reset()
        self._last: Tensor | None = None

    def check(self, frame: Frame) -> None:
        """Any frame will do."""

    def get_fallback(self, frame: Frame) -> Tensor | None:
        return self._last

    def __call__(self, frame: Frame, seen: NetPose, chunks: Submaps) -> PoseEstimate:
        tracked = self._tracker(frame.image, seen.depth, seen.intrinsics, seen.grid)
        self._last = tracked.pose
        held = None if tracked.found else Held("too little of the image is recognised to tell where the camera is")
        scale = tracked.ratios.to(seen.depth)
        return PoseEstimate(tracked.pose, scale, chunks.similarity, tracked.pose, 1.0, held)

    def state_dict(self) -> dict[str, Tensor]:
        last = torch.zeros(0, 4, 4, dtype=torch.float64) if self._last is None else cpu_copy(self._last[None])
        return prefix_states(tracker=self._tracker.state_dict()) | {"last": last}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        last = read_tensor(state, "last", ("0 or 1", 4, 4), torch.float64)
        load_parts(state, tracker=self._tracker)
        self._last = last[0] if len(last) else None


class ExternalPoses:
    """The frame's own, which stands in for itself; the unit is metres as soon as the camera has moved enough."""

    def __init__(self) -> None:
        self._scale = OdometryScale()

    def reset(self) -> None:
        self._scale.reset()

    def check(self, frame: Frame) -> None:
        pose = frame.world_from_camera
        if pose is None:
            raise FrameRejected(
                "no pose",
                "pose=given expects one with every frame; "
                "add odometry or TF (bag) or pose/N.txt (ScanNet export), or set it to model.",
            )
        fault = find_rigid_fault(pose)
        if fault:
            raise FrameRejected(
                "unusable pose",
                f"the pose must be a rigid 4 x 4 world_from_camera matrix, but {fault}; "
                "leave such frames out or repair the trajectory.",
            )

    def get_fallback(self, frame: Frame) -> Tensor | None:
        return frame.world_from_camera

    def __call__(self, frame: Frame, seen: NetPose, chunks: Submaps) -> PoseEstimate:
        given = frame.world_from_camera
        assert given is not None, "frames are checked first"
        self._scale.observe(given.cpu(), seen.camera)
        scale, missing = self._scale.value * chunks.similarity.scale, self._scale.missing
        held = Held("the scale is not known before the camera has moved", f"{missing:.1f} m more") if missing else None
        return PoseEstimate(given, scale, chunks.similarity, seen.camera, chunks.similarity.scale, held)

    def state_dict(self) -> dict[str, Tensor]:
        return prefix_states(scale=self._scale.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        load_parts(state, scale=self._scale)


POSE_SOURCES: Mapping[str, type[NetPoses] | type[OdometryPoses] | type[ExternalPoses]] = {
    "model": NetPoses,
    "tracked": OdometryPoses,
    "given": ExternalPoses,
}
