"""Visual odometry over any net that predicts depth: camera poses from landmarks, and depth made consistent with them.

DUSt3R (Wang et al., 2024; section 3.3) finds poses of calibrated cameras the same way, by PnP at the points of its net.
Here the points are landmarks of the local map, which bundle adjustment refines over many keyframes, and where these are
few, the features of the last frame at its corrected depth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.geometry import compute_rotation_angle
from moonseg3r_core.reconstruction.key_views import KeyViews
from moonseg3r_core.reconstruction.odometry.absolute_pose import (
    MIN_INLIERS,
    Sightings,
    compute_depths,
    find_pose,
    refine_pose,
)
from moonseg3r_core.reconstruction.odometry.candidates import NO_LANDMARK, Candidates
from moonseg3r_core.reconstruction.odometry.depth_correction import estimate_depth_ratios
from moonseg3r_core.reconstruction.odometry.features import Features, make_detector, sample_depth
from moonseg3r_core.reconstruction.odometry.local_map import Keyframe, LocalMap
from moonseg3r_core.reconstruction.odometry.loop_closure import LoopCloser, NoLoops
from moonseg3r_core.reconstruction.odometry.matching import find_near, match_descriptors, match_near
from moonseg3r_core.runtime.state import load_parts, prefix_states, read_tensor, sub_state
from moonseg3r_core.types import PixelGrid

SEARCH_PX, GUIDED_PX = 60.0, 10.0  # from a predicted and from a found pose: where a landmark is looked for
SURE_INLIERS = 40  # of a pose that needs no other attempt
ALIKE_KEYFRAMES = 4  # keyframes that a lost camera is matched with
MIN_FOLLOWED, MIN_RECOGNIZED = 20, 45  # inliers in the map, of a frame like the last one and of a lost one
LOCAL_KEYFRAMES = 5  # whose landmarks a frame is matched with
KEYFRAME_DEG, KEYFRAME_SHIFT = 6.0, 0.06  # degrees, share of the median depth: from there on a keyframe is added,
KEYFRAME_SHARE = 0.4  # and where a smaller share of the features is known
MAX_LOST_FRAMES = 3  # in a row, before a map of one keyframe is replaced
MAX_LOG_RATIO = 1.0  # of a landmark's depth over the net's, from the frame's median; beyond it the match is wrong


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


@dataclass(frozen=True)
class Match:
    """A frame matched with points of the world: camera_from_world (4, 4); of the inliers (n,) the rows of the features, the
    landmarks, and how they are seen.
    """

    camera: np.ndarray
    rows: np.ndarray
    landmarks: np.ndarray
    seen: Sightings

    @property
    def count(self) -> int:
        return len(self.rows)

    def without(self, rows: np.ndarray) -> Match:
        """Return the match without some features."""
        kept = ~np.isin(self.rows, rows)
        return Match(self.camera, self.rows[kept], self.landmarks[kept], self.seen.select(kept))


def match_camera(features: Features, known: Candidates, near: np.ndarray | None = None) -> Match | None:
    """Match a frame with known points (k,), among the pairs that are `near` (n, k) bool; None with too few inliers."""
    rows, columns = match_descriptors(features.descriptors, known.descriptors, near)
    seen = known.see(columns, features.rays[rows])
    camera = find_pose(seen, features.focal)
    if camera is None:
        return None
    camera, inliers = refine_pose(camera, seen, features.focal)
    if inliers.sum() < MIN_INLIERS:
        return None
    return Match(camera, rows[inliers], known.landmarks[columns[inliers]], seen.select(inliers))


def count_inliers(match: Match | None) -> int:
    """Count the inliers of a match, 0 for none."""
    return 0 if match is None else match.count


def find_plausible(log_ratios: np.ndarray, inliers: np.ndarray) -> np.ndarray:
    """Find the ratios (n,) of map over net depth, bool, that are near the median of the inliers (n,) bool."""
    if not inliers.any():
        return inliers
    return np.abs(log_ratios - np.median(log_ratios[inliers])) < MAX_LOG_RATIO


class Tracker:
    """Tracks a camera through its frames, one after the other."""

    def __init__(self, loops: bool = True) -> None:
        self._map = LocalMap()
        self._close_loop: Callable[[LocalMap], bool] = LoopCloser(match_camera) if loops else NoLoops()
        self.reset()

    def reset(self) -> None:
        """Forget the map and the pose."""
        self._detector = make_detector()
        self._map.reset()
        self._camera, self._motion, self._lost, self._anchor = np.eye(4), np.eye(4), 0, 0
        self._last = Candidates.empty()  # what the last frame shows
        self._shown: Keyframe | None = None  # the last frame at its corrected depth, where it was found

    def __call__(self, image: np.ndarray, depth: Tensor, intrinsics: Tensor, grid: PixelGrid) -> TrackedFrame:
        """Track a frame: image (H, W, 3) uint8; the grid's depth (h, w), 0 = unknown, and intrinsics (3, 3)."""
        net_depth, k = depth.cpu().numpy(), intrinsics.cpu().numpy().astype(np.float64)
        features = self._detector(image, net_depth, k, grid)
        if len(self._map.keyframes) == 1 and self._lost >= MAX_LOST_FRAMES:
            self._map.clear()  # a first keyframe that matches nothing was a lens cap or a stray frame
        keyframe = self._localize(features) if self._map.keyframes else self._start_map(features)
        if keyframe is None:
            self._lost, self._shown = self._lost + 1, None
            return TrackedFrame(self._pose, torch.ones(net_depth.shape), found=False, anchor=self._anchor)
        moved = keyframe.camera @ np.linalg.inv(self._camera)
        if self._is_keyframe_due(keyframe):
            corrected = self._correct_depths(
                features, self._estimate_ratios(keyframe, features.depths, net_depth, k), k
            )
            keyframe = self._map.add_keyframe(self._scale_depths(keyframe), corrected.depths)
            moved = keyframe.camera @ np.linalg.inv(self._camera)
            if self._close_loop(self._map):
                keyframe = self._map.keyframes[-1]
        ratios = self._estimate_ratios(keyframe, features.depths, net_depth, k)
        self._motion = np.eye(4) if self._lost else moved  # what a loop moved is no motion
        self._camera, self._lost = keyframe.camera, 0
        self._anchor = keyframe.serial or self._map.find_reference(keyframe)
        self._show(replace(keyframe, features=self._correct_depths(features, ratios, k)))
        return TrackedFrame(self._pose, torch.from_numpy(ratios), True, self._anchor, self._list_visible(keyframe, k))

    def take_depth(self, depth: Tensor, intrinsics: Tensor) -> None:
        """Take better depth (h, w) of the last frame, 0 = unknown, with the grid's intrinsics (3, 3): the next frame is
        matched at it, and new landmarks that no other keyframe tells of are placed at it.
        """
        if self._shown is None:
            return
        features, k = self._shown.features, intrinsics.cpu().numpy().astype(np.float64)
        sampled = sample_depth(features.compute_pixels(k), depth.cpu().numpy())
        depths = np.where(sampled > 0, sampled, features.depths)
        shown = replace(self._shown, features=replace(features, depths=depths))
        if shown.serial:
            self._map.place_unshared(shown)
        self._show(shown)

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

    def _show(self, view: Keyframe) -> None:
        """Keep a frame for the next one to be matched with."""
        self._shown, self._last = view, self._map.collect_view(view)

    def _start_map(self, features: Features) -> Keyframe | None:
        """Make the first keyframe; None with too few features."""
        landmarks = np.full(len(features.rays), NO_LANDMARK)
        return Keyframe(np.eye(4), features, landmarks) if len(landmarks) >= MIN_INLIERS else None

    def _localize(self, features: Features) -> Keyframe | None:
        """Localize a frame by the last one, else by keyframes that look alike; None with too few inliers."""
        followed = None if self._lost else self._match_map(features, self._follow(features), MIN_FOLLOWED)
        return followed or self._match_map(features, self._recognize(features), MIN_RECOGNIZED)

    def _follow(self, features: Features) -> Match | None:
        """Match a frame with the last one: near the pose of constant motion, else anywhere."""
        near = find_near(features.rays, self._last.project(self._motion @ self._camera), SEARCH_PX / features.focal)
        found = match_camera(features, self._last, near)
        if found is not None and found.count >= SURE_INLIERS:
            return found
        return max(found, match_camera(features, self._last), key=count_inliers)

    def _recognize(self, features: Features) -> Match | None:
        """Match a frame with the last keyframe, and with those that look most alike."""
        chosen = [self._map.keyframes[-1], *self._map.find_alike(features, ALIKE_KEYFRAMES)]
        found = max((match_camera(features, self._map.collect([k])) for k in chosen), key=count_inliers)
        return found

    def _match_map(self, features: Features, rough: Match | None, least: int) -> Keyframe | None:
        """Match a frame with the landmarks of the keyframes around, and refine its pose; None under `least` inliers.

        A wrong pose that fits some matches fits hardly any of those that are looked for where it expects them.
        """
        if rough is None:
            return None
        local = self._map.collect(self._map.find_local(rough.landmarks, LOCAL_KEYFRAMES))
        near = match_near(features, local, local.project(rough.camera), GUIDED_PX / features.focal)
        rough = rough.without(near[0])
        rows, landmarks = (
            np.concatenate(pair) for pair in ((near[0], rough.rows), (local.landmarks[near[1]], rough.landmarks))
        )
        seen = local.see(near[1], features.rays[near[0]]).join(rough.seen)
        camera, inliers = refine_pose(rough.camera, seen, features.focal)
        inliers &= find_plausible(
            np.log(compute_depths(camera, seen.points).clip(1e-9) / features.depths[rows]), inliers
        )
        if inliers.sum() < least:
            return None
        known = inliers & (landmarks != NO_LANDMARK)
        pairs = np.unique(np.column_stack((rows, landmarks))[known], axis=0)
        return Keyframe(camera, features, *self._assign_landmarks(pairs[:, 0], pairs[:, 1], len(features.rays)))

    def _compute_log_ratios(self, camera: np.ndarray, landmarks: np.ndarray, depths: np.ndarray) -> np.ndarray:
        """Compute the log of map over net depth of landmarks (n,) in a camera."""
        return np.log(self._map.compute_depths(camera, landmarks).clip(1e-9) / depths)

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

    def _is_keyframe_due(self, keyframe: Keyframe) -> bool:
        """Whether the camera has moved far enough from the last keyframe, or sees little that is known."""
        if not self._map.keyframes:
            return True
        now, last = (torch.from_numpy(k.pose) for k in (keyframe, self._map.keyframes[-1]))
        shift, depth = float((now[:3, 3] - last[:3, 3]).norm()), float(np.median(keyframe.features.depths))
        far = compute_rotation_angle(now, last) > KEYFRAME_DEG or shift > KEYFRAME_SHIFT * depth
        return far or keyframe.observed.mean() < KEYFRAME_SHARE

    def _scale_depths(self, keyframe: Keyframe) -> Keyframe:
        """Scale the net's depth to the map's unit, which would follow the net's from frame to frame else."""
        landmarks, depths = keyframe.landmarks[keyframe.observed], keyframe.features.depths
        if len(landmarks) < MIN_INLIERS:
            return keyframe
        log_ratios = self._compute_log_ratios(keyframe.camera, landmarks, depths[keyframe.observed])
        scaled = replace(keyframe.features, depths=depths * np.exp(np.median(log_ratios)))
        return replace(keyframe, features=scaled)

    def _correct_depths(self, features: Features, ratios: np.ndarray, k: np.ndarray) -> Features:
        """Correct the depths of features by the ratios (h, w) of a frame, so that new landmarks have the map's scale."""
        return replace(features, depths=features.depths * sample_depth(features.compute_pixels(k), ratios))

    def _estimate_ratios(
        self, keyframe: Keyframe, depths: np.ndarray, net_depth: np.ndarray, k: np.ndarray
    ) -> np.ndarray:
        """Estimate corrected over net depth (h, w) from the landmarks of a frame; ones where it has none.

        depths (n,) of the net at all features.
        """
        rows = np.flatnonzero(keyframe.observed)
        landmarks, depths = keyframe.landmarks[rows], depths[rows]
        log_ratios = self._compute_log_ratios(keyframe.camera, landmarks, depths)
        usable = find_plausible(log_ratios, np.ones(len(rows), bool))
        if not usable.any():
            return np.ones(net_depth.shape, np.float32)
        pixels = keyframe.features.compute_pixels(k)[rows]
        sigmas = self._map.sigmas[landmarks[usable]]
        return estimate_depth_ratios(pixels[usable], depths[usable], log_ratios[usable], sigmas, net_depth)

    def _list_visible(self, keyframe: Keyframe, k: np.ndarray) -> VisibleLandmarks:
        """List the landmarks that a frame sees; k: the grid's intrinsics (3, 3)."""
        pixels = keyframe.features.compute_pixels(k)[keyframe.observed]
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
        return prefix_states(map=self._map.state_dict(), last=self._last.state_dict()) | last

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned. Raises InputError for an incomplete state."""
        camera = read_tensor(state, "camera", (4, 4), torch.float64).numpy()
        motion = read_tensor(state, "step", (4, 4), torch.float64).numpy()
        lost = int(read_tensor(state, "lost", (1,)))
        anchor = int(read_tensor(state, "anchor", (1,))) if "anchor" in state else 0
        seen = Candidates.read(sub_state(state, "last")) if "last.points" in state else Candidates.empty()
        load_parts(state, map=self._map)
        self._detector = make_detector(self._map.descriptor_size)
        self._camera, self._motion, self._lost, self._anchor, self._last = camera, motion, lost, anchor, seen
