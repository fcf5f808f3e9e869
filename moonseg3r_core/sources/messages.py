"""Convert ROS messages to arrays: images, depth, intrinsics, transforms. Messages are read by attribute only."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import numpy as np

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.io.images import UnknownImage, read_size
from moonseg3r_core.sources.encodings import (
    HEADER,
    decode_compressed_depth,
    decode_compressed_image,
    decode_depth,
    decode_image,
)
from moonseg3r_core.sources.registration import resize_intrinsics
from moonseg3r_core.sources.transforms import make_pose
from moonseg3r_core.sources.video_codecs import find_video_codec

SHAPE_TOLERANCE = 0.01  # of height by width
MAX_INTRINSIC_PX = 1e9  # no focal length or principal point is as large
MAX_PRINCIPAL_POINT_OFFSET = 10  # in image sizes; no region of interest lies farther from the principal point


def read_stamp(header: Any, recorded: float) -> float:
    """Return the stamp of a header in seconds, or the time of recording where the stamp is zero."""
    stamp = float(header.stamp.sec) + header.stamp.nanosec * 1e-9
    return stamp if stamp > 0 else recorded


def decode_image_message(message: Any) -> np.ndarray:
    """Decode (H, W, 3) uint8 RGB of an Image or CompressedImage. Raises FrameRejected."""
    if hasattr(message, "format"):
        return _decode_compressed(message)
    m = message
    return decode_image(m.data, m.height, m.width, m.encoding, m.step, bool(m.is_bigendian))


def _decode_compressed(message: Any) -> np.ndarray:
    """Decode a CompressedImage; packets of a video codec, depth and other formats are named."""
    if message.format.strip().lower().startswith(("16uc1", "32fc1")):
        raise FrameRejected(
            "images are depth",
            f"expected color, got the format {message.format[:40]!r}; choose the topic of the color images",
        )
    codec = find_video_codec(message.format, bytes(message.data[:4]))
    if codec:
        raise FrameRejected(
            f"images are {codec} video",
            f"expected JPEG or PNG in a CompressedImage, got the format {message.format[:40]!r}; publish raw or JPEG images,"
            " or decode the video to such first",
        )
    try:
        return decode_compressed_image(message.data)
    except UnknownImage as why:
        raise UnknownImage(f"{why.reason}, its format is {message.format[:40]!r}", why.detail) from why


def decode_depth_message(message: Any, scale: float = 0.0) -> np.ndarray:
    """Decode (H, W) float32 metres of an Image or CompressedImage of `scale` units in a metre; 0: by its encoding.

    Raises FrameRejected.
    """
    if hasattr(message, "format"):
        return decode_compressed_depth(message.data, message.format, scale)
    m = message
    return decode_depth(m.data, m.height, m.width, m.encoding, m.step, bool(m.is_bigendian), scale)


class CameraInfoMismatch(FrameRejected):
    """A CameraInfo belongs to images of another size."""


def compute_intrinsics(info: Any, size: tuple[int, int], rectified: bool) -> np.ndarray | None:
    """Compute the intrinsics (3, 3) of an image of `size` (H, W) from its CameraInfo, region of interest and binning.

    Rectified images use the projection matrix P. None for a camera that is not calibrated.
    A CameraInfo for images of another size and the same shape is scaled.
    Raises CameraInfoMismatch for images of another shape, FrameRejected for numbers that no camera has.
    """
    k, d = _read_camera_matrix(info, rectified), np.array(info.d, dtype=np.float64)
    if not (np.all(np.abs(k) < MAX_INTRINSIC_PX) and np.isfinite(d).all()):
        raise FrameRejected(
            "unusable camera_info", f"it must hold finite numbers, got K or P {k.tolist()}, D {d[:14].tolist()}"
        )
    if not is_calibrated(info, rectified):
        return None
    window = _read_window(info, size)
    if misfit := explain_misfit(info, size, rectified):
        raise CameraInfoMismatch("camera_info of another size", misfit)
    k[0, 2] -= info.roi.x_offset
    k[1, 2] -= info.roi.y_offset
    if abs(k[0, 2]) > MAX_PRINCIPAL_POINT_OFFSET * window[1] or abs(k[1, 2]) > MAX_PRINCIPAL_POINT_OFFSET * window[0]:
        raise FrameRejected(
            "unusable camera_info",
            f"it must have its principal point near the image of {window[1]}x{window[0]}, got"
            f" ({k[0, 2]:.0f}, {k[1, 2]:.0f}) in its region of interest",
        )
    return resize_intrinsics(k, window, size)


def explain_misfit(info: Any, size: tuple[int, int], rectified: bool) -> str:
    """Say why a CameraInfo cannot be that of images of `size` (H, W); empty where it fits, or fits when it is scaled.

    It is scaled where the shape is the same and the principal point lies in the middle half of the images that it is for.
    """
    window, binned = _read_window(info, size), read_info_size(info, size)
    k = _read_camera_matrix(info, rectified)
    middle = [(k[0, 2] - info.roi.x_offset) / window[1], (k[1, 2] - info.roi.y_offset) / window[0]]
    same_shape = abs(binned[0] * size[1] / max(binned[1] * size[0], 1) - 1) < SHAPE_TOLERANCE
    if binned == size or (same_shape and all(0.25 < share < 0.75 for share in middle)):
        return ""
    return (
        f"camera_info must be for images of {size[1]}x{size[0]}, got {binned[1]}x{binned[0]} after its region of"
        " interest and binning; choose the camera_info topic that belongs to the image."
    )


def read_info_size(info: Any, default: tuple[int, int]) -> tuple[int, int]:
    """Read the size (H, W) of the images that a CameraInfo is for, after its region of interest and binning."""
    window = _read_window(info, default)
    return window[0] // max(1, info.binning_y), window[1] // max(1, info.binning_x)


def read_image_size(message: Any) -> tuple[int, int] | None:
    """Read (H, W) of an Image or CompressedImage without decoding it; None where the bytes do not tell."""
    if hasattr(message, "height"):
        return message.height, message.width
    raw = bytes(message.data)
    with suppress(FrameRejected, IndexError):
        width, height = read_size(raw[HEADER.size :] if "compresseddepth" in message.format.lower() else raw)
        return height, width
    return None


def is_calibrated(info: Any, rectified: bool) -> bool:
    """True when a CameraInfo has focal lengths; drivers without a calibration leave them 0."""
    k = _read_camera_matrix(info, rectified)
    return bool(k[0, 0] > 0 and k[1, 1] > 0)


def is_distorted(info: Any) -> bool:
    """True when lens distortion is given and not zero."""
    return bool(np.any(np.abs(np.array(info.d, dtype=np.float64)) > 0))


def is_rectified(topic: str) -> bool:
    """True when the name of an image topic marks its images as rectified."""
    return re.search(r"(/|_)rect", topic) is not None


def read_transform(transform: Any, recorded: float) -> tuple[str, str, float, np.ndarray]:
    """Return (parent, child, stamp, parent_from_child) of a TransformStamped. Raises TransformError."""
    pose = _make_pose(transform.transform.translation, transform.transform.rotation)
    return transform.header.frame_id, transform.child_frame_id, read_stamp(transform.header, recorded), pose


def read_pose(message: Any, recorded: float) -> tuple[str, str, float, np.ndarray]:
    """Return (parent, child or "", stamp, parent_from_child) of Odometry, PoseStamped and PoseWithCovarianceStamped.

    Raises TransformError for a pose without rotation or numbers that are not finite.
    """
    pose = getattr(message.pose, "pose", message.pose)
    child = getattr(message, "child_frame_id", "")
    matrix = _make_pose(pose.position, pose.orientation)
    return message.header.frame_id, child, read_stamp(message.header, recorded), matrix


def _read_window(info: Any, size: tuple[int, int]) -> tuple[int, int]:
    """Read (H, W) of the region of interest, else of the whole image, before binning."""
    return info.roi.height or info.height or size[0], info.roi.width or info.width or size[1]


def _read_camera_matrix(info: Any, rectified: bool) -> np.ndarray:
    p = np.array(info.p, dtype=np.float64).reshape(3, 4)[:, :3]
    return p.copy() if rectified and not p[0, 0] <= 0 else np.array(info.k, dtype=np.float64).reshape(3, 3)


def _make_pose(translation: Any, rotation: Any) -> np.ndarray:
    position = (translation.x, translation.y, translation.z)
    return make_pose(position, (rotation.x, rotation.y, rotation.z, rotation.w))
