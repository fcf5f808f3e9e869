"""Regions from affinities: the probabilities that pairs of pixels lie on one object."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from moonseg3r_core.masks.region_merging import find_mutual_best, group_borders

OFFSETS = ((0, 1), (1, 0), (0, 3), (3, 0), (0, 9), (9, 0), (0, 27), (27, 0))  # (down, right) to a pixel's partner

_NEAR = 4  # of the offsets are near enough to decide where a border runs


def label_regions(affinities: np.ndarray, smooth: float, join: float) -> np.ndarray:
    """Label the regions (h, w) int64 of affinities (C, h, w) in [0, 1], from 0.

    Channel c is the affinity of a pixel and the one OFFSETS[c] away; pairs that leave the image do not count. A watershed
    of the boundaries gives regions. Regions are joined while the mean affinity of all pairs between two is above `join`,
    the highest first (average linkage: Bailoni et al. 2022, GASP).
    """
    found = watershed(ndimage.gaussian_filter(compute_boundaries(affinities), smooth))
    regions = np.maximum(found, 1) - 1  # an image without any boundary is one region
    count = int(regions.max()) + 1
    first, second, affinity, weight = list_border_pairs(affinities, regions)
    values = np.stack((weight, weight * affinity), axis=1)
    return relabel_borders(affinities, join_regions(*group_borders(first, second, values, count), join, count)[regions])


def raise_affinities(affinities: np.ndarray, ids: np.ndarray, share: float) -> np.ndarray:
    """Raise the affinities (C, h, w) of pairs that the map shows as one object, ids (h, w) with 0 = unknown, by a share of
    what they lack: what one frame splits, another has shown whole.
    """
    raised = affinities.copy()
    for (down, right), affinity in zip(OFFSETS, raised, strict=True):
        a, b = pair_pixels(ids, down, right)
        values, one = affinity[: a.shape[0], : a.shape[1]], (a == b) & (a > 0)
        values[one] += share * (1 - values[one])
    return raised


def compute_region_scores(affinities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute a score (R,) float32 in [0, 1] of each region: the mean of how alike the near pairs inside are, times the
    mean of how unlike those across its border are; labels (h, w) from 0.
    """
    count = int(labels.max()) + 1
    inside, across = np.full((2, count), 1e-6), np.full((2, count), 1e-6)
    for (down, right), affinity in zip(OFFSETS[:_NEAR], affinities, strict=False):
        a, b = pair_pixels(labels, down, right)
        value = affinity[: a.shape[0], : a.shape[1]]
        own = a == b
        inside += _sum_by_region(a[own], value[own], count)
        for side in (a[~own], b[~own]):
            across += _sum_by_region(side, 1 - value[~own], count)
    return ((inside[1] / inside[0]) * (across[1] / across[0])).astype(np.float32)


def _sum_by_region(regions: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Count values and sum them up, by their region: (2, count)."""
    return np.stack((np.bincount(regions, minlength=count), np.bincount(regions, values, count)))


def compute_boundaries(affinities: np.ndarray) -> np.ndarray:
    """Compute the probability (h, w) that a boundary passes a pixel, from its nearest pairs."""
    found = np.zeros_like(affinities[0])
    for (down, right), affinity in zip(OFFSETS[:2], affinities, strict=False):
        here, there = pair_pixels(found, down, right)
        apart = 1 - affinity[: here.shape[0], : here.shape[1]]
        np.maximum(here, apart, out=here)
        np.maximum(there, apart, out=there)
    return found


def list_border_pairs(
    affinities: np.ndarray, regions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """List pairs of pixels in two regions: the first's region, the second's, their affinity and its weight, (L,) each.

    Near pairs are listed all, of the far ones every fourth, with a weight of 4.
    """
    found: list[tuple[np.ndarray, ...]] = []
    for number, ((down, right), affinity) in enumerate(zip(OFFSETS, affinities, strict=True)):
        step = 1 if number < _NEAR else 2
        here, there = (side[::step, ::step] for side in pair_pixels(regions, down, right))
        apart = here != there
        value = affinity[::step, ::step][: here.shape[0], : here.shape[1]][apart]
        found.append((here[apart], there[apart], value, np.full(len(value), float(step * step))))
    first, second, value, weight = (np.concatenate(column) for column in zip(*found, strict=True))
    return first, second, value, weight


def pair_pixels(image: np.ndarray, down: int, right: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of an image (h, w) that have a partner `down` and `right` of them, and these partners."""
    height, width = max(image.shape[0] - down, 0), max(image.shape[1] - right, 0)
    return image[:height, :width], image[down:, right:][:height, :width]


def join_regions(first: np.ndarray, second: np.ndarray, sums: np.ndarray, join: float, regions: int) -> np.ndarray:
    """Return the new region (R,) of each region, from 0. Borders first < second (E,), sums (E, 2): pairs, affinity.

    Each round joins every two regions that are each other's likeliest, until no mean affinity is above `join`.
    """
    assigned = np.arange(regions)
    while len(first):
        mean = sums[:, 1] / sums[:, 0]
        best = find_mutual_best(first, second, -mean, regions)
        best = best[mean[best] > join]
        if not len(best):
            break
        target = np.arange(regions)
        target[second[best]] = first[best]
        target = np.unique(target, return_inverse=True)[1]
        regions = int(target.max()) + 1
        first, second, sums = group_borders(target[first], target[second], sums, regions)
        assigned = target[assigned]
    return assigned


def relabel_borders(affinities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Give the pixels along borders to the region with the highest summed affinity of their near pairs; labels (h, w)."""
    pixels = np.arange(labels.size).reshape(labels.shape)
    moving = np.zeros(labels.shape, bool)
    for down, right in OFFSETS[:2]:
        (here, there), (a, b) = pair_pixels(moving, down, right), pair_pixels(labels, down, right)
        here |= a != b
        there |= a != b
    voters: list[tuple[np.ndarray, ...]] = []
    for (down, right), affinity in zip(OFFSETS[:_NEAR], affinities, strict=False):
        (p, q), (a, b), (m, n) = (pair_pixels(image, down, right) for image in (pixels, labels, moving))
        vote = affinity[: p.shape[0], : p.shape[1]] - 0.5
        voters += [(p[m], b[m], vote[m]), (q[n], a[n], vote[n])]
    pixel, region, vote = (np.concatenate(column) for column in zip(*voters, strict=True))
    keys, inverse = np.unique(pixel * (int(labels.max()) + 1) + region, return_inverse=True)
    pixel, region = np.divmod(keys, int(labels.max()) + 1)
    order = np.argsort(np.bincount(inverse, vote), kind="stable")
    result = labels.copy()
    result.ravel()[pixel[order]] = region[order]  # the last region of a pixel has the most votes
    return result
