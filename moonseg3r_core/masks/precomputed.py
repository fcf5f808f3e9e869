"""Masks that another program wrote beside the recording (paper section 4.1: CropFormer's, FastSAM's)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch

from moonseg3r_core.errors import ConfigError, FrameRejected, InputError
from moonseg3r_core.io.images import decode_file, decode_labels
from moonseg3r_core.masks.filters import MaskFilter, make_proposals
from moonseg3r_core.types import Frame, Geometry, MaskProposals

log = logging.getLogger("moonseg3r")

ASPECT_TOLERANCE = 0.01
JPEG = b"\xff\xd8"  # how such a file begins


def build(folder: str, min_area: int) -> PrecomputedMasks:
    """Build the model of `masks.precomputed`.

    Raises ConfigError where no folder is named, InputError where it is missing or holds no masks.
    """
    if not folder:
        raise ConfigError(
            "masks.kind=precomputed expects a folder of masks, but the recording brings none; "
            "set masks.precomputed.folder, or use masks.kind=regions."
        )
    return PrecomputedMasks(folder, find_masks(Path(folder)), min_area)


class PrecomputedMasks:
    """Frame, Geometry -> the masks in a folder by frame number, largest first, every score 1.

    A file holds 8- or 16-bit labels (0 = none), gray or with a palette as DAVIS and SAM 2 have them; a folder holds binary PNGs, one mask per file, as SAM-style exporters
    write them. A frame without either has no masks; `missing` counts these, and the first is logged. Masks of another
    size are resized (nearest) when their aspect ratio is the image's to 1 %; the first is logged. Raises FrameRejected
    for a file that cannot be used.
    """

    def __init__(self, folder: object, files: Mapping[int, Path], min_area: int) -> None:
        self.folder, self.files, self.min_area = folder, files, min_area
        self.missing = 0
        self._logged_size = False

    def __call__(self, frame: Frame, geometry: Geometry) -> MaskProposals:
        path = self.files.get(frame.index)
        if path is None:
            return self._handle_missing(frame)
        proposals = self._read_folder(path, frame) if path.is_dir() else self._read_labels(path, frame)
        return MaskProposals(proposals.masks.to(frame.image.device), proposals.scores.to(frame.image.device))

    def _handle_missing(self, frame: Frame) -> MaskProposals:
        self.missing += 1
        if self.missing == 1:
            log.warning(
                "no masks for frame %d in %s; frames without a file go without masks.", frame.index, self.folder
            )
        return MaskProposals.empty(*frame.size, frame.image.device)

    def _read_labels(self, path: Path, frame: Frame) -> MaskProposals:
        image = _read(path, decode_labels)
        if image.ndim == 3:
            if (image[..., :1] != image[..., :3]).any():
                raise FrameRejected(
                    "masks in color",
                    f"{path} must hold labels in one channel, got a color image; export ids as an 8- or 16-bit gray PNG, or one with a palette.",
                )
            image = image[..., 0]
        labels = torch.from_numpy(self._fit(image, path, frame).astype(np.int32))
        return make_proposals(labels, self.min_area)

    def _read_folder(self, path: Path, frame: Frame) -> MaskProposals:
        files = sorted(path.glob("*.png"))
        if not files:
            raise FrameRejected(
                "no masks", f"{path} must hold one binary PNG per mask, got none; write them or delete the folder."
            )
        masks = [self._fit(_find_foreground(_read(file, decode_pixels)), file, frame) > 0 for file in files]
        stacked = torch.from_numpy(np.stack(masks))
        return MaskFilter(self.min_area)(MaskProposals(stacked, torch.ones(len(masks))))

    def _fit(self, image: np.ndarray, path: Path, frame: Frame) -> np.ndarray:
        """Resize a mask image to the frame's size. Raises FrameRejected where the aspect ratio is another."""
        height, width = frame.size
        if image.shape == (height, width):
            return image
        aspect = (image.shape[1] / image.shape[0]) / (width / height)
        if abs(aspect - 1) > ASPECT_TOLERANCE:
            raise FrameRejected(
                "masks of another shape",
                f"{path} must be {width} x {height} like the image, got {image.shape[1]} x {image.shape[0]}; "
                "make the masks from the same images as the recording's.",
            )
        if not self._logged_size:
            self._logged_size = True
            log.warning(
                "masks are %d x %d, images %d x %d: resized (nearest).", image.shape[1], image.shape[0], width, height
            )
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def find_masks(folder: Path) -> dict[int, Path]:
    """Map frame numbers N to label PNGs `N.png` or folders `N/` of binary PNGs; the PNG where a frame has both.

    N may be padded with zeros.
    Raises InputError where the folder is missing or holds no masks.
    """
    if not folder.is_dir():
        raise InputError(
            f"expected a folder of masks at {folder}, found none; give masks.precomputed.folder or use masks.kind=regions."
        )
    entries = sorted(folder.iterdir(), key=lambda p: p.is_file())
    files = {int(p.stem): p for p in entries if p.stem.isdecimal() and (p.is_dir() or p.suffix.lower() == ".png")}
    if not files:
        if any(entry.suffix.lower() in (".jpg", ".jpeg") for entry in entries):
            raise InputError(
                f"{folder} must hold masks as PNG, got JPEG, which changes ids; write N.png, N the frame number."
            )
        raise InputError(
            f"{folder} must hold masks N.png or folders N/ of PNGs, N the frame number, got neither; "
            "rename them so or use masks.kind=regions."
        )
    return files


def decode_pixels(raw: bytes) -> np.ndarray:
    """Decode an image file as it is stored, a palette by its colors."""
    return decode_file(raw, cv2.IMREAD_UNCHANGED)


def _read(path: Path, decode: Callable[[bytes], np.ndarray]) -> np.ndarray:
    """Read a PNG, (H, W) or (H, W, C). Raises FrameRejected where it cannot be decoded or is a JPEG by its contents."""
    try:
        raw = path.read_bytes()
        if raw.startswith(JPEG):
            raise FrameRejected("it is a JPEG, which changes ids")
        return decode(raw)
    except (OSError, FrameRejected) as error:
        raise FrameRejected(
            "unreadable masks",
            f"{path} must be a readable PNG, got one that cannot be decoded ({error}); write it again.",
        ) from error


def _find_foreground(image: np.ndarray) -> np.ndarray:
    """Find the pixels (H, W) uint8 of a binary PNG that are not black; an alpha channel does not count."""
    return (image if image.ndim == 2 else image[..., :3].max(-1)).astype(bool).astype(np.uint8)
