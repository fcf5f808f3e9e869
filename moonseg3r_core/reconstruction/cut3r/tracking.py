"""The camera's pose from features matched with earlier views, at the depths that the net gives them (PnP with RANSAC).

A net as small as nano knows depth better than motion; DUSt3R (Wang et al., 2024; section 3.3) finds poses of calibrated
cameras the same way. Image features, robust pose and its refinement are OpenCV's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.state import take
from moonseg3r_core.types import PixelGrid

_SIDE = 480  # pixels of the picture's long side in which features are looked for
_FEATURES, _CONTRAST = 800, 0.01  # rooms have plain walls: weak features are taken too
_RATIO = 0.85  # Lowe's: a match is as much better than the second best
_NEARNESS = 0.015  # of the long side: a point that agrees with the pose is seen so near to its place; depth errs
_AGREE, _SHARE = 8, 0.15  # points, and their share of all matched, that make a pose
_RECENT, _NEAR = 2, 4  # views that a frame is matched with: the last ones, and others that looked the same way
_TURN, _MOVE = 5.0, 0.06  # degrees, share of the median depth: so far from the last view a new one is kept
_VIEWS = 400  # kept at most
_ODD = 2.0  # the most by which a frame's depth may be off the map's


@dataclass(frozen=True)
class View:
    """Features of a picture: descriptors (n, 128) uint8, points (n, 3) in the world, seen (n,) times; its pose (4, 4)."""

    pose: np.ndarray
    descriptors: np.ndarray
    points: np.ndarray
    seen: np.ndarray


@dataclass(frozen=True)
class Tracked:
    """Where the camera is (4, 4) float64, how long the net's unit is there, and whether it was `found`: else it is
    taken to have gone on as before.
    """

    pose: Tensor
    scale: float
    found: bool


class Tracker:
    """Frames one after the other -> their poses in the first one's axes."""

    def __init__(self) -> None:
        self._detector = cv2.SIFT.create(nfeatures=_FEATURES, contrastThreshold=_CONTRAST)
        self._matcher = cv2.BFMatcher(cv2.NORM_L2)
        self.reset()

    def reset(self) -> None:
        self._views: list[View] = []
        self._last: View | None = None
        self._step = np.eye(4)

    def __call__(self, image: Tensor, depth: Tensor, intrinsics: Tensor, grid: PixelGrid) -> Tracked:
        """Image (H, W, 3) uint8; depth (h, w) on the grid, 0 = unknown; the grid's intrinsics (3, 3)."""
        k = intrinsics.cpu().numpy().astype(np.float64)
        pixels, descriptors = self._features(image.cpu().numpy(), grid)
        points = lifted(pixels, depth.cpu().numpy(), k)
        known = points[:, 2] > 0
        pixels, descriptors, points = pixels[known], descriptors[known], points[known]
        if self._last is None:
            first = View(np.eye(4), descriptors, points, np.ones(len(points)))
            return self._follow(first, keep=True)
        own, world, seen = self._matches(descriptors)
        found = solve(world, pixels[own], k, _NEARNESS * max(depth.shape))
        agree = found[1] if found else np.zeros(0, int)
        scale = depth_ratio(found[0], world[agree], points[own[agree]]) if found else None
        if found is None or scale is None:
            pose = self._last.pose @ self._step
            return self._follow(View(pose, descriptors, moved(points, pose), np.ones(len(points))), found=False)
        pose, rows = found[0], own[agree]
        placed, times = moved(points * scale, pose), np.ones(len(points))
        times[rows] = seen[agree] + 1  # what is there already counts as often as it was seen
        placed[rows] += (world[agree] - placed[rows]) * (seen[agree] / times[rows])[:, None]
        far = self._far(pose, float(np.median(points[:, 2])) * scale)
        return self._follow(View(pose, descriptors, placed, times), scale, keep=far)

    def _follow(self, view: View, scale: float = 1.0, *, found: bool = True, keep: bool = False) -> Tracked:
        """The next frame holds on to this view too, and goes on as the camera moved, should nothing be recognised."""
        if found:
            self._step = np.linalg.inv(self._last.pose) @ view.pose if self._last else np.eye(4)
        self._last = view
        if keep:
            self._views = [*self._views, view][-_VIEWS:]
        return Tracked(torch.from_numpy(view.pose), scale, found)

    def _features(self, image: np.ndarray, grid: PixelGrid) -> tuple[np.ndarray, np.ndarray]:
        """Places (n, 2) on the grid, in its pixels, and descriptors (n, 128)."""
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        shrink = min(1.0, _SIDE / max(gray.shape))
        small = cv2.resize(gray, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else gray
        keypoints, descriptors = self._detector.detectAndCompute(small, None)
        if descriptors is None:
            return np.zeros((0, 2)), np.zeros((0, 128), np.uint8)
        pixels = (np.array([k.pt for k in keypoints], np.float64) + 0.5) / shrink - 0.5
        places = (pixels - (grid.offset_u, grid.offset_v)) / (grid.scale_u, grid.scale_v)
        inside = ((places > -0.5) & (places < np.array([grid.width, grid.height]) - 0.5)).all(-1)
        return places[inside], descriptors[inside].astype(np.uint8)

    def _matches(self, descriptors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of the frame's features, points (n, 3) of views that they are alike to, and how often those were seen."""
        rows, points, seen = [np.zeros(0, int)], [np.zeros((0, 3))], [np.zeros(0)]
        for view in self._alike() if len(descriptors) else ():
            pairs = self._matcher.knnMatch(descriptors.astype(np.float32), view.descriptors.astype(np.float32), k=2)
            good = [p[0] for p in pairs if len(p) == 2 and p[0].distance < _RATIO * p[1].distance]
            there = np.array([m.trainIdx for m in good], int)
            rows.append(np.array([m.queryIdx for m in good], int))
            points.append(view.points[there])
            seen.append(view.seen[there])
        return np.concatenate(rows), np.concatenate(points), np.concatenate(seen)

    def _alike(self) -> Sequence[View]:
        """The last views, and those before them that looked most nearly as the last one did."""
        assert self._last is not None, "asked once a frame was followed"
        recent, older, last = self._views[-_RECENT:], self._views[:-_RECENT], self._last.pose
        apart = [
            np.linalg.norm(v.pose[:3, 3] - last[:3, 3]) + 2 * np.linalg.norm(v.pose[:3, 2] - last[:3, 2]) for v in older
        ]
        return [self._last, *recent, *(older[i] for i in np.argsort(apart)[:_NEAR])]

    def _far(self, pose: np.ndarray, depth: float) -> bool:
        """Whether a camera has left the last view that is kept."""
        last = self._views[-1].pose
        turn = np.degrees(np.arccos(np.clip((np.trace(pose[:3, :3].T @ last[:3, :3]) - 1) / 2, -1, 1)))
        return bool(turn > _TURN or np.linalg.norm(pose[:3, 3] - last[:3, 3]) > _MOVE * depth)

    def state_dict(self) -> dict[str, Tensor]:
        """The views, the last one at the end, their features one after the other."""
        views = [*self._views, self._last] if self._last else []
        return {
            "poses": _rows([view.pose for view in views], (4, 4)),
            "counts": torch.tensor([len(view.points) for view in views], dtype=torch.int64),
            "descriptors": torch.from_numpy(
                np.concatenate([np.zeros((0, 128), np.uint8), *(v.descriptors for v in views)])
            ),
            "points": torch.from_numpy(np.concatenate([np.zeros((0, 3)), *(v.points for v in views)])),
            "seen": torch.from_numpy(np.concatenate([np.zeros(0), *(v.seen for v in views)])),
            "step": torch.from_numpy(self._step.copy()),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` gave."""
        poses = take(state, "poses", ("views", 4, 4), torch.float64).numpy()
        counts = take(state, "counts", (len(poses),)).tolist()
        ends = np.cumsum([0, *counts])
        descriptors = take(state, "descriptors", (int(ends[-1]), 128), torch.uint8).numpy()
        points = take(state, "points", (int(ends[-1]), 3), torch.float64).numpy()
        seen = take(state, "seen", (int(ends[-1]),), torch.float64).numpy()
        step = take(state, "step", (4, 4), torch.float64).numpy()
        parts = [slice(a, b) for a, b in pairwise(ends)]
        views = [View(pose, descriptors[p], points[p], seen[p]) for pose, p in zip(poses, parts, strict=True)]
        self._views, self._last, self._step = views[:-1], views[-1] if views else None, step


def _rows(arrays: Sequence[np.ndarray], shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.stack(arrays)) if arrays else torch.zeros(0, *shape, dtype=torch.float64)


def moved(points: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Points (n, 3) in the camera's axes as points of the world."""
    return points @ pose[:3, :3].T + pose[:3, 3]


def lifted(pixels: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Points (n, 3) in the camera's axes of places (n, 2) in pixels of depth (h, w), pixel i's center at i."""
    columns, rows = np.rint(pixels).astype(int).reshape(-1, 2).T
    z = depth[rows.clip(0, depth.shape[0] - 1), columns.clip(0, depth.shape[1] - 1)].astype(np.float64)
    x = (pixels[:, 0] - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (pixels[:, 1] - intrinsics[1, 2]) / intrinsics[1, 1]
    return np.stack((x * z, y * z, z), axis=-1)


def solve(
    points: np.ndarray, pixels: np.ndarray, intrinsics: np.ndarray, near: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """The pose world_from_camera (4, 4) at which world points (n, 3) are seen at pixels (n, 2), and the rows that agree.

    None where too few do.
    """
    if len(points) < _AGREE:
        return None
    k = intrinsics
    done, turn, move, rows = cv2.solvePnPRansac(
        points, pixels, k, None, iterationsCount=200, reprojectionError=near, confidence=0.999, flags=cv2.SOLVEPNP_EPNP
    )
    if not done or rows is None or len(rows) < max(_AGREE, _SHARE * len(points)):
        return None
    rows = rows[:, 0]
    turn, move = cv2.solvePnPRefineLM(points[rows], pixels[rows], k, None, turn, move)
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3], camera_from_world[:3, 3] = cv2.Rodrigues(turn)[0], move[:, 0]
    return np.linalg.inv(camera_from_world), rows


def depth_ratio(pose: np.ndarray, points: np.ndarray, own: np.ndarray) -> float | None:
    """The median of the depths of world points (n, 3) over those of the frame's own (n, 3); None where it is odd."""
    depth = (points - pose[:3, 3]) @ pose[:3, 2]
    usable = (own[:, 2] > 0) & (depth > 0)
    ratio = float(np.median(depth[usable] / own[usable, 2])) if usable.any() else 0.0
    return ratio if 1 / _ODD < ratio < _ODD else None
