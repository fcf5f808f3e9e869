"""Instances as moonseg3r_msgs/InstanceArray and vision_msgs/Detection3DArray. Both packages are optional."""

from __future__ import annotations

import array
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovariance, Vector3
from std_msgs.msg import Header

from moonseg3r_core import Instance
from moonseg3r_ros.conversions.buffers import copy_with
from moonseg3r_ros.conversions.poses import compute_box_size, make_box_poses, make_map_points
from moonseg3r_ros.conversions.times import make_time


def make_instance_array(
    header: Header,
    instances: Sequence[Instance],
    map_from_world: np.ndarray,
    merged: Mapping[int, int],
    descriptors: Mapping[int, np.ndarray],
) -> Any:
    """Make a moonseg3r_msgs/InstanceArray, by rising id, of instances whose frame numbers are stamps in nanoseconds.

    merged: former id -> the id that replaced it; descriptors: (D,) float32 by id, which may lack ids.
    """
    msg = import_module("moonseg3r_msgs.msg")
    instances = sorted(instances, key=lambda instance: instance.id)
    poses = make_box_poses(instances, map_from_world)
    centroids = make_map_points([i.centroid for i in instances], map_from_world)
    parts, blank = _group_by_survivor(merged), msg.Instance()
    items = [
        copy_with(
            blank, id=i.id, box_center=pose, box_size=_make_vector(compute_box_size(i)), centroid=centroid, score=float(i.score),
            points=i.points, observations=i.observations, first_seen=make_time(i.first_frame),
            last_seen=make_time(i.last_frame), merged_ids=array.array("I", parts.get(i.id, [])),
            descriptor=_make_float_array(descriptors.get(i.id)),
        )
        for i, pose, centroid in zip(instances, poses, centroids, strict=True)
    ]  # fmt: skip
    return msg.InstanceArray(header=header, instances=items)


def make_detections(header: Header, instances: Sequence[Instance], map_from_world: np.ndarray) -> Any:
    """Make a vision_msgs/Detection3DArray of the instances' boxes; class "object", with id and score."""
    msg = import_module("vision_msgs.msg")
    blank, guess, uncertain, box = (
        msg.Detection3D(), msg.ObjectHypothesisWithPose(), PoseWithCovariance(), msg.BoundingBox3D()
    )  # fmt: skip
    items = []
    for i, pose in zip(instances, make_box_poses(instances, map_from_world), strict=True):
        hypothesis = msg.ObjectHypothesis(class_id="object", score=float(i.score))
        result = copy_with(guess, hypothesis=hypothesis, pose=copy_with(uncertain, pose=pose))
        bbox = copy_with(box, center=pose, size=_make_vector(compute_box_size(i)))
        items.append(copy_with(blank, header=header, results=[result], bbox=bbox, id=str(i.id)))
    return msg.Detection3DArray(header=header, detections=items)


def _group_by_survivor(merged: Mapping[int, int]) -> dict[int, list[int]]:
    """Group former ids, rising, by the id that replaced them."""
    parts: dict[int, list[int]] = {}
    for old in sorted(merged):
        parts.setdefault(merged[old], []).append(old)
    return parts


def _make_float_array(values: np.ndarray | None) -> array.array[float]:
    numbers = array.array("f")
    if values is not None:
        numbers.frombytes(np.ascontiguousarray(values, dtype=np.float32).tobytes())
    return numbers


def _make_vector(xyz: tuple[float, float, float]) -> Vector3:
    return Vector3(x=xyz[0], y=xyz[1], z=xyz[2])
