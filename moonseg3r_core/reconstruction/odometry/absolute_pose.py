"""A camera's pose from points of the world that it sees, each known to a different accuracy.

The points lie on rays of other cameras, along which they are uncertain: an error there moves a projection along a line
(the epipolar line), and across it not at all. So each residual has a covariance of its own, wide along that line. Points of
quite unknown depth then tell the pose as an essential matrix would, and well-known ones as PnP does.
Source: Hartley and Zisserman, "Multiple View Geometry" (2nd edition), sections 5.2 and 7.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from moonseg3r_core.reconstruction.odometry.bundle_adjustment import make_pose_update

MIN_INLIERS, MIN_INLIER_RATIO = 12, 0.15  # matches, and their share of all, that make a pose
REPROJECTION_PX = 6.0  # an inlier of a pose is seen this near to its projection
REFINED_PX = (6.0, 3.0, 2.0, 1.5)  # inliers of one refinement after the other
_STEPS = 3  # of Gauss-Newton in each
_MIN_Z = 1e-3


@dataclass(frozen=True)
class Sightings:
    """Points of the world (n, 3) and the rays (n, 2) on which a camera sees them; sigmas (n,) of the logs of the distances of the
    points from the centres (n, 3) of the cameras that placed them.
    """

    points: np.ndarray
    rays: np.ndarray
    centres: np.ndarray
    sigmas: np.ndarray

    def select(self, rows: np.ndarray) -> Sightings:
        """Return those of some rows."""
        return Sightings(self.points[rows], self.rays[rows], self.centres[rows], self.sigmas[rows])

    def join(self, other: Sightings) -> Sightings:
        """Return these and others."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Sightings(*(np.concatenate(pair) for pair in pairs))


def find_pose(seen: Sightings, focal: float) -> np.ndarray | None:
    """Find camera_from_world (4, 4) by EPnP (Lepetit et al., 2009) in RANSAC; None with too few inliers."""
    if len(seen.points) < MIN_INLIERS:
        return None
    success, rotation, translation, rows = cv2.solvePnPRansac(
        seen.points, seen.rays, np.eye(3), None,
        iterationsCount=500, reprojectionError=REPROJECTION_PX / focal, confidence=0.999, flags=cv2.SOLVEPNP_AP3P,
    )  # fmt: skip
    if not success or rows is None or len(rows) < max(MIN_INLIERS, MIN_INLIER_RATIO * len(seen.points)):
        return None
    camera = np.eye(4)
    camera[:3, :3], camera[:3, 3] = cv2.Rodrigues(rotation)[0], translation[:, 0]
    return camera if np.isfinite(camera).all() else None


def refine_pose(camera: np.ndarray, seen: Sightings, focal: float) -> tuple[np.ndarray, np.ndarray]:
    """Refine camera_from_world (4, 4) on ever closer inliers. Returns it with the inliers (n,) bool."""
    for pixels in REFINED_PX:
        for _ in range(_STEPS):
            errors = _Errors(camera, seen, focal)
            inliers = errors.find_inliers(pixels)
            if inliers.sum() < MIN_INLIERS:
                return camera, errors.find_inliers(REFINED_PX[0])
            camera = make_pose_update(errors.solve(inliers)) @ camera
    return camera, _Errors(camera, seen, focal).find_inliers(REFINED_PX[1])


def compute_depths(camera: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Compute the depth (n,) of points of the world (n, 3) in camera_from_world (4, 4)."""
    return points @ camera[2, :3] + camera[2, 3]


class _Errors:
    """Residuals (n, 2) of sightings in pixels, and the information (n, 2, 2) of each, the inverse of its covariance."""

    def __init__(self, camera: np.ndarray, seen: Sightings, focal: float) -> None:
        rotation = camera[:3, :3]
        self.points = seen.points @ rotation.T + camera[:3, 3]
        self.in_front = self.points[:, 2] > _MIN_Z
        z = np.where(self.in_front, self.points[:, 2], 1.0)
        projected = self.points[:, :2] / z[:, None]
        self.residuals = (seen.rays - projected) * focal
        self.jacobian = np.zeros((len(z), 2, 3))  # of the projection by the point in camera axes
        self.jacobian[:, 0, 0] = self.jacobian[:, 1, 1] = focal / z
        self.jacobian[:, :, 2] = -projected * (focal / z)[:, None]
        along = (seen.points - seen.centres) * seen.sigmas[:, None] @ rotation.T
        shift = np.einsum("nij,nj->ni", self.jacobian, along)  # what one sigma makes of the projection
        # (I + s s^T)^-1 = I - s s^T / (1 + s^T s): a pixel across the line, more along it.
        self.information = np.eye(2) - shift[:, :, None] * shift[:, None] / (1 + (shift**2).sum(1))[:, None, None]
        self.distances = np.sqrt(np.einsum("ni,nij,nj->n", self.residuals, self.information, self.residuals))

    def find_inliers(self, pixels: float) -> np.ndarray:
        """Find the sightings (n,) bool that are off by fewer pixels, of those across the line of uncertainty."""
        return self.in_front & (self.distances < pixels)

    def solve(self, inliers: np.ndarray) -> np.ndarray:
        """Solve for the pose update (6,) of rotation and translation that is best for the inliers."""
        x, y, z = self.points[inliers].T
        o = np.zeros_like(x)
        by_rotation = np.stack((o, z, -y, -z, o, x, y, -x, o), axis=1).reshape(-1, 3, 3)  # -[p]x
        jacobian = self.jacobian[inliers] @ np.concatenate(
            (by_rotation, np.broadcast_to(np.eye(3), by_rotation.shape)), 2
        )
        weighted = jacobian.transpose(0, 2, 1) @ self.information[inliers]
        normal = (weighted @ jacobian).sum(0)
        gradient = np.einsum("nij,nj->i", weighted, self.residuals[inliers])
        return np.linalg.solve(normal + 1e-9 * np.eye(6) * np.trace(normal), gradient)
