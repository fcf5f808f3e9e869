"""What the catalog says of weights: where they are published, how large they are, and under which licence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Licence:
    """The publisher's terms; `noncommercial` ones forbid commercial use."""

    name: str
    address: str
    noncommercial: bool = False

    def __str__(self) -> str:
        return self.name + (", no commercial use" if self.noncommercial else "")


@dataclass(frozen=True)
class DriveFile:
    """A file on Google Drive, by its id there. `sha256` is empty where its publisher gives none."""

    id: str
    name: str
    sha256: str = ""

    @property
    def address(self) -> str:
        return f"https://drive.google.com/file/d/{self.id}/view"

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)


@dataclass(frozen=True)
class WebFile:
    """A file by its address. `sha256` is empty where its publisher gives none."""

    address: str
    sha256: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return (PurePosixPath(self.address).name,)


@dataclass(frozen=True)
class HubFiles:
    """Files of one repository (`kind`: model or dataset) on the Hugging Face hub, which knows the large ones' sha256."""

    repository: str
    paths: tuple[str, ...] = ("config.json", "model.safetensors")
    kind: str = "model"

    @property
    def address(self) -> str:
        return f"{HUB}/{'' if self.kind == 'model' else 'datasets/'}{self.repository}"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(PurePosixPath(path).name for path in self.paths)


Source = DriveFile | WebFile | HubFiles


@dataclass(frozen=True)
class Entry:
    """One net's weights: what is published, and for which setting it is.

    `size` is about what is kept, in bytes (0: not known); of a `gated` source the publisher gives to those who accepted
    the licence. `convert` (`module:function` of source, target, name) makes the one file that is kept; without it the
    files are kept as they are.
    """

    name: str
    setting: str
    purpose: str
    source: Source
    publisher: str
    licence: Licence
    size: int
    convert: str = ""
    gated: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """The names of what is kept."""
        return (f"{self.name}.safetensors",) if self.convert else self.source.names
