"""Read a folder of images in natural order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.config import DEFAULT, InputConfig
from moonseg3r_core.sources.files import list_images, read_image
from moonseg3r_core.sources.source import IndexedRecording
from moonseg3r_core.types import Frame

DEFAULT_RATE = 30.0  # images per second where the file names hold no time
TICKS_PER_SECOND = {13: 1e3, 16: 1e6, 19: 1e9}  # by the number of digits of a Unix time


class ImagesSource(IndexedRecording):
    """Images without depth or pose. The index is the number at the end of the name, if these are unique."""

    kind: ClassVar[str] = "images"
    lacks = ("depth", "intrinsics", "poses")

    def __init__(self, path: Path, stride: int, max_frames: int | None, input: InputConfig = DEFAULT) -> None:
        super().__init__(str(path), path, stride, max_frames, input)
        self.files = list_images(path)
        self.total = len(self.files)
        if not self.files:
            raise SourceError(f"{path} {_describe_contents(path)}.")
        stems = [file.stem for file in self.files]
        stamps = parse_timestamps(stems)
        self.indices = list(range(len(stems))) if stamps else parse_numbers(stems)
        self.stamps = stamps or [index / DEFAULT_RATE for index in self.indices]

    def _read_frame(self, ordinal: int) -> Frame:
        return Frame(self.indices[ordinal], self.stamps[ordinal], read_image(self.files[ordinal]))


def parse_numbers(stems: list[str]) -> list[int]:
    """Parse the number at the end of each name; 0, 1, 2... where a name has none or two are equal."""
    found = [re.search(r"\d{1,9}$", stem) for stem in stems]
    values = [int(match.group()) for match in found if match]
    return values if len(set(values)) == len(stems) else list(range(len(stems)))


def parse_timestamps(stems: list[str]) -> list[float] | None:
    """Parse names that are all times (1305031102.175304, or Unix time in ms, us, ns) to seconds, else None."""
    if all(re.fullmatch(r"\d+\.\d+", stem) for stem in stems):
        return [float(stem) for stem in stems]
    if all(stem.isdecimal() and len(stem) in TICKS_PER_SECOND for stem in stems):
        return [int(stem) / TICKS_PER_SECOND[len(stem)] for stem in stems]
    return None


def _describe_contents(path: Path) -> str:
    if not any(path.iterdir()):
        return "is an empty folder; give a folder of images, a ScanNet export (color/, depth/, pose/) or a bag"
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir()]
    inner = [folder.name for folder in folders if (folder / "color").is_dir() or list_images(folder)]
    if not inner:
        return "holds no image; expected .jpg, .png, .bmp, .tif or .webp files"
    several = f"one of its folders {', '.join(inner[:5])}{' ...' if len(inner) > 5 else ''}"
    return f"holds no image; give {path / inner[0] if len(inner) == 1 else several} instead"
