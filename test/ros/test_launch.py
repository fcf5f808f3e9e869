"""The launch files, where launch is installed: what they declare, what they start, and the whole graph on a bag."""

import json
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("launch_ros", reason="launch is not installed")

from billboards import frame
from composition_interfaces.srv import ListNodes
from graph import LATCHED
from launch.launch_description_sources import get_launch_description_from_python_launch_file
from sensor_msgs.msg import PointCloud2

from moonseg3r_core.sources.write_bag import write_bag

FILES = {name: Path(__file__).parents[2] / "launch" / f"{name}.launch.py" for name in ("moonseg3r", "replay")}
SHARE = FILES["replay"].parents[1]
PROFILE = str(SHARE / "config" / "fastdds_shared_memory.xml")
MODULES = {
    "moonseg3r_node": "main",
    "moonseg3r_container": "composition.container",
    "moonseg3r_replay": "replay.command",
}
LAUNCH = """
import sys
sys.modules |= dict.fromkeys(("torch", "cv2", "mcap", "rosbags", "safetensors"))  # ROS's own Python, which runs ros2 launch, has none
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

file, *arguments = sys.argv[1:]
given = [tuple(argument.split(":=", 1)) for argument in arguments]
service = LaunchService(argv=arguments)
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(PythonLaunchDescriptionSource(file), launch_arguments=given)])
)
sys.exit(service.run())
"""
# Stands for a program: notes how it was called.
NOTE = """
import json, os, sys, yaml
if "--inputs" in sys.argv:
    from moonseg3r_ros.replay.command import main
    sys.exit(main())
words = sys.argv[1:]
files = [words[n + 1] for n, word in enumerate(words) if word == "--params-file"]
note = {
    "arguments": words[: words.index("--ros-args")] if "--ros-args" in words else words,
    "rules": [words[n + 1] for n, word in enumerate(words) if word == "-r"],
    "level": [words[n + 1] for n, word in enumerate(words) if word == "--log-level"],
    "parameters": {},
    "profile": os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE"),
}
for file in files:
    for node in yaml.safe_load(open(file)).values():
        note["parameters"] |= node["ros__parameters"]
json.dump(note, open(os.path.join(os.environ["NOTES"], os.path.basename(sys.argv[0])), "w"))
"""


def install(prefix, package, name, body):
    """A program of a package, and the package's mark."""
    program = prefix / "lib" / package / name
    for path in (program, prefix / "share" / "ament_index" / "resource_index" / "packages" / package):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    program.write_text(f"#!{sys.executable}\n{body}")
    program.chmod(0o755)


@pytest.fixture
def prefix(tmp_path, monkeypatch):
    """Where launch finds packages: one that is ours, before all others."""
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path / 'prefix'}:{os.environ.get('AMENT_PREFIX_PATH', sys.prefix)}")
    monkeypatch.setenv("PYTHONPATH", f"{SHARE}:{os.environ.get('PYTHONPATH', '')}")
    return tmp_path / "prefix"


@pytest.fixture
def launch(graph, tmp_path):
    """Start a launch file."""
    script = tmp_path / "start.py"
    script.write_text(LAUNCH)
    return lambda name, *arguments: graph.script(script, FILES[name], *arguments, preloaded=False)


@pytest.fixture
def noted(graph, launch, prefix, tmp_path, monkeypatch):
    """Program -> how it is called by moonseg3r.launch.py with some arguments."""
    for name in MODULES:
        install(prefix, "moonseg3r_ros", name, NOTE)
    install(prefix, "rviz2", "rviz2", NOTE)
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    (tmp_path / "notes").mkdir()

    def call(*arguments):
        program = launch("moonseg3r", *arguments)
        graph.until(lambda: program.process.poll() is not None, "the launch ends")
        assert program.process.returncode == 0, program.text
        return {path.name: json.loads(path.read_text()) for path in (tmp_path / "notes").iterdir()}

    return call


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp("bags") / "walk.mcap"
    write_bag([frame(t, (0.03 * t - 0.2, 0.0, 0.0))[0] for t in range(10)], path, "jpeg")
    return path


def declared(name):
    found = get_launch_description_from_python_launch_file(str(FILES[name])).get_launch_arguments()
    return {argument.name: argument for argument in found}


def test_every_argument_is_declared_and_says_what_it_is():
    ours, replays = declared("moonseg3r"), declared("replay")
    assert set(ours) == {
        "image", "depth", "camera_info", "odom", "image_transport", "depth_transport", "reconstruction", "config", "params",
        "name", "namespace", "map_frame", "odom_frame", "map_colors", "autostart", "use_sim_time", "rviz", "bag", "rate",
        "loop", "container", "shared_memory", "log_level",
    }  # fmt: skip
    assert set(ours) == set(replays)
    assert all(len(argument.description) > 10 for argument in ours.values())
    assert replays["bag"].default_value is None
    assert replays["rviz"].default_value[0].text == "true"


def test_alone_it_starts_the_node_and_leaves_all_parameters_to_it(noted, monkeypatch):
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert noted() == {"moonseg3r_node": {
        "arguments": [], "rules": ["__node:=moonseg3r", "__ns:=/"], "level": ["moonseg3r:=info"], "parameters": {},
        "profile": PROFILE,
    }}  # fmt: skip


def test_topics_become_rules_and_parameters(noted):
    node = noted("image:=/cam/image/compressed", "depth:=/cam/depth", "odom:=/odometry", "autostart:=false")[
        "moonseg3r_node"
    ]
    assert set(node["rules"]) == {
        "__node:=moonseg3r", "__ns:=/", "image:=/cam/image", "image/compressed:=/cam/image/compressed",
        "depth:=/cam/depth", "depth/compressedDepth:=/cam/depth/compressedDepth", "odom:=/odometry",
    }  # fmt: skip
    assert node["parameters"] == {"image_transport": "compressed", "pose_source": "odometry", "autostart": False}


def test_arguments_prevail_over_the_parameter_file(noted, tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text("/**:\n  ros__parameters:\n    map_frame: world\n    map_rate: 2.0\n")
    node = noted(f"params:={file}", "map_frame:=1", "config:=paper.yaml", "reconstruction:=cut3r")["moonseg3r_node"]
    assert node["parameters"] == {
        "map_frame": "1",
        "map_rate": 2.0,
        "config_file": "paper.yaml",
        "reconstruction.kind": "cut3r",
    }


def test_with_a_bag_its_topics_are_read_in_its_time_when_the_node_is_there(noted, bag):
    notes = noted(f"bag:={bag}", "rate:=0.5", "loop:=true", "name:=eyes", "namespace:=robot")
    assert notes["moonseg3r_replay"]["arguments"] == [
        str(bag), "--rate", "0.5", "--wait", "60", "--wait-for", "/robot/eyes", "--loop",
    ]  # fmt: skip
    assert {"depth:=/camera/depth/image_raw", "image:=/camera/color/image_raw", "__ns:=/robot"} <= set(
        notes["moonseg3r_node"]["rules"]
    )
    assert notes["moonseg3r_node"]["parameters"] == {"use_sim_time": True, "image_transport": "compressed"}
    assert notes["moonseg3r_node"]["level"] == ["robot.eyes:=info"]


def test_a_pushed_namespace_holds(noted, bag):
    notes = noted(f"bag:={bag}", "ros_namespace:=/fleet", "namespace:=robot")
    assert "__ns:=/fleet/robot" in notes["moonseg3r_node"]["rules"]
    assert "/fleet/robot/moonseg3r" in notes["moonseg3r_replay"]["arguments"]


def test_rviz_shows_this_nodes_topics_in_colors_by_instance(noted):
    notes = noted("rviz:=true", "name:=eyes", "map_frame:=world", "image:=/cam")
    assert notes["moonseg3r_node"]["parameters"]["map_colors"] == "instance"
    assert notes["rviz2"]["arguments"] == ["-d", str(SHARE / "rviz" / "moonseg3r.rviz"), "-f", "world"]
    assert {"/moonseg3r/map:=/eyes/map", "/moonseg3r/overlay:=/eyes/overlay", "/image:=/cam"} <= set(
        notes["rviz2"]["rules"]
    )


@pytest.mark.parametrize(("own", "argument", "used"), [("mine.xml", "true", "mine.xml"), ("", "false", "")])
def test_shared_memory_is_used_unless_a_profile_is_set_already(noted, monkeypatch, own, argument, used):
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        monkeypatch.setenv(name, own)
    assert noted(f"shared_memory:={argument}")["moonseg3r_node"]["profile"] == used


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("moonseg3r", ["rviz:=maybe"], "Valid options are: ['true', 'false']"),
        ("moonseg3r", ["bag:=none.mcap"], "none.mcap does not exist; give a rosbag2 folder"),
        ("replay", [], "missing required argument 'bag'"),
    ],
)
def test_what_cannot_be_started_is_told(graph, launch, prefix, name, arguments, said):
    program = launch(name, *arguments)
    graph.until(lambda: program.process.poll() is not None, "the launch ends")
    assert graph.programs.pop().process.returncode == 1
    assert said in program.text


def test_where_there_is_no_rviz_nothing_is_left_running(graph, launch, prefix, tmp_path, monkeypatch):
    install(prefix, "moonseg3r_ros", "moonseg3r_node", NOTE)
    monkeypatch.setenv("NOTES", str(tmp_path))
    program = launch("moonseg3r", "rviz:=true")
    graph.until(lambda: program.process.poll() is not None, "the launch ends")
    assert graph.programs.pop().process.returncode == 1
    assert "package 'rviz2' not found" in program.text
    assert "moonseg3r_node" not in program.text  # launch logs what it starts
    assert not (tmp_path / "moonseg3r_node").exists()


@pytest.mark.parametrize("container", ["", "new", pytest.param("/box", marks=pytest.mark.slow)])
def test_a_bag_becomes_a_map_in_a_process_or_a_container(graph, launch, prefix, bag, tmp_path, container):
    for name, module in MODULES.items():
        install(
            prefix, "moonseg3r_ros", name, f"import sys\nfrom moonseg3r_ros.{module} import main\nsys.exit(main())\n"
        )
    (tmp_path / "config.yaml").write_text("masks: {kind: regions}\nreconstruction: {kind: rgbd}\ndevice: cpu\n")
    if container == "/box":
        graph.start("moonseg3r_ros.composition.container", "--ros-args", "-r", "__node:=box")
    maps = graph.listen(PointCloud2, "/moonseg3r/map", LATCHED, wait=False)
    program = launch(
        "replay", f"bag:={bag}", f"config:={tmp_path / 'config.yaml'}", f"container:={container}", "rviz:=false"
    )
    graph.until(lambda: maps and maps[-1].width, "a map", program)
    if container:
        box = "/moonseg3r_container" if container == "new" else container
        nodes = graph.call(ListNodes, f"{box}/_container/list_nodes", ListNodes.Request())
        assert nodes.full_node_names == ["/moonseg3r"]
    assert program.end() == 0
    assert "process has died" not in program.text
