"""Write a synthetic sequence as a ScanNet export with its ground truth."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from moonseg3r_core.errors import OutputError
from moonseg3r_core.io.atomic import explain_write_errors
from moonseg3r_core.synthetic.degrade import DepthNoise, ImageNoise, MaskNoise
from moonseg3r_core.synthetic.sequence import SyntheticSequence
from moonseg3r_core.synthetic.truth import VOXEL, CloudAccumulator, GroundTruth

_FOLDERS = ("color", "depth", "pose", "intrinsic", "instance")


def write_scannet(
    folder: str | Path, sequence: SyntheticSequence, masks: bool | MaskNoise = True,
    depth_noise: DepthNoise | None = None, image_noise: ImageNoise | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Path:  # fmt: skip
    """Write color/N.jpg, depth/N.png (uint16 mm), pose/N.txt, intrinsic/, instance/N.png (uint16 exact ids),
    masks/N.png (uint16, simulated masks), meta.json and gt.npz (from the exact depth). `progress` gets (done, all).

    Raises OutputError where the folder cannot be written or is not empty. After any failure the folder is empty.
    """
    target = _make_folders(Path(folder), (*_FOLDERS, "masks") if masks else _FOLDERS)
    noise = MaskNoise() if masks is True else masks or None
    with explain_write_errors(f"to {target}", "make room there, or choose another with -o"):
        try:
            _write(target, sequence, noise, depth_noise, image_noise, progress)
        except BaseException:
            for entry in target.iterdir():  # the folder was new or empty
                shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink()
            raise
    return target


def _write(
    target: Path, sequence: SyntheticSequence, noise: MaskNoise | None, depth_noise: DepthNoise | None,
    image_noise: ImageNoise | None, progress: Callable[[int, int], object] | None,
) -> None:  # fmt: skip
    """Write all files of the export, the truth last."""
    _write_intrinsics(target / "intrinsic", sequence.intrinsics)
    cloud, scene = CloudAccumulator(VOXEL), sequence.scene
    for frame in sequence:
        n, seed, ids = frame.index, sequence.seed, sequence.render_ids(frame.index)
        depth = frame.depth if depth_noise is None else depth_noise(_require(frame.depth), seed, n)
        image = frame.image if image_noise is None else image_noise(frame.image, seed, n)
        _save(target / "color" / f"{n}.jpg", image.cpu().numpy()[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 95))
        millimetres = np.round(_require(depth).cpu().numpy() * 1000).clip(0, 65535).astype(np.uint16)
        _save(target / "depth" / f"{n}.png", millimetres)
        _save(target / "instance" / f"{n}.png", ids.cpu().numpy().astype(np.uint16))
        if noise:
            _save(target / "masks" / f"{n}.png", noise(ids, seed, n).numpy().astype(np.uint16))
        np.savetxt(target / "pose" / f"{n}.txt", _require(frame.world_from_camera).numpy(), fmt="%.9f")
        cloud.add(frame, ids)
        if progress is not None:
            progress(n + 1, len(sequence))
    write_ground_truth(target / "gt.npz", cloud.compute_truth(scene.structure_ids))
    facts = {
        "seed": sequence.seed, "names": {str(number): name for number, name in scene.names.items()},
        "structure_ids": list(scene.structure_ids), "room_m": list(scene.size),
        "size": [sequence.width, sequence.height], "renderer": "moonseg3r_core.synthetic",
    }  # fmt: skip
    (target / "meta.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def write_ground_truth(file: Path, truth: GroundTruth) -> None:
    """Write gt.npz: points (N, 3) float32 metres, instance_ids (N,) int32, structure_ids."""
    np.savez_compressed(
        file, points=truth.points.numpy(), instance_ids=truth.instance_ids.numpy(),
        structure_ids=np.array(truth.structure_ids, dtype=np.int32),
    )  # fmt: skip


def _make_folders(folder: Path, names: tuple[str, ...]) -> Path:
    with explain_write_errors(f"to {folder}", "choose a folder that you may write to"):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(
                f"{folder} must be a new or empty folder, but it holds something; choose another with -o."
            )
        for name in names:
            (folder / name).mkdir(parents=True, exist_ok=True)
    return folder


def _save(file: Path, image: np.ndarray, options: tuple[int, ...] = ()) -> None:
    if not cv2.imwrite(str(file), np.ascontiguousarray(image), options):
        raise OutputError(f"cannot write {file}; is the disk full?")


def _write_intrinsics(folder: Path, intrinsics: Tensor) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = intrinsics.numpy()
    for name in ("color", "depth"):
        np.savetxt(folder / f"intrinsic_{name}.txt", matrix, fmt="%.6f")


def _require(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise ValueError("a synthetic frame has depth and pose, got None; yield them in the sequence.")
    return tensor
