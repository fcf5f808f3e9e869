"""MoonSeg3R: online monocular zero-shot 3D instance segmentation. The ROS-free core.

config = load_config(overrides={"masks.kind": "regions"})
source = open_source("synthetic:7")
segmenter = build_segmenter(config, masks_folder=source.masks_folder)
for frame in source:
    ids = segmenter.step(frame).instance_ids
print(segmenter.snapshot().instances)
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "build": ("build_segmenter",),
    "config": ("Config", "load_config"),
    "errors": ("FrameRejected", "InputError", "MoonSeg3RError"),
    "segmenter": ("OnlineSegmenter",),
    "sources": ("open_source",),
    "types": ("Frame", "FrameResult", "Instance", "InstanceMap"),
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Public names are imported when first asked for, so that `import moonseg3r_core` costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'moonseg3r_core' has no attribute '{name}'")
    return getattr(import_module(f"moonseg3r_core.{_HOME[name]}"), name)
