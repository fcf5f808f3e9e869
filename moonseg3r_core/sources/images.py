"""Read a folder of images in natural order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from moonseg3r_core.errors import FrameRejected, SourceError
from moonseg3r_core.sources.config import DEFAULT, InputConfig
from moonseg3r_core.sources.files import is_depth_file, list_images, read_image
from moonseg3r_core.sources.layouts import find_layout
from moonseg3r_core.sources.names import parse_numbers, parse_timestamps
from moonseg3r_core.sources.source import IndexedRecording
from moonseg3r_core.types import Frame

DEFAULT_RATE = 30.0  # images per second where the file names hold no time
NO_PHOTOGRAPH = re.compile(r"depth|disp|mask|label|semantic|instance|normal|confidence|(?<![a-z])seg", re.IGNORECASE)
PAGE = "docs/recordings.md has the layouts of folders with color and depth"
MAX_NAMED = 5  # folders in an error message


class ImagesSource(IndexedRecording):
    """Images without depth or pose. The index is the number at the end of the name, if these are unique.

    Images of one channel and 16 bits are depth, never photographs: they are left out, and so are series that their
    names tell to be masks, labels and the like beside a series of photographs.
    """

    kind: str = "images"
    lacks = ("depth", "intrinsics", "poses")

    def __init__(self, path: Path, stride: int, max_frames: int | None, input: InputConfig = DEFAULT) -> None:
        super().__init__(str(path), path, stride, max_frames, input)
        found = list_images(path)
        if not found:
            raise SourceError(f"{path} {_describe_contents(path)}.")
        self.files, self.notes = choose_photographs(path, found)
        self.total = len(self.files)
        stems = [file.stem for file in self.files]
        stamps = parse_timestamps(stems)
        self.indices = list(range(len(stems))) if stamps else parse_numbers(stems)
        self.stamps = stamps or [index / DEFAULT_RATE for index in self.indices]

    def _read_frames(self) -> Iterator[Frame | FrameRejected]:
        for note in self.notes:
            self.warn_once(note, note)
        yield from super()._read_frames()

    def _read_frame(self, ordinal: int) -> Frame:
        return Frame(self.indices[ordinal], self.stamps[ordinal], read_image(self.files[ordinal]))


def choose_photographs(path: Path, files: list[Path]) -> tuple[list[Path], list[str]]:
    """Choose the photographs among the images of a folder, and say what else lies there.

    Raises SourceError for a folder that holds depth images alone.
    """
    depths = {file for file in files if is_depth_file(file)}
    photographs = [file for file in files if file not in depths]
    if not photographs:
        raise SourceError(
            f"{path} holds {len(depths)} images of one channel and 16 bits, which are depth, and no photograph; "
            f"give {_find_recording(path) or 'the folder of the color images'} instead. {PAGE}."
        )
    notes = [f"{len(depths)} images of one channel and 16 bits are depth, left out; {PAGE}"] if depths else []
    series = Counter(_name_series(file) for file in photographs)
    others = {name for name in series if NO_PHOTOGRAPH.search(name)}
    if others and len(others) < len(series):
        left_out = ", ".join(f"{name} ({series[name]}x)" for name in sorted(others))
        notes.append(f"left out by their names, as no photographs: {left_out}")
        photographs = [file for file in photographs if _name_series(file) not in others]
    elif len(series) > 1 and min(series.values()) > 1:
        notes.append(f"its images are named in {len(series)} series, {', '.join(sorted(series))[:80]}; read as one")
    if whole := _find_recording(path):
        notes.append(f"it is a part of {whole}; give that to read depth and poses too")
    return photographs, notes


def _name_series(file: Path) -> str:
    """Name what a file and its neighbours have in common: the name with numbers as N."""
    return re.sub(r"\d+", "N", file.name)


def _find_recording(path: Path) -> Path | None:
    """Find a recording of a known layout that has this folder as its part."""
    above = (path.absolute().parent, path.absolute().parent.parent)
    with suppress(OSError):  # a folder that may not be listed
        return next((folder for folder in above if find_layout(folder)), None)
    return None


def _describe_contents(path: Path) -> str:
    if not any(path.iterdir()):
        return "is an empty folder; give a folder of images, a ScanNet export (color/, depth/, pose/) or a bag"
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir()]
    inner = [folder.name for folder in folders if _is_readable(folder)]
    inner = inner or [f"{folder.name}/{below.name}" for folder in folders for below in _list_readable(folder)]
    if not inner:
        names = sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir())
        held = f"it has {', '.join(names[:MAX_NAMED])}{' ...' if len(names) > MAX_NAMED else ''}"
        return f"holds no image; expected .jpg, .png, .bmp, .tif or .webp files, or a known layout; {held}; {PAGE}"
    several = f"one of its folders {', '.join(inner[:MAX_NAMED])}{' ...' if len(inner) > MAX_NAMED else ''}"
    return f"holds no image; give {path / inner[0] if len(inner) == 1 else several} instead"


def _is_readable(folder: Path) -> bool:
    return find_layout(folder) is not None or bool(list_images(folder))


def _list_readable(folder: Path) -> list[Path]:
    return sorted(below for below in folder.iterdir() if below.is_dir() and _is_readable(below))
