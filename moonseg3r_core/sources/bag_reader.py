"""Read rosbag2 topics and messages without ROS, by the rosbags library. Damage is reported, not raised."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from mcap import records
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.interfaces import ConnectionExtRosbag2, Qos
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.metadata import parse_qos
from rosbags.typesys import Stores, get_typestore

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.names import make_natural_key

SUFFIXES = (".mcap", ".db3")
TYPES = get_typestore(Stores.ROS2_HUMBLE)  # the messages read here are laid out alike in every ROS 2 release
OnDamage = Callable[[str], None]


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


def is_bag(path: Path) -> bool:
    """True for a .mcap or .db3 file, and for a folder with such files or metadata.yaml."""
    if path.is_file():
        return path.suffix in SUFFIXES
    return (path / "metadata.yaml").exists() or bool(list_storage_files(path))


def list_storage_files(folder: Path) -> list[Path]:
    """List the storage files of a bag folder in the order of recording."""
    files = (file for file in folder.iterdir() if file.suffix in SUFFIXES)
    return sorted(files, key=lambda file: make_natural_key(file.name))


def read_topics(path: Path, on_damage: OnDamage) -> list[Topic]:
    """Read all topics of a bag. Raises SourceError when no file of it can be opened."""
    found: dict[tuple[str, str], Topic] = {}
    for part in open_parts(path, on_damage):
        with closing(part):
            for topic in part.read_topics():
                known = found.get((topic.name, topic.type), Topic(topic.name, topic.type, 0))
                merged = replace(known, count=known.count + topic.count, qos=known.qos + topic.qos)
                found[topic.name, topic.type] = merged
    return [topic for _, topic in sorted(found.items())]


def read_messages(path: Path, topics: Collection[str], on_damage: OnDamage, start: int = 0) -> Iterator[Message]:
    """Yield the messages of some topics in order of time, from `start` (ns) on.

    At damage `on_damage` is called and that file ends.
    """
    for part in open_parts(path, on_damage):
        with closing(part):
            messages = part.read_messages(topics, start)
            while True:
                try:
                    message = next(messages, None)
                except Exception as error:  # rosbags passes on what sqlite, zstd, lz4 and struct raise
                    on_damage(_describe_error(error))
                    break
                if message is None:
                    break
                yield message


class RosbagsPart:
    """A bag, or one file of it, that rosbags can open."""

    def __init__(self, path: Path) -> None:
        self.reader = Reader(path)
        self.reader.open()

    def read_topics(self) -> list[Topic]:
        found = []
        for c in self.reader.connections:
            qos = tuple(c.ext.offered_qos_profiles) if isinstance(c.ext, ConnectionExtRosbag2) else ()
            found.append(Topic(c.topic, c.msgtype, c.msgcount, qos))
        return found

    def read_messages(self, topics: Collection[str], start: int) -> Iterator[Message]:
        wanted = [c for c in self.reader.connections if c.topic in topics]
        if wanted:
            for connection, stamp, raw in self.reader.messages(wanted, start):
                yield Message(connection.topic, connection.msgtype, stamp, raw)

    def close(self) -> None:
        self.reader.close()


class TruncatedSqlite:
    """A truncated .db3 file: its rows up to the first missing page, in the order of recording."""

    def __init__(self, path: Path) -> None:
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
                    elif isinstance(each, records.Channel):
                        qos = parse_qos(each.metadata.get("offered_qos_profiles", ""))
                        self.topics[each.id] = Topic(each.topic, schemas.get(each.schema_id, ""), 0, tuple(qos))
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


BagPart = RosbagsPart | TruncatedMcap | TruncatedSqlite


def open_parts(path: Path, on_damage: OnDamage) -> Iterator[BagPart]:
    """Open the bag as a whole, or else each of its files up to its damage, which is reported.

    Raises SourceError when no file can be opened.
    """
    try:
        yield RosbagsPart(path)
        return
    except Exception as error:  # rosbags passes on what sqlite, zstd, lz4, yaml and struct raise
        fault = _describe_error(error)
        lacks_metadata = path.is_dir() and isinstance(error, FileNotFoundError)  # its files may be whole
        lacks_metadata |= _is_misread(path)
    opened = False
    for file in list_storage_files(path) if path.is_dir() else [path]:
        if part := _open_file(file, on_damage):
            opened = True
            yield part
    if not opened:
        raise SourceError(f"{path} cannot be read as a bag: {fault}; record it again.")
    if path.is_dir() and not lacks_metadata:
        on_damage(fault)


def _is_misread(path: Path) -> bool:
    """Whether rosbags, which hands an SQLite file's name on as a URI, takes another file for it."""
    return any(mark in str(path) for mark in "?#%")


def _open_file(file: Path, on_damage: OnDamage) -> BagPart | None:
    if file.suffix == ".db3" and _is_misread(file):
        with suppress(Exception):  # as above; a damaged file goes on below, where its damage is reported
            return TruncatedSqlite(file)
    try:
        return RosbagsPart(file)
    except Exception as error:  # as above
        on_damage(_describe_error(error))
    try:
        return TruncatedMcap(file) if file.suffix == ".mcap" else TruncatedSqlite(file)
    except Exception:  # as above; the damage is reported already
        return None


def _describe_error(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
