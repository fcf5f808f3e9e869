"""The base classes of the readers of recordings."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from moonseg3r_core.errors import FrameRejected, SourceError
from moonseg3r_core.sources.axes import convert_pose
from moonseg3r_core.sources.config import DEFAULT, InputConfig
from moonseg3r_core.types import Frame

logger = logging.getLogger("moonseg3r")


class Recording(ABC):
    """The base class of readers: selects frames, counts and reports rejected ones, raises when no frame is left.

    Every `iter()` starts anew and refills `rejected` (reason -> number of frames).
    """

    kind: str
    total: int | None  # frames before stride and max_frames; None where the recording does not give it
    axes: str = "optical"  # of the cameras as it places them, where the settings leave it open
    depth_scale: float = 0.0  # depth units in a metre; 0: by the type of what it stores
    camera_frame: str = ""  # the name of the camera's frame, once a frame was read that has one
    lacks: tuple[str, ...] = ()  # of "depth", "intrinsics" and "poses", what no frame has, as far as it is known
    absent: Mapping[str, str] = {}  # why, of each of these; "" where there is nothing to tell

    def __init__(
        self, name: str, path: Path | None, stride: int, max_frames: int | None, input: InputConfig = DEFAULT
    ) -> None:
        if stride < 1:
            raise SourceError(f"stride must be a whole number >= 1, got {stride}; 1 takes every frame.")
        if max_frames is not None and max_frames < 1:
            raise SourceError(f"max_frames must be a whole number >= 1, got {max_frames}; leave it out to take all.")
        self.name, self.path, self.stride, self.max_frames = name, path, stride, max_frames
        self.input = input
        self.rejected: Counter[str] = Counter()
        self._warned: set[str] = set()
        self._details: dict[str, str] = {}  # of the first frame by reason

    @abstractmethod
    def _read_frames(self) -> Iterator[Frame | FrameRejected]:
        """Yield the selected frames in order; a FrameRejected stands for a frame that cannot be read."""

    @property
    def length(self) -> int | None:
        """The number of selected frames; None where the recording does not give it."""
        if self.total is None:
            return None
        strided = -(-self.total // self.stride)
        return strided if self.max_frames is None else min(strided, self.max_frames)

    @property
    def masks_folder(self) -> Path | None:
        """The recording's own `masks/`, if it has one."""
        folder = self.path / "masks" if self.path else None
        return folder if folder and folder.is_dir() else None

    def __len__(self) -> int:
        if self.length is None:
            raise TypeError(f"{self.name} does not tell how many frames it has; use .length, which is then None.")
        return self.length

    def __iter__(self) -> Iterator[Frame]:
        self.rejected.clear()
        self._warned.clear()
        self._details.clear()
        is_empty = True
        for item in self._read_frames():
            if isinstance(item, FrameRejected):
                self._reject(item)
            else:
                is_empty = False
                yield item
        if is_empty:
            raise SourceError(f"{self.name} gave no usable frame: {self._describe_rejections()}.")

    def is_selected(self, ordinal: int) -> bool:
        """True when the frame of this ordinal is selected."""
        in_range = self.max_frames is None or ordinal < self.stride * self.max_frames
        return in_range and ordinal % self.stride == 0

    def is_past_end(self, ordinal: int) -> bool:
        """True when no frame from this ordinal on is selected."""
        return self.max_frames is not None and ordinal > self.stride * (self.max_frames - 1)

    def warn_once(self, topic: str, message: str) -> None:
        """Warn once per iteration and topic."""
        if topic not in self._warned:
            self._warned.add(topic)
            logger.warning("%s: %s", self.name, message)

    def _reject(self, why: FrameRejected, count: int = 1) -> None:
        self.rejected[why.reason] += count
        self._details.setdefault(why.reason, why.detail)
        self.warn_once(why.reason, f"{why} (said once, counted from here on)")

    def _describe_rejections(self) -> str:
        if not self.rejected:
            return "it holds none; check that the recording is whole"
        counts = [
            (f"{reason} ({count}x)", self._details[reason].rstrip(".")) for reason, count in self.rejected.items()
        ]
        return "; ".join(f"{counted}, the first: {detail}" if detail else counted for counted, detail in counts)


class IndexedRecording(Recording):
    """A recording of known length whose frames can be read one by one."""

    total: int

    @abstractmethod
    def _read_frame(self, ordinal: int) -> Frame:
        """Read one frame. Raises FrameRejected where that fails."""

    def _read_frames(self) -> Iterator[Frame | FrameRejected]:
        for ordinal in range(0, self.total, self.stride)[: self.max_frames]:
            try:
                frame: Frame | FrameRejected = self._convert_pose(self._read_frame(ordinal))
            except FrameRejected as why:
                frame = why
            yield frame

    def _convert_pose(self, frame: Frame) -> Frame:
        if frame.world_from_camera is None:
            return frame
        pose = convert_pose(frame.world_from_camera.numpy(), self.input)
        return replace(frame, world_from_camera=torch.from_numpy(pose))
