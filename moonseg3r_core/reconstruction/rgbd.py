"""Geometry from a recording with depth and poses: the reconstruction without a learned model."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.geometry import transform, unproject
from moonseg3r_core.ops.fourier import encode_positions
from moonseg3r_core.reconstruction.given_pose import check_rigid
from moonseg3r_core.reconstruction.timed_anchors import TimedAnchors
from moonseg3r_core.types import FeatureMap, Frame, Geometry, PixelGrid

_SOURCES = {
    "pose": "add poses (TF, odometry, or the recording's own)",
    "depth": "add depth images of the same time, registered to the image",
    "intrinsics": "add the camera's focal lengths (camera_info, or the recording's own)",
}


class RgbdReconstruction:
    """Frame with depth, intrinsics and pose -> Geometry on the image's grid (replaces paper eq 1).

    Depth outside [min_depth, max_depth] metres has no point. With `edge` > 0, a pixel has none either whose depth
    differs from a direct neighbour's by more than that share (such pixels lie between two surfaces). F3d: per cell of
    `cell` pixels, Fourier features of the world position, `octaves` wavelengths from `longest` metres downwards,
    without learned weights. Points hang on anchors by time, which follow the frames' moves. Raises FrameRejected for a frame without depth, usable intrinsics or a rigid pose.
    """

    def __init__(
        self, min_depth: float, max_depth: float, edge: float, cell: int, longest: float, octaves: int
    ) -> None:
        self.min_depth, self.max_depth, self.edge = min_depth, max_depth, edge
        self.cell, self.longest, self.octaves = cell, longest, octaves
        self._anchors = TimedAnchors()
        self.reset, self.state_dict = self._anchors.reset, self._anchors.state_dict
        self.load_state_dict = self._anchors.load_state_dict

    def __call__(self, frame: Frame) -> Geometry:
        self._anchors.follow(frame.moves)
        depth, intrinsics, pose = _read_inputs(frame)
        valid = (depth >= self.min_depth) & (depth <= self.max_depth)
        if self.edge > 0:
            valid &= ~find_depth_edges(depth, self.edge)
        if not bool(valid.any()):
            raise FrameRejected(
                "no depth in range",
                f"a frame must have depth between {self.min_depth:g} and {self.max_depth:g} m, got none; "
                "check the depth's unit (input.depth_scale) or widen reconstruction.rgbd.min_depth and max_depth.",
            )
        depth = torch.where(valid, depth, 0.0)
        points = transform(unproject(depth, intrinsics), pose)
        grid, (anchor, corrections) = PixelGrid(*frame.size), self._anchors.hang(frame.stamp, pose)
        geometry = Geometry(
            points, valid.float(), depth, pose, intrinsics, grid, anchor=anchor, corrections=corrections
        )
        return self.add_features(geometry)

    def add_features(self, geometry: Geometry) -> Geometry:
        """Return the geometry with the F3d of its points."""
        features = encode_positions(geometry.points, geometry.valid, self.cell, self.longest, self.octaves)
        return replace(geometry, features=FeatureMap(features))


def find_depth_edges(depth: Tensor, share: float) -> Tensor:
    """Find pixels (H, W) bool whose depth differs from a direct neighbour's by more than `share` of the nearer one.

    A neighbour without depth (0) makes no edge.
    """
    edges = torch.zeros_like(depth, dtype=torch.bool)
    for axis in (0, 1):
        a, b = depth.narrow(axis, 0, depth.shape[axis] - 1), depth.narrow(axis, 1, depth.shape[axis] - 1)
        nearer = torch.minimum(a, b)
        jump = ((a - b).abs() > share * nearer) & (nearer > 0)
        edges.narrow(axis, 0, depth.shape[axis] - 1).logical_or_(jump)
        edges.narrow(axis, 1, depth.shape[axis] - 1).logical_or_(jump)
    return edges


def _read_inputs(frame: Frame) -> tuple[Tensor, Tensor, Tensor]:
    """Read a frame's depth, intrinsics and pose. Raises FrameRejected where one is absent or unusable."""
    depth, intrinsics, pose = frame.depth, frame.intrinsics, frame.world_from_camera
    if pose is None or depth is None or intrinsics is None:
        missing = "pose" if pose is None else "depth" if depth is None else "intrinsics"
        raise FrameRejected(
            f"no {missing}",
            f"reconstruction.kind=rgbd expects depth, intrinsics and a pose for every frame, got no {missing};"
            f" {_SOURCES[missing]}, or set reconstruction.kind=nano, which needs none.",
        )
    if not bool(torch.isfinite(intrinsics).all() & (intrinsics[0, 0] > 0) & (intrinsics[1, 1] > 0)):
        raise FrameRejected(
            "unusable intrinsics",
            f"intrinsics must have focal lengths above 0, got fx {float(intrinsics[0, 0]):g}, "
            f"fy {float(intrinsics[1, 1]):g}; check the camera's calibration.",
        )
    check_rigid(pose)
    return depth, intrinsics, pose
