"""Describes weights in the catalog: where they are published, how large they are, and under which licence."""

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
    """Files of one repository (`kind`: model or dataset) on the Hugging Face hub, which tells the sha256 of large ones."""

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
    """One net's weights: what is published, and the setting that uses it.

    `size` is that of the installed files in bytes, 0 where it is unknown. A `gated` source needs the publisher's consent.
    `convert` (`module:function` of source, target, name) makes the one installed file; without it the published files
    are installed.
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
        """Names of the installed files."""
        return (f"{self.name}.safetensors",) if self.convert else self.source.names
