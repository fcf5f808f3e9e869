"""Read a ScanNet export: color/N.jpg, depth/N.png, pose/N.txt, intrinsic/intrinsic_color.txt, intrinsic/intrinsic_depth.txt."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.errors import FrameRejected, SourceError
from moonseg3r_core.sources.files import list_images, read_depth, read_image, read_matrix
from moonseg3r_core.sources.images import parse_numbers
from moonseg3r_core.sources.registration import choose_color_intrinsics, register_depth
from moonseg3r_core.sources.source import Recording
from moonseg3r_core.types import Frame

RATE = 30.0  # frames per second of ScanNet's sensor


class ScanNetSource(Recording):
    """RGB-D frames with poses, numbered by file name. Missing parts are None; depth has the size of the colour.

    Poses are not checked here: the reconstruction rejects ScanNet's infinite ones.
    """

    kind: ClassVar[str] = "scannet"

    def __init__(self, path: Path, stride: int, max_frames: int | None) -> None:
        super().__init__(str(path), path, stride, max_frames)
        self.folder = path
        self.files = list_images(path / "color")
        if not self.files:
            raise SourceError(f"{path / 'color'} holds no image; expected color/0.jpg, color/1.jpg and so on.")
        self.indices = parse_numbers([file.stem for file in self.files])
        self.k_color = read_intrinsics(path / "intrinsic" / "intrinsic_color.txt")
        self.k_depth = read_intrinsics(path / "intrinsic" / "intrinsic_depth.txt")

    @property
    def total(self) -> int:
        return len(self.files)

    @property
    def lacks(self) -> tuple[str, ...]:
        found = {
            "depth": self._has_files("depth/*.png"),
            "intrinsics": self.k_color is not None or self.k_depth is not None,
            "poses": self._has_files("pose/*.txt"),
        }
        return tuple(name for name, is_there in found.items() if not is_there)

    def _has_files(self, pattern: str) -> bool:
        return next(self.folder.glob(pattern), None) is not None

    def _read_frames(self) -> Iterator[Frame | FrameRejected]:
        for ordinal in range(0, len(self.files), self.stride)[: self.max_frames]:
            yield self.read_or_reject(partial(self._read, ordinal))

    def _read(self, ordinal: int) -> Frame:
        index, file = self.indices[ordinal], self.files[ordinal]
        image = read_image(file)
        depth = self._read_depth(file.stem)
        size = (image.shape[0], image.shape[1])
        depth_size = None if depth is None else (depth.shape[0], depth.shape[1])
        intrinsics = choose_color_intrinsics(self.k_color, self.k_depth, size, depth_size)
        if depth is not None:
            depth = torch.from_numpy(register_depth(depth.numpy(), self.k_depth, intrinsics, size))
        return Frame(index, index / RATE, image, depth, _convert_intrinsics(intrinsics), self._read_pose(file.stem))

    def _read_depth(self, stem: str) -> Tensor | None:
        file = self.folder / "depth" / f"{stem}.png"
        return read_depth(file) if file.exists() else None

    def _read_pose(self, stem: str) -> Tensor | None:
        file = self.folder / "pose" / f"{stem}.txt"
        return torch.from_numpy(read_matrix(file)) if file.exists() else None


def read_intrinsics(file: Path) -> np.ndarray | None:
    """Read (3, 3) float64 from a 3x3 or 4x4 text file, None where there is no file. Raises SourceError."""
    if not file.exists():
        return None
    expected = f"{file} must hold 3 or 4 rows of finite intrinsics with focal lengths above 0"
    try:
        matrix = np.loadtxt(file, dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise SourceError(f"{expected}, got: {' '.join(str(error).split())}") from error
    if min(matrix.shape) < 3 or not np.isfinite(matrix).all() or min(matrix[0, 0], matrix[1, 1]) <= 0:
        raise SourceError(f"{expected}, got {matrix.tolist()}; export them again.")
    return matrix[:3, :3]


def _convert_intrinsics(intrinsics: np.ndarray | None) -> Tensor | None:
    return None if intrinsics is None else torch.from_numpy(intrinsics.astype(np.float32))
