"""Pictures of the progress of a training of queries: reference features as colors (paper Figure 4) and found masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from moonseg3r_core.io.atomic import explain_write_errors, write_atomically
from moonseg3r_core.refinement.learned import concatenate_features
from moonseg3r_core.report.palette import compute_colors
from moonseg3r_core.training.queries.clips import QueryClip, make_batch
from moonseg3r_core.training.queries.learner import QueryLearner

_ROW_HEIGHT = 120  # pixels of a frame in the picture
_COLUMNS, _QUERIES = 5, 3


@torch.no_grad()
def draw_picture(learner: QueryLearner, clip: QueryClip) -> np.ndarray:
    """Draw a column for each of five frames of a clip, RGB uint8.

    From above: the frame, its masks, three principal components of its reference features, and the masks in it of three
    queries of the first frame (eq 5).
    """
    device = learner.offset.device
    batch = make_batch([clip]).to(device)
    features = concatenate_features(batch.geometric, batch.semantic)
    reference = learner.reference(features)[0]
    queries, shares = learner.compute_queries(features, batch)[0], batch.shares[0]
    frames = torch.linspace(0, len(clip) - 1, _COLUMNS).long().unique().tolist()
    chosen = shares[0].sum(-1).topk(min(_QUERIES, shares.shape[1])).indices
    masks = learner.compute_masks(queries[:1, chosen].expand(len(clip), -1, -1), reference).transpose(0, 1)
    rows = [clip.pictures, _draw_masks(shares), _draw_components(reference)]
    rows += [_draw_heat(each) for each in masks]
    size = tuple(clip.size.tolist())
    return np.concatenate([_draw_row(images, frames, size, clip.pictures.shape[1:3]) for images in rows])


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write an image as PNG. Raises OutputError."""
    with explain_write_errors(path, "make room there"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as part:
            part.write_bytes(cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1].tobytes())


def _draw_row(images: Tensor, frames: Sequence[int], cells: tuple[int, ...], shape: Sequence[int]) -> np.ndarray:
    """Draw frames of images (T, H, W, 3), or of cells (T, N, 3), side by side in the shape of the camera's image."""
    wide = round(_ROW_HEIGHT * shape[1] / shape[0])
    kept = images[frames].cpu()
    kept = kept if kept.dim() == 4 else kept[:, : cells[0] * cells[1]].unflatten(1, cells)
    drawn = [cv2.resize(image.numpy(), (wide, _ROW_HEIGHT), interpolation=cv2.INTER_NEAREST) for image in kept]
    return np.concatenate(drawn, axis=1)


def _draw_masks(shares: Tensor) -> Tensor:
    """Draw the color (T, N, 3) uint8 of the mask with the largest share of each cell, grey without any."""
    share, mask = shares.max(1)
    return torch.from_numpy(compute_colors(torch.where(share > 0, mask + 1, 0).cpu().numpy()))


def _draw_components(features: Tensor) -> Tensor:
    """Draw three principal components of features (T, N, D), over all frames, as colors (T, N, 3) uint8."""
    rows = normalize(features, dim=-1).flatten(0, 1)
    centered = rows - rows.mean(0)
    _, _, axes = torch.linalg.svd(centered, full_matrices=False)
    values = centered @ axes[:3].T
    low, high = (values.quantile(share, dim=0) for share in (0.02, 0.98))
    scaled = ((values - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    return (255 * scaled).byte().unflatten(0, features.shape[:2])


def _draw_heat(probabilities: Tensor) -> Tensor:
    """Draw probabilities (T, N) from 0, black, to 1, white."""
    return (255 * probabilities).byte()[..., None].expand(-1, -1, 3).contiguous()
