"""What a user asks of a bag."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topics:
    """The requested topics, world frame and robot (a namespace); None leaves the choice to what the topics hold.

    path: a nav_msgs/Path that a SLAM package corrects; none is taken unless it is requested.
    """

    color: str | None = None
    depth: str | None = None
    camera_info: str | None = None
    depth_camera_info: str | None = None
    pose: str | None = None
    path: str | None = None
    tf: str | None = None
    tf_static: str | None = None
    world: str | None = None
    robot: str | None = None
