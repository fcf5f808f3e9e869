"""The weights that can be had: their official address, size, hash and licence, and what they are for."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from moonseg3r_core.errors import InputError


@dataclass(frozen=True)
class Licence:
    """The publisher's terms; `noncommercial` ones forbid commercial use."""

    name: str
    address: str
    noncommercial: bool

    def __str__(self) -> str:
        return self.name + (", no commercial use" if self.noncommercial else "")


@dataclass(frozen=True)
class DriveFile:
    """A file on Google Drive, by its id there."""

    id: str
    name: str

    @property
    def address(self) -> str:
        return f"https://drive.google.com/file/d/{self.id}/view"


@dataclass(frozen=True)
class Entry:
    """One net's weights: the published file, and the one that is kept (`size` bytes about) after `convert`
    (`module:function` of source, target, name). `sha256` is the published file's; empty where its publisher gives none:
    then the first one got is the measure for all later ones.
    """

    name: str
    purpose: str
    source: DriveFile
    publisher: str
    licence: Licence
    size: int
    convert: str
    sha256: str = ""

    @property
    def file(self) -> str:
        return f"{self.name}.safetensors"


CC_BY_NC_SA = Licence("CC BY-NC-SA 4.0", "https://creativecommons.org/licenses/by-nc-sa/4.0/", noncommercial=True)
_CUT3R, _CUT3R_PUBLISHER = "moonseg3r_core.reconstruction.cut3r.checkpoint:convert", "https://github.com/CUT3R/CUT3R"
ALIASES = {"cut3r": "cut3r-512"}
CATALOG = {
    entry.name: entry
    for entry in (
        Entry(
            "cut3r-512",
            "geometry from color alone (reconstruction.kind=cut3r)",
            DriveFile("1Asz-ZB3FfpzZYwunhQvNPZEUA8XUNAYD", "cut3r_512_dpt_4_64.pth"),
            _CUT3R_PUBLISHER,
            CC_BY_NC_SA,
            size=3_173_000_000,
            convert=_CUT3R,
        ),
        Entry(
            "cut3r-224",
            "the same at 224 x 224 pixels (reconstruction.cut3r.model=cut3r-224): coarser, faster",
            DriveFile("11dAgFkWHpaOHsR6iuitlB_v4NFFBrWjy", "cut3r_224_linear_4.pth"),
            _CUT3R_PUBLISHER,
            CC_BY_NC_SA,
            size=2_994_000_000,
            convert=_CUT3R,
        ),
    )
}


def entry_of(name: str) -> Entry:
    """The entry of that name or alias. Raises InputError that suggests the nearest."""
    name = ALIASES.get(name, name)
    if name not in CATALOG:
        near = difflib.get_close_matches(name, CATALOG, n=1, cutoff=0.0)
        raise InputError(
            f"weights must be one of {', '.join(CATALOG)}, got '{name}'; did you mean {', '.join(near)}? "
            "`moonseg3r weights list` says what each is for."
        )
    return CATALOG[name]
