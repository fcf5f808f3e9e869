"""The layout: imports run one way, the core knows no ROS, importing it is light, and the root stays small."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import moonseg3r_core

ROOT = Path(__file__).resolve().parents[1]
CORE, ROS = ROOT / "moonseg3r_core", ROOT / "moonseg3r_ros"
STAGES = {"reconstruction", "masks", "features", "refinement", "memory", "fusion"}
FOUNDATION = {"types", "geometry", "errors", "stages", "settings", "ops", "io", "runtime"}
MODULES = {"__init__", "config", "resolve", "build", "segmenter", "map_file", "run"} | {"types", "geometry", "errors", "stages", "settings"}  # fmt: skip
ROS_PACKAGES = {"rclpy", "sensor_msgs", "geometry_msgs", "tf2_ros", "moonseg3r_ros", "cv_bridge"}


def read_imports(path):
    """Absolute names that a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def find_core_parts(path):
    """The parts of the core that a file imports: `fusion`, `types`..."""
    return {name.split(".")[1] for name in read_imports(path) if name.startswith("moonseg3r_core.")}


def find_files(folder):
    return sorted(folder.rglob("*.py"))


def find_modules(package):
    """Every module of a package with the modules that it imports when it is imported itself."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in find_files(package)}  # fmt: skip
    graph = {}
    for name, path in names.items():
        tree = ast.parse(path.read_text())
        found = set()
        for node in tree.body:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found |= {f"{node.module}.{a.name}" if f"{node.module}.{a.name}" in names else node.module for a in node.names}  # fmt: skip
        graph[name] = found & names.keys() - {name}
    return graph


@pytest.mark.parametrize("package", [CORE, ROS], ids=["core", "ros"])
def test_there_is_no_import_circle(package):
    graph = find_modules(package)
    assert len(graph) > 40
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_the_roots_hold_the_pipeline_alone():
    assert {path.stem for path in CORE.glob("*.py")} <= MODULES
    assert len(MODULES) == 12
    assert len(list(ROS.glob("*.py"))) <= 15


@pytest.mark.parametrize("path", find_files(CORE), ids=lambda p: str(p.relative_to(CORE)))
def test_the_core_imports_no_ros(path):
    assert not {name.split(".")[0] for name in read_imports(path)} & ROS_PACKAGES


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_stages_import_the_foundation_and_never_one_another(stage):
    for path in find_files(CORE / stage):
        factories = {"weights"}  # a factory finds its weights
        assert find_core_parts(path) <= FOUNDATION | {stage} | factories, path


@pytest.mark.parametrize("part", sorted(FOUNDATION))
def test_the_foundation_imports_only_itself(part):
    for path in find_files(CORE / part) if (CORE / part).is_dir() else [CORE / f"{part}.py"]:
        assert find_core_parts(path) <= FOUNDATION, path


@pytest.mark.parametrize("path", find_files(ROS), ids=lambda p: str(p.relative_to(ROS)))
def test_the_ros_package_sees_only_public_names_of_the_core(path):
    public = {"moonseg3r_core", *(f"moonseg3r_core.{name}" for name in moonseg3r_core.__all__)}
    assert {name for name in read_imports(path) if name.startswith("moonseg3r_core")} <= public


def test_every_public_name_is_there():
    for name in moonseg3r_core.__all__:
        assert getattr(getattr(moonseg3r_core, name), "__name__", name) == name


def test_the_segmenter_knows_no_implementation():
    assert find_core_parts(CORE / "segmenter.py") <= FOUNDATION | {"fusion"}


def test_the_odometry_works_over_any_network():
    for path in find_files(CORE / "reconstruction/odometry"):
        assert not {name for name in read_imports(path) if "cut3r" in name}, path


def test_training_sees_what_it_trains_on_and_scores_with():
    seen = FOUNDATION | {"training", "reconstruction", "masks", "refinement", "synthetic", "evaluation", "benchmarks"}
    seen |= {
        "build",
        "resolve",
        "config",
        "sources",
        "report",
        "map_file",
        "weights",
    }  # its frozen models, what they look at, and colors
    for path in find_files(CORE / "training"):
        assert find_core_parts(path) <= seen, path


def test_what_all_trainings_share_imports_none_of_them():
    for path in (*find_files(CORE / "training/common"), *find_files(CORE / "training/data")):
        trainings = {name.split(".")[2] for name in read_imports(path) if name.startswith("moonseg3r_core.training.")}
        assert trainings <= {"common", "data"}, path


def test_the_command_and_the_benchmarks_alone_see_the_training():
    for path in find_files(CORE):
        if path.relative_to(CORE).parts[0] not in ("training", "cli", "benchmarks"):
            assert "training" not in find_core_parts(path), path


def test_importing_the_core_pulls_in_nothing_heavy():
    code = "import sys, moonseg3r_core; print(sorted({'open3d', 'matplotlib', 'skimage', 'rosbags', 'transformers'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
