"""A rosbag2 recording: colour images with the depth, intrinsics and pose that belong to them, in one pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from moonseg3r_core.errors import FrameRejected, SourceError
from moonseg3r_core.sources.assembly import FrameAssembler, Parts, frame_of, is_rectified
from moonseg3r_core.sources.bag_reader import Message, read_messages, read_topics
from moonseg3r_core.sources.bag_topics import Chosen, Topics, choose, is_static
from moonseg3r_core.sources.messages import WrongCamera
from moonseg3r_core.sources.source import Recording, Rejection, logger
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
        self.assembler = FrameAssembler(
            with_depth=self.topics.depth is not None,
            with_info=self.topics.camera_info is not None,
            with_pose=self.topics.pose is not None or bool(self.topics.transforms),
            world=source.asked.world,
            rectified=is_rectified(self.topics.color.name),
            say=lambda topic, message: source.say_once(topic, f"{message} (said once)"),
        )
        self.seen = 0

    @property
    def done(self) -> bool:
        """True when every image asked for is out."""
        return self.source.past_end(self.seen) and not self.assembler.waiting

    def take(self, message: Message) -> Iterator[Frame | FrameRejected]:
        """Learn one message; the frames that it completes."""
        try:
            decoded = message.decode()
        except Exception as error:  # damaged bytes: numpy, struct and unicode errors of the decoder
            yield Rejection(f"undecodable message on {message.topic}", " ".join(str(error).split()))
            return
        self._learn(message.topic, decoded, message.stamp)
        for parts in self.assembler.ready(message.stamp):
            yield self._build(parts)

    def finish(self) -> Iterator[Frame | FrameRejected]:
        """The frames that still wait at the end of the bag."""
        for parts in self.assembler.rest():
            yield self._build(parts)

    def _learn(self, topic: str, decoded: Any, recorded: float) -> None:
        topics = self.topics
        if topic == topics.color.name:
            self._learn_color(decoded, recorded)
        elif topics.depth and topic == topics.depth.name:
            self.assembler.add_depth(decoded, recorded)
        elif topics.camera_info and topic == topics.camera_info.name:
            self.assembler.add_info(decoded)
        elif topics.pose and topic == topics.pose.name:
            self.assembler.add_pose(topic, decoded, recorded)
        else:
            self.assembler.add_transforms(decoded, recorded, is_static(topic))

    def _learn_color(self, decoded: Any, recorded: float) -> None:
        if self.source.selects(self.seen):
            self.assembler.add_image(self.seen, decoded, recorded)
        else:
            self.assembler.pass_image(decoded, recorded)
        self.seen += 1

    def _build(self, parts: Parts) -> Frame | FrameRejected:
        try:
            return frame_of(parts)
        except WrongCamera as why:
            raise SourceError(str(why)) from why  # of the whole recording: the topic was chosen wrongly
        except FrameRejected as why:
            return why
