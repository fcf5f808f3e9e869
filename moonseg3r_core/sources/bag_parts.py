"""The kinds of bag files: whole ones, MCAP with channels that are not ROS 2, and truncated ones."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from mcap import records
from mcap.reader import SeekingReader
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.interfaces import ConnectionExtRosbag2, Qos
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.metadata import parse_qos
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_HUMBLE)  # the messages read here are laid out alike in every ROS 2 release
ROS2_ENCODING = "cdr"


@dataclass(frozen=True)
class Topic:
    """A topic of a bag: name, message type, number of messages, QoS that its publishers offered."""

    name: str
    type: str
    count: int
    qos: tuple[Qos, ...] = ()


@dataclass(frozen=True)
class Message:
    """One serialized message and its time of recording."""

    topic: str
    type: str
    nanoseconds: int
    raw: bytes

    @property
    def stamp(self) -> float:
        """The time of recording in seconds."""
        return self.nanoseconds * 1e-9

    def decode(self) -> Any:
        """Deserialize the message. Raises what the decoder raises on damaged bytes."""
        return TYPES.deserialize_cdr(self.raw, self.type)


class BagPart(Protocol):
    """A bag, or one file of it. `foreign`: topics that are not ROS 2 with their encoding, which are not read."""

    foreign: dict[str, str]

    def read_topics(self) -> list[Topic]:
        """Read the topics of ROS 2."""

    def read_messages(self, topics: Collection[str], start: int) -> Iterator[Message]:
        """Yield the messages of some topics in order of time, from `start` (ns) on."""

    def close(self) -> None: ...


class RosbagsPart:
    """A bag, or one file of it, that rosbags can open."""

    def __init__(self, path: Path) -> None:
        self.reader = Reader(path)
        self.reader.open()
        if path.suffix == ".mcap" and not self.reader.connections:  # its index need not repeat the channels
            self.reader.close()
            raise EOFError("the index names no channel")
        known = [(c, c.ext) for c in self.reader.connections if isinstance(c.ext, ConnectionExtRosbag2)]
        self.connections = [(c, ext) for c, ext in known if ext.serialization_format == ROS2_ENCODING]
        self.foreign = {c.topic: e.serialization_format for c, e in known if e.serialization_format != ROS2_ENCODING}

    def read_topics(self) -> list[Topic]:
        return [Topic(c.topic, c.msgtype, c.msgcount, tuple(ext.offered_qos_profiles)) for c, ext in self.connections]

    def read_messages(self, topics: Collection[str], start: int) -> Iterator[Message]:
        wanted = [c for c, _ in self.connections if c.topic in topics]
        if wanted:
            for connection, stamp, raw in self.reader.messages(wanted, start):
                yield Message(connection.topic, connection.msgtype, stamp, raw)

    def close(self) -> None:
        self.reader.close()


class MixedMcap:
    """An .mcap file whose profile is not ros2, or with channels that are not ROS 2: those of ROS 2 are read."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("rb")
        try:
            reader = SeekingReader(self.file)
            self.profile = reader.get_header().profile
            summary = reader.get_summary()
            if summary is None or not summary.channels:
                raise EOFError("the file has no summary")
        except Exception:
            self.file.close()
            raise
        self.summary = summary
        channels = summary.channels.values()
        self.foreign = {c.topic: c.message_encoding for c in channels if not is_ros2(c)}

    def read_topics(self) -> list[Topic]:
        counts = self.summary.statistics.channel_message_counts if self.summary.statistics else {}
        return [
            Topic(channel.topic, self._find_type(channel), counts.get(id, 0), _read_qos(channel))
            for id, channel in self.summary.channels.items()
            if is_ros2(channel)
        ]

    def read_messages(self, topics: Collection[str], start: int) -> Iterator[Message]:
        if not topics:
            return
        for _, channel, message in SeekingReader(self.file).iter_messages(list(topics), starting_at=start):
            if is_ros2(channel):
                yield Message(channel.topic, self._find_type(channel), message.log_time, message.data)

    def _find_type(self, channel: records.Channel) -> str:
        schema = self.summary.schemas.get(channel.schema_id)
        return normalize_type(schema.name) if schema else ""

    def close(self) -> None:
        self.file.close()


class TruncatedSqlite:
    """A truncated .db3 file: its rows up to the first missing page, in the order of recording."""

    def __init__(self, path: Path) -> None:
        self.foreign: dict[str, str] = {}
        self.database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        self.database.execute("PRAGMA writable_schema=ON")  # SQLite then opens a file shorter than its header says
        texts = "typeof(name) = 'text' AND typeof(type) = 'text'"  # damaged rows can hold any type
        rows = self.database.execute(f"SELECT id, name, type FROM topics WHERE {texts}").fetchall()
        self.topics: dict[int, tuple[str, str]] = {id: (name, type) for id, name, type in rows}

    def read_topics(self) -> list[Topic]:
        counts: Counter[int] = Counter()
        with suppress(sqlite3.DatabaseError):  # a missing page; `read_messages` reports it
            counts.update(id for (id,) in self.database.execute("SELECT topic_id FROM messages"))
        return [Topic(*self.topics[id], counts[id]) for id in self.topics]

    def read_messages(self, topics: Collection[str], start: int) -> Iterator[Message]:
        for id, stamp, raw in self.database.execute("SELECT topic_id, timestamp, data FROM messages"):
            name, type = self.topics.get(id, ("", ""))
            if name in topics and stamp >= start:
                yield Message(name, type, stamp, raw)

    def close(self) -> None:
        self.database.close()


class TruncatedMcap:
    """A truncated .mcap file: its messages up to the first record that is damaged or not whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.foreign: dict[str, str] = {}
        self.topics: dict[int, Topic] = {}  # by channel
        with path.open("rb") as file:
            next(StreamReader(file).records)  # a file of another kind raises

    def read_topics(self) -> list[Topic]:
        counts = Counter(message.channel_id for chunk in self._read_chunks() for message in chunk)
        return [replace(topic, count=counts[id]) for id, topic in self.topics.items()]

    def read_messages(self, topics: Collection[str], start: int) -> Iterator[Message]:
        """Yield messages in order of time, also where two successive chunks overlap."""
        held: list[Message] = []
        for chunk in self._read_chunks():
            first = min((message.log_time for message in chunk), default=0)
            yield from (message for message in held if message.nanoseconds < first)
            held = [message for message in held if message.nanoseconds >= first]
            for message in chunk:
                topic = self.topics[message.channel_id]
                if message.log_time >= start and topic.name in topics:
                    held.append(Message(topic.name, topic.type, message.log_time, message.data))
            held.sort(key=lambda message: message.nanoseconds)
        yield from held

    def _read_chunks(self) -> Iterator[list[records.Message]]:
        """Yield the messages of one chunk after the other; the damage is reported already."""
        schemas: dict[int, str] = {}
        with self.path.open("rb") as file, suppress(Exception):
            for record in StreamReader(_WholeReads(file), emit_chunks=True).records:  # type: ignore[arg-type]
                messages = []
                for each in breakup_chunk(record, validate_crc=True) if isinstance(record, records.Chunk) else [record]:
                    if isinstance(each, records.Schema):
                        schemas[each.id] = each.name
                    elif isinstance(each, records.Channel) and is_ros2(each):
                        type = normalize_type(schemas.get(each.schema_id, ""))
                        self.topics[each.id] = Topic(each.topic, type, 0, _read_qos(each))
                    elif isinstance(each, records.Channel):
                        self.foreign[each.topic] = each.message_encoding
                    elif isinstance(each, records.Message) and each.channel_id in self.topics:
                        messages.append(each)
                yield messages

    def close(self) -> None: ...


class _WholeReads:
    """A file whose end within a read is an error; mcap would take the beginning of a record for all of it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        if len(data) < size:
            raise EOFError("the file ends within a record")
        return data


def is_ros2(channel: records.Channel) -> bool:
    """True when the messages of an MCAP channel are ROS 2's, in CDR."""
    return channel.message_encoding.lower() == ROS2_ENCODING


def normalize_type(name: str) -> str:
    """Return package/msg/Name for the other spellings of a message type: package::msg::Name, package::msg::dds_::Name_."""
    words = [word for word in name.replace("::", "/").split("/") if word != "dds_"]
    words[-1] = words[-1].removesuffix("_")
    return "/".join([words[0], "msg", words[1]] if len(words) == 2 else words)


def _read_qos(channel: records.Channel) -> tuple[Qos, ...]:
    return tuple(parse_qos(channel.metadata.get("offered_qos_profiles", "")))
