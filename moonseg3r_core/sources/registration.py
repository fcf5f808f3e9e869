"""Resample depth at the pixels of the colour image. Pure functions.

Intrinsics (3, 3) with the centre of pixel i at i; sizes are (H, W).
"""

from __future__ import annotations

import numpy as np

from moonseg3r_core.errors import FrameRejected, SourceError

ASPECT_TOLERANCE = 0.02  # ScanNet itself: 1296x968 colour over 640x480 depth differs by 0.4 %


def resize_intrinsics(intrinsics: np.ndarray, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """Return the intrinsics of the same view resized from size `old` to size `new`."""
    scale_v, scale_u = new[0] / old[0], new[1] / old[1]
    resize = np.array([[scale_u, 0, (scale_u - 1) / 2], [0, scale_v, (scale_v - 1) / 2], [0, 0, 1]])
    return resize @ intrinsics


def contains_principal_point(intrinsics: np.ndarray, size: tuple[int, int]) -> bool:
    """True when the principal point lies within an image of this size."""
    height, width = size
    return bool(0 < intrinsics[0, 2] < width and 0 < intrinsics[1, 2] < height)


def choose_color_intrinsics(
    k_color: np.ndarray | None, k_depth: np.ndarray | None, color: tuple[int, int], depth: tuple[int, int] | None
) -> np.ndarray | None:
    """Choose the colour intrinsics: its own, or the scaled ones of the depth where those do not fit the image.

    Exports with colour shrunk to the size of the depth often keep the intrinsics of the large image.
    Raises SourceError when neither fits its image.
    """
    if k_color is not None and contains_principal_point(k_color, color):
        return k_color
    if k_depth is not None and contains_principal_point(k_depth, depth or color):
        return resize_intrinsics(k_depth, depth or color, color)
    for name, k, size in (("intrinsic_color", k_color, color), ("intrinsic_depth", k_depth, depth or color)):
        if k is not None:
            raise SourceError(
                f"{name}.txt must be for images of {size[1]}x{size[0]}, its principal point is"
                f" ({k[0, 2]:.1f}, {k[1, 2]:.1f}); write the intrinsics of the images in the folder."
            )
    return None


def register_depth(
    depth: np.ndarray, k_depth: np.ndarray | None, k_color: np.ndarray | None, size: tuple[int, int]
) -> np.ndarray:
    """Resample depth (h, w) at the colour's `size` by nearest neighbour, 0 outside the view of the depth camera.

    With both intrinsics the ray of each colour pixel selects the depth pixel; otherwise the depth is stretched.
    Raises FrameRejected when the aspect ratios differ: such depth is not registered to the colour.
    """
    if depth.shape == size:
        return depth
    ratio = (depth.shape[1] / size[1]) / (depth.shape[0] / size[0])
    if abs(ratio - 1) > ASPECT_TOLERANCE:
        raise FrameRejected(
            "depth of another shape",
            f"depth of {depth.shape[1]}x{depth.shape[0]} does not have the shape of colour of {size[1]}x{size[0]};"
            " register the depth to the colour image first.",
        )
    own = (depth.shape[0], depth.shape[1])
    if k_depth is not None and k_color is not None and contains_principal_point(k_depth, own):
        stretch = k_depth @ np.linalg.inv(k_color)
    else:
        stretch = resize_intrinsics(np.eye(3), size, own)
    return _resample(depth, stretch, size)


def resample_depth(
    depth: np.ndarray, k_depth: np.ndarray | None, k_color: np.ndarray | None, size: tuple[int, int]
) -> np.ndarray:
    """Resample depth (h, w) of an unregistered camera by the rays of the color's pixels, also where the sizes agree.

    Without both intrinsics the depth is stretched, as `register_depth` does.
    """
    if k_depth is None or k_color is None:
        return register_depth(depth, k_depth, k_color, size)
    return _resample(depth, k_depth @ np.linalg.inv(k_color), size)


def _resample(depth: np.ndarray, stretch: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    u, inside_u = _find_nearest_pixels(stretch[0, 0], stretch[0, 2], size[1], depth.shape[1])
    v, inside_v = _find_nearest_pixels(stretch[1, 1], stretch[1, 2], size[0], depth.shape[0])
    return np.where(inside_v[:, None] & inside_u[None, :], depth[v[:, None], u[None, :]], 0).astype(np.float32)


def reproject_depth(
    depth: np.ndarray, k_depth: np.ndarray, color_from_depth: np.ndarray, k_color: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Register depth (h, w) of a camera of its own to the colour's `size`; the nearest surface wins, 0 where none is seen.

    Where the colour is finer, a depth pixel covers as many colour pixels as it is seen in.
    """
    finer = max(k_color[0, 0] / k_depth[0, 0], k_color[1, 1] / k_depth[1, 1])
    steps = max(1, int(np.ceil(finer - 1e-6)))
    offsets = ((np.arange(steps) + 0.5) / steps - 0.5).astype(np.float32)
    v, u = (at.astype(np.float32) for at in np.nonzero(depth > 0))
    z, placed = depth[depth > 0].astype(np.float32), color_from_depth.astype(np.float32)
    k_own, k_color = k_depth.astype(np.float32), k_color.astype(np.float32)
    nearest = np.full(size[0] * size[1], np.inf, np.float32)
    for dv in offsets:
        for du in offsets:
            x, y = (u + (du - k_own[0, 2])) / k_own[0, 0] * z, (v + (dv - k_own[1, 2])) / k_own[1, 1] * z
            _keep_nearest(nearest, placed[:3, :3] @ np.stack((x, y, z)) + placed[:3, 3:], k_color, size)
    return np.where(np.isfinite(nearest), nearest, np.float32(0)).reshape(size)


def _keep_nearest(nearest: np.ndarray, points: np.ndarray, k: np.ndarray, size: tuple[int, int]) -> None:
    """Enter points (3, N) of the camera into a flat image of the nearest depths."""
    x, y, z = points
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = np.floor(k[0, 0] * x / z + k[0, 2] + 0.5), np.floor(k[1, 1] * y / z + k[1, 2] + 0.5)
    seen = (z > 0) & (u >= 0) & (u < size[1]) & (v >= 0) & (v < size[0])
    np.minimum.at(nearest, v[seen].astype(np.int64) * size[1] + u[seen].astype(np.int64), z[seen])


def _find_nearest_pixels(scale: float, offset: float, count: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
    position = np.floor(np.arange(count) * scale + offset + 0.5 + 1e-6).astype(np.int64)
    return position.clip(0, limit - 1), (position >= 0) & (position < limit)
