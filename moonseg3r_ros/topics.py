"""The topics that the node reads, and the parameters that follow from them. Launch files import this without ROS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ODOMETRY = "nav_msgs/msg/Odometry"
# An input's name, how its compressed topic ends, and the transport that this is.
COMPRESSED = {"image": ("/compressed", "compressed"), "depth": ("/compressedDepth", "compressedDepth")}


def find_bag_topics(bag: Path) -> dict[str, str]:
    """Find the topics of a bag by input, chosen by type and name as `moonseg3r run` does. Raises InputError."""
    from moonseg3r_core import InputError, Topics, choose_topics, read_topics  # not for launch files

    if not bag.exists():
        raise InputError(f"{bag} does not exist; give a rosbag2 folder, a .mcap or a .db3 file.")
    chosen = choose_topics(read_topics(bag, lambda fault: None), Topics())
    odometry = chosen.pose if chosen.pose and chosen.pose.type == ODOMETRY else None
    topics = {"image": chosen.color, "depth": chosen.depth, "camera_info": chosen.camera_info, "odom": odometry}
    return {name: topic.name for name, topic in topics.items() if topic}


def make_remappings(topics: Mapping[str, str]) -> list[tuple[str, str]]:
    """Make (from, to) for the node. The compressed topic of an image goes with it: remapping does not do that."""
    pairs = []
    for name, topic in topics.items():
        ending, _ = COMPRESSED.get(name, ("", ""))
        plain = topic.removesuffix(ending)
        pairs += [(name, plain)] + ([(name + ending, plain + ending)] if ending else [])
    return pairs


def derive_parameters(topics: Mapping[str, str]) -> dict[str, str]:
    """Derive the node's parameters: a transport from the topic's ending, odometry where its topic is given."""
    ends = COMPRESSED.items()
    found = {f"{name}_transport": word for name, (end, word) in ends if topics.get(name, "").endswith(end)}
    return found | ({"pose_source": "odometry"} if topics.get("odom") else {})
