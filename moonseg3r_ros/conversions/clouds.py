"""Labelled points as PointCloud2 with x y z rgb instance_id confidence, 24 bytes a point."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header
from torch import Tensor

from moonseg3r_core import InstanceMap, find_first_in_voxels
from moonseg3r_ros.conversions.buffers import make_buffer, make_message
from moonseg3r_ros.conversions.palette import PAINTS

# PCL and RViz read `rgb` as the bits 0x00RRGGBB of a float; in little endian blue comes first.
_POINT = np.dtype(
    [
        ("x", "<f4"), ("y", "<f4"), ("z", "<f4"),
        ("blue", "u1"), ("green", "u1"), ("red", "u1"), ("zero", "u1"),
        ("instance_id", "<i4"), ("confidence", "<f4"),
    ]
)  # fmt: skip
POINT_STEP = _POINT.itemsize
_FIELDS = [
    PointField(name=name, offset=offset, datatype=datatype, count=1)
    for name, offset, datatype in (
        ("x", 0, PointField.FLOAT32),
        ("y", 4, PointField.FLOAT32),
        ("z", 8, PointField.FLOAT32),
        ("rgb", 12, PointField.FLOAT32),
        ("instance_id", 16, PointField.INT32),
        ("confidence", 20, PointField.FLOAT32),
    )
]
_IDENTITY = np.eye(4)
_CHUNK = 8192  # points
_MIN_BYTES = 8 * POINT_STEP  # the eight octants around the world's origin never share a voxel


def make_cloud_message(
    header: Header,
    points: np.ndarray,
    colors: np.ndarray,
    instance_ids: np.ndarray,
    confidence: np.ndarray,
    pose: np.ndarray = _IDENTITY,
) -> PointCloud2:
    """Make a message of finite points (N, 3) float32, colors (N, 3) uint8 RGB, instance_ids (N,) int32 and confidence
    (N,) float32; N may be 0. `pose` (4, 4) transforms the points into the header's frame.
    """
    data, rows = make_buffer(len(points), _POINT)
    _write_points(rows, points, pose)
    for k, name in enumerate(("red", "green", "blue")):
        rows[name] = colors[:, k]
    rows["instance_id"] = instance_ids
    rows["confidence"] = confidence
    message = make_message(PointCloud2, header=header, height=1, width=len(points), fields=_FIELDS, is_dense=True)
    message.point_step, message.row_step, message.data = POINT_STEP, len(data), data
    return message


def make_map_cloud(
    header: Header, map: InstanceMap, map_from_world: np.ndarray, colors: str, rows: np.ndarray | slice = slice(None)
) -> PointCloud2:
    """Make the message of a labelled map, or of its `rows`, in the header's frame. `colors` is a key of PAINTS."""
    points, camera, ids, confidence = (
        tensor.numpy()[rows] for tensor in (map.points, map.colors, map.instance_ids, map.confidence)
    )
    return make_cloud_message(header, points, PAINTS[colors](camera, ids), ids, confidence, map_from_world)


def choose_rows(points: Tensor, grain: float, voxel: float, max_bytes: int) -> np.ndarray | slice:
    """Choose the rows of world points (N, 3) for a message of at most `max_bytes`.

    The points come one per voxel of edge `grain`, metres. A larger `voxel` thins them, and the edge doubles until they fit.
    Raises ValueError for a `max_bytes` that no map meets.
    """
    if max_bytes < _MIN_BYTES:
        raise ValueError(f"max_bytes must be at least {_MIN_BYTES}, got {max_bytes}; allow the cloud more.")
    edge = max(grain, voxel)
    rows = find_first_in_voxels(points, edge) if voxel > grain else np.arange(len(points))
    while len(rows) * POINT_STEP > max_bytes:
        edge *= 2
        rows = rows[
            find_first_in_voxels(points[rows], edge)
        ]  # a large voxel's first point is also a small voxel's first
    return slice(None) if len(rows) == len(points) else rows


def _write_points(rows: np.ndarray, points: np.ndarray, pose: np.ndarray) -> None:
    """Write transformed points to x, y, z. Chunks that fit the cache are four times as fast as all points at once."""
    rotation, translation = pose[:3, :3].astype(np.float32), pose[:3, 3:].astype(np.float32)
    for start in range(0, len(points), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        xyz = rotation @ points[chunk].T + translation
        for k, name in enumerate("xyz"):
            rows[name][chunk] = xyz[k]
