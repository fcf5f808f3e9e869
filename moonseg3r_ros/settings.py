"""The node's own settings; the core's configuration stands beside them under its dotted names."""

from __future__ import annotations

from dataclasses import dataclass

from moonseg3r_core import value


@dataclass(frozen=True)
class NodeSettings:
    """What is not live can change while the node is inactive only."""

    autostart: bool = value(True, "configure and activate at start, without a lifecycle manager")
    config_file: str = value("", "YAML file of the core's configuration; parameters given one by one prevail")
    image_transport: str = value(
        "raw", "raw: `image`; compressed: `image/compressed`, as image_transport names it",
        choices=("raw", "compressed"),
    )  # fmt: skip
    depth_transport: str = value(
        "raw", "raw: `depth`; compressedDepth: `depth/compressedDepth`", choices=("raw", "compressedDepth")
    )
    pose_source: str = value(
        "tf", "where a given pose comes from: TF at the image's stamp, or the topic `odom`", choices=("tf", "odometry")
    )
    correction_source: str = value(
        "tf",
        "what tells how the past of given poses was corrected: jumps of map -> odom in TF, or the topic `corrected_path`",
        choices=("tf", "path"),
    )
    world_frame: str = value(
        "",
        "frame in which given poses are looked up; empty: odom_frame, else the first of map, world, odom in the tree",
    )
    map_frame: str = value("map", "frame of all that is published")
    own_frame: str = value(
        "",
        "frame of all that is published where other nodes own map_frame and coordinates do not belong to it; empty: the node's"
        " name and _map, as moonseg3r_map",
    )
    publish_tf: bool = value(True, "publish TF at all; an edge that another node publishes is never published")
    transform_tolerance: float = value(
        0.5, "map -> odom, repeated 20 times a second, is stamped later than now by this, seconds", low=0.0, live=True
    )
    map_jump: str = value(
        "follow",
        "when another node moves the robot in the map at once by more than 0.2 m or 5 degrees: follow moves what is in the map"
        " with it, reset forgets the map",
        choices=("follow", "reset"), live=True,
    )  # fmt: skip
    odom_frame: str = value("", "REP-105: when set, map -> this frame is published in place of map -> camera")
    map_origin: str = value(
        "auto",
        "first_camera: map has x forward and z up from the first camera (REP-103); world: it is the frame in which poses"
        " are given; auto: world where poses are given, else level as the robot's root in TF, else first_camera",
        choices=("auto", "world", "first_camera"),
    )
    time_jump: str = value(
        "reset", "when stamps jump back (a bag that loops): reset forgets the map, hold keeps it",
        choices=("reset", "hold"), live=True,
    )  # fmt: skip
    max_future: float = value(
        1.0, "images stamped later than now by more than this are refused, seconds; 0: taken", low=0.0, live=True
    )
    map_file: str = value("", "where ~/save_map writes and ~/load_map reads", live=True)
    map_rate: float = value(
        1.0,
        "map, instances, markers and path are published this often at most, Hz; no more than a quarter of the time goes into it",
        low=0.01, high=100.0, live=True,
    )  # fmt: skip
    map_voxel: float = value(0.0, "edge of the voxels of ~/map, metres; 0: as map.voxel", low=0.0, live=True)
    map_max_bytes: int = value(
        15 << 20, "~/map is thinned until it is no larger, bytes of points", low=1024, high=(1 << 31) - 1, live=True
    )
    map_colors: str = value(
        "camera",
        "what `rgb` of ~/map and ~/cloud holds: the camera's colors, or one color per instance",
        choices=("camera", "instance"), live=True,
    )  # fmt: skip
    cloud_points: int = value(38400, "points of ~/cloud at most", low=1, live=True)
    path_length: int = value(1000, "poses of ~/path at most; a longer one keeps every second", low=2, live=True)
    descriptors: bool = value(False, "the instances of ~/instances carry their queries", live=True)
    diagnostics_period: float = value(1.0, "seconds between two messages on /diagnostics", low=0.1, high=60.0)
