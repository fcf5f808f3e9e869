"""A small recording for the command line, and a check of the folder that a run leaves."""

from __future__ import annotations

from pathlib import Path

import billboards
import cv2
import numpy as np

from moonseg3r_core.io.ply import read_ply
from moonseg3r_core.io.tum import read_tum
from moonseg3r_core.report import OutputFolder

FRAMES = 4
FILES = ["frames", "instances.json", "map.ply", "report.html", "summary.json", "trajectory.tum"]


def export(folder: Path) -> Path:
    """A ScanNet export of the billboards with their masks; the camera slides to the right."""
    for name in ("color", "depth", "pose", "intrinsic", "masks"):
        (folder / name).mkdir(parents=True)
    intrinsics = np.eye(4)
    intrinsics[:3, :3] = billboards.K.numpy()
    np.savetxt(folder / "intrinsic/intrinsic_color.txt", intrinsics)
    for n in range(FRAMES):
        frame, ids = billboards.frame(n, (0.02 * n, 0.0, 0.0))
        cv2.imwrite(str(folder / f"color/{n}.png"), frame.image.numpy()[..., ::-1])
        cv2.imwrite(str(folder / f"depth/{n}.png"), (frame.depth.numpy() * 1000).astype(np.uint16))
        np.savetxt(folder / f"pose/{n}.txt", frame.world_from_camera.numpy())
        write_masks(folder, n, ids.numpy())
    return folder


def write_masks(scene: Path, n: int, labels: np.ndarray) -> None:
    cv2.imwrite(str(scene / f"masks/{n}.png"), labels.astype(np.uint16))


def is_whole(out: Path, frames: list[int]) -> dict:
    """The summary of a folder of which every file is there, can be read, and agrees with the others."""
    folder = OutputFolder(out)
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert list(folder.list_frames()) == frames
    assert all(folder.read_frame(n).max() <= 65535 for n in frames)
    assert len(read_tum(out / "trajectory.tum")[0]) == len(frames)
    assert {i.id for i in folder.read_instances()} == set(read_ply(out / "map.ply").instance_ids.tolist()) - {0}
    assert (out / "report.html").read_text().endswith("</html>\n")
    assert folder.read_summary()["frames"] == len(frames)
    return folder.read_summary()
