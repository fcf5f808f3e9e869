"""Read a ScanNet export: color/N.jpg, depth/N.png, pose/N.txt, intrinsic/intrinsic_color.txt, intrinsic/intrinsic_depth.txt."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.config import DEFAULT, InputConfig
from moonseg3r_core.sources.files import list_images, read_depth, read_image, read_matrix
from moonseg3r_core.sources.images import parse_numbers
from moonseg3r_core.sources.registration import choose_color_intrinsics, register_depth
from moonseg3r_core.sources.source import IndexedRecording
from moonseg3r_core.types import Frame

RATE = 30.0  # frames per second of ScanNet's sensor


class ScanNetSource(IndexedRecording):
    """RGB-D frames with poses, numbered by file name. Missing parts are None; depth has the size of the colour.

    Poses are not checked here: the reconstruction rejects ScanNet's infinite ones.
    """

    kind: ClassVar[str] = "scannet"

    def __init__(self, path: Path, stride: int, max_frames: int | None, input: InputConfig = DEFAULT) -> None:
        super().__init__(str(path), path, stride, max_frames, input)
        self.folder, self.files = path, list_images(path / "color")
        self.total = len(self.files)
        if not self.files:
            raise SourceError(f"{path / 'color'} holds no image; expected color/0.jpg, color/1.jpg and so on.")
        self.indices = parse_numbers([file.stem for file in self.files])
        self.k_color = read_intrinsics(path / "intrinsic" / "intrinsic_color.txt")
        self.k_depth = read_intrinsics(path / "intrinsic" / "intrinsic_depth.txt")

        found = {
            "depth": any(path.glob("depth/*.png")),
            "intrinsics": self.k_color is not None or self.k_depth is not None,
            "poses": any(path.glob("pose/*.txt")),
        }
        self.lacks = tuple(name for name, is_there in found.items() if not is_there)

    def _read_frame(self, ordinal: int) -> Frame:
        index, file = self.indices[ordinal], self.files[ordinal]
        image = read_image(file)
        depth_file, pose_file = self.folder / "depth" / f"{file.stem}.png", self.folder / "pose" / f"{file.stem}.txt"
        depth = read_depth(depth_file, self.input.depth_scale) if depth_file.exists() else None
        size = (image.shape[0], image.shape[1])
        depth_size = None if depth is None else (depth.shape[0], depth.shape[1])
        intrinsics = choose_color_intrinsics(self.k_color, self.k_depth, size, depth_size)
        if depth is not None:
            depth = torch.from_numpy(register_depth(depth.numpy(), self.k_depth, intrinsics, size))
        k = None if intrinsics is None else torch.from_numpy(intrinsics.astype(np.float32))
        pose = torch.from_numpy(read_matrix(pose_file)) if pose_file.exists() else None
        return Frame(index, index / RATE, image, depth, k, pose)


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
