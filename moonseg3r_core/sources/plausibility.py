"""Whether numbers can be: depth and its unit, intrinsics for an image, poses and their axes. Pure functions.

Depth in metres, intrinsics (3, 3) with the centre of pixel i at i, poses world_from_camera (4, 4), sizes (H, W).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from moonseg3r_core.sources.axes import FRAME_FROM_OPTICAL

DEPTH_SCALES = (1000.0, 5000.0, 6553.5, 10000.0, 1.0, 100.0, 256.0)  # mm, TUM, Replica, 0.1 mm, m, cm, KITTI
POSE_SCALES = (1000.0, 100.0)  # mm, cm
INDOORS = (0.25, 6.0)  # metres: where the median depth of a room lies
SAMPLES = 32  # rows and columns of a depth image that are looked at
MIN_SHARED = 0.15  # of the samples of an image that another one must show
MIN_POINTS = 50
# Median error of log depth between images: what needs no other convention, what fits, and what does not.
EXACT, AGREE, DIFFER = 0.005, 0.02, 0.08
MUCH_BETTER = 0.4  # the largest error of a right convention over that of the numbers as they are
SHARPNESS, STEP = 1.15, 1.6  # a unit is told apart when a factor of STEP makes the error as much larger
FAR_STEP = 2.0  # between two images, in median depths; no camera that sees the same moves as far


@dataclass(frozen=True)
class Finding:
    """Numbers that cannot be. text: one line, what came and what to do; is_sure: no right recording has them."""

    topic: str
    text: str
    is_sure: bool = False


@dataclass(frozen=True)
class Convention:
    """How numbers are read: the pose inverted, the axes of its frame, depth (or 1 / lengths of poses) by a factor."""

    inverse: bool
    axes: str
    factor: float


@dataclass(frozen=True)
class DepthView:
    """Samples of a depth image: pixels u (n,), v (n,) and depth (n,); the image (H, W), intrinsics and pose."""

    u: np.ndarray
    v: np.ndarray
    z: np.ndarray
    depth: np.ndarray
    intrinsics: np.ndarray
    pose: np.ndarray


Pairs = Sequence[tuple[DepthView, DepthView]]


def sample_view(depth: np.ndarray, intrinsics: np.ndarray, pose: np.ndarray) -> DepthView:
    """Sample a depth image (H, W), 0 = none, on a regular grid."""
    v, u = (np.linspace(0, n - 1, min(SAMPLES, n)).round().astype(int) for n in depth.shape)
    u, v = (part.ravel() for part in np.meshgrid(u, v))
    known = depth[v, u] > 0
    u, v = u[known], v[known]
    return DepthView(u, v, depth[v, u].astype(np.float64), depth, intrinsics.astype(np.float64), pose)


def infer_depth_scale(depths: np.ndarray) -> float:
    """Return the stored units in a metre of metres (n,): 1000 for whole millimetres of 16 bits, else 1."""
    millimetres = depths * 1000.0
    return 1000.0 if depths.max(initial=0.0) < 66 and np.abs(millimetres - millimetres.round()).max() < 0.02 else 1.0


def guess_depth_scale(median: float, scale: float) -> float | None:
    """Return the units in a metre that bring a median depth, read with `scale`, into a room; None where none does."""
    medians = {guess: median * scale / guess for guess in DEPTH_SCALES if guess != scale}
    return next((guess for guess, metres in medians.items() if INDOORS[0] <= metres <= INDOORS[1]), None)


def describe_range(depths: np.ndarray, low: float, high: float, scale: float, is_unit_right: bool) -> Finding | None:
    """Tell when most of the depths (n,) lie outside [low, high] metres."""
    outside = float(((depths < low) | (depths > high)).mean())
    if outside <= 0.5:
        return None
    median = float(np.median(depths))
    guess = None if is_unit_right else guess_depth_scale(median, scale)
    advice = (
        f"set input.depth_scale={guess:g} if that is the unit (then {median * scale / guess:.2g} m), else "
        if guess
        else ""
    )
    bounds = "reconstruction.rgbd.min_depth and max_depth" if median < low else "reconstruction.rgbd.max_depth"
    text = f"{outside:.0%} of the depth is not between {low:g} and {high:g} m, its median is {median:.3g} m"
    return Finding("depth range", f"{text}; {advice}widen {bounds}.")


def describe_intrinsics(intrinsics: np.ndarray, size: tuple[int, int]) -> Finding | None:
    """Tell when intrinsics cannot be those of images of a size, or hardly."""
    (height, width), fx, fy = size, float(intrinsics[0, 0]), float(intrinsics[1, 1])
    if not np.isfinite(intrinsics).all() or min(fx, fy) <= 0:
        return None  # an uncalibrated camera: what needs one says so
    cx, cy = float(intrinsics[0, 2]), float(intrinsics[1, 2])
    told = f"intrinsics fx {fx:.4g}, fy {fy:.4g}, cx {cx:.4g}, cy {cy:.4g} for images of {width}x{height}"
    of_u, of_v = 2 * (cx + 0.5) / width, 2 * (cy + 0.5) / height
    advice = "; give those of these images (camera_info, intrinsic file)"
    if min(fx / width, fy / height) < 0.03:
        return Finding("intrinsics", f"{told} would see almost half a sphere: are they in pixels?{advice}.", True)
    if abs(of_u / of_v - 1) < 0.03 and not 0.8 < of_u < 1.25 and of_u > 0.1:
        fits = f"they are those of images of {2 * cx + 1:.0f}x{2 * cy + 1:.0f}"
        return Finding("intrinsics", f"{told} have their principal point far from the middle: {fits}{advice}.", True)
    if not (0 <= cx <= width and 0 <= cy <= height):
        return Finding("intrinsics", f"{told} have their principal point outside{advice}.")
    if not 1 / 1.5 < fx / fy < 1.5:
        return Finding("intrinsics", f"{told} have pixels far from square{advice}.")
    if min(fx / width, fy / height) < 0.1 or max(fx / width, fy / height) > 20:
        return Finding("intrinsics", f"{told} have a field of view that cameras do not have{advice}.")
    return None


def describe_upward_view(poses: Sequence[np.ndarray], frame: str) -> Finding | None:
    """Tell when a frame that is not optical by its name looks up as an optical one: it may be a body's."""
    up = [pose[2, 2] > 0.9 for pose in poses]
    if not frame or "optical" in frame.lower() or np.mean(up) < 0.8:
        return None
    told = f"the camera frame '{frame}' is not optical by its name, and read as one the camera looks straight up"
    return Finding("camera axes", f"{told}; if it has x forward and z up, set input.camera_axes=body.")


def keep_convention(axes: str) -> Convention:
    """Return the convention of numbers that were read with these axes: as they are."""
    return Convention(False, axes, 1.0)


def measure_error(a: DepthView, b: DepthView, convention: Convention, usual: Convention) -> float:
    """Return the median error of log depth of the samples of `a` that `b` shows, of numbers that were read as usual.

    NaN where too few are shared.
    """
    pose_a, pose_b = (read_pose(view.pose, convention, usual) for view in (a, b))
    relative = np.linalg.inv(pose_b) @ pose_a
    k, z = a.intrinsics, a.z * convention.factor
    points = np.stack(((a.u - k[0, 2]) / k[0, 0] * z, (a.v - k[1, 2]) / k[1, 1] * z, z))
    x, y, expected = relative[:3, :3] @ points + relative[:3, 3:]
    front = expected > 1e-6
    k, (height, width) = b.intrinsics, b.depth.shape
    u = np.rint(k[0, 0] * x[front] / expected[front] + k[0, 2])
    v = np.rint(k[1, 1] * y[front] / expected[front] + k[1, 2])
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    seen = b.depth[v[inside].astype(int), u[inside].astype(int)] * convention.factor
    shared = seen > 0
    if shared.sum() < max(MIN_POINTS, MIN_SHARED * len(z)):
        return float("nan")
    return float(np.median(np.abs(np.log(expected[front][inside][shared] / seen[shared]))))


def read_pose(pose: np.ndarray, convention: Convention, usual: Convention) -> np.ndarray:
    """Return world_from_camera by another convention than the usual one."""
    turned = pose.copy()
    turned[:3, :3] = pose[:3, :3] @ FRAME_FROM_OPTICAL[usual.axes].T
    if convention.inverse:
        turned = np.linalg.inv(turned)
    turned[:3, :3] = turned[:3, :3] @ FRAME_FROM_OPTICAL[convention.axes]
    return turned


def list_conventions(scale: float, usual: Convention, with_scales: bool, with_axes: bool) -> Iterator[Convention]:
    """List the readings that are tried beside the usual one. Depth was read with `scale` units in a metre."""
    factors = {1.0} | ({scale / guess for guess in DEPTH_SCALES} | set(POSE_SCALES) if with_scales else set())
    axes = set(FRAME_FROM_OPTICAL) if with_axes else {usual.axes}
    for factor in sorted(factors):
        frames = [Convention(False, name, factor) for name in sorted(axes)]
        yield from (convention for convention in [*frames, Convention(True, usual.axes, factor)] if convention != usual)


def average_error(pairs: Pairs, convention: Convention, usual: Convention) -> float:
    """Return the median error over pairs; inf where fewer than half of them share enough."""
    errors = np.array([measure_error(a, b, convention, usual) for a, b in pairs])
    known = errors[~np.isnan(errors)]
    return float(np.median(known)) if 2 * len(known) >= len(errors) and len(known) else float("inf")


def describe_pairs(
    pairs: Pairs, scale: float, usual: Convention, with_scales: bool, with_axes: bool, frame: str = ""
) -> Finding | None:
    """Tell when depth at the given poses differs between images, and the convention by which it does not.

    scale: depth units in a metre by which depth was read; frame: the name of the camera's frame, if there is one.
    """
    error = average_error(pairs, usual, usual)
    if error < EXACT:
        return None
    told = "images share nothing at the given poses"
    if error < np.inf:
        told = f"depth differs by {error:.1%} between images at the given poses"
    errors = {r: average_error(pairs, r, usual) for r in list_conventions(scale, usual, with_scales, with_axes)}
    best = min(errors, key=lambda convention: errors[convention])
    settings = _list_settings(pairs, best, usual, scale)
    if errors[best] < min(AGREE, MUCH_BETTER * error) and settings and _is_sharp(pairs, best, usual):
        told += f" of '{frame}'" if frame else ""
        text = f"{told}; with {' '.join(settings)} it agrees to {errors[best]:.1%}"
        return Finding(
            "depth and poses", f"{text}: set that, or input.implausible=warn to go on as it is.", is_sure=True
        )
    if not DIFFER < error < np.inf:
        return None
    return Finding("depth and poses", f"{told}: do they belong together? Check their units, axes and topics.")


def _is_sharp(pairs: Pairs, best: Convention, usual: Convention) -> bool:
    """Whether lengths a little larger and a little smaller fit less, so that the factor is more than a small motion."""
    if best.factor == 1.0 or best.factor in POSE_SCALES:  # how far the poses go tells those apart
        return True
    near = [average_error(pairs, replace(best, factor=best.factor * step), usual) for step in (STEP, 1 / STEP)]
    return min(near) > SHARPNESS * average_error(pairs, best, usual)


def _list_settings(pairs: Pairs, best: Convention, usual: Convention, scale: float) -> list[str]:
    """List the settings of a convention; none where the lengths that it takes cannot be."""
    settings = [f"input.camera_axes={best.axes}"] if best.axes != usual.axes else []
    settings += ["input.poses=camera_from_world"] if best.inverse else []
    if best.factor == 1.0:
        return settings
    median = float(np.median(np.concatenate([a.z for a, _ in pairs])))
    if best.factor not in POSE_SCALES or INDOORS[0] <= median * best.factor <= INDOORS[1]:
        return [*settings, f"input.depth_scale={scale / best.factor:g}"]
    steps = [float(np.linalg.norm(a.pose[:3, 3] - b.pose[:3, 3]) / np.median(a.z)) for a, b in pairs]
    return [*settings, f"input.pose_scale={best.factor:g}"] if np.median(steps) > FAR_STEP else []
