"""Read a rosbag2 recording in one pass: colour images with their depth, intrinsics and poses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from moonseg3r_core.errors import FrameRejected, SourceError
from moonseg3r_core.sources.assembly import FrameAssembler, FrameMessages, decode_frame
from moonseg3r_core.sources.bag_reader import Message, read_messages, read_topics
from moonseg3r_core.sources.bag_topics import Topics, TopicSelection, choose_topics
from moonseg3r_core.sources.config import InputConfig
from moonseg3r_core.sources.corrected_path import PathFollower
from moonseg3r_core.sources.localization_jumps import JumpFollower
from moonseg3r_core.sources.messages import CameraInfoMismatch, is_rectified
from moonseg3r_core.sources.source import Recording, logger
from moonseg3r_core.sources.topic_facts import CAMERA_INFO, is_static, read_facts
from moonseg3r_core.sources.transforms import TransformError
from moonseg3r_core.types import Frame, TrajectoryMoves


class BagSource(Recording):
    """Frames of a bag folder, .mcap or .db3 file; index: position in the colour topic, stamp: of its header."""

    kind: str = "bag"

    def __init__(
        self, path: Path, stride: int, max_frames: int | None, topics: Topics | None, input: InputConfig
    ) -> None:
        super().__init__(str(path), path, stride, max_frames, input)
        self.bag = path
        self.requested = topics or Topics()
        faults: list[str] = []
        available = read_topics(path, faults.append, lambda line: logger.warning("%s: %s", path, line))
        try:
            self.topics: TopicSelection = choose_topics(available, self.requested, read_facts(path, available))
        except SourceError as error:
            damage = f" The bag is damaged: {faults[0]}" if faults else ""
            raise SourceError(f"{path}: {error}{damage}") from error
        logger.info("%s: reading %s", path, self.topics)
        for note in self.topics.notes:
            logger.warning("%s: %s", path, note)
        self.total = self.topics.color.count
        t = self.topics
        found = {"depth": t.depth, "intrinsics": t.camera_info, "poses": t.pose or t.transforms}
        self.absent = {name: "" for name, topic in found.items() if not topic} | dict(t.absent)
        self.lacks = tuple(self.absent)

    def _read_frames(self) -> Iterator[Frame | FrameRejected]:
        bag_pass = BagPass(self)
        for message in read_messages(self.bag, self.topics.names, self._report_damage):
            yield from bag_pass.add(message)
            if self.is_past_end(bag_pass.image_count) and not bag_pass.assembler.pending:
                return
        yield from bag_pass.flush()

    def _report_damage(self, fault: str) -> None:
        if not self.rejected["damaged bag"]:
            self._reject(FrameRejected("damaged bag", f"read as far as it goes, {fault}"))


class BagPass:
    """One pass over a bag: takes its messages in order and yields frames when they are complete."""

    def __init__(self, source: BagSource) -> None:
        self.source = source
        self.topics = source.topics
        self._left_out: list[FrameRejected] = []
        self.assembler = FrameAssembler(
            with_depth=self.topics.depth is not None,
            with_info=self.topics.camera_info is not None,
            with_pose="poses" not in source.lacks,
            world=source.requested.world,
            rectified=is_rectified(self.topics.color.name),
            may_release=lambda message, stamp, early: True,
            warn=lambda topic, message: source.warn_once(topic, f"{message} (said once)"),
            leave_out=self._left_out.append,
            report_jump=lambda seconds: source.warn_once(
                "time jump", f"stamps jumped back by {seconds:.1f} s; going on"
            ),
            depth_topic=self.topics.depth.name if self.topics.depth else "",
        )
        self._jumps, self._path = JumpFollower(), PathFollower()
        self._correction: np.ndarray | None = None
        self.image_count = 0
        for line in self.topics.unusable:
            source.warn_once(line, line)

    def add(self, message: Message) -> Iterator[Frame | FrameRejected]:
        """Add one message and yield the frames that it completes."""
        try:
            decoded = message.decode()
        except Exception:  # the decoder passes on errors of numpy, struct and unicode
            text = f"its {len(message.raw)} bytes are no {message.type}; left out"
            yield FrameRejected(f"undecodable message on {message.topic}", text)
            return
        self._add_message(message.topic, decoded, message.stamp)
        yield from self._left_out
        self._left_out.clear()
        for messages in self.assembler.pop_ready(message.stamp):
            yield self._decode(messages)

    def flush(self) -> Iterator[Frame | FrameRejected]:
        """Yield the frames that still wait at the end of the bag."""
        for messages in self.assembler.flush():
            yield self._decode(messages)

    def _add_message(self, topic: str, decoded: Any, recorded: float) -> None:
        topics = self.topics
        if topic == topics.color.name:
            self._add_color(decoded, recorded)
        elif topics.depth and topic == topics.depth.name:
            self.assembler.add_depth(decoded, recorded)
        elif decoded.__msgtype__ in CAMERA_INFO:
            self._add_info(topic, decoded)
        elif topics.path and topic == topics.path.name:
            self._add_path(decoded)
        elif topics.pose and topic == topics.pose.name:
            self.assembler.add_pose(topic, decoded, recorded)
        else:
            self.assembler.add_transforms(decoded, recorded, is_static(topic))

    def _add_path(self, decoded: Any) -> None:
        try:
            self._path.add(decoded)
        except TransformError as error:
            self.source.warn_once("path", f"a corrected path is left out: {error} (said once)")

    def _add_info(self, topic: str, decoded: Any) -> None:
        """Add a camera_info, which may be that of both cameras."""
        if self.topics.camera_info and topic == self.topics.camera_info.name:
            self.assembler.add_info(decoded)
        if self.topics.depth_info and topic == self.topics.depth_info.name:
            self.assembler.add_depth_info(decoded)

    def _add_color(self, decoded: Any, recorded: float) -> None:
        if self.source.is_selected(self.image_count):
            self.assembler.add_image(self.image_count, decoded, recorded)
        else:
            self.assembler.skip_image(decoded, recorded)
        self.image_count += 1

    def _decode(self, messages: FrameMessages) -> Frame | FrameRejected:
        self.source.camera_frame = messages.image.header.frame_id
        try:
            frame = decode_frame(messages, self.source.input)
            return replace(frame, moves=self._follow_localization(messages))
        except CameraInfoMismatch as why:
            raise SourceError(why.detail) from why  # the wrong topic was chosen, for all frames
        except FrameRejected as why:
            return why

    def _follow_localization(self, messages: FrameMessages) -> TrajectoryMoves:
        """Return how a corrected path, else a jump of map -> odom, before a frame corrects the poses of those before."""
        if self._path.frame is not None:
            return self._follow_path()
        correction = None if messages.pose is None else self.assembler.look_up_correction(messages)
        if correction is None or messages.pose is None:
            return TrajectoryMoves.empty()
        before, self._correction = self._correction, correction
        jump = self._jumps.follow(messages.stamp, before, correction, messages.pose)
        if jump is None:
            return TrajectoryMoves.empty()
        self.source.warn_once("localization", f"{self.assembler.world} -> odometry jumped by {jump}; the map follows")
        return jump.moves

    def _follow_path(self) -> TrajectoryMoves:
        path, world = self._path.frame, self.assembler.world
        if path and world and path != world:
            text = (
                f"the corrected path lies in frame '{path}', poses in '{world}'; take those with --topic world={path}"
            )
            self.source.warn_once("path frame", text)
        return self._path.take_moves()
