"""The packages as a robot gets them: what they declare, what colcon installs, what the tests' own set-up says."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = {"moonseg3r", "moonseg3r_node", "moonseg3r_container", "moonseg3r_replay"}
KEYS = {"cv2": "python3-opencv", "numpy": "python3-numpy", "scipy": "python3-scipy", "yaml": "python3-yaml"}
BY_PIP = {"torch", "rosbags", "safetensors"}
OURS = {"moonseg3r_core", "moonseg3r_ros"}
CARGO = ("package.xml", "setup.py", "setup.cfg", "pyproject.toml", "README.md", "colcon_defaults.yaml")
# Of the packages that ROS 2 Jazzy ships. Equal hashes are equal fields, those of the types inside them included.
TYPE_HASHES = {
    "tf2_msgs/msg/TFMessage": "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087",
    "composition_interfaces/srv/ListNodes": "RIHS01_13f30d73a74c844ee4bacf78f3680f08777cad137f10fbd6a648544cc7b59d2a",
    "composition_interfaces/srv/LoadNode": "RIHS01_2e521ef6066fba6d7fc3a3b175d486709f01b4d738d9a59188858546fc8e5acd",
    "composition_interfaces/srv/UnloadNode": "RIHS01_dce562f83adc735ddcfe9dfb927b89293d4dd0fe2b8fc91e772fb83e970a43b0",
    "vision_msgs/msg/Detection3DArray": "RIHS01_793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018",
}


def declared(path, *kinds):
    """The names that a package.xml has under elements of these kinds."""
    root = ElementTree.parse(path).getroot()
    return {element.text for kind in kinds for element in root.iter(kind)}


def sources():
    return [*sorted((ROOT / "moonseg3r_ros").rglob("*.py")), *sorted((ROOT / "launch").glob("*.py"))]


def imported(path):
    """The packages that a Python file imports by name, anywhere in it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0}
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - OURS - BY_PIP


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_what_is_imported_is_declared(path):
    names = {KEYS.get(name, name) for name in imported(path)}
    assert names <= declared(ROOT / "package.xml", "exec_depend", "depend")


def test_no_interface_is_declared_that_nothing_uses():
    names = {name for name in declared(ROOT / "package.xml", "exec_depend") if name.endswith(("_msgs", "_interfaces"))}
    text = "\n".join(path.read_text() for path in sources())
    assert {name for name in names if name not in text} == set()


def test_messages_declare_the_packages_of_their_fields():
    lines = [line.split("#")[0] for path in (ROOT / "msg").glob("*.msg") for line in path.read_text().splitlines()]
    fields = {line.split("/")[0].strip() for line in lines if "/" in line}
    assert fields == declared(ROOT / "msg/package.xml", "depend")


@pytest.mark.parametrize("group", ["console_scripts", "rclpy_components", "moonseg3r.bench"])
def test_every_entry_point_loads(group):
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    points = [point for point in entry_points(group=group) if point.module.partition(".")[0] in OURS]
    assert points
    assert all(callable(point.load()) for point in points)


def test_the_component_is_found_under_the_name_that_launch_files_use():
    points = [(point.name, point.value) for point in entry_points(group="rclpy_components")]
    assert ("moonseg3r_ros::MoonSeg3RNode", "moonseg3r_ros.node:MoonSeg3RNode") in points


@pytest.mark.parametrize("name", TYPE_HASHES)
def test_interfaces_are_those_of_ros(name):
    package = pytest.importorskip(name.partition("/")[0], reason="the interface is not installed")
    prefix = Path(package.__file__).parents[4]
    described = prefix / "share" / f"{name}.json"
    if not described.exists():
        pytest.skip("this ROS 2 has no type hashes")
    hashes = {item["type_name"]: item["hash_string"] for item in json.loads(described.read_text())["type_hashes"]}
    assert hashes[name] == TYPE_HASHES[name]


def set_up(stamp, **environment):
    script = ROOT / "tools/ros_environment.py"
    kept = {key: value for key, value in os.environ.items() if key not in ("ROS_DISTRO", "CXX")}
    command = [sys.executable, str(script), str(stamp)]
    return subprocess.run(command, env=kept | environment, capture_output=True, text=True)


@pytest.mark.parametrize("environment", [{"PATH": "/nowhere"}, {"PATH": "/nowhere", "ROS_DISTRO": "nowhere"}])
def test_where_ros_cannot_be_set_up_one_line_says_why(tmp_path, environment):
    done = set_up(tmp_path / "stamp", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
    assert done.stdout.startswith("ROS 2 is not set up, and its tests skip: ")
    assert not (tmp_path / "stamp").exists()


@pytest.fixture
def checkout(tmp_path):
    """A copy of what colcon reads, in a workspace: tmp_path/src/moonseg3r."""
    pytest.importorskip("colcon_core", reason="colcon is not installed")
    root = tmp_path / "src" / "moonseg3r"
    root.mkdir(parents=True)
    for name in CARGO:
        shutil.copy(ROOT / name, root)
    for name in ("moonseg3r_core", "moonseg3r_ros", "resource", "config", "launch", "rviz", "msg"):
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def colcon(folder, *arguments):
    """What colcon says in a folder, whose colcon_defaults.yaml it reads."""
    environment = {"AMENT_PREFIX_PATH": sys.prefix, **os.environ, "COLCON_HOME": str(folder / ".colcon")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    command = [sys.executable, "-m", "colcon", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_colcon_finds_both_packages_here_and_from_a_workspace(checkout):
    workspace = checkout.parents[1]
    assert set(colcon(checkout, "list", "--names-only").split()) == {"moonseg3r_msgs", "moonseg3r_ros"}
    listed = colcon(workspace, "list", "--names-only", "--base-paths", "src", "src/moonseg3r/msg")
    assert set(listed.split()) == {"moonseg3r_msgs", "moonseg3r_ros"}


def test_colcon_installs_scripts_that_run_with_its_own_python_and_what_ros_looks_for(checkout):
    colcon(checkout, "build", "--base-paths", ".")
    installed = checkout / "install" / "moonseg3r_ros"
    scripts = {path.name: path for path in (installed / "lib/moonseg3r_ros").iterdir()}
    assert set(scripts) == SCRIPTS
    assert {path.read_text().splitlines()[0] for path in scripts.values()} == {f"#!{sys.executable}"}
    assert (installed / "share/ament_index/resource_index/packages/moonseg3r_ros").exists()
    share = installed / "share/moonseg3r_ros"
    for folder, pattern in (("config", "*.yaml"), ("config", "*.xml"), ("launch", "*.py"), ("rviz", "*.rviz")):
        ours = {path.name for path in (ROOT / folder).glob(pattern)}
        assert {path.name for path in (share / folder).glob(pattern)} == ours
    modules = next(installed.glob("lib/python3.*/site-packages"))
    said = subprocess.run([scripts["moonseg3r"], "--version"], env=os.environ | {"PYTHONPATH": str(modules)}, cwd="/")
    assert said.returncode == 0


@pytest.mark.slow
def test_a_workspace_of_both_packages_runs_the_node(checkout, graph):
    pytest.importorskip("moonseg3r_msgs", reason="messages cannot be built here")
    colcon(checkout, "build")
    node = checkout / "install/moonseg3r_ros/lib/moonseg3r_ros/moonseg3r_node"
    command = f". {checkout}/install/setup.bash && exec {node} --ros-args -r __node:=installed"
    process = subprocess.Popen(["bash", "-c", command], cwd="/")
    try:
        graph.until(lambda: "installed" in graph.observer.get_node_names(), "the installed node is there")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
