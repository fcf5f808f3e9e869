"""What is heavy or optional is imported when a configuration asks for it, and not before."""

import subprocess
import sys

OPTIONAL = {
    "transformers",
    "ultralytics",
    "detectron2",
    "open3d",
    "rclpy",
    "rosbags",
    "gdown",
    "huggingface_hub",
    "matplotlib",
}
HEAVY = OPTIONAL | {"torch", "cv2", "scipy", "skimage", "yaml"}
BUILD = """
from moonseg3r_core import build_segmenter, load_config
for overrides in ({}, {"masks.kind": "regions", "reconstruction.kind": "rgbd"}):
    build_segmenter(load_config(overrides=overrides))
"""


def imported(code):
    """The packages and modules that Python itself says it imported for a piece of code."""
    run = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True)
    lines = [line for line in run.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def packages(names):
    return {name.partition(".")[0] for name in names}


def test_the_core_alone_imports_nothing_but_itself_and_the_standard_library():
    names = imported("import moonseg3r_core")
    assert "moonseg3r_core" in names
    assert not {name for name in names if name.startswith("moonseg3r_core.")}
    assert packages(names) & HEAVY == set()


def test_a_configuration_imports_no_net_and_no_torch():
    names = imported("from moonseg3r_core import load_config; load_config(overrides={'masks.kind': 'mask2former'})")
    assert "moonseg3r_core.masks.config" in names
    assert packages(names) & (HEAVY - {"yaml"}) == set()


def test_building_a_segmenter_with_or_without_nets_imports_nothing_optional():
    names = imported(BUILD)
    assert "torch" in names
    assert packages(names) & OPTIONAL == set()


def test_importtime_names_what_is_imported():
    assert "yaml" in packages(imported("import yaml"))  # else the tests above could not fail
