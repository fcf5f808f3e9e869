"""Exact ids and depth made as poor as a mask model and a depth camera make them; everything is seeded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

VOID = 0


@dataclass(frozen=True)
class MaskNoise:
    """A class-agnostic mask model's faults. Shares are chances per object and frame, lengths are pixels.

    drop: the object has no mask; small ones (under `small` pixels) are dropped `small_drop` more often. split: cut in
    two or three by random lines. merge: joined with a neighbour, the likelier the longer their common border.
    jitter: how far borders wander.
    erode: chance that a mask loses its rim, which stays unlabelled. spurious: masks of nothing per frame, small
    ellipses. min_area: smaller masks are left out.
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
        """Labels (H, W) int32, 0 = none, of a frame's exact ids (H, W); numbered at random in every frame."""
        rng = np.random.default_rng((seed, index, 11))
        labels = _wander(ids.cpu().numpy().astype(np.int64), self.jitter, rng)
        labels = self._merged(labels, rng)
        labels = self._split(labels, rng)
        labels = self._dropped(labels, rng)
        labels = self._eroded(labels, rng)
        labels = self._dreamt(labels, rng)
        return torch.from_numpy(_renumbered(labels, self.min_area, rng))

    def _merged(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A few neighbours become one."""
        pairs, lengths = _neighbours(labels)
        for (a, b), length in zip(pairs, lengths, strict=True):
            smaller = min((labels == a).sum(), (labels == b).sum())
            if smaller and rng.random() < self.merge * min(2.0, 2.0 * length / np.sqrt(smaller)):
                labels = np.where(labels == b, a, labels)
        return labels

    def _split(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Objects cut by one or two random lines, each through one of their pixels."""
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

    def _dropped(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        numbers, areas = np.unique(labels, return_counts=True)
        chance = self.drop + self.small_drop * (areas < self.small)
        gone = numbers[rng.random(len(numbers)) < chance]
        return np.where(np.isin(labels, gone), VOID, labels)

    def _eroded(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rim = ndimage.maximum_filter(labels, 3) != ndimage.minimum_filter(labels, 3)
        thin = np.array([n for n in np.unique(labels) if rng.random() < self.erode])
        return np.where(rim & np.isin(labels, thin), VOID, labels)

    def _dreamt(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Ellipses that are no object: reflections, patterns, shadows."""
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
    """A structured-light camera's faults: noise of `sigma` * z^2 metres, steps that grow so, holes at depth edges,
    nothing beyond `far` metres, and a share `speckle` of lost pixels.
    """

    sigma: float = 0.0015
    step: float = 0.0012
    edge: float = 0.03
    hole: float = 0.6
    speckle: float = 0.002
    near: float = 0.4
    far: float = 6.0

    def __call__(self, depth: Tensor, seed: int, index: int = 0) -> Tensor:
        """Depth (H, W) float32 metres, 0 = none, as such a camera would give it."""
        rng = np.random.default_rng((seed, index, 13))
        exact = _wander_float(depth.cpu().numpy().astype(np.float64), 0.5, rng)
        squared = np.square(exact)
        noisy = exact + rng.normal(0, 1, exact.shape) * self.sigma * squared
        quantum = np.maximum(self.step * squared, 1e-6)
        noisy = np.round(noisy / quantum) * quantum
        jump = (
            ndimage.maximum_filter(exact, 3) - ndimage.minimum_filter(exact, 3)
            > self.edge * np.maximum(exact, 0.1) + 0.02
        )
        lost = (jump & (rng.random(exact.shape) < self.hole)) | (rng.random(exact.shape) < self.speckle)
        lost |= (exact < self.near) | (noisy > self.far)
        return torch.from_numpy(np.where(lost, 0, noisy).astype(np.float32))


@dataclass(frozen=True)
class ImageNoise:
    """A small camera's faults: grain of `sigma` grey levels, darker corners by the share `vignette`."""

    sigma: float = 3.0
    vignette: float = 0.15

    def __call__(self, image: Tensor, seed: int, index: int = 0) -> Tensor:
        """A picture (H, W, 3) uint8 as such a camera would give it."""
        rng = np.random.default_rng((seed, index, 17))
        height, width = image.shape[:2]
        v, u = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        shade = 1 - self.vignette * (u * u + v * v)[..., None] / 2
        noisy = image.cpu().numpy() * shade + rng.normal(0, self.sigma, (height, width, 3))
        return torch.from_numpy(noisy.clip(0, 255).round().astype(np.uint8))


def _wander(labels: np.ndarray, reach: float, rng: np.random.Generator) -> np.ndarray:
    """Labels whose borders wander by about `reach` pixels: each pixel asks a neighbour, smoothly chosen."""
    return labels[_shifted(labels.shape, reach, rng)]


def _wander_float(depth: np.ndarray, reach: float, rng: np.random.Generator) -> np.ndarray:
    """The same for depth, of which only the edges may move: within a surface it stays as it is."""
    moved = depth[_shifted((depth.shape[0], depth.shape[1]), reach, rng)]
    return np.where(np.abs(moved - depth) > 0.05 * depth, moved, depth)


def _shifted(shape: tuple[int, ...], reach: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    shifts = [ndimage.gaussian_filter(rng.normal(0, 1, shape), 2.5) for _ in range(2)]
    rows, columns = (np.arange(n) for n in shape)
    offsets = [np.round(reach * s / max(float(s.std()), 1e-9)).astype(int) for s in shifts]
    return (rows[:, None] + offsets[0]).clip(0, shape[0] - 1), (columns[None] + offsets[1]).clip(0, shape[1] - 1)


def _neighbours(labels: np.ndarray) -> tuple[list[tuple[int, int]], list[int]]:
    """Pairs of labels that touch, and the lengths of their common borders in pixels."""
    across = np.stack((labels[:, :-1].ravel(), labels[:, 1:].ravel()), -1)
    down = np.stack((labels[:-1].ravel(), labels[1:].ravel()), -1)
    touching = np.concatenate((across, down))
    touching = touching[(touching[:, 0] != touching[:, 1]) & (touching > VOID).all(-1)]
    pairs, lengths = np.unique(np.sort(touching, -1), axis=0, return_counts=True)
    return [(int(a), int(b)) for a, b in pairs], lengths.tolist()


def _renumbered(labels: np.ndarray, min_area: int, rng: np.random.Generator) -> np.ndarray:
    """Labels 1.. in random order; masks under `min_area` pixels are left out."""
    numbers, inverse, areas = np.unique(labels, return_inverse=True, return_counts=True)
    kept = (numbers > VOID) & (areas >= min_area)
    new = np.zeros(len(numbers), dtype=np.int32)
    new[kept] = 1 + rng.permutation(int(kept.sum())).astype(np.int32)
    return new[inverse].reshape(labels.shape)
