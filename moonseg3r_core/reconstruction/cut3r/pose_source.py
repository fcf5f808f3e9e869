"""Sources of a frame's camera pose and of the scale of the net's points: the net, visual odometry, or the recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.geometry import find_rigid_fault
from moonseg3r_core.reconstruction.cut3r.scale import MetricScale
from moonseg3r_core.reconstruction.cut3r.submaps import Similarity, Submaps
from moonseg3r_core.reconstruction.odometry.tracker import Tracker
from moonseg3r_core.runtime.state import cpu_copy, load_parts, prefix_states, read_tensor
from moonseg3r_core.stages import Stateful
from moonseg3r_core.types import Frame, Held, PixelGrid

SCALE_STEP_M, SCALE_MIN_PAIRS, SCALE_WINDOW = 0.1, 3, 31  # of external poses


@dataclass(frozen=True)
class PoseEstimate:
    """A frame's world_from_camera (4, 4) and the scale of its points.

    scale: map units per net unit, one number or one per pixel (h, w); submap: from the net's world to the map's;
    motion_pose (4, 4), motion_scale: the pose that selects key frames, and its units per net unit;
    held: why the points cannot be placed, or None.
    """

    world_from_camera: Tensor
    scale: float | Tensor
    submap: Similarity
    motion_pose: Tensor
    motion_scale: float
    held: Held | None = None


@dataclass(frozen=True)
class NetPose:
    """The net's estimate of a frame: camera (4, 4) in the chained world, and depth (h, w) on a grid, 0 = unknown, with
    the grid's intrinsics (3, 3).
    """

    camera: Tensor
    depth: Tensor
    grid: PixelGrid
    intrinsics: Tensor


class PoseSource(Stateful, Protocol):
    """A frame and the net's estimate -> PoseEstimate."""

    def check(self, frame: Frame) -> None:
        """Raises FrameRejected for a frame that lacks required inputs."""

    def get_fallback(self, frame: Frame) -> Tensor | None:
        """The pose of a frame with unusable outputs; None where none is known."""

    def __call__(self, frame: Frame, net: NetPose, submaps: Submaps) -> PoseEstimate: ...

    def reset(self) -> None: ...


class _LastPose:
    """A source that falls back to its last pose, and accepts any frame."""

    _last: Tensor | None = None

    def reset(self) -> None:
        self._last = None

    def check(self, frame: Frame) -> None:
        """Any frame will do."""

    def get_fallback(self, frame: Frame) -> Tensor | None:
        return self._last

    def state_dict(self) -> dict[str, Tensor]:
        return {"last": torch.zeros(0, 4, 4, dtype=torch.float64) if self._last is None else cpu_copy(self._last[None])}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        last = read_tensor(state, "last", ("0 or 1", 4, 4), torch.float64)
        self._last = last[0] if len(last) else None


class NetPoses(_LastPose):
    """The net's own poses, in the unit of the first submap."""

    def __call__(self, frame: Frame, net: NetPose, submaps: Submaps) -> PoseEstimate:
        self._last = net.camera
        scale = submaps.similarity.scale
        return PoseEstimate(net.camera, scale, submaps.similarity, net.camera, scale)


class OdometryPoses(_LastPose):
    """Poses by visual odometry on the net's depth, in the net's mean unit (see `odometry.tracker`)."""

    def __init__(self) -> None:
        self._tracker = Tracker()

    def reset(self) -> None:
        super().reset()
        self._tracker.reset()

    def __call__(self, frame: Frame, net: NetPose, submaps: Submaps) -> PoseEstimate:
        tracked = self._tracker(frame.host_image, net.depth, net.intrinsics, net.grid)
        self._last = tracked.pose
        held = None if tracked.found else Held("too little of the image is recognised to tell where the camera is")
        ratios = tracked.ratios.to(net.depth)
        return PoseEstimate(tracked.pose, ratios, submaps.similarity, tracked.pose, 1.0, held)

    def state_dict(self) -> dict[str, Tensor]:
        return prefix_states(tracker=self._tracker.state_dict()) | super().state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        read_tensor(state, "last", ("0 or 1", 4, 4), torch.float64)  # nothing changes where it is damaged
        load_parts(state, tracker=self._tracker)
        super().load_state_dict(state)


class ExternalPoses:
    """The frame's own poses; the unit is metres as soon as the camera has moved enough."""

    def __init__(self) -> None:
        self._scale = MetricScale(SCALE_STEP_M, SCALE_MIN_PAIRS, SCALE_WINDOW)

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

    def __call__(self, frame: Frame, net: NetPose, submaps: Submaps) -> PoseEstimate:
        pose, similarity = frame.world_from_camera, submaps.similarity
        assert pose is not None, "frames are checked first"
        self._scale.observe(pose.cpu(), net.camera)
        scale, missing = self._scale.value * similarity.scale, self._scale.missing
        held = Held("the scale is not known before the camera has moved", f"{missing:.1f} m more") if missing else None
        return PoseEstimate(pose, scale, similarity, net.camera, similarity.scale, held)

    def state_dict(self) -> dict[str, Tensor]:
        return prefix_states(scale=self._scale.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        load_parts(state, scale=self._scale)


POSE_SOURCES: Mapping[str, type[NetPoses] | type[OdometryPoses] | type[ExternalPoses]] = {
    "model": NetPoses,
    "tracked": OdometryPoses,
    "given": ExternalPoses,
}
