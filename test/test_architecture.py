"""The house: imports run downwards only, the core knows no ROS, and importing it is light."""

import ast
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import moonseg3r_core

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "moonseg3r_core"
ROOMS = {"reconstruction", "masks", "features", "refinement", "memory", "fusion"}
DOORS = {path.stem for path in CORE.glob("build*.py")}
FOUNDATION = {path.stem for path in CORE.glob("*.py")} - {"__init__", "segmenter", "run"} - DOORS
PORCH = CORE.parent / "moonseg3r_ros"
ROS = {"rclpy", "sensor_msgs", "geometry_msgs", "tf2_ros", "moonseg3r_ros", "cv_bridge"}


def imports(path):
    """Absolute names that a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inner(path):
    """The parts of the core that a file imports: `fusion`, `types`..."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("moonseg3r_core.")}


def files(folder):
    return sorted(folder.rglob("*.py"))


@pytest.mark.parametrize("path", files(CORE), ids=lambda p: str(p.relative_to(CORE)))
def test_the_core_imports_no_ros(path):
    assert not {name.split(".")[0] for name in imports(path)} & ROS


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_rooms_import_the_foundation_and_never_one_another(room):
    for path in files(CORE / room):
        assert inner(path) <= FOUNDATION | {room}, path


@pytest.mark.parametrize("name", sorted(FOUNDATION))
def test_the_foundation_imports_only_itself(name):
    assert inner(CORE / f"{name}.py") <= FOUNDATION | {"__version__"}


@pytest.mark.parametrize("path", files(PORCH), ids=lambda p: p.name)
def test_the_porch_sees_only_the_public_names_of_the_core(path):
    public = {"moonseg3r_core", *(f"moonseg3r_core.{name}" for name in moonseg3r_core.__all__)}
    assert {name for name in imports(path) if name.startswith("moonseg3r_core")} <= public


def test_every_public_name_is_there():
    for name in moonseg3r_core.__all__:
        assert getattr(getattr(moonseg3r_core, name), "__name__", name) == name


def test_the_hall_knows_no_adapter():
    assert inner(CORE / "segmenter.py") <= FOUNDATION | {"fusion"}


def test_training_sees_what_it_trains_on_and_scores_with():
    seen = FOUNDATION | {"training", "reconstruction", "masks", "refinement", "synthetic", "evaluation"}
    seen |= {"build", "sources", "report"}  # its frozen models, what they look at, and colors
    for path in files(CORE / "training"):
        assert inner(path) <= seen, path
        adapters = {name for name in imports(path) if name.startswith("moonseg3r_core.reconstruction.")}
        assert all(name.startswith("moonseg3r_core.reconstruction.cut3r") for name in adapters), path


def test_the_command_alone_sees_the_training():
    for path in files(CORE):
        if not path.is_relative_to(CORE / "training") and not path.is_relative_to(CORE / "cli"):
            assert "training" not in inner(path), path


def test_importing_the_core_pulls_in_nothing_heavy():
    code = "import sys, moonseg3r_core; print(sorted({'open3d', 'matplotlib', 'skimage', 'rosbags', 'transformers'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_the_pictures_of_the_house_can_be_drawn_and_every_part_stands_above_what_it_imports(tmp_path):
    names = runpy.run_path(str(ROOT / "tools" / "draw_architecture.py"))
    graph = names["house"]()
    floor = names["floors"](graph)
    assert all(floor[name] > floor[to] for name, seen in graph.items() for to in seen)
    assert ROOMS <= graph.keys() - {"foundation"} <= names["COLUMNS"].keys()
    names["main"](tmp_path)
    assert (tmp_path / "architecture.png").is_file()
    walk = [f"{station.room}.{station.method}" for station in names["stations"]("step")]
    assert walk.index("memory.recall") < walk.index("match.") < walk.index("memory.remember")
