"""A bag for replay: its topics, its messages as they lie there, its static transforms merged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from rclpy.serialization import deserialize_message, serialize_message

from moonseg3r_core import InputError, Message, Topic, read_messages, read_topics
from moonseg3r_ros.replay.topics import CLOCK, TF, message_class


class Bag:
    """A rosbag2 folder, .mcap or .db3 file; each kind of damage is told once through `warn`.

    Raises InputError when it is not there or cannot be read at all.
    """

    def __init__(self, path: Path, warn: Callable[[str], object]) -> None:
        if not path.exists():
            raise InputError(f"{path} does not exist; give a rosbag2 folder, a .mcap or a .db3 file.")
        self.path, self._warn = path, warn
        self._told: set[str] = set()
        self._topics = read_topics(path, self._damaged)

    def topics(self, asked: Collection[str] | None, with_clock: bool) -> list[Topic]:
        """The topics that hold messages: all, or those asked for; /clock only where the bag's own is wanted.

        Raises InputError when one asked for is not there, or none is.
        """
        filled = [topic for topic in self._topics if topic.count and (with_clock or topic.name != CLOCK)]
        missing = sorted(set(asked or ()) - {topic.name for topic in filled})
        if missing or not filled:
            there = ", ".join(f"{topic.name} ({topic.count})" for topic in self._topics) or "no topic"
            raise InputError(f"{self.path} has no messages on {', '.join(missing) or 'any topic'}; it holds: {there}.")
        return [topic for topic in filled if asked is None or topic.name in asked]

    def messages(self, topics: Collection[str], start: int = 0) -> Iterator[Message]:
        """Messages in order of time, recorded at `start` (ns) or later; read as they are taken."""
        return read_messages(self.path, topics, self._damaged, start)

    def first_stamp(self) -> int:
        """When the bag's first message was recorded, ns. Raises InputError when none can be read."""
        first = next(self.messages({topic.name for topic in self._topics}), None)
        if first is None:
            raise InputError(f"{self.path} holds no message that can be read; record it again.")
        return first.nanoseconds

    def static_transforms(self, topics: Collection[str]) -> dict[str, bytes]:
        """Topic -> one message with all its static transforms, the last of each child frame."""
        if not topics:
            return {}
        edges: dict[str, dict[str, Any]] = {}
        kind = message_class(TF)
        for message in self.messages(topics):
            found = {edge.child_frame_id: edge for edge in self._decoded(message, kind).transforms}
            edges.setdefault(message.topic, {}).update(found)
        return {topic: serialize_message(kind(transforms=list(of.values()))) for topic, of in edges.items()}

    def _decoded(self, message: Message, kind: Any) -> Any:
        try:
            return deserialize_message(message.raw, kind)
        except Exception as error:  # what the middleware raises on damaged bytes
            self._damaged(f"a message on {message.topic}: {' '.join(str(error).split())}")
            return kind()

    def _damaged(self, fault: str) -> None:
        if fault not in self._told:
            self._warn(f"{self.path} is damaged; it is played as far as it can be read: {fault}")
        self._told.add(fault)
