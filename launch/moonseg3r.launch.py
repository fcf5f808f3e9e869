"""MoonSeg3R on a camera or a bag, in a process of its own or in a container, with RViz on request."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import ComposableNodeContainer, LoadComposableNodes, Node
from launch_ros.descriptions import ComposableNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import ExecutableInPackage
from launch_ros.utilities import prefix_namespace

from launch import Action, LaunchContext, LaunchDescription
from moonseg3r_ros.topics import remappings, told_by

PACKAGE = "moonseg3r_ros"
SHARE = Path(__file__).resolve().parents[1]
PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
INPUTS = ("image", "depth", "camera_info", "odom")
SHOWN = ("map", "markers", "path", "pose", "overlay")  # outputs that the RViz configuration shows
TOLD = ("image_transport", "depth_transport", "map_frame", "odom_frame", "map_colors")  # parameters of the same name
SWITCH = ["true", "false"]
LEVELS = ["debug", "info", "warn", "error", "fatal"]

# name: (default, description, choices)
ARGUMENTS: dict[str, tuple[str, str, list[str]]] = {
    "image": ("", "topic of the camera's images; empty: image, with bag the bag's. One that ends in /compressed sets"
              " image_transport", []),
    "depth": ("", "topic of depth images registered to the image; empty: depth, with bag the bag's. One that ends in"
              " /compressedDepth sets depth_transport", []),
    "camera_info": ("", "topic of the image's intrinsics; empty: camera_info, with bag the bag's", []),
    "odom": ("", "topic of nav_msgs/Odometry that gives the poses; empty: they come from TF", []),
    "image_transport": ("", "raw or compressed; empty: as the topic's name says", ["", "raw", "compressed"]),
    "depth_transport": ("", "raw or compressedDepth; empty: as the topic's name says", ["", "raw", "compressedDepth"]),
    "reconstruction": ("", "nano: from color alone; rgbd: depth and poses are given; cut3r: from color alone by a large"
                       " net with weights of its own; empty: as configured, which is nano", ["", "nano", "rgbd", "cut3r"]),
    "config": ("", "YAML file of the core's configuration, as `moonseg3r run --config` takes it", []),
    "params": ("", "ROS parameter file of the node; config/ros.yaml is an example. Arguments given here prevail", []),
    "name": ("moonseg3r", "name of the node, under which its topics lie", []),
    "namespace": ("", "namespace of the node", []),
    "map_frame": ("", "frame of all that is published; empty: map", []),
    "odom_frame": ("", "REP-105: TF map -> this frame is published in place of map -> camera", []),
    "map_colors": ("", "what colors the map: camera or instance; empty: instance with rviz, else camera",
                   ["", "camera", "instance"]),
    "autostart": ("", "configure and activate at start; false: a lifecycle manager does; empty: true", ["", *SWITCH]),
    "use_sim_time": ("", "take the time from /clock; empty: with bag only", ["", *SWITCH]),
    "rviz": ("false", "show map, instances, camera and path in RViz", SWITCH),
    "bag": ("", "rosbag2 (folder, .mcap, .db3) to replay; it begins when the node subscribes", []),
    "rate": ("1.0", "times as fast as recorded that the bag is replayed", []),
    "loop": ("false", "replay the bag over and over", SWITCH),
    "container": ("", "empty: a process of its own; new: in a new moonseg3r_container; else the name of a running"
                  " container to load into", []),
    "shared_memory": ("true", "what is started uses config/fastdds_shared_memory.xml, unless the environment names a"
                      " Fast DDS profile already", SWITCH),
    "log_level": ("info", "of the node; in a running container: the container's", LEVELS),
}  # fmt: skip


def generate_launch_description() -> LaunchDescription:
    """The arguments, and what they ask for."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=choices or None)
        for name, (default, text, choices) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[Action]:
    """The node, and the player and RViz where asked for."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    topics = topics_of(given, context)
    given["full_name"] = full_name(given, context.launch_configurations.get("ros_namespace"))
    given["use_sim_time"] = given["use_sim_time"] or ("true" if given["bag"] else "")
    given["map_colors"] = given["map_colors"] or ("instance" if given["rviz"] == "true" else "")
    shared: dict[str, Any] = {"output": "screen", "additional_env": profile(given, context.environment)}
    shown = [rviz(given, topics, shared)] if given["rviz"] == "true" else []
    played = [player(given, shared)] if given["bag"] else []
    return [*shown, *node(given, topics, shared), *played]  # where there is no RViz, launch leaves what it has started


def topics_of(given: dict[str, str], context: LaunchContext) -> dict[str, str]:
    """Input -> topic: those given, else the bag's. Raises RuntimeError for a bag that cannot be read."""
    topics = {name: given[name] for name in INPUTS if given[name]}
    return topics if not given["bag"] or "image" in topics else bag_topics(given["bag"], context) | topics


def bag_topics(bag: str, context: LaunchContext) -> dict[str, str]:
    """What the player says of a bag: launch files run in ROS's own Python, which need not see what pip gave the player."""
    player = ExecutableInPackage(executable="moonseg3r_replay", package=PACKAGE).perform(context)
    said = subprocess.run([player, bag, "--inputs"], env=context.environment, capture_output=True, text=True)
    if said.returncode != 0:
        why = said.stderr.strip().rpartition("\n")[2]
        raise RuntimeError(f"the bag's topics are not known: {why} Or give image:=, depth:= and camera_info:=")
    return dict(line.split(":=", 1) for line in said.stdout.splitlines())


def profile(given: dict[str, str], environment: dict[str, str]) -> dict[str, str]:
    """The environment that brings shared memory; nothing where a profile is set."""
    if given["shared_memory"] == "false" or any(environment.get(name) for name in PROFILES):
        return {}
    return dict.fromkeys(PROFILES, str(SHARE / "config" / "fastdds_shared_memory.xml"))


def node(given: dict[str, str], topics: dict[str, str], shared: dict[str, Any]) -> list[Action]:
    """The node in a process of its own, in a new container, or in the one named."""
    wanted: dict[str, Any] = {
        "package": PACKAGE,
        "name": given["name"],
        "namespace": given["namespace"],
        "parameters": ([given["params"]] if given["params"] else []) + [parameters(given, topics)],
        "remappings": remappings(topics),
    }
    level = ["--log-level", f"{given['full_name'][1:].replace('/', '.')}:={given['log_level']}"]
    if not given["container"]:
        return [Node(executable="moonseg3r_node", ros_arguments=level, **wanted, **shared)]
    component = ComposableNode(plugin=f"{PACKAGE}::MoonSeg3RNode", **wanted)
    if given["container"] != "new":
        return [LoadComposableNodes(target_container=given["container"], composable_node_descriptions=[component])]
    return [
        ComposableNodeContainer(
            package=PACKAGE,
            executable="moonseg3r_container",
            name=f"{given['name']}_container",
            namespace=given["namespace"],
            composable_node_descriptions=[component],
            ros_arguments=level,
            **shared,
        )
    ]


def parameters(given: dict[str, str], topics: dict[str, str]) -> dict[str, Any]:
    """The node's parameters that arguments name; the rest is left to the parameter file."""
    texts = told_by(topics) | {name: given[name] for name in TOLD if given[name]}
    texts |= {"config_file": given["config"]} if given["config"] else {}
    texts |= {"reconstruction.kind": given["reconstruction"]} if given["reconstruction"] else {}
    switches = {name: given[name] == "true" for name in ("autostart", "use_sim_time") if given[name]}
    return {name: ParameterValue(text, value_type=str) for name, text in texts.items()} | switches


def player(given: dict[str, str], shared: dict[str, Any]) -> Node:
    """The bag, from when the node subscribes on."""
    waiting = ["--wait", "60", "--wait-for", given["full_name"]]
    looped = ["--loop"] if given["loop"] == "true" else []
    arguments = [given["bag"], "--rate", given["rate"], *waiting, *looped]
    return Node(package=PACKAGE, executable="moonseg3r_replay", arguments=arguments, **shared)


def rviz(given: dict[str, str], topics: dict[str, str], shared: dict[str, Any]) -> Node:
    """RViz with our configuration, on the topics of this node."""
    frame = ["-f", given["map_frame"]] if given["map_frame"] else []
    ours = [(f"/moonseg3r/{name}", f"{given['full_name']}/{name}") for name in SHOWN]
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(SHARE / "rviz" / "moonseg3r.rviz"), *frame],
        parameters=[{"use_sim_time": given["use_sim_time"] == "true"}],
        remappings=ours + [(f"/{name}", topic) for name, topic in remappings(topics)],
        **shared,
    )


def full_name(given: dict[str, str], pushed: str | None) -> str:
    """/namespace/name of the node, under the namespace that a launch file around this one has pushed."""
    namespace = prefix_namespace(pushed, given["namespace"]) or ""
    return "/" + "/".join(part for part in (namespace.strip("/"), given["name"]) if part)
