"""The topics that the node reads, and the parameters that follow from them. Launch files import this without ROS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ODOMETRY = "nav_msgs/msg/Odometry"
# An input's name, how its compressed topic ends, and the transport that this is.
COMPRESSED = {"image": ("/compressed", "compressed"), "depth": ("/compressedDepth", "compressedDepth")}
# Inputs whose name as an argument is another than that of the node's topic.
NODE_TOPICS = {"depth_camera_info": "depth/camera_info", "tf": "/tf", "tf_static": "/tf_static"}


def name_sibling(image: str) -> str:
    """Return the name of the camera_info beside an image topic, as image_transport finds it."""
    plain = image
    for ending, _ in COMPRESSED.values():
        plain = plain.removesuffix(ending)
    return f"{plain.rpartition('/')[0]}/camera_info"


def find_bag_topics(bag: Path, robot: str = "") -> dict[str, str]:
    """Find the topics of a bag by input, chosen as `moonseg3r run` does. Raises InputError, for two robots without a name too."""
    from moonseg3r_core import InputError, Topics, choose_topics, read_facts, read_topics  # not for launch files

    if not bag.exists():
        raise InputError(f"{bag} does not exist; give a rosbag2 folder, a .mcap or a .db3 file.")
    available = read_topics(bag, lambda fault: None)
    chosen = choose_topics(available, Topics(robot=robot or None), read_facts(bag, available))
    odometry = chosen.pose if chosen.pose and chosen.pose.type == ODOMETRY else None
    topics = {
        "image": chosen.color, "depth": chosen.depth, "camera_info": chosen.camera_info, "odom": odometry,
        "depth_camera_info": chosen.depth_info,
    }  # fmt: skip
    found = {name: topic.name for name, topic in topics.items() if topic}
    trees = {"tf_static" if topic.name.endswith("tf_static") else "tf": topic.name for topic in chosen.transforms}
    return found | {name: topic for name, topic in trees.items() if topic != NODE_TOPICS[name]}


def make_remappings(topics: Mapping[str, str]) -> list[tuple[str, str]]:
    """Make (from, to) for the node, of inputs by argument. The compressed topic of an image goes with it: remapping does not do that."""
    pairs = []
    for name, topic in topics.items():
        ending, _ = COMPRESSED.get(name, ("", ""))
        plain = topic.removesuffix(ending)
        pairs += [(NODE_TOPICS.get(name, name), plain)] + ([(name + ending, plain + ending)] if ending else [])
    return pairs


def derive_parameters(topics: Mapping[str, str]) -> dict[str, str]:
    """Derive the node's parameters: a transport from the topic's ending; odometry and a corrected path where their topics are given."""
    ends = COMPRESSED.items()
    found = {f"{name}_transport": word for name, (end, word) in ends if topics.get(name, "").endswith(end)}
    sources = (("odom", "pose_source", "odometry"), ("corrected_path", "correction_source", "path"))
    return found | {parameter: word for name, parameter, word in sources if topics.get(name)}
