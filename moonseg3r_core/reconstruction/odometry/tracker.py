"""The camera's pose from landmarks recognised in a frame, and the net's depth made to agree with them.

A net as small as nano knows depth better than motion. DUSt3R (Wang et al., 2024; section 3.3) finds poses of calibrated
cameras the same way, by PnP at the points of its net; here these are landmarks that key views have adjusted together, so
that what is seen from far enough apart stands where its rays meet, whatever the net thought.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.reconstruction.cut3r.keyframes import angle
from moonseg3r_core.reconstruction.odometry.depth_correction import estimate_depth_ratios
from moonseg3r_core.reconstruction.odometry.features import Detector, Features, match_descriptors
from moonseg3r_core.reconstruction.odometry.local_map import NO_LANDMARK, Keyframe, LocalMap
from moonseg3r_core.runtime.state import load_parts, prefix_states, read_tensor
from moonseg3r_core.types import PixelGrid

_NEARNESS = 6.0  # pixels: a landmark that agrees with a pose is seen so near to its place
_ABOUT = 40.0  # pixels from where it is expected that a landmark is looked for
_AGREE, _SHARE = 12, 0.15  # landmarks, and their share of all matched, that make a pose
_RECENT, _NEAR = 3, 4  # views that a frame is matched with: the last ones, and others that looked the same way
_TURN, _MOVE = 5.0, 0.06  # degrees, share of the median depth: so far from the last view a new one is kept
_PATIENCE = 3  # frames that a map of one view is tried on before another takes its place
_ODD = np.log(2.5)  # the log of a frame's depth over the map's, in the median, beyond which the frame is not believed
_WILD = 1.5  # the log of a landmark's depth over the net's that tells a false match


@dataclass(frozen=True)
class TrackedFrame:
    """Where the camera is (4, 4) float64, in the axes of the map; what the net's depth is to be multiplied with at each
    pixel (h, w) float32; whether it was `found`: else it is taken to stand where it was last.
    """

    pose: Tensor
    ratios: Tensor
    found: bool


class Tracker:
    """Frames one after the other -> where their cameras are and how far what they see."""

    def __init__(self) -> None:
        self._detector, self._map = Detector(), LocalMap()
        self.reset()

    def reset(self) -> None:
        self._map.reset()
        self._camera, self._step, self._lost = np.eye(4), np.eye(4), 0

    def __call__(self, image: Tensor, depth: Tensor, intrinsics: Tensor, grid: PixelGrid) -> TrackedFrame:
        """Image (H, W, 3) uint8; depth (h, w) on the grid, 0 = unknown; the grid's intrinsics (3, 3)."""
        net, k = depth.cpu().numpy(), intrinsics.cpu().numpy().astype(np.float64)
        features = self._detector(image.cpu().numpy(), net, k, grid)
        if len(self._map.views) == 1 and self._lost >= _PATIENCE:
            self._map.reset()  # one view that nothing was ever like is no map: a lens cap, a frame out of its time
        view = self._located(features) if self._map.views else self._first(features)
        if view is None:
            self._lost += 1
            return TrackedFrame(self._pose(), torch.ones(net.shape), found=False)
        if self._far(view):
            view = self._map.keep(view)
        self._step = np.eye(4) if self._lost else view.camera @ np.linalg.inv(self._camera)
        self._camera, self._lost = view.camera, 0
        field = torch.from_numpy(self._ratios(view, net, k))
        return TrackedFrame(self._pose(), field, found=True)

    def _pose(self) -> Tensor:
        return torch.from_numpy(np.linalg.inv(self._camera))

    def _first(self, features: Features) -> Keyframe | None:
        """A view that the map can begin with; None where too little is to be seen."""
        nothing = np.full(len(features.rays), NO_LANDMARK)
        return Keyframe(np.eye(4), features, nothing) if len(nothing) >= _AGREE else None

    def _located(self, features: Features) -> Keyframe | None:
        """The frame where its landmarks are seen as they are, near where it is expected if that may be; None where too few
        agree.
        """
        near = None if self._lost else self._placed(features, self._step @ self._camera)
        return near or self._placed(features, None)

    def _placed(self, features: Features, expected: np.ndarray | None) -> Keyframe | None:
        """The frame by landmarks that lie about where an expected camera, camera_from_world, sees them, or anywhere."""
        rows, marks = self._recognised(features, expected)
        found = pnp_ransac(self._map.points[marks], features.rays[rows], _NEARNESS / features.focal)
        if found is None:
            return None
        camera, agree = found
        rows, marks = rows[agree], marks[agree]
        depths = self._map.depths(camera, marks)
        logs = np.log(depths.clip(1e-9) / features.depths[rows])
        usual = np.abs(logs) < _WILD
        if usual.sum() < _AGREE or abs(np.median(logs[usual])) > _ODD:
            return None
        return Keyframe(camera, features, *self._surest(rows[usual], marks[usual], len(features.rays)))

    def _recognised(self, features: Features, expected: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Rows (m,) of features and the landmarks that they look like, no pair twice."""
        pairs = [np.zeros((0, 2), int)]
        for view in self._alike():
            near = None if expected is None else self._near(features, view, expected)
            own, there = match_descriptors(features.descriptors, view.features.descriptors, near)
            known = view.landmarks[there] != NO_LANDMARK
            pairs.append(np.column_stack((own, view.landmarks[there]))[known])
        return tuple(np.unique(np.concatenate(pairs), axis=0).T)

    def _near(self, features: Features, view: Keyframe, expected: np.ndarray) -> np.ndarray:
        """Which features (n,) lie about where an expected camera sees the landmarks of a view (m,): (n, m) bool."""
        own = self._map.points[view.landmarks] @ expected[:3, :3].T + expected[:3, 3]
        rays = np.where(own[:, 2:] > 0, own[:, :2] / np.maximum(own[:, 2:], 1e-9), np.inf).astype(np.float32)
        right, down = (features.rays[:, None, axis].astype(np.float32) - rays[None, :, axis] for axis in (0, 1))
        return (right * right + down * down < (_ABOUT / features.focal) ** 2) & (view.landmarks != NO_LANDMARK)

    def _surest(self, rows: np.ndarray, marks: np.ndarray, features: int) -> tuple[np.ndarray, np.ndarray]:
        """Of pairs of a feature and a landmark the surest landmark of each feature (n,), and pairs (k, 2) of landmarks, the
        surer one second, that one feature shows to be the same.
        """
        landmarks, taken, same = np.full(features, NO_LANDMARK), set(), []
        order = np.argsort(self._map.spreads[marks], kind="stable")
        pairs = list(zip(rows[order].tolist(), marks[order].tolist(), strict=True))
        for row, mark in pairs:
            if landmarks[row] == NO_LANDMARK and mark not in taken:
                landmarks[row] = mark
                taken.add(mark)
        for row, mark in pairs:
            if mark not in taken:
                same.append((mark, landmarks[row]))
                taken.add(mark)
        return landmarks, np.array(same, int).reshape(-1, 2)

    def _alike(self) -> Sequence[Keyframe]:
        """The last views and those before them that looked most nearly as the camera did last; while it is lost, others in turn."""
        recent, older = self._map.views[-_RECENT:], self._map.views[:-_RECENT]
        if self._lost:
            return [*recent, *(older[(self._lost * _NEAR + i) % len(older)] for i in range(min(_NEAR, len(older))))]
        last = np.linalg.inv(self._camera)
        apart = [
            np.linalg.norm(p[:3, 3] - last[:3, 3]) + 2 * np.linalg.norm(p[:3, 2] - last[:3, 2])
            for p in (view.pose for view in older)
        ]
        return [*recent, *(older[i] for i in np.argsort(apart)[:_NEAR])]

    def _far(self, view: Keyframe) -> bool:
        """Whether the camera has left the last view that is kept."""
        if not self._map.views:
            return True
        now, last = (torch.from_numpy(v.pose) for v in (view, self._map.views[-1]))
        depth = float(np.median(view.features.depths))
        return angle(now, last) > _TURN or float((now[:3, 3] - last[:3, 3]).norm()) > _MOVE * depth

    def _ratios(self, view: Keyframe, net: np.ndarray, k: np.ndarray) -> np.ndarray:
        """What the net's depth is to be multiplied with (h, w), by the landmarks that the view sees."""
        rows = np.flatnonzero(view.landmarks != NO_LANDMARK)
        marks, depths = view.landmarks[rows], view.features.depths[rows]
        logs = np.log(self._map.depths(view.camera, marks).clip(1e-9) / depths)
        usual = np.abs(logs) < _WILD
        if not usual.any():
            return np.ones(net.shape, np.float32)
        places = view.features.rays[rows] * (k[0, 0], k[1, 1]) + k[:2, 2]
        return estimate_depth_ratios(places[usual], depths[usual], logs[usual], self._map.spreads[marks[usual]], net)

    def state_dict(self) -> dict[str, Tensor]:
        """The map, and where the camera was last."""
        last = {
            "camera": torch.from_numpy(self._camera.copy()),
            "step": torch.from_numpy(self._step.copy()),
            "lost": torch.tensor([self._lost]),
        }
        return prefix_states(map=self._map.state_dict()) | last

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` gave."""
        camera = read_tensor(state, "camera", (4, 4), torch.float64).numpy()
        step = read_tensor(state, "step", (4, 4), torch.float64).numpy()
        lost = int(read_tensor(state, "lost", (1,)))
        load_parts(state, map=self._map)
        self._camera, self._step, self._lost = camera, step, lost


def pnp_ransac(points: np.ndarray, rays: np.ndarray, near: float) -> tuple[np.ndarray, np.ndarray] | None:
    """The pose camera_from_world (4, 4) at which world points (n, 3) are seen along rays (n, 2) x / z and y / z, `near` of
    them at most off; and the rows that agree. None where too few do.
    """
    if len(points) < _AGREE:
        return None
    eye, how = np.eye(3), cv2.SOLVEPNP_EPNP
    done, turn, move, rows = cv2.solvePnPRansac(
        points, rays, eye, None, iterationsCount=200, reprojectionError=near, confidence=0.999, flags=how
    )
    if not done or rows is None or len(rows) < max(_AGREE, _SHARE * len(points)):
        return None
    rows = rows[:, 0]
    turn, move = cv2.solvePnPRefineLM(points[rows], rays[rows], eye, None, turn, move)
    camera = np.eye(4)
    camera[:3, :3], camera[:3, 3] = cv2.Rodrigues(turn)[0], move[:, 0]
    return camera, rows
