"""Assemble one camera's messages into frames: a colour image with its depth, intrinsics and pose.

Recordings and live streams share this code. Messages are read by attribute, so ROS is not needed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.sources.axes import convert_axes, convert_pose
from moonseg3r_core.sources.camera_poses import CameraPoses
from moonseg3r_core.sources.config import DEFAULT, InputConfig
from moonseg3r_core.sources.depth_alignment import DepthCamera, DepthUnaligned, find_depth_camera, is_registered
from moonseg3r_core.sources.messages import (
    compute_intrinsics,
    decode_depth_message,
    decode_image_message,
    explain_misfit,
    is_calibrated,
    is_distorted,
    is_rectified,
    read_image_size,
    read_info_size,
    read_pose,
    read_stamp,
    read_transform,
)
from moonseg3r_core.sources.pairing import DepthPairing
from moonseg3r_core.sources.registration import register_depth, reproject_depth
from moonseg3r_core.sources.stamps import StampedItem, StampFilter
from moonseg3r_core.sources.transforms import TransformError, clean_frame
from moonseg3r_core.types import Frame

PAIRING_TIMEOUT_S = 1.0  # an image waits no longer for the rest of its frame
MAX_PENDING = 32  # images that wait at most


@dataclass(frozen=True)
class FrameMessages:
    """The messages of one frame, not yet decoded.

    stamp: seconds. pose: world_from_camera (4, 4) float64. depth_camera: what registers the depth, None for depth that is
    registered. None: did not come, or was not requested.
    """

    index: int
    stamp: float
    image: Any
    depth: Any | None = None
    info: Any | None = None
    pose: np.ndarray | None = None
    rectified: bool = False
    depth_camera: DepthCamera | None = None


@dataclass(frozen=True)
class PendingImage:
    """A colour image in the queue: index, stamp and arrival in seconds, message."""

    index: int
    stamp: float
    arrived: float
    message: Any


class FrameAssembler:
    """Collects messages and releases each image with its depth, camera_info and pose, in the order of arrival.

    An image is released when its frame is complete, or after PAIRING_TIMEOUT_S without the missing messages.
    `may_release(message, stamp, early)` can delay an image by as much; `early` is True in the first second after the
    first image. A camera_info is used whether it was requested or not.
    `warn(topic, message)` is called for each problem, every time it occurs, `leave_out(why)` for each image whose stamp
    does not follow the others, `report_jump(seconds)` when several agree that time went back.
    Times are seconds of one clock; the arrival time replaces a stamp of zero.
    No message makes it raise, and memory is bounded. Use it from one thread.
    """

    def __init__(
        self,
        *,
        with_depth: bool,
        with_info: bool,
        with_pose: bool,
        world: str | None,
        rectified: bool,
        may_release: Callable[[Any, float, bool], bool],
        warn: Callable[[str, str], None],
        leave_out: Callable[[FrameRejected], None],
        report_jump: Callable[[float], None],
        depth_topic: str,
    ) -> None:
        self.with_depth, self.with_info, self.with_pose = with_depth, with_info, with_pose
        self.rectified, self._may_release, self._warn = rectified, may_release, warn
        self._leave_out, self._report_jump = leave_out, report_jump
        self._stamps: StampFilter[tuple[int | None, Any]] = StampFilter()
        self._poses = CameraPoses(world)
        self._depths = DepthPairing()
        self._pending: deque[PendingImage] = deque(maxlen=2 * MAX_PENDING)
        self._info: Any = None
        self._depth_info: Any = None
        self._depth_topic = depth_topic
        self._extrinsics: dict[tuple[str, str], np.ndarray] = {}
        self._first_arrival = np.inf

    @property
    def pending(self) -> int:
        """The number of images that wait."""
        return len(self._pending)

    @property
    def newest_stamp(self) -> float | None:
        """The newest stamp of the images in seconds; None before the first image."""
        return self._stamps.newest

    @property
    def world(self) -> str | None:
        """The name of the world frame; None until it is chosen."""
        return self._poses.world

    @property
    def has_info(self) -> bool:
        """True after the first camera_info."""
        return self._info is not None

    def lookup_transform(self, target: str, source: str, stamp: float) -> np.ndarray:
        """Return target_from_source (4, 4) float64 at a stamp in seconds. Raises TransformError with the reason.

        The last correction of odometry below `target` holds.
        """
        buffer = self._poses.buffer
        return buffer.lookup(target, source, stamp, buffer.find_correction(target, source))

    def look_up_correction(self, messages: FrameMessages) -> np.ndarray | None:
        """Return world_from_odometry (4, 4) at a frame's stamp, None where nothing corrects odometry."""
        _, child = self._poses.find_late_correction(messages.image.header.frame_id, messages.stamp)
        return None if child is None or self.world is None else self.lookup_transform(self.world, child, messages.stamp)

    def add_image(self, index: int, message: Any, arrived: float) -> None:
        """Add an Image or CompressedImage; `index` becomes the index of its frame."""
        self._add_stamp(index, message, arrived)

    def skip_image(self, message: Any, arrived: float) -> None:
        """Learn the frame rate from an image that is not selected."""
        self._add_stamp(None, message, arrived)

    def add_depth(self, message: Any, arrived: float) -> None:
        """Add a depth Image or CompressedImage."""
        self._depths.add(read_stamp(message.header, arrived), message)

    def add_info(self, message: Any) -> None:
        """Add a CameraInfo; it holds until the next one."""
        self._info = message

    def add_depth_info(self, message: Any) -> None:
        """Add the CameraInfo of the depth, which registers depth of another frame; it holds until the next one."""
        self._depth_info = message

    def add_transforms(self, message: Any, arrived: float, static: bool) -> None:
        """Add a TFMessage; invalid transforms are left out with a warning."""
        for transform in message.transforms:
            self._add_transform("/tf_static" if static else "/tf", transform, arrived, static)

    def add_pose(self, topic: str, message: Any, arrived: float) -> None:
        """Add an Odometry, PoseStamped or PoseWithCovarianceStamped; an invalid pose is left out with a warning."""
        try:
            self._poses.add_pose(topic, *read_pose(message, arrived))
        except TransformError as error:
            self._warn(f"bad transform on {topic}", f"{topic}: {error}; left out")

    def pop_ready(self, now: float) -> Iterator[FrameMessages]:
        """Yield the frames that are complete or timed out. Call it after each message and at intervals."""
        while self._pending:
            overdue = now - self._pending[0].arrived > PAIRING_TIMEOUT_S or len(self._pending) > MAX_PENDING
            if not overdue and not self._is_complete(self._pending[0], now):
                return
            yield self._collect(self._pending.popleft())

    def flush(self) -> Iterator[FrameMessages]:
        """Yield all frames that wait, at the end of the stream."""
        return self.pop_ready(np.inf)

    def _add_stamp(self, index: int | None, message: Any, arrived: float) -> None:
        stamp, before = read_stamp(message.header, arrived), self.newest_stamp
        taken, left_out, jump = self._stamps.add(StampedItem(stamp, arrived, (index, message)))
        for odd in left_out:
            if odd.item[0] is not None:
                self._leave_out(FrameRejected("odd stamp", _describe_odd_stamp(odd.stamp, before)))
        if jump and before is not None:
            self._rewind(before)
            self._report_jump(jump)
        for image in taken:
            self._depths.add_image_stamp(image.stamp)
            if image.item[0] is not None:
                self._first_arrival = min(self._first_arrival, image.arrived)
                self._pending.append(PendingImage(image.item[0], image.stamp, image.arrived, image.item[1]))

    def _rewind(self, newest: float) -> None:
        """Forget images, depths, the frame rate and moving transforms after time went back from `newest`.

        Static transforms, camera_info and the world stay, and so does what arrived after the jump.
        """
        self._poses.buffer.rewind(newest)
        self._depths.rewind()
        self._pending.clear()
        self._first_arrival = np.inf

    def _add_transform(self, topic: str, transform: Any, arrived: float, static: bool) -> None:
        try:
            self._poses.add_transform(*read_transform(transform, arrived), static=static)
        except TransformError as error:
            names = f"{transform.header.frame_id} <- {transform.child_frame_id}"
            self._warn(f"bad transform on {topic}", f"{topic}: {names}: {error}; left out")

    def _is_complete(self, image: PendingImage, now: float) -> bool:
        has_info = not self.with_info or self.has_info
        has_depth = not self.with_depth or (self._depths.is_final(image.stamp) and self._can_register(image, now))
        if not (has_info and has_depth and (not self.with_pose or self._has_pose(image, now))):
            return False
        return self._may_release(image.message, image.stamp, self._is_early(now))

    def _can_register(self, image: PendingImage, now: float) -> bool:
        """True when the depth is registered or what registers it is there; in the first second it may still come."""
        depth = self._depths.find_nearest(image.stamp)
        try:
            camera = self._find_depth_camera(image, depth)
        except DepthUnaligned:
            return False
        is_assumed = camera is None and depth is not None and not self._is_aligned(image, depth)
        return not (is_assumed and self._is_early(now))

    def _is_aligned(self, image: PendingImage, depth: Any) -> bool:
        """True when frame or name say that depth is registered."""
        frames = {clean_frame(message.header.frame_id) for message in (image.message, depth)}
        return len(frames) == 1 or is_registered(self._depth_topic)

    def _has_pose(self, image: PendingImage, now: float) -> bool:
        frame = image.message.header.frame_id
        try:
            if self._is_world_uncertain(image, now):
                return False
            self._poses.choose_world(frame)
            self._poses.lookup(frame, image.stamp, PAIRING_TIMEOUT_S)
        except TransformError:
            return False
        return True

    def _is_early(self, now: float) -> bool:
        return now - self._first_arrival < PAIRING_TIMEOUT_S

    def _is_world_uncertain(self, image: PendingImage, now: float) -> bool:
        """True in the first second, unless the best world and a depth of the same stamp are there."""
        if self.world is not None or not self._is_early(now):
            return False
        has_depth = not self.with_depth or self._depths.has_exact(image.stamp)
        return not (has_depth and self._poses.has_best_world(image.message.header.frame_id))

    def _collect(self, image: PendingImage) -> FrameMessages:
        info = self._find_info(image)
        (depth, depth_camera), pose = self._find_depth(image), self._find_pose(image)
        self._depths.forget_before(min([image.stamp, *(other.stamp for other in self._pending)]))
        return FrameMessages(image.index, image.stamp, image.message, depth, info, pose, self.rectified, depth_camera)

    def _find_info(self, image: PendingImage) -> Any | None:
        """Find the camera_info of an image; None for one of another size that is not required."""
        self._warn_about_info()
        size = None if self._info is None else read_image_size(image.message)
        if size is None or (expected := read_info_size(self._info, size)) == size:
            return self._info
        misfit = explain_misfit(self._info, size, self.rectified)
        if misfit and not self.with_info:
            self._warn("camera_info", f"{misfit.rstrip('.')}; frames come without intrinsics")
            return None
        if not misfit:
            sizes = f"{expected[1]}x{expected[0]}, images are {size[1]}x{size[0]}"
            self._warn("camera_info", f"camera_info is for images of {sizes}; it is scaled to them")
        return self._info

    def _warn_about_info(self) -> None:
        if self._info is None:
            if self.with_info:
                self._warn("no camera_info", "no camera_info has come; frames come without intrinsics")
            return
        if not is_calibrated(self._info, self.rectified):
            self._warn("uncalibrated", "camera_info holds no calibration; frames come without intrinsics")
        if is_distorted(self._info) and not self.rectified:
            self._warn("distortion", "lens distortion of camera_info is ignored; take image_rect to be exact")

    def _find_depth(self, image: PendingImage) -> tuple[Any | None, DepthCamera | None]:
        """Find the depth of an image and what registers it; none where it cannot be registered."""
        if not self.with_depth:
            return None, None
        message = self._depths.find_nearest(image.stamp)
        if message is None:
            self._warn("no depth", self._depths.explain_missing(image.stamp))
            return None, None
        try:
            camera = self._find_depth_camera(image, message)
        except DepthUnaligned as why:
            self._warn("no depth", str(why))
            return None, None
        color_frame, depth_frame = clean_frame(image.message.header.frame_id), clean_frame(message.header.frame_id)
        if camera is None and color_frame != depth_frame:
            self._warn("frames", f"depth lies in frame '{depth_frame}', colour in '{color_frame}'; taken as registered")
        return message, camera

    def _find_depth_camera(self, image: PendingImage, depth: Any | None) -> DepthCamera | None:
        """Find what registers a depth message, None for one that is registered. Raises DepthUnaligned."""
        if depth is None:
            return None
        frames = image.message.header.frame_id, depth.header.frame_id
        infos, rectified = (self._info, self._depth_info), is_rectified(self._depth_topic)
        lookup = partial(self._look_up_extrinsics, image.stamp)
        return find_depth_camera(frames, self._depth_topic, infos, rectified, lookup)

    def _look_up_extrinsics(self, stamp: float, target: str, source: str) -> np.ndarray:
        """Look up target_from_source (4, 4); cameras are fixed to one another, so the last one holds on."""
        try:
            self._extrinsics[target, source] = self._poses.buffer.lookup(target, source, stamp)
        except TransformError:
            if (target, source) not in self._extrinsics:
                raise
        return self._extrinsics[target, source]

    def _find_pose(self, image: PendingImage) -> np.ndarray | None:
        if not self.with_pose:
            return None
        frame = image.message.header.frame_id
        try:
            self._poses.choose_world(frame)
            pose = self._poses.lookup(frame, image.stamp, 0.0)
            late, child = self._poses.find_late_correction(frame, image.stamp)
            if late > PAIRING_TIMEOUT_S:
                self._warn("correction", f"{self.world} -> {child} has not come for {late:.1f} s; the last one holds")
            return pose
        except TransformError as error:
            self._warn("no pose", f"no pose at {image.stamp:.3f} s: {error}")
            return None


def _describe_odd_stamp(stamp: float, newest: float | None) -> str:
    return f"an image's stamp must follow the others, up to {newest:.3f} s, got {stamp:.3f} s alone"


def decode_frame(messages: FrameMessages, input: InputConfig = DEFAULT) -> Frame:
    """Decode the messages of a frame as `input` reads them; safe on any thread. Raises FrameRejected for data that cannot be used."""
    image = decode_image_message(messages.image)
    size = (image.shape[0], image.shape[1])
    intrinsics = None if messages.info is None else compute_intrinsics(messages.info, size, messages.rectified)
    depth = None if messages.depth is None else _decode_depth(messages, intrinsics, size, input)
    if messages.pose is not None and not np.isfinite(messages.pose).all():
        raise FrameRejected("unusable pose", f"a pose must be finite, got {messages.pose.tolist()}; left out")
    k = None if intrinsics is None else intrinsics.astype(np.float32)
    pose = None if messages.pose is None else convert_pose(messages.pose, input)
    parts = _convert(depth), _convert(k), _convert(pose)
    return Frame(messages.index, messages.stamp, torch.from_numpy(image), *parts)


def _convert(part: np.ndarray | None) -> torch.Tensor | None:
    return None if part is None else torch.from_numpy(part)


def _decode_depth(
    messages: FrameMessages, intrinsics: np.ndarray | None, size: tuple[int, int], input: InputConfig
) -> np.ndarray | None:
    """Decode depth (H, W) float32 metres at the pixels of the colour; None where it takes intrinsics that are not there."""
    depth, camera = decode_depth_message(messages.depth, input.depth_scale), messages.depth_camera
    if camera is None:
        return register_depth(depth, None, None, size)
    own = compute_intrinsics(camera.info, (depth.shape[0], depth.shape[1]), camera.rectified)
    if own is None or intrinsics is None:
        return None
    axes = convert_axes(np.eye(4), input.camera_axes)
    return reproject_depth(depth, own, axes.T @ camera.color_from_depth @ axes, intrinsics, size)
