"""Write frames as a rosbag2 recording, for replay and tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from torch import Tensor

from moonseg3r_core.errors import OutputError
from moonseg3r_core.geometry import find_rigid_fault, quaternion_from_rotation
from moonseg3r_core.io.atomic import explain_write_errors
from moonseg3r_core.sources.bag_reader import TYPES
from moonseg3r_core.types import Frame

CAMERA, WORLD = "camera", "map"
STORAGES = {".mcap": StoragePlugin.MCAP, ".db3": StoragePlugin.SQLITE3, "": StoragePlugin.MCAP}


def write_bag(frames: Iterable[Frame], out: str | Path, color: str = "jpeg", start: float = 1000.0) -> int:
    """Write frames to `out` and return how many: a .mcap or .db3 file, or without suffix a bag folder.

    Topics: /camera/color/image_raw (`color` raw, or /compressed: jpeg, png), /camera/depth/image_raw (16UC1),
    /camera/color/camera_info and /tf (map -> camera, finite rigid poses only). Stamps: the frame's plus `start` seconds.
    Raises OutputError when `out` exists, has another suffix, or cannot be written.
    """
    out = Path(out)
    if out.suffix not in STORAGES:
        raise OutputError(f"{out} must end in .mcap or .db3, or have no suffix for a bag folder.")
    if out.exists():
        raise OutputError(f"{out} exists already; remove it or choose another name.")
    with explain_write_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
            folder = Path(scratch) / out.stem
            count = _write_folder(frames, folder, STORAGES[out.suffix], color, start)
            shutil.move(folder / f"{out.stem}{out.suffix}" if out.suffix else folder, out)
    return count


def _write_folder(frames: Iterable[Frame], folder: Path, storage: StoragePlugin, color: str, start: float) -> int:
    count = 0
    with Writer(folder, version=9, storage_plugin=storage) as writer:
        topics: dict[str, Any] = {}
        for frame in frames:
            stamp = round((start + frame.stamp) * 1e9)
            for topic, message in make_messages(frame, stamp, color):
                kind = message.__msgtype__
                if topic not in topics:
                    topics[topic] = writer.add_connection(topic, kind, typestore=TYPES)
                writer.write(topics[topic], stamp, TYPES.serialize_cdr(message, kind))
            count += 1
    return count


def make_messages(frame: Frame, stamp: int, color: str) -> list[tuple[str, Any]]:
    """Make the (topic, message) pairs of a frame at a stamp in nanoseconds; missing parts are left out."""
    found: list[tuple[str, Any]] = []
    pose = frame.world_from_camera
    if pose is not None and find_rigid_fault(pose) is None:
        found.append(("/tf", TYPES.types["tf2_msgs/msg/TFMessage"]([make_transform(pose, stamp)])))
    if frame.intrinsics is not None:
        found.append(("/camera/color/camera_info", make_camera_info(frame.intrinsics, frame.size, stamp)))
    if frame.depth is not None:
        millimetres = (frame.depth.numpy() * 1000).round().clip(0, 65535).astype("<u2")
        found.append(("/camera/depth/image_raw", make_image(millimetres, "16UC1", stamp)))
    if color == "raw":
        found.append(("/camera/color/image_raw", make_image(frame.image.numpy(), "rgb8", stamp)))
    else:
        found.append(("/camera/color/image_raw/compressed", make_compressed_image(frame.image.numpy(), color, stamp)))
    return found


def make_header(stamp: int, frame_id: str = CAMERA) -> Any:
    """Make a std_msgs/Header at a stamp in nanoseconds."""
    time = TYPES.types["builtin_interfaces/msg/Time"](stamp // 10**9, stamp % 10**9)
    return TYPES.types["std_msgs/msg/Header"](time, frame_id)


def make_image(pixels: np.ndarray, encoding: str, stamp: int) -> Any:
    """Make a sensor_msgs/Image without padding, little-endian."""
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
    kind = TYPES.types["sensor_msgs/msg/Image"]
    return kind(make_header(stamp), height, width, encoding, 0, data.size // height, data)


def make_compressed_image(rgb: np.ndarray, codec: str, stamp: int) -> Any:
    """Make a sensor_msgs/CompressedImage of codec jpeg (quality 95) or png."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if codec == "jpeg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    _, data = cv2.imencode(f".{codec}", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    kind = TYPES.types["sensor_msgs/msg/CompressedImage"]
    return kind(make_header(stamp), f"rgb8; {codec} compressed bgr8", data.ravel())


def make_camera_info(intrinsics: Tensor, size: tuple[int, int], stamp: int) -> Any:
    """Make a sensor_msgs/CameraInfo of an undistorted camera."""
    k = intrinsics.double().numpy()
    roi = TYPES.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    p = np.hstack((k, np.zeros((3, 1)))).ravel()
    kind = TYPES.types["sensor_msgs/msg/CameraInfo"]
    return kind(make_header(stamp), *size, "plumb_bob", np.zeros(5), k.ravel(), np.eye(3).ravel(), p, 0, 0, roi)


def make_transform(pose: Tensor, stamp: int, parent: str = WORLD, child: str = CAMERA) -> Any:
    """Make a geometry_msgs/TransformStamped of parent_from_child (4, 4)."""
    make = TYPES.types
    position = make["geometry_msgs/msg/Vector3"](*pose[:3, 3].tolist())
    rotation = make["geometry_msgs/msg/Quaternion"](*quaternion_from_rotation(pose[:3, :3].double()).tolist())
    moved = make["geometry_msgs/msg/Transform"](position, rotation)
    return make["geometry_msgs/msg/TransformStamped"](make_header(stamp, parent), child, moved)
