"""Check the numbers of a stream's first frames, whether they come from a recording or live."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from moonseg3r_core.geometry import find_rigid_fault
from moonseg3r_core.sources.config import InputConfig
from moonseg3r_core.sources.plausibility import (
    AGREE,
    EXACT,
    DepthView,
    Finding,
    average_error,
    describe_intrinsics,
    describe_pairs,
    describe_range,
    describe_upward_view,
    infer_depth_scale,
    keep_convention,
    sample_view,
)
from moonseg3r_core.types import Frame

VIEW_FRAMES, RANGE_FRAMES = 5, 30  # that the view and the range are judged from
MAX_FRAMES = 150  # that are looked at
MIN_PAIRS, MAX_PAIRS = 3, 6  # of images whose depth is compared
PAIR_DEG, PAIR_SHARE, PAIR_SHIFT_M = 8.0, 0.1, 0.3  # how far apart a pair is: degrees, or this share of depth or metres


class InputCheck:
    """Looks at frames and tells each thing that cannot be once, as soon as it is known.

    needs: what is taken of "depth", "intrinsics" and "poses" beside images. depth_range: metres that are used. scale:
    depth units in a metre by which depth was read, 0: by its type. axes: those by which the recording has poses read.
    """

    def __init__(
        self, input: InputConfig, needs: Sequence[str], depth_range: tuple[float, float], scale: float = 0.0,
        axes: str = "optical",
    ) -> None:  # fmt: skip
        self.input, self.needs, self.depth_range = input, needs, depth_range
        self._scale = input.depth_scale or scale
        self._usual = keep_convention(axes if input.camera_axes == "auto" else input.camera_axes)
        self.findings: list[Finding] = []
        self._frames, self._camera_frame, self._is_calibration_judged = 0, "", False
        self._are_pairs_judged, self._is_range_judged = "poses" not in needs, "depth" not in needs
        self._depths: list[np.ndarray] = []
        self._poses: list[np.ndarray] = []
        self._reference: DepthView | None = None
        self._pairs: list[tuple[DepthView, DepthView]] = []
        self._seen_pairs, self._do_pairs_agree = 0, False

    @property
    def refused(self) -> Finding | None:
        """What the stream may not go on with, None where it may."""
        sure = next((finding for finding in self.findings if finding.is_sure), None)
        return sure if self.input.implausible == "refuse" else None

    @property
    def summary(self) -> str:
        """All findings in one line."""
        return " ".join(finding.text for finding in self.findings)

    def observe(self, frame: Frame, camera_frame: str = "") -> list[Finding]:
        """Look at a frame, whose camera frame may have a name; return what is new."""
        self._frames += 1
        self._camera_frame = camera_frame
        if self._frames > MAX_FRAMES or (
            self._are_pairs_judged and self._is_range_judged and self._is_calibration_judged
        ):
            return []
        return self._note(self._judge(frame, camera_frame))

    def conclude(self) -> list[Finding]:
        """Judge what has been seen of a stream that ends; return what is new."""
        return self._note(self._judge_all(enough=2, is_last=True))

    def _note(self, found: Iterator[Finding]) -> list[Finding]:
        new = []
        for finding in found:  # what is judged next looks at what has been found
            self.findings.append(finding)
            new.append(finding)
        return new

    def _judge(self, frame: Frame, camera_frame: str) -> Iterator[Finding]:
        if frame.intrinsics is not None and not self._is_calibration_judged:
            self._is_calibration_judged = True
            yield from _list(describe_intrinsics(frame.intrinsics.cpu().numpy(), frame.size))
        pose = _get_rigid_pose(frame)
        if frame.depth is not None:
            self._add_depth(frame, pose)
        elif pose is not None and "poses" in self.needs:
            self._poses.append(pose)
            if len(self._poses) == VIEW_FRAMES and self.input.camera_axes == "auto":
                yield from _list(describe_upward_view(self._poses, camera_frame))
        yield from self._judge_all(MIN_PAIRS, self._frames == MAX_FRAMES)

    def _add_depth(self, frame: Frame, pose: np.ndarray | None) -> None:
        assert frame.depth is not None
        k = np.eye(3) if frame.intrinsics is None else frame.intrinsics.cpu().numpy()
        view = sample_view(frame.depth.cpu().numpy(), k, np.eye(4) if pose is None else pose)
        if not len(view.z):
            return
        self._scale = self._scale or infer_depth_scale(view.z)
        if len(self._depths) < RANGE_FRAMES:
            self._depths.append(view.z)
        if self._are_pairs_judged or pose is None or frame.intrinsics is None or k[0, 0] <= 0:
            return
        if self._reference is None or _are_apart(self._reference, view):
            self._pairs += [] if self._reference is None else [(self._reference, view)]
            self._reference = view

    def _judge_all(self, enough: int, is_last: bool) -> Iterator[Finding]:
        is_new = len(self._pairs) > self._seen_pairs
        if not self._are_pairs_judged and len(self._pairs) >= enough and (is_last or is_new):
            yield from self._judge_pairs(is_last)
        if not self._is_range_judged and (is_last or (self._are_pairs_judged and len(self._depths) == RANGE_FRAMES)):
            yield from self._judge_range()

    def _judge_pairs(self, is_last: bool) -> Iterator[Finding]:
        """Judge the pairs once they agree, or as many as are looked at do not."""
        error = average_error(self._pairs, self._usual, self._usual)
        self._seen_pairs = len(self._pairs)
        if error < EXACT or is_last or len(self._pairs) >= MAX_PAIRS:
            self._are_pairs_judged, self._do_pairs_agree = True, error < AGREE
            with_axes = self.input.camera_axes == "auto"
            facts = self._scale, self._usual, "depth" in self.needs, with_axes, self._camera_frame
            yield from _list(describe_pairs(self._pairs, *facts))
            self._pairs = []

    def _judge_range(self) -> Iterator[Finding]:
        self._is_range_judged = True
        if self._depths and not any(finding.is_sure for finding in self.findings):
            depths = np.concatenate(self._depths)
            yield from _list(describe_range(depths, *self.depth_range, self._scale, self._do_pairs_agree))


def _list(finding: Finding | None) -> list[Finding]:
    return [] if finding is None else [finding]


def _get_rigid_pose(frame: Frame) -> np.ndarray | None:
    pose = frame.world_from_camera
    return None if pose is None or find_rigid_fault(pose) else pose.cpu().numpy()


def _are_apart(a: DepthView, b: DepthView) -> bool:
    relative = np.linalg.inv(a.pose) @ b.pose
    angle = np.degrees(np.arccos(np.clip((np.trace(relative[:3, :3]) - 1) / 2, -1, 1)))
    shift = min(PAIR_SHARE * float(np.median(a.z)), PAIR_SHIFT_M)
    return bool(angle > PAIR_DEG or np.linalg.norm(relative[:3, 3]) > shift)
