"""The configuration of what the numbers of a recording or a live camera mean."""

from __future__ import annotations

from dataclasses import dataclass

from moonseg3r_core.settings import live

AXES = ("optical", "body", "opengl")


@dataclass(frozen=True)
class InputConfig:
    """The settings by which depth, intrinsics and poses are read, from recordings and live topics alike."""

    depth_scale: float = live(
        0.0,
        "stored units of depth in a metre (1000: millimetres, 5000: TUM, 6553.5: Replica, 10000: D405, 1: metres); "
        "0: as the recording or the encoding has it",
        low=0.0,
    )
    camera_axes: str = live(
        "auto",
        "axes of the camera frame that poses place; optical: z forward, y down; body: x forward, z up (a robot's link, "
        "Gazebo); opengl: z backward, y up; auto: optical, checked by the frame's name and the view",
        choices=("auto", *AXES),
    )
    poses: str = live(
        "world_from_camera",
        "what the recording's poses are; camera_from_world: the inverse, as of a SLAM system's view matrices",
        choices=("world_from_camera", "camera_from_world"),
    )
    pose_scale: float = live(1.0, "units of the poses' lengths in a metre (1000: millimetres)", low=1e-6)
    implausible: str = live(
        "refuse",
        "input that is surely wrong; refuse: the run ends with exit 2; warn: it goes on, and the verdict says so",
        choices=("refuse", "warn"),
    )


DEFAULT = InputConfig()
