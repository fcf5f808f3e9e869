"""CUT3R as a reconstruction stage: images in, one after the other; points, poses, F3d and A out (paper eq 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.reconstruction.cut3r.assemble import (
    GEOMETRIC_FEATURES,
    assemble_geometry,
    extract_depth,
    lift_self_depth,
    make_held_geometry,
    place_self_points,
    place_world_points,
)
from moonseg3r_core.reconstruction.cut3r.inference import Inference, Net, NetRunner
from moonseg3r_core.reconstruction.cut3r.keyframes import KeyframeSelector, make_thumbnail
from moonseg3r_core.reconstruction.cut3r.net.attention import StateAttention
from moonseg3r_core.reconstruction.cut3r.net.model import OutputRequest
from moonseg3r_core.reconstruction.cut3r.net.state import State
from moonseg3r_core.reconstruction.cut3r.preprocess import fit_image
from moonseg3r_core.reconstruction.cut3r.submaps import Submaps, align
from moonseg3r_core.reconstruction.image_check import ImageCheck
from moonseg3r_core.reconstruction.intrinsics import IntrinsicsEstimator, compute_grid_intrinsics, is_calibrated
from moonseg3r_core.reconstruction.multi_view.depth import DepthRefinement
from moonseg3r_core.reconstruction.pose_source import POSE_SOURCES, NetPose, PoseEstimate, PoseSource
from moonseg3r_core.runtime.state import cpu_copy, error_prefix, load_parts, prefix_states, read_tensor, sub_state
from moonseg3r_core.types import Frame, Geometry, Held, PixelGrid

# Landmarks lie on the camera's rays, so the map's points must lie on them too.
_PLACE_POINTS = {"model": place_self_points, "tracked": lift_self_depth, "given": lift_self_depth}


class UnusableFrame(Exception):
    """An image or outputs that may not be used, and why. The last good pose is taken instead."""


class Cut3rReconstruction:
    """Frame -> Geometry at the net's resolution, with the grid's place in the image (paper eq 1). Keeps CUT3R's state.

    points: `world`, X_t of the world head, or `self`, the self head's points placed by the pose, one dense head less.
    pose: `model`, the net's, in units of the first frames; `tracked`, by visual odometry, which corrects the net's
    depth too; `given`, the frame's own, by whose landmarks the net's depth is corrected to metres. The last two always place self points.
    precision: of the net's numbers. attention: what A is, None for none. geometric: what F3d is (see `assemble`).
    reset_every, key_translation, key_rotation: see `Submaps` and `KeyframeSelector`; key frames change the state.
    loops: whether tracked poses close them. min_confidence: points below it have confidence and depth 0. Intrinsics are the frame's, else estimated.
    refinement: of depth from several views, unless pose is `model`.

    A frame with an unusable image or outputs is held: no points, the last good pose, the state unchanged, the reason in
    `Geometry.held`. A frame of unknown scale is held too, but updates the state. Raises FrameRejected where no pose is
    known yet, for an image that is too small, and with pose=given for a frame without a rigid pose.
    """

    def __init__(
        self, net: Net, *, points: str, pose: str, precision: str, attention: StateAttention | None, geometric: str,
        reset_every: int, key_translation: float, key_rotation: float, min_confidence: float,
        refinement: DepthRefinement, loops: bool,
    ) -> None:  # fmt: skip
        self.net, self.min_confidence = net, min_confidence
        self._run = NetRunner(net, precision, min_confidence)
        self._request = OutputRequest(world=points == "world" and pose == "model", attention=attention)
        self._place_points = place_world_points if self._request.world else _PLACE_POINTS[pose]
        self.add_features = GEOMETRIC_FEATURES[geometric]
        self._poses: PoseSource = POSE_SOURCES[pose](refinement, loops)
        self._images, self._intrinsics = ImageCheck(), IntrinsicsEstimator()
        self._keys, self._submaps = KeyframeSelector(key_translation, key_rotation), Submaps(reset_every)
        self._state = self._run.start()

    @torch.no_grad()
    def __call__(self, frame: Frame) -> Geometry:
        self._poses.check(frame)
        image, grid = fit_image(frame.host_image, self.net.sizes.image_size)
        try:
            inference = self._infer(frame.host_image, image.to(frame.image.device))
        except UnusableFrame as fault:
            return self._hold(frame, grid, self._get_fallback(frame, fault), Held(str(fault)))
        intrinsics = self._find_intrinsics(frame, grid, inference.outputs.self_points[0])
        camera = self._submaps.similarity.transform_pose(inference.check.pose)
        depth = extract_depth(inference.outputs, self.min_confidence)
        place = self._poses(frame, NetPose(camera, depth, grid, intrinsics), self._submaps.similarity)
        self._advance(inference, place, make_thumbnail(frame.host_image))
        if place.held:
            return place.anchor_geometry(self._hold(frame, grid, place.world_from_camera, place.held))
        points = self._place_points(inference.outputs, place, intrinsics)
        geometry = assemble_geometry(points, inference, place, grid, intrinsics, self.min_confidence)
        return self.add_features(place.anchor_geometry(geometry))

    @property
    def key_frames(self) -> int:
        """The number of frames that have changed the state."""
        return self._keys.count

    def reset(self) -> None:
        """Forget the scene."""
        for part in self._list_parts().values():
            part.reset()
        self._state = self._run.start()

    def state_dict(self) -> dict[str, Tensor]:
        """Return CPU copies of the state and of all parts, by dotted name."""
        tokens = {name: cpu_copy(tensor) for name, tensor in self._state.list_tensors().items()}
        return prefix_states(state=tokens, **{name: part.state_dict() for name, part in self._list_parts().items()})

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the state of a stage with the same settings. Raises InputError for an incomplete one."""
        with error_prefix("state"):
            tokens, start = sub_state(state, "state"), self._run.start()
            fields = start.list_tensors().items()
            loaded = {n: read_tensor(tokens, n, s.shape, s.dtype, device=s.device) for n, s in fields}
        load_parts(state, **self._list_parts())
        self._state = State(**loaded)

    def _list_parts(self) -> dict[str, Any]:
        """The stateful parts beside the net's state, by their name in a saved state."""
        return {
            "images": self._images, "camera": self._intrinsics, "keys": self._keys, "chunks": self._submaps,
            "placement": self._poses,
        }  # fmt: skip

    def _infer(self, picture: np.ndarray, image: Tensor) -> Inference:
        """Run the net on a frame; the state does not change. Raises UnusableFrame."""
        if fault := self._images(picture):
            raise UnusableFrame(fault)
        inference = self._run(self._run.encode(image), self._state, self._request)
        if fault := inference.check.fault:
            raise UnusableFrame(fault)
        return inference

    def _advance(self, inference: Inference, place: PoseEstimate, thumbnail: Tensor) -> None:
        """Take the next state if the frame is a key frame, and begin a submap where one is due."""
        if self._keys.is_due(place.motion_pose, inference.check.depth * place.motion_scale, thumbnail):
            fresh = self._begin_submap(inference) if self._submaps.is_due else None
            self._state = fresh or inference.state
            self._submaps.add_keyframe()
            self._keys.add(place.motion_pose, thumbnail)

    def _begin_submap(self, old: Inference) -> State | None:
        """Begin a submap at this frame and return its state; None where it cannot be aligned, to be tried again."""
        new = self._run(old.tokens, self._run.start(), OutputRequest(world=False))
        similarity = align(self._submaps.similarity, old, new, self.min_confidence)
        if similarity is None:
            return None
        self._submaps.begin(similarity)
        return new.state

    def _hold(self, frame: Frame, grid: PixelGrid, pose: Tensor, held: Held) -> Geometry:
        intrinsics = self._find_intrinsics(frame, grid, None)
        has_attention = self._request.attention is not None
        return self.add_features(make_held_geometry(pose, held, self.net.sizes, has_attention, grid, intrinsics))

    def _get_fallback(self, frame: Frame, fault: UnusableFrame) -> Tensor:
        """The pose of a held frame. Raises FrameRejected where none is known."""
        pose = self._poses.get_fallback(frame)
        if pose is None:
            advice = "no frame before it could be placed; start where the camera sees something."
            raise FrameRejected(str(fault), advice)
        return pose

    def _find_intrinsics(self, frame: Frame, grid: PixelGrid, points: Tensor | None) -> Tensor:
        """The frame's intrinsics on the grid; else the estimate, after it takes points (H, W, 3) in camera axes."""
        if frame.intrinsics is not None and is_calibrated(frame.intrinsics):
            return compute_grid_intrinsics(frame.intrinsics, grid)
        if points is not None:
            self._intrinsics.observe(points)
        return self._intrinsics.estimate(grid).to(frame.image.device)
