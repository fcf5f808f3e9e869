"""The README's picture: frames of a rendered room, their instances, and the map from above.

moonseg3r demo --seed 4 -o out/demo && python tools/readme_picture.py out/demo docs/room.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from moonseg3r_core.io.ply import read_ply
from moonseg3r_core.io.tum import read_tum
from moonseg3r_core.report.charts import plot_map
from moonseg3r_core.report.gallery import Picture
from moonseg3r_core.report.overlay import draw_overlay
from moonseg3r_core.report.topdown import rasterize_map

RUN = "nano-masks"
HEIGHT = 300


def main(demo: Path, file: Path) -> None:
    """Write three frames of a demo in two rows, image above instances, beside the map."""
    frames = sorted(int(path.stem) for path in (demo / RUN / "frames").glob("*.png"))
    columns = [np.vstack(draw_pair(demo, index)) for index in frames[len(frames) // 8 :: len(frames) // 4][:3]]
    picture = np.hstack([*columns, draw_map(demo, columns[0].shape[0])])
    cv2.imwrite(str(file), picture[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 85))


def draw_pair(demo: Path, index: int) -> list[np.ndarray]:
    """Draw a frame's image and its overlay, both HEIGHT pixels high."""
    image = cv2.imread(str(demo / "scene" / "color" / f"{index}.jpg"))[..., ::-1].copy()
    ids = cv2.imread(str(demo / RUN / "frames" / f"{index}.png"), cv2.IMREAD_UNCHANGED)
    size = (image.shape[1] * HEIGHT // image.shape[0], HEIGHT)
    pictures = (image, draw_overlay(Picture(index, image, ids)))
    return [cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in pictures]


def draw_map(demo: Path, height: int) -> np.ndarray:
    """Draw the report's map by instance, `height` pixels high."""
    out = demo / RUN
    view = rasterize_map(read_ply(out / "map.ply"), read_tum(out / "trajectory.tum")[1].numpy(), 0.02)
    if view is None:
        raise SystemExit(f"{out}/map.ply must hold points, got none; run the demo again.")
    drawn = cv2.imdecode(np.frombuffer(plot_map(view, []), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    drawn = drawn[: drawn.shape[0] // 2] if drawn.shape[0] > drawn.shape[1] else drawn[:, : drawn.shape[1] // 2]
    return cv2.resize(drawn, (drawn.shape[1] * height // drawn.shape[0], height), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
