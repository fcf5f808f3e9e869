"""COLMAP: a text model (cameras.txt, images.txt) in the folder or in sparse/0, with the images in images/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.layouts.layout import RATE, Contents, Pinhole, Shot, make_intrinsics
from moonseg3r_core.sources.layouts.lenses import describe_lens
from moonseg3r_core.sources.layouts.tables import hold, make_matrix, read_text
from moonseg3r_core.sources.names import make_natural_key, parse_numbers, parse_timestamps
from moonseg3r_core.sources.transforms import invert

KIND, NAME = "colmap", "COLMAP"
MODELS = (".", "sparse/0", "sparse", "colmap/sparse/0", "dense/sparse", "model", "text", "colmap_text")
FOCAL_LENGTHS = {  # of the camera models that are pinholes but for distortion; cx and cy follow
    "SIMPLE_PINHOLE": 1, "PINHOLE": 2, "SIMPLE_RADIAL": 1, "RADIAL": 1, "OPENCV": 2, "FULL_OPENCV": 2,
}  # fmt: skip
HALF_PIXEL = 0.5  # COLMAP has the center of the first pixel at (0.5, 0.5)
UNIT = "COLMAP's poses have no unit: lengths in the map are those of the model"
REMEDY = "run `colmap image_undistorter` and give its folder"


def recognize(folder: Path) -> bool:
    """Return whether a folder has this layout, its model as text or binary."""
    return _find_model(folder, "cameras.txt", "images.txt") is not None or (
        _find_model(folder, "cameras.bin", "images.bin") is not None
    )


def read(folder: Path) -> Contents:
    """Read the images that have a pose, in the order of their names. Raises SourceError for a binary model."""
    model = _find_model(folder, "cameras.txt", "images.txt")
    if model is None:
        binary = _find_model(folder, "cameras.bin", "images.bin")
        command = f"colmap model_converter --input_path {binary} --output_path {binary} --output_type TXT"
        raise SourceError(f"{folder} holds a binary model of COLMAP; write it as text: {command}")
    cameras, notes = _read_cameras(model / "cameras.txt")
    place = _find_images(folder)
    found = sorted(_read_images(model / "images.txt"), key=lambda entry: make_natural_key(entry[0]))
    stems = [Path(name).stem for name, _, _ in found]
    numbers, stamps = parse_numbers(stems), parse_timestamps(stems)
    shots = [
        Shot(number, stamps[i] if stamps else number / RATE, place / name, None, hold(pose), cameras.get(camera))
        for i, (number, (name, camera, pose)) in enumerate(zip(numbers, found, strict=True))
    ]
    if not shots:
        raise SourceError(f"{model / 'images.txt'} must list images, got none; reconstruct them again.")
    return Contents(shots, notes=(UNIT, *notes))


def _find_model(folder: Path, *names: str) -> Path | None:
    return next((folder / place for place in MODELS if all((folder / place / name).is_file() for name in names)), None)


def _find_images(folder: Path) -> Path:
    return next((place for name in ("images", "rgb", "input") if (place := folder / name).is_dir()), folder)


def _read_cameras(file: Path) -> tuple[dict[str, Pinhole | None], tuple[str, ...]]:
    """Read the cameras by id: model, width, height, parameters."""
    cameras: dict[str, Pinhole | None] = {}
    said: dict[str, None] = {}
    for row in (line.split() for line in _read_lines(file) if line):
        try:
            name, width, height, numbers = row[1], int(row[2]), int(row[3]), [float(word) for word in row[4:]]
            cameras[row[0]], notes = _make_camera(name, (height, width), numbers)
        except (IndexError, ValueError) as error:
            raise SourceError(f"{file} must hold id, model, width, height and numbers, got {row}.") from error
        said |= dict.fromkeys(notes)
    return cameras, tuple(said)


def _make_camera(model: str, size: tuple[int, int], numbers: Sequence[float]) -> tuple[Pinhole | None, tuple[str, ...]]:
    count = FOCAL_LENGTHS.get(model)
    usable, notes = describe_lens(model if count else f"fisheye {model}", numbers[(count or 0) + 2 :], REMEDY)
    if not usable or count is None:
        return None, notes
    cx, cy = numbers[count] - HALF_PIXEL, numbers[count + 1] - HALF_PIXEL
    return Pinhole(make_intrinsics(numbers[0], numbers[count - 1], cx, cy), size), notes


def _read_images(file: Path) -> list[tuple[str, str, np.ndarray | None]]:
    """Read (name, camera id, world_from_camera) of each image: id, quaternion w x y z, translation, camera, name.

    Each image has a second line, which may be empty: its features.
    """
    found = []
    for line in _read_lines(file)[::2]:
        row = line.split(maxsplit=9)
        try:
            numbers = [float(word) for word in row[1:8]]
            camera_from_world = make_matrix(numbers[4:7], (numbers[1], numbers[2], numbers[3], numbers[0]))
            name = row[9].replace("\\", "/")
        except (IndexError, ValueError) as error:
            raise SourceError(
                f"{file} must hold two lines for each image, got '{line[:60]}'; write it again."
            ) from error
        found.append((name, row[8], None if camera_from_world is None else invert(camera_from_world)))
    return found


def _read_lines(file: Path) -> list[str]:
    """Read the lines after the comments at the top; empty ones stay, as they may be an image's features."""
    lines = [line.strip() for line in read_text(file).splitlines() if not line.startswith("#")]
    while lines and not lines[-1]:
        lines.pop()
    return lines
