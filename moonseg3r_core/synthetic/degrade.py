"""Seeded noise for exact ids, depth and images, like that of a mask model and of cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

VOID = 0


@dataclass(frozen=True)
class MaskNoise:
    """The errors of a class-agnostic mask model. Shares are probabilities per object and frame, lengths are pixels.

    drop: of no mask; for objects under `small` pixels `small_drop` is added. split: of a cut in two or three parts by
    random lines. merge: of a merge with a neighbour, in proportion to their common border. jitter: displacement of
    borders. erode: of an unlabelled rim. spurious: false masks per frame, small ellipses. min_area: of a mask.
    """

    drop: float = 0.08
    small: int = 250
    small_drop: float = 0.3
    split: float = 0.33
    merge: float = 0.06
    jitter: float = 1.5
    erode: float = 0.35
    spurious: float = 0.5
    min_area: int = 25

    def __call__(self, ids: Tensor, seed: int, index: int = 0) -> Tensor:
        """Degrade a frame's exact ids (H, W) to labels (H, W) int32, 0 = none, numbered at random in every frame."""
        rng = np.random.default_rng((seed, index, 11))
        labels = ids.cpu().numpy().astype(np.int64)
        labels = labels[_sample_shifts(labels.shape, self.jitter, rng)]
        for degrade in (self._merge, self._split, self._drop, self._erode, self._add_spurious):
            labels = degrade(labels, rng)
        return torch.from_numpy(_renumber(labels, self.min_area, rng))

    def _merge(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Merge a few neighbours."""
        pairs, lengths = _find_neighbours(labels)
        for (a, b), length in zip(pairs, lengths, strict=True):
            smaller = min((labels == a).sum(), (labels == b).sum())
            if smaller and rng.random() < self.merge * min(2.0, 2.0 * length / np.sqrt(smaller)):
                labels = np.where(labels == b, a, labels)
        return labels

    def _split(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Cut objects by one or two random lines, each through one of their pixels."""
        fresh = int(labels.max()) + 1
        out = labels.copy()
        for number in np.unique(labels[labels > VOID]):
            if rng.random() >= self.split:
                continue
            rows, columns = np.nonzero(labels == number)
            for _ in range(1 + (rng.random() < 0.25)):
                pivot, angle = rng.integers(len(rows)), rng.uniform(0, np.pi)
                side = np.cos(angle) * (columns - columns[pivot]) + np.sin(angle) * (rows - rows[pivot]) > 0
                out[rows[side], columns[side]] = fresh
                fresh += 1
        return out

    def _drop(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        numbers, areas = np.unique(labels, return_counts=True)
        chance = self.drop + self.small_drop * (areas < self.small)
        gone = numbers[rng.random(len(numbers)) < chance]
        return np.where(np.isin(labels, gone), VOID, labels)

    def _erode(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rim = ndimage.maximum_filter(labels, 3) != ndimage.minimum_filter(labels, 3)
        thin = np.array([n for n in np.unique(labels) if rng.random() < self.erode])
        return np.where(rim & np.isin(labels, thin), VOID, labels)

    def _add_spurious(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Add ellipses that are no object."""
        height, width = labels.shape
        v, u = np.mgrid[:height, :width]
        fresh = int(labels.max()) + 1
        for number in range(fresh, fresh + int(rng.poisson(self.spurious))):
            a, b = rng.uniform(0.02, 0.1, 2) * min(height, width)
            du, dv = u - rng.uniform(0, width), v - rng.uniform(0, height)
            labels = np.where((du / a) ** 2 + (dv / b) ** 2 < 1, number, labels)
        return labels


@dataclass(frozen=True)
class DepthNoise:
    """The errors of a structured-light camera: noise of `sigma` * z^2 metres, quantization that grows likewise, holes at
    depth edges, no depth beyond `far` metres, and a share `speckle` of lost pixels.
    """

    sigma: float = 0.0015
    step: float = 0.0012
    edge: float = 0.03
    hole: float = 0.6
    speckle: float = 0.002
    near: float = 0.4
    far: float = 6.0

    def __call__(self, depth: Tensor, seed: int, index: int = 0) -> Tensor:
        """Degrade depth (H, W) float32 metres, 0 = none."""
        rng = np.random.default_rng((seed, index, 13))
        exact = depth.cpu().numpy().astype(np.float64)
        moved = exact[_sample_shifts(exact.shape, 0.5, rng)]
        exact = np.where(np.abs(moved - exact) > 0.05 * exact, moved, exact)  # within a surface it is unchanged
        squared = np.square(exact)
        noisy = exact + rng.normal(0, 1, exact.shape) * self.sigma * squared
        quantum = np.maximum(self.step * squared, 1e-6)
        noisy = np.round(noisy / quantum) * quantum
        rise = ndimage.maximum_filter(exact, 3) - ndimage.minimum_filter(exact, 3)
        jump = rise > self.edge * np.maximum(exact, 0.1) + 0.02
        lost = (jump & (rng.random(exact.shape) < self.hole)) | (rng.random(exact.shape) < self.speckle)
        lost |= (exact < self.near) | (noisy > self.far)
        return torch.from_numpy(np.where(lost, 0, noisy).astype(np.float32))


@dataclass(frozen=True)
class ImageNoise:
    """The errors of a small camera: noise of `sigma` grey levels, corners darker by the share `vignette`."""

    sigma: float = 3.0
    vignette: float = 0.15

    def __call__(self, image: Tensor, seed: int, index: int = 0) -> Tensor:
        """Degrade an image (H, W, 3) uint8."""
        rng = np.random.default_rng((seed, index, 17))
        height, width = image.shape[:2]
        v, u = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        shade = 1 - self.vignette * (u * u + v * v)[..., None] / 2
        noisy = image.cpu().numpy() * shade + rng.normal(0, self.sigma, (height, width, 3))
        return torch.from_numpy(noisy.clip(0, 255).round().astype(np.uint8))


def _sample_shifts(shape: tuple[int, ...], reach: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sample rows and columns that move borders by about `reach` pixels: each pixel takes a neighbour's value."""
    shifts = [ndimage.gaussian_filter(rng.normal(0, 1, shape), 2.5) for _ in range(2)]
    rows, columns = (np.arange(n) for n in shape)
    offsets = [np.round(reach * s / max(float(s.std()), 1e-9)).astype(int) for s in shifts]
    return (rows[:, None] + offsets[0]).clip(0, shape[0] - 1), (columns[None] + offsets[1]).clip(0, shape[1] - 1)


def _find_neighbours(labels: np.ndarray) -> tuple[list[tuple[int, int]], list[int]]:
    """Find pairs of labels that touch, and the lengths of their common borders in pixels."""
    across = np.stack((labels[:, :-1].ravel(), labels[:, 1:].ravel()), -1)
    down = np.stack((labels[:-1].ravel(), labels[1:].ravel()), -1)
    touching = np.concatenate((across, down))
    touching = touching[(touching[:, 0] != touching[:, 1]) & (touching > VOID).all(-1)]
    pairs, lengths = np.unique(np.sort(touching, -1), axis=0, return_counts=True)
    return [(int(a), int(b)) for a, b in pairs], lengths.tolist()


def _renumber(labels: np.ndarray, min_area: int, rng: np.random.Generator) -> np.ndarray:
    """Renumber labels from 1 at random; masks under `min_area` pixels are left out."""
    numbers, inverse, areas = np.unique(labels, return_inverse=True, return_counts=True)
    kept = (numbers > VOID) & (areas >= min_area)
    new = np.zeros(len(numbers), dtype=np.int32)
    new[kept] = 1 + rng.permutation(int(kept.sum())).astype(np.int32)
    return new[inverse].reshape(labels.shape)
