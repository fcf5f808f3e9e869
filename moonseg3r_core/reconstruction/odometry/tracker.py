"""Visual odometry over any net that predicts depth: camera poses from landmarks, and depth made consistent with them.

DUSt3R (Wang et al., 2024; section 3.3) finds poses of calibrated cameras the same way, by PnP at the points of its net.
Here the points are landmarks of the local map, which bundle adjustment refines over many keyframes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.geometry import compute_rotation_angle
from moonseg3r_core.reconstruction.key_views import KeyViews
from moonseg3r_core.reconstruction.odometry.depth_correction import estimate_depth_ratios
from moonseg3r_core.reconstruction.odometry.features import Detector, Features, match_descriptors
from moonseg3r_core.reconstruction.odometry.local_map import NO_LANDMARK, Keyframe, LocalMap
from moonseg3r_core.runtime.state import load_parts, prefix_states, read_tensor
from moonseg3r_core.types import PixelGrid

REPROJECTION_PX = 6.0  # an inlier of a pose is seen this near to its projection
SEARCH_PX = 40.0  # and is matched this near to its expected projection
MIN_INLIERS, MIN_INLIER_RATIO = 12, 0.15  # matches, and their share of all, that make a pose
RECENT_KEYFRAMES, NEAR_KEYFRAMES = 3, 4  # a frame is matched with the last ones, and with others of a similar pose
KEYFRAME_DEG, KEYFRAME_SHIFT = 5.0, 0.06  # degrees, share of the median depth: from there on a keyframe is added
MAX_LOST_FRAMES = 3  # in a row, before a map of one keyframe is replaced
MAX_MEDIAN_LOG_RATIO = np.log(2.5)  # of map over net depth; beyond it the frame's depth is wrong
MAX_LOG_RATIO = 1.5  # of a landmark; beyond it the match is wrong


@dataclass(frozen=True)
class VisibleLandmarks:
    """The landmarks that a frame sees, all float32.

    pixels (n, 2) as u, v on the grid; depths (n,) in the map's unit; sigmas (n,) of the logs of the depths.
    """

    pixels: Tensor
    depths: Tensor
    sigmas: Tensor

    @classmethod
    def empty(cls) -> VisibleLandmarks:
        """Make the landmarks of a frame that sees none."""
        return cls(torch.zeros(0, 2), torch.zeros(0), torch.zeros(0))


@dataclass(frozen=True)
class TrackedFrame:
    """The result of a frame.

    pose: world_from_camera (4, 4) float64; ratios: corrected over net depth (h, w) float32; found: False for a frame
    that takes the last pose; anchor: the serial number of the keyframe that the frame hangs on, 0 where there is none:
    its own, else the one that it shares the most landmarks with.
    """

    pose: Tensor
    ratios: Tensor
    found: bool
    anchor: int = 0
    landmarks: VisibleLandmarks = field(default_factory=VisibleLandmarks.empty)


class Tracker:
    """Tracks a camera through its frames, one after the other."""

    def __init__(self) -> None:
        self._detector, self._map = Detector(), LocalMap()
        self.reset()

    def reset(self) -> None:
        """Forget the map and the pose."""
        self._map.reset()
        self._camera, self._motion, self._lost, self._anchor = np.eye(4), np.eye(4), 0, 0

    def __call__(self, image: np.ndarray, depth: Tensor, intrinsics: Tensor, grid: PixelGrid) -> TrackedFrame:
        """Track a frame: image (H, W, 3) uint8; the grid's depth (h, w), 0 = unknown, and intrinsics (3, 3)."""
        net_depth, k = depth.cpu().numpy(), intrinsics.cpu().numpy().astype(np.float64)
        features = self._detector(image, net_depth, k, grid)
        if len(self._map.keyframes) == 1 and self._lost >= MAX_LOST_FRAMES:
            self._map.clear()  # a first keyframe that matches nothing was a lens cap or a stray frame
        keyframe = self._localize(features) if self._map.keyframes else self._start_map(features)
        if keyframe is None:
            self._lost += 1
            return TrackedFrame(self._pose, torch.ones(net_depth.shape), found=False, anchor=self._anchor)
        if self._is_keyframe_due(keyframe):
            keyframe = self._map.add_keyframe(keyframe)
        self._motion = np.eye(4) if self._lost else keyframe.camera @ np.linalg.inv(self._camera)
        self._camera, self._lost = keyframe.camera, 0
        self._anchor = keyframe.serial or self._map.find_reference(keyframe)
        ratios = torch.from_numpy(self._estimate_ratios(keyframe, net_depth, k))
        return TrackedFrame(self._pose, ratios, True, self._anchor, self._list_visible(keyframe, k))

    def get_anchor_pose(self, anchor: int) -> Tensor | None:
        """Return world_from_camera (4, 4) float64 of a keyframe by its serial number; None where it was removed."""
        keyframe = self._map.find_keyframe(anchor)
        return None if keyframe is None else torch.from_numpy(keyframe.pose)

    def list_key_views(self) -> KeyViews:
        """List all keyframes as they lie now."""
        return self._map.list_key_views()

    @property
    def _pose(self) -> Tensor:
        return torch.from_numpy(np.linalg.inv(self._camera))

    def _start_map(self, features: Features) -> Keyframe | None:
        """Make the first keyframe; None with too few features."""
        landmarks = np.full(len(features.rays), NO_LANDMARK)
        return Keyframe(np.eye(4), features, landmarks) if len(landmarks) >= MIN_INLIERS else None

    def _localize(self, features: Features) -> Keyframe | None:
        """Localize a frame near the pose of constant motion, else anywhere; None with too few inliers."""
        near = None if self._lost else self._localize_near(features, self._motion @ self._camera)
        return near or self._localize_near(features, None)

    def _localize_near(self, features: Features, predicted: np.ndarray | None) -> Keyframe | None:
        """Localize a frame by matches near a predicted camera, camera_from_world (4, 4), or by all with None."""
        rows, landmarks = self._match_landmarks(features, predicted)
        found = pnp_ransac(self._map.points[landmarks], features.rays[rows], REPROJECTION_PX / features.focal)
        if found is None:
            return None
        camera, inliers = found
        rows, landmarks = rows[inliers], landmarks[inliers]
        log_ratios = self._compute_log_ratios(camera, landmarks, features.depths[rows])
        plausible = np.abs(log_ratios) < MAX_LOG_RATIO
        if plausible.sum() < MIN_INLIERS or abs(np.median(log_ratios[plausible])) > MAX_MEDIAN_LOG_RATIO:
            return None
        assigned = self._assign_landmarks(rows[plausible], landmarks[plausible], len(features.rays))
        return Keyframe(camera, features, *assigned)

    def _compute_log_ratios(self, camera: np.ndarray, landmarks: np.ndarray, depths: np.ndarray) -> np.ndarray:
        """Compute the log of map over net depth of landmarks (n,) in a camera."""
        return np.log(self._map.compute_depths(camera, landmarks).clip(1e-9) / depths)

    def _match_landmarks(self, features: Features, predicted: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Match features with landmarks of selected keyframes: rows (m,) of both, no pair twice."""
        pairs = [np.zeros((0, 2), int)]
        for keyframe in self._select_keyframes():
            mask = None if predicted is None else self._find_near_projections(features, keyframe, predicted)
            rows, theirs = match_descriptors(features.descriptors, keyframe.features.descriptors, mask)
            matched = np.column_stack((rows, keyframe.landmarks[theirs]))
            pairs.append(matched[keyframe.observed[theirs]])
        return tuple(np.unique(np.concatenate(pairs), axis=0).T)

    def _find_near_projections(self, features: Features, keyframe: Keyframe, predicted: np.ndarray) -> np.ndarray:
        """Find features (n,) within the search radius of a keyframe's projected landmarks (m,): (n, m) bool."""
        points = self._map.points[keyframe.landmarks] @ predicted[:3, :3].T + predicted[:3, 3]
        rays = np.where(points[:, 2:] > 0, points[:, :2] / np.maximum(points[:, 2:], 1e-9), np.inf).astype(np.float32)
        right, down = (features.rays[:, None, axis].astype(np.float32) - rays[None, :, axis] for axis in (0, 1))
        return (right * right + down * down < (SEARCH_PX / features.focal) ** 2) & keyframe.observed

    def _assign_landmarks(self, rows: np.ndarray, landmarks: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Assign to each feature (count,) its most certain landmark. Returns them with the duplicates (k, 2).

        A feature matched with two landmarks shows that they are one. The less certain one comes first in a pair.
        """
        assigned, taken, duplicates = np.full(count, NO_LANDMARK), set(), []
        order = np.argsort(self._map.sigmas[landmarks], kind="stable")
        pairs = list(zip(rows[order].tolist(), landmarks[order].tolist(), strict=True))
        for row, landmark in pairs:
            if assigned[row] == NO_LANDMARK and landmark not in taken:
                assigned[row] = landmark
                taken.add(landmark)
        for row, landmark in pairs:
            if landmark not in taken:
                duplicates.append((landmark, assigned[row]))
                taken.add(landmark)
        return assigned, np.array(duplicates, int).reshape(-1, 2)

    def _select_keyframes(self) -> Sequence[Keyframe]:
        """Select the last keyframes, and older ones of the most similar pose; of a lost camera, older ones in turn."""
        keyframes = self._map.keyframes
        recent, older = keyframes[-RECENT_KEYFRAMES:], keyframes[:-RECENT_KEYFRAMES]
        if self._lost:
            turns = range(min(NEAR_KEYFRAMES, len(older)))
            return [*recent, *(older[(self._lost * NEAR_KEYFRAMES + i) % len(older)] for i in turns)]
        last = np.linalg.inv(self._camera)
        offsets = [keyframe.pose - last for keyframe in older]
        distances = [np.linalg.norm(d[:3, 3]) + 2 * np.linalg.norm(d[:3, 2]) for d in offsets]
        return [*recent, *(older[i] for i in np.argsort(distances)[:NEAR_KEYFRAMES])]

    def _is_keyframe_due(self, keyframe: Keyframe) -> bool:
        """Whether the camera has moved far enough from the last keyframe."""
        if not self._map.keyframes:
            return True
        now, last = (torch.from_numpy(k.pose) for k in (keyframe, self._map.keyframes[-1]))
        shift, depth = float((now[:3, 3] - last[:3, 3]).norm()), float(np.median(keyframe.features.depths))
        return compute_rotation_angle(now, last) > KEYFRAME_DEG or shift > KEYFRAME_SHIFT * depth

    def _estimate_ratios(self, keyframe: Keyframe, net_depth: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Estimate corrected over net depth (h, w) from the landmarks of a frame; ones where it has none."""
        rows = np.flatnonzero(keyframe.observed)
        landmarks, depths = keyframe.landmarks[rows], keyframe.features.depths[rows]
        log_ratios = self._compute_log_ratios(keyframe.camera, landmarks, depths)
        usable = np.abs(log_ratios) < MAX_LOG_RATIO
        if not usable.any():
            return np.ones(net_depth.shape, np.float32)
        pixels = keyframe.features.rays[rows] * (k[0, 0], k[1, 1]) + k[:2, 2]
        sigmas = self._map.sigmas[landmarks[usable]]
        return estimate_depth_ratios(pixels[usable], depths[usable], log_ratios[usable], sigmas, net_depth)

    def _list_visible(self, keyframe: Keyframe, k: np.ndarray) -> VisibleLandmarks:
        """List the landmarks that a frame sees; k: the grid's intrinsics (3, 3)."""
        pixels = keyframe.features.rays[keyframe.observed] * (k[0, 0], k[1, 1]) + k[:2, 2]
        landmarks = keyframe.landmarks[keyframe.observed]
        parts = pixels, self._map.compute_depths(keyframe.camera, landmarks), self._map.sigmas[landmarks]
        return VisibleLandmarks(*(torch.from_numpy(part).float() for part in parts))

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of the map, the last pose and the last motion."""
        last = {
            "camera": torch.from_numpy(self._camera.copy()),
            "step": torch.from_numpy(self._motion.copy()),
            "lost": torch.tensor([self._lost]),
            "anchor": torch.tensor([self._anchor]),
        }
        return prefix_states(map=self._map.state_dict()) | last

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned. Raises InputError for an incomplete state."""
        camera = read_tensor(state, "camera", (4, 4), torch.float64).numpy()
        motion = read_tensor(state, "step", (4, 4), torch.float64).numpy()
        lost = int(read_tensor(state, "lost", (1,)))
        anchor = int(read_tensor(state, "anchor", (1,))) if "anchor" in state else 0
        load_parts(state, map=self._map)
        self._camera, self._motion, self._lost, self._anchor = camera, motion, lost, anchor


def pnp_ransac(points: np.ndarray, rays: np.ndarray, max_error: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Estimate camera_from_world (4, 4) from world points (n, 3) and rays (n, 2). Returns it with the inliers' rows.

    EPnP (Lepetit et al., 2009) in RANSAC, then Levenberg-Marquardt on the inliers: rays within `max_error` of their
    projection. None with too few inliers.
    """
    if len(points) < MIN_INLIERS:
        return None
    eye, method = np.eye(3), cv2.SOLVEPNP_EPNP
    success, rotation, translation, rows = cv2.solvePnPRansac(
        points, rays, eye, None, iterationsCount=200, reprojectionError=max_error, confidence=0.999, flags=method
    )
    if not success or rows is None or len(rows) < max(MIN_INLIERS, MIN_INLIER_RATIO * len(points)):
        return None
    rows = rows[:, 0]
    rotation, translation = cv2.solvePnPRefineLM(points[rows], rays[rows], eye, None, rotation, translation)
    camera = np.eye(4)
    camera[:3, :3], camera[:3, 3] = cv2.Rodrigues(rotation)[0], translation[:, 0]
    return camera, rows
