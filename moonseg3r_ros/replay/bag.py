"""A bag for replay: its topics, its serialized messages and its static transforms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from rclpy.serialization import deserialize_message, serialize_message

from moonseg3r_core import InputError, Message, Topic, read_messages, read_topics
from moonseg3r_ros.replay.topics import CLOCK, TF, import_message


class Bag:
    """A rosbag2 folder, .mcap or .db3 file. `warn` gets one line for each kind of damage.

    Raises InputError when the bag does not exist or cannot be read at all.
    """

    def __init__(self, path: Path, warn: Callable[[str], object]) -> None:
        if not path.exists():
            raise InputError(f"{path} does not exist; give a rosbag2 folder, a .mcap or a .db3 file.")
        self.path, self._warn = path, warn
        self._warned: set[str] = set()
        self._topics = read_topics(path, self._warn_of_damage, lambda line: warn(f"{path}: {line}"))

    def select_topics(self, names: Collection[str] | None, with_clock: bool) -> list[Topic]:
        """Select the topics that have messages: all, or those of these names; /clock only `with_clock`.

        Raises InputError when a name or every topic is missing.
        """
        recorded = [topic for topic in self._topics if topic.count and (with_clock or topic.name != CLOCK)]
        missing = sorted(set(names or ()) - {topic.name for topic in recorded})
        if missing or not recorded:
            there = ", ".join(f"{topic.name} ({topic.count})" for topic in self._topics) or "no topic"
            raise InputError(f"{self.path} has no messages on {', '.join(missing) or 'any topic'}; it holds: {there}.")
        return [topic for topic in recorded if names is None or topic.name in names]

    def read(self, topics: Collection[str], start: int = 0) -> Iterator[Message]:
        """Read messages in order of time, from `start` (ns) on, one by one."""
        return read_messages(self.path, topics, self._warn_of_damage, start)

    def read_first_stamp(self) -> int:
        """Read when the first message was recorded, ns. Raises InputError when no message can be read."""
        first = next(self.read({topic.name for topic in self._topics}), None)
        if first is None:
            raise InputError(f"{self.path} holds no message that can be read; record it again.")
        return first.nanoseconds

    def merge_static_transforms(self, topics: Collection[str]) -> dict[str, bytes]:
        """Merge the static transforms of each topic into one serialized message, the last of each child frame."""
        if not topics:
            return {}
        edges: dict[str, dict[str, Any]] = {}
        kind = import_message(TF)
        for message in self.read(topics):
            found = {edge.child_frame_id: edge for edge in self._decode(message, kind).transforms}
            edges.setdefault(message.topic, {}).update(found)
        return {topic: serialize_message(kind(transforms=list(of.values()))) for topic, of in edges.items()}

    def _decode(self, message: Message, kind: Any) -> Any:
        try:
            return deserialize_message(message.raw, kind)
        except Exception:  # what the middleware raises on damaged bytes
            self._warn_of_damage(f"a message on {message.topic} is no {message.type}")
            return kind()

    def _warn_of_damage(self, fault: str) -> None:
        if fault not in self._warned:
            self._warn(f"{self.path} is damaged; it is played as far as it can be read: {fault}")
        self._warned.add(fault)
