"""A rosbag2 recording: colour images with the depth, intrinsics and pose that belong to them, in one pass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from moonseg3r_core.errors import FrameRejected, SourceError
from moonseg3r_core.sources.bag_messages import (
    depth_of,
    image_of,
    intrinsics_of,
    is_distorted,
    pose_of,
    stamp_of,
    transforms_of,
)
from moonseg3r_core.sources.bag_poses import CameraPoses
from moonseg3r_core.sources.bag_reader import Message, read_messages, read_topics
from moonseg3r_core.sources.bag_sync import PATIENCE, Synchronizer, Waiting
from moonseg3r_core.sources.bag_topics import Chosen, Topics, choose, is_static
from moonseg3r_core.sources.registration import depth_to_color
from moonseg3r_core.sources.source import Recording, Rejection, logger
from moonseg3r_core.sources.transforms import TransformError
from moonseg3r_core.types import Frame


class BagSource(Recording):
    """Frames of a bag folder, .mcap or .db3 file, numbered by their place in the colour topic, stamped by its headers."""

    kind: ClassVar[str] = "bag"

    def __init__(
        self, path: Path, stride: int = 1, max_frames: int | None = None, topics: Topics | None = None
    ) -> None:
        super().__init__(str(path), path, stride, max_frames)
        self.bag = path
        self.asked = topics or Topics()
        faults: list[str] = []
        there = read_topics(path, faults.append)
        try:
            self.chosen: Chosen = choose(there, self.asked)
        except SourceError as error:
            damage = f" The bag is damaged: {faults[0]}" if faults else ""
            raise SourceError(f"{path}: {error}{damage}") from error
        logger.info("%s: reading %s", path, self.chosen)

    @property
    def total(self) -> int:
        return self.chosen.color.count

    @property
    def lacks(self) -> tuple[str, ...]:
        chosen = self.chosen
        there = {"depth": chosen.depth, "intrinsics": chosen.camera_info, "poses": chosen.pose or chosen.transforms}
        return tuple(name for name, topic in there.items() if not topic)

    def _frames(self) -> Iterator[Frame | FrameRejected]:
        walk = Walk(self)
        for message in read_messages(self.bag, self.chosen.names, self._damaged):
            yield from walk.take(message)
            if walk.done:
                return
        yield from walk.finish()

    def _damaged(self, fault: str) -> None:
        if not self.rejected["damaged bag"]:
            self._reject(Rejection("damaged bag", f"read as far as it goes, {fault}"))


class Walk:
    """One pass over a bag: takes messages in turn and gives frames when they are complete."""

    def __init__(self, source: BagSource) -> None:
        self.source = source
        self.topics = source.chosen
        self.poses = CameraPoses(source.asked.world)
        self.sync = Synchronizer(self.topics.depth is not None, self._complete)
        self.info: Any = None
        self.seen = 0
        self.first: float | None = None
        self.now = 0.0

    @property
    def done(self) -> bool:
        """True when every image asked for is out."""
        return self.source.past_end(self.seen) and not self.sync.waiting

    def take(self, message: Message) -> Iterator[Frame | FrameRejected]:
        """Learn one message; the frames that it completes."""
        self.now = message.stamp
        try:
            decoded = message.decode()
        except Exception as error:  # damaged bytes: numpy, struct and unicode errors of the decoder
            yield Rejection(f"undecodable message on {message.topic}", " ".join(str(error).split()))
            return
        self._learn(message, decoded)
        for waiting in self.sync.ready(self.now):
            yield self._build(waiting)

    def finish(self) -> Iterator[Frame | FrameRejected]:
        """The frames that still wait at the end of the bag."""
        for waiting in self.sync.rest():
            yield self._build(waiting)

    def _learn(self, message: Message, decoded: Any) -> None:
        topic, recorded = message.topic, message.stamp
        if topic == self.topics.color.name:
            self._add_color(decoded, recorded)
        elif self.topics.depth and topic == self.topics.depth.name:
            self.sync.depths.append((stamp_of(decoded.header, recorded), decoded))
        elif self.topics.camera_info and topic == self.topics.camera_info.name:
            self.info = decoded
        else:
            self._add_pose(topic, decoded, recorded)

    def _add_color(self, decoded: Any, recorded: float) -> None:
        stamp = stamp_of(decoded.header, recorded)
        self.sync.see_color(stamp)
        if self.source.selects(self.seen):
            self.first = recorded if self.first is None else self.first
            self.sync.waiting.append(Waiting(self.seen, stamp, recorded, decoded))
        self.seen += 1

    def _add_pose(self, topic: str, decoded: Any, recorded: float) -> None:
        try:
            if self.topics.pose and topic == self.topics.pose.name:
                self.poses.add_pose(topic, *pose_of(decoded, recorded))
                return
            for edge in transforms_of(decoded, recorded):
                self.poses.add_transform(*edge, static=is_static(topic))
        except TransformError as error:
            self.source.say_once(f"bad transform on {topic}", f"{topic}: {error}; left out")

    def _complete(self, waiting: Waiting) -> bool:
        has_info = self.topics.camera_info is None or self.info is not None
        return has_info and self._is_placed(waiting)

    def _is_placed(self, waiting: Waiting) -> bool:
        if not self._moves:
            return True
        if self.poses.world is None and self.first is not None and self.now - self.first < PATIENCE:
            return False  # the tree is still growing: a world chosen now might not stay its root
        try:
            self.poses.settle(waiting.message.header.frame_id)
            self.poses.at(waiting.message.header.frame_id, waiting.stamp)
        except TransformError:
            return False
        return True

    @property
    def _moves(self) -> bool:
        return self.topics.pose is not None or bool(self.topics.transforms)

    def _build(self, waiting: Waiting) -> Frame | FrameRejected:
        try:
            image = image_of(waiting.message)
            size = (image.shape[0], image.shape[1])
            intrinsics, depth = self._intrinsics(size), self._depth(waiting, size)
        except FrameRejected as why:
            return why
        pose = self._pose(waiting)
        return Frame(
            waiting.ordinal,
            waiting.stamp,
            torch.from_numpy(image),
            None if depth is None else torch.from_numpy(depth),
            None if intrinsics is None else torch.from_numpy(intrinsics.astype(np.float32)),
            None if pose is None else torch.from_numpy(pose),
        )

    def _intrinsics(self, size: tuple[int, int]) -> np.ndarray | None:
        if self.info is None:
            return None
        rectified = re.search(r"(/|_)rect", self.topics.color.name) is not None
        intrinsics = intrinsics_of(self.info, size, rectified)
        if intrinsics is None:
            self.source.say_once("uncalibrated", "camera_info holds no calibration; frames come without intrinsics")
        if is_distorted(self.info) and not rectified:
            self.source.say_once(
                "distortion", "lens distortion of camera_info is ignored; record image_rect to be exact"
            )
        return intrinsics

    def _depth(self, waiting: Waiting, size: tuple[int, int]) -> np.ndarray | None:
        if self.topics.depth is None:
            return None
        message = self.sync.nearest_depth(waiting.stamp)
        if message is None:
            self.source.say_once(
                "no depth", f"frame {waiting.ordinal} has no depth within {self.sync.half_frame:.3f} s (said once)"
            )
            return None
        ours, theirs = waiting.message.header.frame_id, message.header.frame_id
        if ours != theirs:
            self.source.say_once("frames", f"depth lies in frame '{theirs}', colour in '{ours}'; taken as registered")
        return depth_to_color(depth_of(message), None, None, size)

    def _pose(self, waiting: Waiting) -> np.ndarray | None:
        if not self._moves:
            return None
        try:
            self.poses.settle(waiting.message.header.frame_id)
            return self.poses.at(waiting.message.header.frame_id, waiting.stamp)
        except TransformError as error:
            self.source.say_once("no pose", f"frame {waiting.ordinal} has no pose: {error} (said once)")
            return None
