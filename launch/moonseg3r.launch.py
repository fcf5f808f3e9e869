"""MoonSeg3R on a camera or a bag, in its own process or in a container, with RViz on request."""

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
from moonseg3r_ros.topics import derive_parameters, make_remappings

PACKAGE = "moonseg3r_ros"
SHARE = Path(__file__).resolve().parents[1]
PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
INPUTS = ("image", "depth", "camera_info", "depth_camera_info", "odom", "corrected_path", "tf", "tf_static")
SHOWN = ("map", "markers", "path", "pose", "overlay")  # outputs that the RViz configuration shows
FORWARDED = (
    "image_transport",
    "depth_transport",
    "map_frame",
    "odom_frame",
    "map_colors",
)  # to parameters of the same name
SWITCH = ["true", "false"]
LEVELS = ["debug", "info", "warn", "error", "fatal"]

# name: (default, description, choices)
ARGUMENTS: dict[str, tuple[str, str, list[str]]] = {
    "image": ("", "topic of the camera's images; empty: image, with bag the bag's. One that ends in /compressed sets"
              " image_transport", []),
    "depth": ("", "topic of depth images registered to the image; empty: depth, with bag the bag's. One that ends in"
              " /compressedDepth sets depth_transport", []),
    "camera_info": ("", "topic of the image's intrinsics; empty: the camera_info beside the image, with bag the bag's", []),
    "depth_camera_info": ("", "topic of the depth's intrinsics, for depth that is not registered to the image; empty: the"
                          " camera_info beside the depth, with bag the bag's", []),
    "odom": ("", "topic of nav_msgs/Odometry that gives the poses; empty: they come from TF", []),
    "corrected_path": ("", "topic of nav_msgs/Path that SLAM corrects, which moves the map; empty: jumps of map -> odom do", []),
    "tf": ("", "topic of the robot's transforms; empty: /tf, with bag the bag's", []),
    "tf_static": ("", "topic of the robot's static transforms; empty: /tf_static, with bag the bag's", []),
    "image_transport": ("", "raw or compressed; empty: as the topic's name says", ["", "raw", "compressed"]),
    "depth_transport": ("", "raw or compressedDepth; empty: as the topic's name says", ["", "raw", "compressedDepth"]),
    "reconstruction": ("", "nano: from color alone; rgbd: depth and poses are given; cut3r, depth: from color alone by"
                       " a large net with weights of its own; empty: as configured, which is nano",
                       ["", "nano", "rgbd", "cut3r", "depth"]),
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
    "robot": ("", "namespace of the robot whose topics of the bag are taken, for a bag of several robots", []),
    "rate": ("1.0", "times as fast as recorded that the bag is replayed", []),
    "loop": ("false", "replay the bag over and over", SWITCH),
    "container": ("", "empty: a process of its own; new: in a new moonseg3r_container; else the name of a running"
                  " container to load into", []),
    "shared_memory": ("true", "what is started uses config/fastdds_shared_memory.xml, unless the environment names a"
                      " Fast DDS profile already", SWITCH),
    "log_level": ("info", "of the node; in a running container: the container's", LEVELS),
}  # fmt: skip


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start what they ask for."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=choices or None)
        for name, (default, text, choices) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[Action]:
    """Start the node, and the player and RViz on request."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    topics = choose_topics(given, context)
    given["full_name"] = make_full_name(given, context.launch_configurations.get("ros_namespace"))
    given["use_sim_time"] = given["use_sim_time"] or ("true" if given["bag"] else "")
    given["map_colors"] = given["map_colors"] or ("instance" if given["rviz"] == "true" else "")
    shared: dict[str, Any] = {"output": "screen", "additional_env": choose_profile(given, context.environment)}
    shown = [make_rviz(given, topics, shared)] if given["rviz"] == "true" else []
    played = [make_player(given, shared)] if given["bag"] else []
    return [
        *shown,
        *make_nodes(given, topics, shared),
        *played,
    ]  # RViz first: where it is missing, launch stops here, and nothing that runs is left behind


def choose_topics(given: dict[str, str], context: LaunchContext) -> dict[str, str]:
    """Choose the topic of each input: the given one, else the bag's. Raises RuntimeError for a bag that cannot be read."""
    topics = {name: given[name] for name in INPUTS if given[name]}
    return topics if not given["bag"] or "image" in topics else read_bag_topics(given, context) | topics


def read_bag_topics(given: dict[str, str], context: LaunchContext) -> dict[str, str]:
    """Ask the player for a bag's topics: launch files run in ROS's own Python, without packages from pip."""
    player = ExecutableInPackage(executable="moonseg3r_replay", package=PACKAGE).perform(context)
    robot = ["--robot", given["robot"]] if given["robot"] else []
    said = subprocess.run(
        [player, given["bag"], "--inputs", *robot], env=context.environment, capture_output=True, text=True
    )
    if said.returncode != 0:
        why = said.stderr.strip().rpartition("\n")[2]
        raise RuntimeError(f"the bag's topics are not known: {why} Or give image:=, depth:= and camera_info:=")
    return dict(line.split(":=", 1) for line in said.stdout.splitlines())


def choose_profile(given: dict[str, str], environment: dict[str, str]) -> dict[str, str]:
    """Choose the environment variables for shared memory; none where a profile is set."""
    if given["shared_memory"] == "false" or any(environment.get(name) for name in PROFILES):
        return {}
    return dict.fromkeys(PROFILES, str(SHARE / "config" / "fastdds_shared_memory.xml"))


def make_nodes(given: dict[str, str], topics: dict[str, str], shared: dict[str, Any]) -> list[Action]:
    """Make the node in its own process, in a new container, or in the named one."""
    wanted: dict[str, Any] = {
        "package": PACKAGE,
        "name": given["name"],
        "namespace": given["namespace"],
        "parameters": ([given["params"]] if given["params"] else []) + [make_parameters(given, topics)],
        "remappings": make_remappings(topics),
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


def make_parameters(given: dict[str, str], topics: dict[str, str]) -> dict[str, Any]:
    """Make the node's parameters from arguments; the parameter file has the rest."""
    texts = derive_parameters(topics) | {name: given[name] for name in FORWARDED if given[name]}
    texts |= {"config_file": given["config"]} if given["config"] else {}
    texts |= {"reconstruction.kind": given["reconstruction"]} if given["reconstruction"] else {}
    switches = {name: given[name] == "true" for name in ("autostart", "use_sim_time") if given[name]}
    return {name: ParameterValue(text, value_type=str) for name, text in texts.items()} | switches


def make_player(given: dict[str, str], shared: dict[str, Any]) -> Node:
    """Make the player of the bag, which starts when the node subscribes."""
    waiting = ["--wait", "60", "--wait-for", given["full_name"]]
    looped = ["--loop"] if given["loop"] == "true" else []
    arguments = [given["bag"], "--rate", given["rate"], *waiting, *looped]
    return Node(package=PACKAGE, executable="moonseg3r_replay", arguments=arguments, **shared)


def make_rviz(given: dict[str, str], topics: dict[str, str], shared: dict[str, Any]) -> Node:
    """Make RViz with our configuration, on the topics of this node."""
    frame = ["-f", given["map_frame"]] if given["map_frame"] else []
    ours = [(f"/moonseg3r/{name}", f"{given['full_name']}/{name}") for name in SHOWN]
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(SHARE / "rviz" / "moonseg3r.rviz"), *frame],
        parameters=[{"use_sim_time": given["use_sim_time"] == "true"}],
        remappings=ours + [(f"/{name.lstrip('/')}", topic) for name, topic in make_remappings(topics)],
        **shared,
    )


def make_full_name(given: dict[str, str], pushed: str | None) -> str:
    """Make /namespace/name of the node, under the namespace pushed by an including launch file."""
    namespace = prefix_namespace(pushed, given["namespace"]) or ""
    return "/" + "/".join(part for part in (namespace.strip("/"), given["name"]) if part)
