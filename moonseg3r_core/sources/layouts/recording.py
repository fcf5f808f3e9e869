"""Read the frames of a folder of a known layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.sources.axes import convert_pose
from moonseg3r_core.sources.config import DEFAULT, InputConfig
from moonseg3r_core.sources.files import read_image
from moonseg3r_core.sources.layouts.layout import Contents, Layout, Shot
from moonseg3r_core.sources.source import IndexedRecording, logger
from moonseg3r_core.sources.video import VideoFrames
from moonseg3r_core.types import Frame

Size = tuple[int, int]


class FolderRecording(IndexedRecording):
    """Frames of a folder of a known layout. Depth has the size of the color; what a frame lacks is None."""

    def __init__(
        self, layout: Layout, path: Path, stride: int, max_frames: int | None, input: InputConfig = DEFAULT
    ) -> None:
        super().__init__(str(path), path, stride, max_frames, input)
        self.kind = layout.KIND
        self.contents: Contents = layout.read(path)
        self.axes, self.depth_scale = self.contents.axes, self.contents.depth_scale
        shots = self.contents.shots
        self.total = len(shots)
        self.indices = [shot.index for shot in shots]
        self._video = VideoFrames(self.contents.video) if self.contents.video else None
        found = {
            "depth": any(shot.depth for shot in shots),
            "intrinsics": any(shot.camera for shot in shots) or self.contents.depth_camera is not None,
            "poses": any(shot.read_pose for shot in shots),
        }
        self.lacks = tuple(name for name, is_there in found.items() if not is_there)
        with_ = [name for name, is_there in found.items() if is_there]
        logger.info(
            "%s: a recording of %s: %d images with %s", path, layout.NAME, self.total, ", ".join(with_) or "no more"
        )

    def _read_frames(self) -> Iterator[Frame | FrameRejected]:
        for note in self.contents.notes:
            self.warn_once(note, note)
        yield from super()._read_frames()

    def _read_frame(self, ordinal: int) -> Frame:
        shot = self.contents.shots[ordinal]
        if shot.fault:
            raise shot.fault
        image = self.read_image(ordinal)
        size = (image.shape[0], image.shape[1])
        depth, intrinsics = self.read_geometry(ordinal, size)
        k = None if intrinsics is None else torch.from_numpy(intrinsics.astype(np.float32))
        return Frame(shot.index, shot.stamp, image, depth, k, self.read_pose(ordinal))

    def read_image(self, ordinal: int) -> Tensor:
        """Read (H, W, 3) uint8 RGB. Raises FrameRejected."""
        image = self.contents.shots[ordinal].image
        if isinstance(image, Path):
            return read_image(image)
        assert self._video is not None
        return torch.from_numpy(self._video.read(image))

    def read_pose(self, ordinal: int) -> Tensor | None:
        """Read world_from_camera (4, 4) float64 with OpenCV axes; None where there is none. Raises FrameRejected."""
        shot = self.contents.shots[ordinal]
        if shot.read_pose is None:
            return None
        return torch.from_numpy(convert_pose(shot.read_pose(), self.input, self.contents.axes))

    def _convert_pose(self, frame: Frame) -> Frame:
        return frame  # `read_pose` has done so

    def read_geometry(self, ordinal: int, size: Size) -> tuple[Tensor | None, np.ndarray | None]:
        """Read depth (H, W) float32 metres and intrinsics (3, 3) float64 for a color image of `size`; None for none.

        Raises FrameRejected for a file that cannot be used.
        """
        shot = self.contents.shots[ordinal]
        depth = self._read_depth(shot)
        own = None if depth is None else (depth.shape[0], depth.shape[1])
        k_color = self._fit_camera(shot, size)
        k_depth = self.contents.depth_camera.fit(own or size) if self.contents.depth_camera else None
        intrinsics = self.contents.choose_intrinsics(k_color, k_depth, size, own)
        if depth is not None:
            depth = torch.from_numpy(self.contents.register(depth.numpy(), k_depth, intrinsics, size))
        return depth, intrinsics

    def _read_depth(self, shot: Shot) -> Tensor | None:
        if shot.depth is None:
            return None
        scale = self.input.depth_scale or self.contents.depth_scale
        depth = self.contents.read_depth(shot.depth, scale, self.contents.no_depth)
        if shot.confidence is not None:
            trusted = read_image(shot.confidence)[..., 0] > 0
            depth = depth * trusted if trusted.shape == depth.shape else depth
        return depth

    def _fit_camera(self, shot: Shot, size: Size) -> np.ndarray | None:
        intrinsics = shot.camera.fit(size) if shot.camera else None
        if shot.camera and intrinsics is None:
            told = f"the intrinsics are not for images of {size[1]}x{size[0]}; frames come without them"
            self.warn_once("intrinsics", f"{told}{self.contents.intrinsics_help} (said once)")
        return intrinsics
