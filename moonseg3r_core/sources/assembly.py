"""One camera's messages as frames: each colour image with the depth, intrinsics and pose that belong to it.

What a recording and a live stream share. Messages are of ROS in form alone: they are read by attribute.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.sources.camera_poses import CameraPoses
from moonseg3r_core.sources.messages import (
    compute_intrinsics,
    decode_depth_message,
    decode_image_message,
    is_calibrated,
    is_distorted,
    read_pose,
    read_stamp,
    read_transform,
)
from moonseg3r_core.sources.pairing import DepthPairing
from moonseg3r_core.sources.registration import register_depth
from moonseg3r_core.sources.transforms import TransformError
from moonseg3r_core.types import Frame

PAIRING_TIMEOUT_S = 1.0  # seconds that an image waits at most
MAX_PENDING = 32  # images that wait at most


@dataclass(frozen=True)
class FrameMessages:
    """One image with what belongs to it, still as messages: cheap to hold and to drop.

    stamp in seconds; pose world_from_camera (4, 4) float64; None for what did not come or was not asked for.
    """

    index: int
    stamp: float
    image: Any
    depth: Any | None = None
    info: Any | None = None
    pose: np.ndarray | None = None
    rectified: bool = False


@dataclass(frozen=True)
class PendingImage:
    """A colour image in the queue: its number, its stamp, when it arrived, its message."""

    index: int
    stamp: float
    arrived: float
    message: Any


class FrameAssembler:
    """Takes messages as they arrive and gives images, in their order, with what belongs to them.

    An image goes out when all is there, or without the rest when it has waited PATIENCE. `may_release(message, stamp, early)`
    can hold an image up as long for a reason of its own; `early` is True in the first second after the first image, when
    what nobody asked for may still turn up. A camera_info is used, asked for or not. `warn(topic, message)` hears what is
    amiss, again and again. Times are seconds of one clock, which stamps a header that was never stamped.
    No message makes it raise, and it holds a bounded number of them. For one thread.
    """

    def __init__(
        self,
        *,
        with_depth: bool,
        with_info: bool,
        with_pose: bool,
        world: str | None = None,
        rectified: bool = False,
        may_release: Callable[[Any, float, bool], bool] = lambda message, stamp, early: True,
        warn: Callable[[str, str], None],
    ) -> None:
        self.with_depth, self.with_info, self.with_pose = with_depth, with_info, with_pose
        self.rectified, self._may_go = rectified, may_release
        self._warn = warn
        self._poses = CameraPoses(world)
        self._depths = DepthPairing()
        self._pending: deque[PendingImage] = deque(maxlen=2 * MAX_PENDING)
        self._info: Any = None
        self._first = np.inf  # when the first image arrived

    @property
    def pending(self) -> int:
        """How many images wait."""
        return len(self._pending)

    @property
    def newest_stamp(self) -> float | None:
        """The stamp of the image that arrived last, seconds; None before the first and after `rewind`."""
        return self._depths.newest

    @property
    def world(self) -> str | None:
        """The frame in which poses are given; None until it is chosen."""
        return self._poses.world

    @property
    def has_info(self) -> bool:
        """True when a camera_info has come."""
        return self._info is not None

    def find_parent(self, frame: str) -> str | None:
        """The frame's parent in the tree of transforms, None when it has none."""
        return self._poses.buffer.find_parent(frame)

    def lookup_transform(self, target: str, source: str, stamp: float) -> np.ndarray:
        """target_from_source (4, 4) float64 at a stamp in seconds. Raises TransformError, which says what is missing."""
        return self._poses.buffer.lookup(target, source, stamp)

    def add_image(self, index: int, message: Any, arrived: float) -> None:
        """An Image or CompressedImage; `index` becomes the frame's."""
        self.skip_image(message, arrived)
        self._first = min(self._first, arrived)
        self._pending.append(PendingImage(index, read_stamp(message.header, arrived), arrived, message))

    def skip_image(self, message: Any, arrived: float) -> None:
        """An image that is not wanted: it tells the frame rate alone."""
        self._depths.add_image_stamp(read_stamp(message.header, arrived))

    def add_depth(self, message: Any, arrived: float) -> None:
        """An Image or CompressedImage of depth."""
        self._depths.add(read_stamp(message.header, arrived), message)

    def add_info(self, message: Any) -> None:
        """A CameraInfo, which holds until the next."""
        self._info = message

    def add_transforms(self, message: Any, arrived: float, static: bool) -> None:
        """A TFMessage; a transform that cannot be is left out."""
        for transform in message.transforms:
            self._add_transform("/tf_static" if static else "/tf", transform, arrived, static)

    def add_pose(self, topic: str, message: Any, arrived: float) -> None:
        """An Odometry, PoseStamped or PoseWithCovarianceStamped; one that cannot be is left out."""
        try:
            self._poses.add_pose(topic, *read_pose(message, arrived))
        except TransformError as error:
            self._warn(f"bad transform on {topic}", f"{topic}: {error}; left out")

    def pop_ready(self, now: float) -> Iterator[FrameMessages]:
        """The images that are complete or have waited long enough. To be asked after messages and now and then."""
        while self._pending and (self._is_overdue(now) or self._is_complete(self._pending[0], now)):
            yield self._collect(self._pending.popleft())

    def flush(self) -> Iterator[FrameMessages]:
        """All that wait, when nothing more will come."""
        while self._pending:
            yield self._collect(self._pending.popleft())

    def rewind(self) -> None:
        """Time went back: forget images, depths, the images' clock and moving transforms.

        Static transforms, the camera_info and the world stay, and what has plainly come after the jump.
        """
        self._poses.buffer.rewind(self.newest_stamp if self.newest_stamp is not None else -np.inf)
        self._depths.rewind()
        self._pending.clear()
        self._first = np.inf

    def _add_transform(self, topic: str, transform: Any, arrived: float, static: bool) -> None:
        try:
            self._poses.add_transform(*read_transform(transform, arrived), static=static)
        except TransformError as error:
            names = f"{transform.header.frame_id} <- {transform.child_frame_id}"
            self._warn(f"bad transform on {topic}", f"{topic}: {names}: {error}; left out")

    def _is_overdue(self, now: float) -> bool:
        return now - self._pending[0].arrived > PAIRING_TIMEOUT_S or len(self._pending) > MAX_PENDING

    def _is_complete(self, image: PendingImage, now: float) -> bool:
        has_info = not self.with_info or self.has_info
        has_depth = not self.with_depth or self._depths.is_final(image.stamp)
        has_pose = not self.with_pose or self._has_pose(image, now)
        return has_info and has_depth and has_pose and self._may_go(image.message, image.stamp, self._is_early(now))

    def _has_pose(self, image: PendingImage, now: float) -> bool:
        frame = image.message.header.frame_id
        try:
            if self._is_world_uncertain(image, now):
                return False
            self._poses.choose_world(frame)
            self._poses.lookup(frame, image.stamp)
        except TransformError:
            return False
        return True

    def _is_early(self, now: float) -> bool:
        return now - self._first < PAIRING_TIMEOUT_S

    def _is_world_uncertain(self, image: PendingImage, now: float) -> bool:
        """True in the first second, while the tree may grow a better world and the frame rate is hardly known."""
        if self.world is not None or not self._is_early(now):
            return False
        certain = not self.with_depth or self._depths.has_exact(image.stamp)
        return not (certain and self._poses.has_best_world(image.message.header.frame_id))

    def _collect(self, image: PendingImage) -> FrameMessages:
        self._warn_about_info()
        depth, pose = self._find_depth(image), self._find_pose(image)
        self._depths.forget_before(min(image.stamp, *(other.stamp for other in self._pending), image.stamp))
        return FrameMessages(image.index, image.stamp, image.message, depth, self._info, pose, self.rectified)

    def _warn_about_info(self) -> None:
        if self._info is None:
            if self.with_info:
                self._warn("no camera_info", "no camera_info has come; frames come without intrinsics")
            return
        if not is_calibrated(self._info, self.rectified):
            self._warn("uncalibrated", "camera_info holds no calibration; frames come without intrinsics")
        if is_distorted(self._info) and not self.rectified:
            self._warn("distortion", "lens distortion of camera_info is ignored; take image_rect to be exact")

    def _find_depth(self, image: PendingImage) -> Any | None:
        if not self.with_depth:
            return None
        message = self._depths.find_nearest(image.stamp)
        if message is None:
            self._warn("no depth", self._depths.explain_missing(image.stamp))
            return None
        ours, theirs = image.message.header.frame_id, message.header.frame_id
        if ours != theirs:
            self._warn("frames", f"depth lies in frame '{theirs}', colour in '{ours}'; taken as registered")
        return message

    def _find_pose(self, image: PendingImage) -> np.ndarray | None:
        if not self.with_pose:
            return None
        frame = image.message.header.frame_id
        try:
            self._poses.choose_world(frame)
            return self._poses.lookup(frame, image.stamp)
        except TransformError as error:
            self._warn("no pose", f"no pose at {image.stamp:.3f} s: {error}")
            return None


def decode_frame(parts: FrameMessages) -> Frame:
    """Decode what an assembler gave. Safe on any thread. Raises FrameRejected for what cannot be used, in one line."""
    image = decode_image_message(parts.image)
    size = (image.shape[0], image.shape[1])
    intrinsics = None if parts.info is None else compute_intrinsics(parts.info, size, parts.rectified)
    depth = None if parts.depth is None else register_depth(decode_depth_message(parts.depth), None, None, size)
    if parts.pose is not None and not np.isfinite(parts.pose).all():
        raise FrameRejected("unusable pose", f"a pose must be finite, got {parts.pose.tolist()}; left out")
    return Frame(
        parts.index,
        parts.stamp,
        torch.from_numpy(image),
        None if depth is None else torch.from_numpy(depth),
        None if intrinsics is None else torch.from_numpy(intrinsics.astype(np.float32)),
        None if parts.pose is None else torch.from_numpy(parts.pose),
    )


def is_rectified(topic: str) -> bool:
    """True when an image topic's name says that its images are free of distortion."""
    return re.search(r"(/|_)rect", topic) is not None
