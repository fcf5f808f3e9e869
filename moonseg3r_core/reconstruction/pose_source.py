"""Sources of a frame's camera pose and of the scale of the net's points: the net, visual odometry, or the recording."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.ops.running_median import RunningMedian
from moonseg3r_core.reconstruction.given_pose import check_rigid
from moonseg3r_core.reconstruction.key_views import CorrectionLog
from moonseg3r_core.reconstruction.multi_view.depth import DepthRefinement, RefinedDepth, View
from moonseg3r_core.reconstruction.odometry.depth_alignment import DepthAlignment, MetricDepth, Odometry
from moonseg3r_core.reconstruction.odometry.depth_correction import PRIOR_SIGMA
from moonseg3r_core.reconstruction.odometry.features import Features, make_detector
from moonseg3r_core.reconstruction.odometry.tracker import TrackedFrame, Tracker
from moonseg3r_core.reconstruction.odometry.triangulation import Triangulation
from moonseg3r_core.reconstruction.similarity import Similarity
from moonseg3r_core.reconstruction.timed_anchors import TimedAnchors
from moonseg3r_core.runtime.state import cpu_copy, load_parts, prefix_states, read_tensor
from moonseg3r_core.stages import Stateful
from moonseg3r_core.types import Corrections, Frame, Geometry, Held, PixelGrid

LOST = Held("too little of the image is recognised to tell where the camera is")
MIN_LANDMARKS = 12  # triangulated by external poses, that give a frame's scale
MIN_LANDMARK_SHARE = 0.1  # of a frame's features: fewer agree by chance
MIN_SCALES, SCALE_WINDOW = 3, 31  # frames from which the scale is known, and of which it is the median
MAX_LOG_DEVIATION = 0.7  # of a landmark's ratio from the frame's median; beyond it the match is wrong
MAX_LOG_CHANGE = math.log(2.5)  # of a frame's scale from the usual one; beyond it the frame's depth is wrong
MAX_LOG_SCALE = math.log(10)  # of metres over the net's unit


@dataclass(frozen=True)
class PoseEstimate:
    """A frame's world_from_camera (4, 4) and the scale of its points.

    scale: map units per net unit, one number or one per pixel (h, w); submap: from the net's world to the map's;
    motion_pose (4, 4), motion_scale: the pose that selects key frames, and its units per net unit;
    held: why the points cannot be placed, or None; confidence (h, w) of the scaled points, None for the net's own;
    anchor, corrections: the key view that the points hang on, and those that moved, as in `Geometry`.
    """

    world_from_camera: Tensor
    scale: float | Tensor
    submap: Similarity
    motion_pose: Tensor
    motion_scale: float
    held: Held | None = None
    confidence: Tensor | None = None
    anchor: int = 0
    corrections: Corrections = field(default_factory=Corrections.empty)

    def anchor_geometry(self, geometry: Geometry) -> Geometry:
        """Return a geometry that hangs on the key view."""
        return replace(geometry, anchor=self.anchor, corrections=self.corrections)


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

    def __call__(self, frame: Frame, net: NetPose, similarity: Similarity) -> PoseEstimate: ...

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
    """The net's own poses, in the unit of the first submap; its depth as it is."""

    def __init__(self, refinement: DepthRefinement) -> None:
        """Nothing is refined, because the net's world points are not depth along a ray."""

    def __call__(self, frame: Frame, net: NetPose, similarity: Similarity) -> PoseEstimate:
        self._last = net.camera
        scale = similarity.scale
        return PoseEstimate(net.camera, scale, similarity, net.camera, scale)


class OdometryPoses(_LastPose):
    """Poses by visual odometry on the net's depth, in the unit of its first frames (see `odometry.tracker`); depth is
    refined.
    """

    def __init__(self, tracker: Odometry, refinement: DepthRefinement) -> None:
        self._tracker, self._refinement, self._told = tracker, refinement, CorrectionLog()

    def reset(self) -> None:
        super().reset()
        self._tracker.reset()
        self._refinement.reset()
        self._told.reset()

    def __call__(self, frame: Frame, net: NetPose, similarity: Similarity) -> PoseEstimate:
        tracked = self._tracker(frame.host_image, net.depth, net.intrinsics, net.grid)
        self._last = tracked.pose
        corrections = self._told.update(self._tracker.list_key_views())
        if tracked.found:
            refined = self._refine(frame, net, tracked)
            scale, confidence, held = compute_scale(refined, net.depth), refined.confidence, None
        else:
            scale, confidence, held = tracked.ratios.to(net.depth), None, LOST
        return PoseEstimate(
            tracked.pose, scale, similarity, tracked.pose, 1.0, held, confidence, tracked.anchor, corrections
        )

    def _refine(self, frame: Frame, net: NetPose, tracked: TrackedFrame) -> RefinedDepth:
        """Refine the corrected depth of a frame that was found, and let the next one be tracked by it."""
        depth = net.depth * tracked.ratios.to(net.depth)
        view = View(frame.host_image, depth, net.intrinsics, net.grid, tracked.pose, tracked.anchor)
        refined = self._refinement(view, self._list_anchor_poses(tracked.anchor))
        if refined.spread is not None:
            self._tracker.take_depth(refined.depth, net.intrinsics)
        return refined

    def _list_anchor_poses(self, anchor: int) -> dict[int, Tensor]:
        """List where the anchors stand now that the refinement's views hang on, and a frame's own."""
        poses = {number: self._tracker.get_anchor_pose(number) for number in {*self._refinement.anchors, anchor}}
        return {number: pose for number, pose in poses.items() if pose is not None}

    def state_dict(self) -> dict[str, Tensor]:
        stateful = {"tracker": self._tracker, "refinement": self._refinement, "told": self._told}
        parts = {name: part.state_dict() for name, part in stateful.items()}
        return prefix_states(**parts) | super().state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        read_tensor(state, "last", ("0 or 1", 4, 4), torch.float64)  # nothing changes where it is damaged
        load_parts(state, tracker=self._tracker, refinement=self._refinement, told=self._told)
        super().load_state_dict(state)


class ExternalPoses:
    """The frame's own poses, and metres from landmarks that they triangulate.

    The scale is known after a few frames with landmarks, and holds where there are none. A frame is held before that,
    where its depth does not fit its landmarks, and where the poses are in another unit by far than the net's, which aims
    at metres.
    """

    def __init__(self, alignment: DepthAlignment, refinement: DepthRefinement) -> None:
        self._alignment, self._refinement = alignment, refinement
        self._detector, self._triangulation = make_detector(), Triangulation()
        self._log_scales, self._anchors = RunningMedian(SCALE_WINDOW), TimedAnchors()

    def reset(self) -> None:
        self._anchors.reset()
        self._alignment.reset()
        self._refinement.reset()
        self._triangulation.reset()
        self._log_scales.reset()

    def check(self, frame: Frame) -> None:
        self._anchors.follow(frame.moves)
        pose = frame.world_from_camera
        if pose is None:
            raise FrameRejected(
                "no pose",
                "pose=given expects one with every frame; "
                "add poses (TF, odometry, or the recording's own), or set it to model.",
            )
        check_rigid(pose)

    def get_fallback(self, frame: Frame) -> Tensor | None:
        return frame.world_from_camera

    def __call__(self, frame: Frame, net: NetPose, similarity: Similarity) -> PoseEstimate:
        pose = frame.world_from_camera
        assert pose is not None, "frames are checked first"
        converted = self._alignment.convert(net.depth)
        depth, k = converted.cpu().numpy() * similarity.scale, net.intrinsics.cpu().numpy().astype(np.float64)
        features = self._detector(frame.host_image, depth, k, net.grid)
        landmarks = self._find_landmarks(features, pose.cpu().double().numpy())
        least = max(MIN_LANDMARKS, MIN_LANDMARK_SHARE * len(features.rays))
        own = float(np.median(landmarks.log_ratios)) if landmarks.count >= least else None
        if own is not None:
            self._log_scales.add(own)
        held = self._find_fault(own)
        scale = math.exp(self._log_scales.value) if len(self._log_scales) else 1.0
        ratios = torch.full(net.depth.shape, scale)
        if own is not None and not held:
            ratios = torch.from_numpy(landmarks.estimate_ratios(features, k, depth, self._alignment))
        per_first = torch.where(net.depth > 0, converted / net.depth, 1.0) * similarity.scale
        units, motion_scale = ratios.to(net.depth) * per_first, scale * similarity.scale
        hung = self._anchors.hang(frame.stamp, pose)
        if held:
            return PoseEstimate(pose, units, similarity, pose.cpu(), motion_scale, held, None, *hung)
        view = View(frame.host_image, net.depth * units, net.intrinsics, net.grid, pose.cpu().double())
        refined = self._refinement(view, {})
        scaled = compute_scale(refined, net.depth)
        return PoseEstimate(pose, scaled, similarity, pose.cpu(), motion_scale, None, refined.confidence, *hung)

    def _find_landmarks(self, features: Features, pose: np.ndarray) -> Landmarks:
        """Find the features whose triangulated depth can be that of the net."""
        rows, logs, sigmas = self._triangulation(features, pose)
        log_ratios = logs - np.log(features.depths[rows])
        usual = np.abs(log_ratios - np.median(log_ratios)) < MAX_LOG_DEVIATION if len(rows) else slice(None)
        return Landmarks(rows[usual], log_ratios[usual], sigmas[usual])

    def _find_fault(self, own: float | None) -> Held | None:
        """Say why a frame cannot be placed whose landmarks give this log scale, None without landmarks."""
        if len(self._log_scales) < MIN_SCALES:
            more = (
                f"{MIN_SCALES - len(self._log_scales)} more images must show landmarks that others show from elsewhere"
            )
            return Held("the scale is not known before the camera has moved", more)
        usual = self._log_scales.value
        if abs(usual) > MAX_LOG_SCALE:
            return Held(
                "the poses are not in metres", f"they make the scene {math.exp(usual):.2g} times the net's size"
            )
        if own is not None and abs(own - usual) > MAX_LOG_CHANGE:
            change = f"{math.exp(own - usual):.2g} times the usual scale"
            return Held("the net's depth does not fit the landmarks of the given poses", change)
        return None

    def state_dict(self) -> dict[str, Tensor]:
        return prefix_states(**{name: part.state_dict() for name, part in self._list_parts().items()})

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        load_parts(state, **self._list_parts())
        self._detector = make_detector(self._triangulation.descriptor_size)

    def _list_parts(self) -> dict[str, Stateful]:
        """The stateful parts by their name in a saved state."""
        return {
            "keyframes": self._triangulation, "scale": self._log_scales, "refinement": self._refinement,
            "alignment": self._alignment, "anchors": self._anchors,
        }  # fmt: skip


def compute_scale(refined: RefinedDepth, depth: Tensor) -> Tensor:
    """Compute refined over the net's depth (h, w); 1 where there is none."""
    return torch.where(depth > 0, refined.depth / depth.clamp(min=1e-9), 1.0)


@dataclass(frozen=True)
class Landmarks:
    """Features of known depth by their rows (n,): the log of it over the net's depth (n,), and its sigma (n,)."""

    rows: np.ndarray
    log_ratios: np.ndarray
    sigmas: np.ndarray

    @property
    def count(self) -> int:
        return len(self.rows)

    def estimate_ratios(
        self, features: Features, intrinsics: np.ndarray, depth: np.ndarray, alignment: DepthAlignment
    ) -> np.ndarray:
        """Estimate true depth over the net's depth (h, w) for each pixel, (h, w) float32."""
        pixels = features.rays[self.rows] * (intrinsics[0, 0], intrinsics[1, 1]) + intrinsics[:2, 2]
        return alignment.correct(pixels, features.depths[self.rows], self.log_ratios, self.sigmas, depth)


POSE_SOURCES: Mapping[str, Callable[[DepthRefinement, bool], PoseSource]] = {  # the flag: whether loops are closed
    "model": lambda refinement, loops: NetPoses(refinement),
    "tracked": lambda refinement, loops: OdometryPoses(Tracker(loops), refinement),
    "given": lambda refinement, loops: ExternalPoses(MetricDepth(PRIOR_SIGMA), refinement),
}
