"""The node with a reconstruction that needs images alone and whose answers can be drawn on paper."""

import sys
from dataclasses import replace

import torch

import moonseg3r_ros.mapper as mapper
from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.geometry import transform, unproject
from moonseg3r_core.types import Geometry, Held, PixelGrid
from moonseg3r_ros.main import main

SPEED = 0.3  # metres per second, straight ahead
FOCAL = 50.0  # pixels, where no camera_info came


def guessed(seconds):
    """world_from_camera (4, 4) of an image at a stamp: the world is the camera's at 5 s."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[2, 3] = SPEED * (seconds - 5)
    return pose


class Guess:
    """A wall two metres ahead, and a camera that goes straight on. A black image is held."""

    def __init__(self):
        self.last = None

    def __call__(self, frame):
        height, width = frame.size
        k = frame.intrinsics
        print(f"intrinsics {'none' if k is None else float(k[0, 0])}", flush=True)
        if k is None:
            k = torch.tensor([[FOCAL, 0, width / 2], [0, FOCAL, height / 2], [0, 0, 1]])
        held = None if int(frame.image.max()) else Held("the image is black")
        if held and self.last is None:
            raise FrameRejected(held.reason, "it is the first")
        pose = self.last if held else guessed(frame.stamp)
        self.last = pose
        depth = torch.full(frame.size, 0.0 if held else 2.0)
        points = transform(unproject(depth, k), pose)
        return Geometry(points, (depth > 0).float(), depth, pose, k, PixelGrid(*frame.size), held=held)

    def reset(self):
        self.last = None

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def build(config, built=mapper.build_segmenter):
    segmenter = built(replace(config, reconstruction=replace(config.reconstruction, kind="rgbd")))
    segmenter.replace_stages(reconstruction=Guess())
    return segmenter


if __name__ == "__main__":
    mapper.build_segmenter = build
    sys.exit(main())
