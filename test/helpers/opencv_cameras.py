"""Cameras as the odometry knows them."""

import cv2
import numpy as np


def make_camera(x=0.0, y=0.0, z=0.0, turn=(0.0, 0.0, 0.0)):
    """camera_from_world (4, 4) of a camera at a place, turned by (axis times angle)."""
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(np.array(turn, float))[0]
    pose[:3, 3] = -pose[:3, :3] @ (x, y, z)
    return pose
