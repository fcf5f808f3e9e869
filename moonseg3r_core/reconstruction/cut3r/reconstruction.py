"""CUT3R as a room: images in, one after the other; points, poses, F3d and A out (paper eq 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.reconstruction.cut3r.assemble import (
    assemble_geometry,
    extract_depth,
    lift_self_depth,
    make_held_geometry,
    place_self_points,
    place_world_points,
)
from moonseg3r_core.reconstruction.cut3r.geometric import GEOMETRIC
from moonseg3r_core.reconstruction.cut3r.inference import Inference, Net, NetRunner
from moonseg3r_core.reconstruction.cut3r.intrinsics import IntrinsicsEstimator, is_calibrated
from moonseg3r_core.reconstruction.cut3r.keyframes import KeyframeSelector, make_thumbnail
from moonseg3r_core.reconstruction.cut3r.net.attention import StateAttention
from moonseg3r_core.reconstruction.cut3r.net.model import OutputRequest
from moonseg3r_core.reconstruction.cut3r.net.state import State
from moonseg3r_core.reconstruction.cut3r.pose_source import POSE_SOURCES, NetPose, PoseEstimate, PoseSource
from moonseg3r_core.reconstruction.cut3r.preprocess import compute_grid_intrinsics, fit_image
from moonseg3r_core.reconstruction.cut3r.quality import ImageCheck
from moonseg3r_core.reconstruction.cut3r.submaps import Submaps, align
from moonseg3r_core.runtime.state import cpu_copy, error_prefix, load_parts, prefix_states, read_tensor, sub_state
from moonseg3r_core.types import Frame, Geometry, Held, PixelGrid

# A matched pose is found along the camera's rays, and so its points lie on them.
_CARRIED = {"model": place_self_points, "tracked": lift_self_depth, "given": place_self_points}


class Unusable(Exception):
    """An image or outputs that nothing may be taken from, and why; the last good pose stands in."""


class Cut3rReconstruction:
    """Frame -> Geometry at the net's resolution, with the grid's place in the image (paper eq 1); keeps CUT3R's state.

    `points`: world, X_t of the world head, or self, the self head's points carried by the pose, which spares a dense
    head. `pose`: model, the net's, in units of the first frames; tracked, by landmarks recognised, which correct the net's
    depth too; or given, the frame's own: these two carry the self points (whatever `points` says), scaled to the map, or to
    metres by the odometry. Points that the net trusts less than `min_confidence`
    have confidence 0, depth likewise. Intrinsics are the frame's, else estimated. `attention` chooses A, None leaves it
    out; `geometric` chooses F3d (see `geometric`). Key frames, by `key_translation` and `key_rotation`, change the state; after `reset_every` of them it starts
    anew, chained (see `KeyFrames`, `Chunks`). `precision`: the numbers inside the net.

    A frame whose image or outputs cannot be used is held: no points, the last good pose, the state untouched, and why
    in `Geometry.held`; so is one whose scale is not known yet, though the state learns from it. Raises FrameRejected where no pose is known yet, for an image that is too small, and, with
    pose=given, for a frame without a rigid pose.
    """

    def __init__(
        self,
        net: Net,
        *,
        points: str = "world",
        pose: str = "model",
        precision: str = "float32",
        attention: StateAttention | None = None,
        geometric: str = "modulation",
        reset_every: int = 0,
        key_translation: float = 0.02,
        key_rotation: float = 2.0,
        min_confidence: float = 1.5,
    ) -> None:
        self.net, self.min_confidence = net, min_confidence
        self._infer = NetRunner(net, precision, min_confidence)
        self._ask = OutputRequest(world=points == "world" and pose == "model", attention=attention)
        self._points = place_world_points if self._ask.world else _CARRIED[pose]
        self.add_features = GEOMETRIC[geometric]
        self._placement: PoseSource = POSE_SOURCES[pose]()
        self._images, self._camera = ImageCheck(), IntrinsicsEstimator()
        self._keys, self._chunks = KeyframeSelector(key_translation, key_rotation), Submaps(reset_every)
        self._state = self._infer.start()

    @torch.no_grad()
    def __call__(self, frame: Frame) -> Geometry:
        self._placement.check(frame)
        picture = frame.image.cpu()
        image, grid = fit_image(picture, self.net.sizes.image_size)
        try:
            sight = self._look(picture, image.to(frame.image.device))
        except Unusable as fault:
            return self._blank(frame, grid, self._stand_in(frame, fault), Held(str(fault)))
        intrinsics = self._intrinsics(frame, grid, sight.outputs.self_points[0])
        camera = self._chunks.similarity.pose(sight.reading.pose)
        depth = extract_depth(sight.outputs, self.min_confidence)
        place = self._placement(frame, NetPose(camera, depth, grid, intrinsics), self._chunks)
        self._advance(sight, place, make_thumbnail(picture))
        if place.held:
            return self._blank(frame, grid, place.world_from_camera, place.held)
        points = self._points(sight.outputs, place, intrinsics)
        return self.add_features(assemble_geometry(points, sight, place, grid, intrinsics, self.min_confidence))

    @property
    def key_frames(self) -> int:
        """How many frames have changed the state."""
        return self._keys.count

    def reset(self) -> None:
        """Forget the scene."""
        for owner in self._parts().values():
            owner.reset()
        self._state = self._infer.start()

    def state_dict(self) -> dict[str, Tensor]:
        """All that is remembered, as CPU copies by dotted name."""
        tokens = {name: cpu_copy(tensor) for name, tensor in vars(self._state).items()}
        return prefix_states(state=tokens, **{name: owner.state_dict() for name, owner in self._parts().items()})

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on where a room of the same settings was. Raises InputError for a state that is not whole."""
        with error_prefix("state"):
            tokens, start = sub_state(state, "state"), self._infer.start()
            loaded = {
                n: read_tensor(tokens, n, like.shape, like.dtype, device=like.device) for n, like in vars(start).items()
            }
        load_parts(state, **self._parts())
        self._state = State(**loaded)

    def _parts(self) -> dict[str, Any]:
        """What remembers beside the state."""
        return {
            "images": self._images,
            "camera": self._camera,
            "keys": self._keys,
            "chunks": self._chunks,
            "placement": self._placement,
        }

    def _look(self, picture: Tensor, image: Tensor) -> Inference:
        """The frame through the net, the state as it is. Raises Unusable."""
        if fault := self._images(picture):
            raise Unusable(fault)
        sight = self._infer(self._infer.encode(image), self._state, self._ask)
        if fault := sight.reading.fault:
            raise Unusable(fault)
        return sight

    def _advance(self, sight: Inference, place: PoseEstimate, view: Tensor) -> None:
        """A key frame changes the state, and begins a chunk where one is due."""
        if self._keys.due(place.camera, sight.reading.depth * place.unit, view):
            fresh = self._begin_chunk(sight) if self._chunks.due else None
            self._state = fresh or sight.state
            self._chunks.add_key()
            self._keys.add(place.camera, view)

    def _begin_chunk(self, old: Inference) -> State | None:
        """The state of a new chunk that has seen the frame at the seam; None where it saw nothing, to be tried again."""
        new = self._infer(old.tokens, self._infer.start(), OutputRequest(world=False))
        similarity = align(self._chunks.similarity, old, new, self.min_confidence)
        if similarity is None:
            return None
        self._chunks.begin(similarity)
        return new.state

    def _blank(self, frame: Frame, grid: PixelGrid, pose: Tensor, held: Held) -> Geometry:
        intrinsics = self._intrinsics(frame, grid, None)
        watched = self._ask.attention is not None
        return self.add_features(make_held_geometry((pose, held), self.net.sizes, watched, grid, intrinsics))

    def _stand_in(self, frame: Frame, fault: Unusable) -> Tensor:
        """The pose of a held frame. Raises FrameRejected where none is known."""
        pose = self._placement.get_fallback(frame)
        if pose is None:
            raise FrameRejected(
                str(fault), "no frame before it could be placed; start where the camera sees something."
            )
        return pose

    def _intrinsics(self, frame: Frame, grid: PixelGrid, points: Tensor | None) -> Tensor:
        """The frame's own, on the grid; else the estimate, which its points (H, W, 3) in camera axes take part in."""
        if frame.intrinsics is not None and is_calibrated(frame.intrinsics):
            return compute_grid_intrinsics(frame.intrinsics, grid)
        if points is not None:
            self._camera.observe(points)
        return self._camera.intrinsics(grid).to(frame.image.device)
