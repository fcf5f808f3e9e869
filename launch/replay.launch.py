"""A rosbag2 replayed into MoonSeg3R, with RViz. All arguments of moonseg3r.launch.py hold here too."""

from __future__ import annotations

from pathlib import Path

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch import LaunchDescription

MAIN_LAUNCH_FILE = Path(__file__).resolve().with_name("moonseg3r.launch.py")


def generate_launch_description() -> LaunchDescription:
    """What differs from moonseg3r.launch.py: a bag must be given, and RViz is on."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="rosbag2 (folder, .mcap, .db3) to replay"),
            DeclareLaunchArgument(
                "rviz", default_value="true", description="show what comes out in RViz", choices=["true", "false"]
            ),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(MAIN_LAUNCH_FILE))),
        ]
    )
