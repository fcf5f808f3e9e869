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
    "build": ("build_segmenter", "check_config", "hash_weights", "reconfigure"),
    "cli": ("Parser",),
    "config": ("Config", "load_config"),
    "errors": ("ConfigError", "FrameRejected", "InputError", "MissingDependency", "MoonSeg3RError", "WeightsError"),
    "benchmarks.preset": ("find_config",),
    "benchmarks.table": ("Table", "describe_machine"),
    "fusion.frame_cloud": ("make_frame_cloud",),
    "fusion.tables": ("renumber_frames",),
    "geometry": ("quaternion_from_rotation",),
    "map_file": ("load_map", "save_map"),
    "report.overlay": ("find_outlines",),
    "report.palette": ("compute_colors",),
    "resolve": ("RecordingFacts", "describe_resolved", "make_input_check", "required_inputs"),
    "segmenter": ("OnlineSegmenter",),
    "settings": ("Key", "fixed_changes", "list_settings", "overlay", "value"),
    "sources": ("open_source",),
    "sources.assembly": ("FrameAssembler", "FrameMessages", "decode_frame"),
    "sources.axes": ("convert_axes",),
    "sources.bag_reader": ("Message", "Topic", "read_messages", "read_topics"),
    "sources.bag_topics": ("Topics", "choose_topics"),
    "sources.write_bag": ("write_bag",),
    "synthetic": ("SyntheticSequence",),
    "sources.corrected_path": ("PathFollower",),
    "sources.localization_jumps": ("Jump", "JumpFollower", "measure_move"),
    "sources.messages": ("is_rectified",),
    "sources.topic_facts": ("read_facts",),
    "sources.transforms": ("TIME_JUMP_S", "TransformError"),
    "runtime.interrupt": ("exit_after", "exit_on_signals", "interrupt_once", "is_end_requested"),
    "ops.anchors": ("move_poses",),
    "types": ("Frame", "FrameResult", "Geometry", "Instance", "InstanceMap", "TrajectoryMoves"),
    "ops.voxels": ("compute_voxel_keys", "find_first_in_voxels"),
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that `import moonseg3r_core` is cheap."""
    if name not in _HOME:
        raise AttributeError(f"module 'moonseg3r_core' has no attribute '{name}'")
    return getattr(import_module(f"moonseg3r_core.{_HOME[name]}"), name)
