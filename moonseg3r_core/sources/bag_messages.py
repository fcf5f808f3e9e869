"""What ROS messages say, as arrays: images, depth, intrinsics, transforms. Messages are read by attribute only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.encodings import (
    decode_compressed_depth,
    decode_compressed_image,
    decode_depth,
    decode_image,
)
from moonseg3r_core.sources.registration import scale_intrinsics
from moonseg3r_core.sources.transforms import pose_from_quaternion


def stamp_of(header: Any, recorded: float) -> float:
    """Seconds of a header; a header that was never stamped takes the time of recording."""
    stamp = float(header.stamp.sec) + header.stamp.nanosec * 1e-9
    return stamp if stamp > 0 else recorded


def image_of(message: Any) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an Image or CompressedImage. Raises FrameRejected."""
    if hasattr(message, "format"):
        return decode_compressed_image(message.data)
    m = message
    return decode_image(m.data, m.height, m.width, m.encoding, m.step, bool(m.is_bigendian))


def depth_of(message: Any) -> np.ndarray:
    """(H, W) float32 metres of an Image or CompressedImage. Raises FrameRejected."""
    if hasattr(message, "format"):
        return decode_compressed_depth(message.data, message.format)
    m = message
    return decode_depth(m.data, m.height, m.width, m.encoding, m.step, bool(m.is_bigendian))


def intrinsics_of(info: Any, size: tuple[int, int], rectified: bool) -> np.ndarray | None:
    """Intrinsics (3, 3) of an image of `size` (H, W) under its CameraInfo, region of interest and binning applied.

    A rectified image has the projection matrix P for its camera. None for a camera that is not calibrated.
    Raises SourceError when the CameraInfo is for images of another size.
    """
    k = np.array(info.k, dtype=np.float64).reshape(3, 3)
    p = np.array(info.p, dtype=np.float64).reshape(3, 4)[:, :3]
    k = p.copy() if rectified and p[0, 0] > 0 else k
    if not (np.isfinite(k).all() and k[0, 0] > 0 and k[1, 1] > 0):
        return None
    window = (info.roi.height or info.height or size[0], info.roi.width or info.width or size[1])
    binned = (window[0] // max(1, info.binning_y), window[1] // max(1, info.binning_x))
    if binned != size:
        raise SourceError(
            f"camera_info must be for images of {size[1]}x{size[0]}, got {binned[1]}x{binned[0]} after its region of"
            " interest and binning; choose the camera_info topic that belongs to the image."
        )
    k[0, 2] -= info.roi.x_offset
    k[1, 2] -= info.roi.y_offset
    return scale_intrinsics(k, window, size)


def is_distorted(info: Any) -> bool:
    """True when lens distortion is given and not zero."""
    return bool(np.any(np.abs(np.array(info.d, dtype=np.float64)) > 0))


def transforms_of(message: Any, recorded: float) -> Iterator[tuple[str, str, float, np.ndarray]]:
    """(parent, child, stamp, parent_from_child) of each transform of a TFMessage. Raises TransformError."""
    for t in message.transforms:
        pose = _pose(t.transform.translation, t.transform.rotation)
        yield t.header.frame_id, t.child_frame_id, stamp_of(t.header, recorded), pose


def pose_of(message: Any, recorded: float) -> tuple[str, str, float, np.ndarray]:
    """(parent, child or "", stamp, parent_from_child) of Odometry, PoseStamped and PoseWithCovarianceStamped.

    Raises TransformError for a pose without rotation or numbers that are not finite.
    """
    pose = getattr(message.pose, "pose", message.pose)
    child = getattr(message, "child_frame_id", "")
    matrix = _pose(pose.position, pose.orientation)
    return message.header.frame_id, child, stamp_of(message.header, recorded), matrix


def _pose(translation: Any, rotation: Any) -> np.ndarray:
    return pose_from_quaternion(
        np.array([translation.x, translation.y, translation.z]),
        np.array([rotation.x, rotation.y, rotation.z, rotation.w]),
    )
