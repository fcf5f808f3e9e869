"""A depth network with visual odometry, or with given poses, as a reconstruction stage."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.geometry import transform, unproject
from moonseg3r_core.reconstruction.image_check import ImageCheck
from moonseg3r_core.reconstruction.intrinsics import assume_intrinsics, compute_grid_intrinsics, is_calibrated
from moonseg3r_core.reconstruction.odometry.depth_alignment import DepthAlignment
from moonseg3r_core.reconstruction.pose_source import NetPose, PoseSource
from moonseg3r_core.reconstruction.positions import encode_point_positions
from moonseg3r_core.reconstruction.similarity import Similarity
from moonseg3r_core.runtime.state import load_parts, prefix_states
from moonseg3r_core.types import Frame, Geometry, Held, PixelGrid

_LOG = logging.getLogger("moonseg3r")
UNKNOWN_LINE = Held("scale and shift of the network's depth are not known before the camera has moved")


class DepthReconstruction:
    """Frame -> Geometry on a grid over the whole image. F3d: where the points lie.

    predict: image (H, W, 3) -> first depth (h, w), 0 = unknown, and its grid. poses places it, with the landmarks of
    `alignment`. Points beyond `max_depth`, in the map's unit, are left out. Intrinsics are the frame's, else those of a
    camera that sees `field_of_view` degrees along the image's longer side.

    A frame with an unusable image is held: no points, the last good pose, the reason in `Geometry.held`. So are the
    frames of a relative network before landmarks have shown its scale and shift. Raises FrameRejected where no pose is
    known yet, and with pose=given for a frame without a rigid pose.
    """

    def __init__(
        self, predict: Callable[[Tensor], tuple[Tensor, PixelGrid]], poses: PoseSource, alignment: DepthAlignment,
        max_depth: float, field_of_view: float,
    ) -> None:  # fmt: skip
        self.predict, self._poses, self._alignment = predict, poses, alignment
        self._max_depth, self._field_of_view = max_depth, field_of_view
        self._images, self._says_assumed = ImageCheck(), True

    @torch.no_grad()
    def __call__(self, frame: Frame) -> Geometry:
        self._poses.check(frame)
        fault = self._images(frame.host_image)
        depth, grid = self.predict(frame.image)
        intrinsics = self._find_intrinsics(frame, grid)
        if not fault and not bool((depth > 0).any()):
            fault = "the network sees no depth"
        if fault:
            return self._assemble(
                torch.zeros_like(depth), self._get_fallback(frame, fault), Held(fault), grid, intrinsics
            )
        net = NetPose(torch.eye(4, dtype=torch.float64), depth, grid, intrinsics)
        place = self._poses(frame, net, Similarity())
        held = place.held or (None if self._alignment.is_known else UNKNOWN_LINE)
        placed = torch.zeros_like(depth) if held else depth * place.scale
        geometry = self._assemble(placed, place.world_from_camera, held, grid, intrinsics, place.confidence)
        return place.anchor_geometry(geometry)

    def reset(self) -> None:
        """Forget the scene."""
        self._images.reset()
        self._poses.reset()

    def state_dict(self) -> dict[str, Tensor]:
        """Return CPU copies of the state of all parts, by dotted name."""
        return prefix_states(images=self._images.state_dict(), placement=self._poses.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the state of a stage with the same settings. Raises InputError for an incomplete one."""
        load_parts(state, images=self._images, placement=self._poses)

    def _assemble(
        self, depth: Tensor, pose: Tensor, held: Held | None, grid: PixelGrid, intrinsics: Tensor,
        confidence: Tensor | None = None,
    ) -> Geometry:  # fmt: skip
        """Assemble the Geometry of depth (h, w) in the map's unit; what is not finite, 0 or too far is dropped.

        confidence (h, w) is 1 or more; without one it is 1 everywhere.
        """
        known = depth.isfinite() & (depth > 0) & (depth <= self._max_depth)
        depth = torch.where(known, depth, 0.0)
        points = torch.where(known[..., None], transform(unproject(depth, intrinsics), pose), 0.0)
        shown = torch.where(known, torch.ones_like(depth) if confidence is None else confidence, 0.0)
        return encode_point_positions(Geometry(points, shown, depth, pose, intrinsics, grid, held=held))

    def _get_fallback(self, frame: Frame, fault: str) -> Tensor:
        """The pose of a held frame. Raises FrameRejected where none is known."""
        pose = self._poses.get_fallback(frame)
        if pose is None:
            raise FrameRejected(fault, "no frame before it could be placed; start where the camera sees something.")
        return pose

    def _find_intrinsics(self, frame: Frame, grid: PixelGrid) -> Tensor:
        """The frame's intrinsics on the grid, else assumed ones, which is said once."""
        if frame.intrinsics is not None and is_calibrated(frame.intrinsics):
            return compute_grid_intrinsics(frame.intrinsics, grid)
        if self._says_assumed:
            self._says_assumed = False
            _LOG.warning(
                "frames bring no intrinsics: the camera is taken to see %g degrees along the longer side; give a "
                "camera_info, or set reconstruction.depth.field_of_view.",
                self._field_of_view,
            )
        return compute_grid_intrinsics(assume_intrinsics(frame.size, self._field_of_view), grid).to(frame.image.device)
