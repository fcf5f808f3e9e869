"""Read a video file by OpenCV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from moonseg3r_core.errors import FrameRejected, SourceError
from moonseg3r_core.io.images import check_size
from moonseg3r_core.sources.config import DEFAULT, InputConfig
from moonseg3r_core.sources.source import Recording
from moonseg3r_core.types import Frame

DEFAULT_RATE = 30.0  # frames per second of a file without a frame rate


class VideoSource(Recording):
    """Frames without depth or pose, numbered from 0, with stamps from the frame rate of the file."""

    kind: str = "video"
    lacks = ("depth", "intrinsics", "poses")

    def __init__(self, path: Path, stride: int, max_frames: int | None, input: InputConfig = DEFAULT) -> None:
        super().__init__(str(path), path, stride, max_frames, input)
        self.file = path
        video = open_video(path)
        count, fps = video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)
        readable = video.grab()
        video.release()
        if not readable:
            raise SourceError(f"{path} holds no video frame that OpenCV can decode; convert it, for example to MP4.")
        self.total = int(count) if 0 < count < 1e9 else None
        self.fps = fps if 0 < fps < 1e5 else DEFAULT_RATE

    def _read_frames(self) -> Iterator[Frame | FrameRejected]:
        video = open_video(self.file)
        ordinal = 0
        try:
            while not self.is_past_end(ordinal) and video.grab():
                if self.is_selected(ordinal):
                    yield self._decode(video, ordinal)
                ordinal += 1
            self._check_end(ordinal)
        finally:
            video.release()

    def _decode(self, video: cv2.VideoCapture, ordinal: int) -> Frame | FrameRejected:
        done, pixels = video.retrieve()
        if not done or pixels is None:
            return FrameRejected("unreadable image", f"video frame {ordinal} cannot be decoded")
        rgb = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        return Frame(ordinal, ordinal / self.fps, torch.from_numpy(rgb))

    def _check_end(self, read: int) -> None:
        count = self.total or 0  # of the header, which may be wrong by far: compute, do not loop
        end = count if self.max_frames is None else min(count, self.stride * self.max_frames)
        missing = len(range(read + -read % self.stride, end, self.stride))
        if missing:
            detail = f"{read} of the {self.total} frames that its header tells can be read"
            self._reject(FrameRejected("video ends early", detail), missing)


class VideoFrames:
    """The frames of a video by number, as they are stored: without the turn that a telephone notes beside them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._video = _open_stored(path)
        self._next = 0

    def read(self, number: int) -> np.ndarray:
        """Read (H, W, 3) uint8 RGB; forward is fast. Raises FrameRejected for a frame that cannot be decoded."""
        if number < self._next:
            self._video, self._next = _open_stored(self._path), 0
        while self._next < number and self._video.grab():
            self._next += 1
        done, pixels = self._video.read()
        self._next += 1
        if not done or pixels is None:
            raise FrameRejected("unreadable image", f"{self._path.name} has no frame {number} that can be decoded")
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def measure_video(path: Path) -> tuple[int, int]:
    """Measure the size (H, W) of the frames as `VideoFrames` reads them. Raises SourceError."""
    video = _open_stored(path)
    size = int(video.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(video.get(cv2.CAP_PROP_FRAME_WIDTH))
    video.release()
    return size


def _open_stored(path: Path) -> cv2.VideoCapture:
    video = open_video(path)
    video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    return video


def open_video(path: Path) -> cv2.VideoCapture:
    """Open a video without OpenCV's own messages. Raises SourceError when OpenCV cannot open it."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        ffmpeg = cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends()
        file = os.path.abspath(path)  # a relative path with a colon, say of a time, would be read as a URL
        video = cv2.VideoCapture(file, cv2.CAP_FFMPEG if ffmpeg else cv2.CAP_ANY)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if not video.isOpened():
        raise SourceError(
            f"{path} is no video that OpenCV can open, or a damaged one; give a video, a folder, or a bag."
        )
    width, height = (int(video.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    try:
        check_size(width, height)
    except FrameRejected as error:
        raise SourceError(f"{path} cannot be read: {error}.") from error
    return video
