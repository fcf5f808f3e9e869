"""Finds the weights of our own small nets, which come with the package beside this file."""

from __future__ import annotations

from pathlib import Path

from moonseg3r_core.errors import WeightsError

NAMES = ("nano", "multi_view", "nano_masks", "nano_queries", "rgbd_queries")
EMBEDDED = {name: Path(__file__).with_name(f"{name}.safetensors") for name in NAMES}


def find_embedded(name: str) -> Path:
    """Find the file of weights of that name in the package. Raises WeightsError where the installation lacks it."""
    path = EMBEDDED[name]
    if not path.is_file():
        raise WeightsError(
            f"{name} expects its weights at {path}, where they come with the package, got no file; install moonseg3r "
            "again, or choose another kind (reconstruction: rgbd, cut3r; masks: regions; refinement: average)."
        )
    return path
