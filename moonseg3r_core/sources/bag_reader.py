"""Read rosbag2 topics and messages without ROS. Damage is reported, not raised; topics of other systems are left out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.bag_faults import SUFFIXES, describe_fault, is_whole
from moonseg3r_core.sources.bag_parts import (
    TYPES,
    BagPart,
    Message,
    MixedMcap,
    RosbagsPart,
    Topic,
    TruncatedMcap,
    TruncatedSqlite,
)
from moonseg3r_core.sources.names import make_natural_key

__all__ = ["TYPES", "Message", "OnDamage", "Topic", "is_bag", "read_messages", "read_topics"]

OnDamage = Callable[[str], None]
OnForeign = Callable[[str], None]
ROS1_ENCODING = "ros1"
ROS1 = "convert its .bag with `rosbags-convert --src IN.bag --dst OUT`"


def is_bag(path: Path) -> bool:
    """True for a .mcap or .db3 file, and for a folder with such files or metadata.yaml."""
    if path.is_file():
        return path.suffix in SUFFIXES
    return (path / "metadata.yaml").exists() or bool(list_storage_files(path))


def list_storage_files(folder: Path) -> list[Path]:
    """List the storage files of a bag folder in the order of recording."""
    files = (file for file in folder.iterdir() if file.suffix in SUFFIXES)
    return sorted(files, key=lambda file: make_natural_key(file.name))


def read_topics(path: Path, on_damage: OnDamage, on_foreign: OnForeign = lambda line: None) -> list[Topic]:
    """Read all topics of a bag; `on_foreign` gets one line on the topics that are left out because they are not ROS 2.

    Raises SourceError when no file of it can be opened, and for one without topics of ROS 2.
    """
    found: dict[tuple[str, str], Topic] = {}
    foreign: dict[str, str] = {}
    for part in open_parts(path, on_damage):
        with closing(part):
            for topic in part.read_topics():
                known = found.get((topic.name, topic.type), Topic(topic.name, topic.type, 0))
                merged = replace(known, count=known.count + topic.count, qos=known.qos + topic.qos)
                found[topic.name, topic.type] = merged
            foreign |= part.foreign
    if foreign and not found:
        raise SourceError(_explain_foreign(path, foreign))
    if foreign:
        on_foreign(
            f"left out {len(foreign)} of {len(foreign) + len(found)} topics, which are not ROS 2: {_list(foreign)}"
        )
    return [topic for _, topic in sorted(found.items())]


def read_messages(
    path: Path, topics: Collection[str], on_damage: OnDamage, start: int = 0
) -> Generator[Message, None, None]:
    """Yield the messages of some topics in order of time, from `start` (ns) on.

    At damage `on_damage` is called and that file ends.
    """
    for part in open_parts(path, on_damage):
        with closing(part):
            messages = part.read_messages(topics, start)
            while True:
                try:
                    message = next(messages, None)
                except Exception:  # the libraries pass on what sqlite, zstd, lz4 and struct raise
                    on_damage(describe_fault(path))
                    break
                if message is None:
                    break
                yield message


def open_parts(path: Path, on_damage: OnDamage) -> Iterator[BagPart]:
    """Open the bag as a whole, or else each of its files up to its damage, which is reported.

    Raises SourceError when no file can be opened.
    """
    try:
        yield RosbagsPart(path)
        return
    except Exception as error:  # rosbags passes on what sqlite, zstd, lz4, yaml and struct raise
        lacks_metadata = path.is_dir() and isinstance(error, FileNotFoundError)  # its files may be whole
        lacks_metadata |= _is_misread(path)
    opened, has_foreign = False, False
    for file in list_storage_files(path) if path.is_dir() else [path]:
        if part := _open_file(file, on_damage):
            opened, has_foreign = True, has_foreign or bool(part.foreign)
            yield part
    if not opened:
        raise SourceError(f"{path} cannot be read as a bag: {describe_fault(path)}; record it again.")
    if path.is_dir() and not (lacks_metadata or has_foreign):
        on_damage(describe_fault(path))


def _is_misread(path: Path) -> bool:
    """Whether rosbags, which hands an SQLite file's name on as a URI, takes another file for it."""
    return any(mark in str(path) for mark in "?#%")


def _open_file(file: Path, on_damage: OnDamage) -> BagPart | None:
    if file.suffix == ".db3" and _is_misread(file):
        with suppress(Exception):  # as above; a damaged file goes on below, where its damage is reported
            return TruncatedSqlite(file)
    kinds: tuple[Callable[[Path], BagPart], ...] = (
        (RosbagsPart, MixedMcap) if file.suffix == ".mcap" else (RosbagsPart,)
    )
    for kind in kinds:
        with suppress(Exception):  # what the libraries raise; the next kind is tried
            return kind(file)
    if file.suffix != ".mcap" or not is_whole(file):  # a whole MCAP file needs no index
        on_damage(describe_fault(file))
    try:
        return TruncatedMcap(file) if file.suffix == ".mcap" else TruncatedSqlite(file)
    except Exception:  # as above; the damage is reported already
        return None


def _explain_foreign(path: Path, foreign: dict[str, str]) -> str:
    if set(foreign.values()) == {ROS1_ENCODING}:
        return f"{path} is a ROS 1 recording; {ROS1}."
    return f"{path} holds no topic of ROS 2; expected messages in CDR, got: {_list(foreign)}; record it with `ros2 bag record`."


def _list(foreign: dict[str, str]) -> str:
    return ", ".join(f"{topic} ({encoding or 'no encoding'})" for topic, encoding in foreign.items())
