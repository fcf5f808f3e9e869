"""Masks by CropFormer (Qi et al. 2023; CC BY-NC 4.0, no commercial use), from its script's files or live."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moonseg3r_core.errors import InputError, MissingDependency
from moonseg3r_core.masks.filters import MaskFilter
from moonseg3r_core.masks.precomputed import PrecomputedMasks
from moonseg3r_core.stages import MaskModel
from moonseg3r_core.types import Frame, Geometry, MaskProposals
from moonseg3r_core.weights import find_file

DETECTRON2 = 'python -m pip install "git+https://github.com/facebookresearch/detectron2.git"'
PROJECT = "https://github.com/qqlu/Entity (Entityv2/CropFormer)"
PREDICTOR, NETS = "demo_cropformer/predictor.py", "configs/entityv2/entity_segmentation"

Predictor = Callable[[np.ndarray], Mapping[str, Any]]


def build(
    folder: str, project: str, net: str, weights: str, confidence: float, device: torch.device, min_area: int
) -> MaskModel:
    """Build the model of `masks.cropformer`: it reads `folder` where one is given, else it runs the network.

    Raises WeightsError for weights that are missing or incomplete, InputError for a folder without masks,
    MissingDependency without detectron2 or the authors' own code.
    """
    if folder:
        files = find_written_masks(Path(folder).expanduser())
        return PrecomputedMasks(next(iter(files.values())).parent, files, min_area)
    code = import_cropformer(project)
    return CropFormerMasks(load_predictor(code, net, find_file(weights), device), min_area, confidence)


class CropFormerMasks:
    """Frame, Geometry -> disjoint entities, largest first; the geometry is not used.

    predictor: its authors' CropFormerPredictor, or any callable like detectron2's DefaultPredictor. It takes an image
    (H, W, 3) uint8 in the order blue, green, red and returns `instances` with pred_masks (M, H, W) and scores (M,).
    """

    def __init__(self, predictor: Predictor, min_area: int, confidence: float) -> None:
        self.predictor, self.filter, self.confidence = predictor, MaskFilter(min_area), confidence

    def __call__(self, frame: Frame, geometry: Geometry) -> MaskProposals:
        found = self.predictor(np.ascontiguousarray(frame.host_image[..., ::-1]))["instances"]
        scores = found.scores.to(frame.image.device, torch.float32)
        confident = scores >= self.confidence
        return self.filter(MaskProposals(found.pred_masks.to(frame.image.device)[confident] > 0, scores[confident]))


def find_written_masks(folder: Path) -> dict[int, Path]:
    """Map frame numbers to the label PNGs that CropFormer's script wrote in a scene's folder or the folder of masks.

    The layout is that of MaskClustering's mask_predict.py: `output/mask/` in the scene's folder (in `<scene>/<scene>/`
    for Matterport3D) with one gray PNG per image, named as the image (`10.png`, `frame_000010.png`) and of its size.
    0 is none. Ids count from 1 by rising score, later over earlier, so each pixel is its best mask's already. Masks
    under 400 pixels or a score of 0.5 are left out; scores are not kept. The script runs on every tenth image: the
    other frames have no masks. Raises InputError for a folder that is missing, holds no masks, or two of the same number.
    """
    inner = (folder / "output" / "mask", folder / folder.name / "output" / "mask")
    folder = next((place for place in inner if place.is_dir()), folder)
    found = [(re.search(r"\d{1,9}$", path.stem), path) for path in sorted(folder.glob("*.png"))]
    files = {int(number.group()): path for number, path in found if number}
    if not files or len(files) < len(found):
        what = f"{len(found)} of {len(files)} different numbers" if found else "none"
        raise InputError(
            f"{folder} must hold CropFormer's masks, one PNG per image with the image's number at the end of its name, "
            f"got {what}; set masks.cropformer.folder to the scene's folder or to output/mask in it."
        )
    return files


@dataclass(frozen=True)
class CropFormerCode:
    """The authors' code: its folder, its predictor class, and a factory of detectron2's settings with theirs added."""

    project: Path
    predictor: Callable[[Any], Predictor]
    make_settings: Callable[[], Any]


def import_cropformer(project: str) -> CropFormerCode:
    """Import detectron2 and the authors' code in their folder. Raises MissingDependency where one of them is missing."""
    folder = Path(project).expanduser()
    try:
        if not project or not (folder / PREDICTOR).is_file():
            raise ImportError(f"masks.cropformer.project is '{project}', no folder with {PREDICTOR}")
        get_cfg = importlib.import_module("detectron2.config").get_cfg
        extend = [importlib.import_module("detectron2.projects.deeplab").add_deeplab_config]
        with _extend_path(folder):
            extend.append(importlib.import_module("mask2former").add_maskformer2_config)
            predictor = _run_file(folder / PREDICTOR).CropFormerPredictor
    except (ImportError, AttributeError) as error:
        raise MissingDependency(
            f"masks.kind=cropformer runs live with detectron2 and CropFormer's own code (CC BY-NC 4.0: no commercial use), "
            f"which are not both here ({error}); run {DETECTRON2}, get and build {PROJECT} as its CODE.md says, and set "
            "masks.cropformer.project to that folder; or set masks.cropformer.folder to masks that its script wrote."
        ) from error

    def make_settings() -> Any:
        made = get_cfg()
        for add in extend:
            add(made)
        return made

    return CropFormerCode(folder, predictor, make_settings)


def load_predictor(code: CropFormerCode, net: str, file: Path, device: torch.device) -> Predictor:
    """Load the authors' predictor with one of their nets. Their code unpickles the weights: use trusted files only.

    Raises InputError for a net that the project does not describe, or weights that it cannot read.
    """
    description = code.project / NETS / f"{net}.yaml"
    if not description.is_file():
        nets = ", ".join(sorted(path.stem for path in description.parent.glob("*.yaml"))) or "none"
        raise InputError(f"masks.cropformer.net must be one of {nets} in {description.parent}, got '{net}'.")
    try:
        settings = code.make_settings()
        settings.merge_from_file(str(description))
        settings.MODEL.WEIGHTS, settings.MODEL.DEVICE = str(file), str(device)
        return code.predictor(settings)
    except Exception as error:  # the packages' own
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{file} must hold the weights of CropFormer's {net}, got ({reason}).") from error


def _run_file(path: Path) -> Any:
    """Import the module of a file that belongs to no package."""
    spec = importlib.util.spec_from_file_location("cropformer_predictor", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be run")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def _extend_path(folder: Path) -> Iterator[None]:
    """Make the packages in a folder importable within the context."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
