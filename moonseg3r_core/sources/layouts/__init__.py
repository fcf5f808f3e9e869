"""Layouts of folders that hold a recording: each is a module with `recognize` and `read` (the protocol `Layout`)."""

from __future__ import annotations

from pathlib import Path

from moonseg3r_core.sources.layouts import (
    bop,
    bundlefusion,
    colmap,
    euroc,
    kitti,
    nerfstudio,
    polycam,
    record3d,
    replica,
    scannet,
    seven_scenes,
    stray,
    tum,
)
from moonseg3r_core.sources.layouts.layout import Layout

# The first that recognises a folder reads it. What the app recorded comes before a transforms.json made of it, whose
# lengths may be scaled; a transforms.json before the COLMAP model that it was made of.
LAYOUTS: tuple[Layout, ...] = (
    bop, scannet, stray, record3d, polycam, tum, replica, bundlefusion, seven_scenes, euroc, kitti, nerfstudio, colmap,
)  # fmt: skip


def find_layout(folder: Path) -> Layout | None:
    """Return the layout of a folder, None for one that no layout knows."""
    return next((layout for layout in LAYOUTS if layout.recognize(folder)), None)
