"""From affinities to masks: how likely pairs of pixels lie on one object, and the regions that they agree on."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from moonseg3r_core.masks.merging import group_borders, mutual_best

OFFSETS = ((0, 1), (1, 0), (0, 3), (3, 0), (0, 9), (9, 0), (0, 27), (27, 0))  # (down, right) to a pixel's partner

_NEAR = 4  # of these speak of a pixel's own place on a border


def labels_of(affinities: np.ndarray, smooth: float = 0.7, join: float = 0.5) -> np.ndarray:
    """Regions (h, w) int64, numbered from 0, of affinities (C, h, w) in [0, 1]: channel c speaks of a pixel and the one
    OFFSETS[c] away; what lies outside the picture is not looked at.

    A watershed of the boundaries that the near pairs see; then regions join while the mean affinity of all pairs between
    two is above `join`, the surest pairs first (average linkage: Bailoni et al. 2022, GASP).
    """
    found = watershed(ndimage.gaussian_filter(boundaries(affinities), smooth))
    regions = np.maximum(found, 1) - 1  # a picture without any boundary is one region
    count = int(regions.max()) + 1
    first, second, affinity = pairs(affinities, regions)
    values = np.stack((np.ones(len(affinity)), affinity), axis=1)
    return settled(affinities, joined(*group_borders(first, second, values, count), join, count)[regions])


def boundaries(affinities: np.ndarray) -> np.ndarray:
    """(h, w) in [0, 1]: how likely a boundary passes a pixel, of the nearest pairs that it belongs to."""
    found = np.zeros_like(affinities[0])
    for (down, right), affinity in zip(OFFSETS[:2], affinities, strict=False):
        here, there = views(found, down, right)
        apart = 1 - affinity[: here.shape[0], : here.shape[1]]
        np.maximum(here, apart, out=here)
        np.maximum(there, apart, out=there)
    return found


def pairs(affinities: np.ndarray, regions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of pixels in two regions: the first's region, the second's (L,), their affinity (L,)."""
    found: list[tuple[np.ndarray, ...]] = []
    for (down, right), affinity in zip(OFFSETS, affinities, strict=True):
        here, there = views(regions, down, right)
        apart = here != there
        found.append((here[apart], there[apart], affinity[: here.shape[0], : here.shape[1]][apart]))
    first, second, affinity = (np.concatenate(column) for column in zip(*found, strict=True))
    return first, second, affinity


def views(image: np.ndarray, down: int, right: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of an image (h, w) that have a partner `down` and `right` of them, and these partners."""
    height, width = max(image.shape[0] - down, 0), max(image.shape[1] - right, 0)
    return image[:height, :width], image[down:, right:][:height, :width]


def joined(first: np.ndarray, second: np.ndarray, sums: np.ndarray, join: float, regions: int) -> np.ndarray:
    """The new region (R,) of each region, numbered from 0. Borders first < second (E,), sums (E, 2): pairs, affinity.

    In each round every two regions that are each other's surest are joined, until no mean affinity is above `join`.
    """
    assigned = np.arange(regions)
    while len(first):
        mean = sums[:, 1] / sums[:, 0]
        best = mutual_best(first, second, -mean, regions)
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


def settled(affinities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The labels (h, w) with the pixels along borders given to the region that their near pairs speak for most."""
    pixels = np.arange(labels.size).reshape(labels.shape)
    moving = np.zeros(labels.shape, bool)
    for down, right in OFFSETS[:2]:
        (here, there), (a, b) = views(moving, down, right), views(labels, down, right)
        here |= a != b
        there |= a != b
    voters: list[tuple[np.ndarray, ...]] = []
    for (down, right), affinity in zip(OFFSETS[:_NEAR], affinities, strict=False):
        (p, q), (a, b), (m, n) = (views(image, down, right) for image in (pixels, labels, moving))
        says = affinity[: p.shape[0], : p.shape[1]] - 0.5
        voters += [(p[m], b[m], says[m]), (q[n], a[n], says[n])]
    pixel, region, says = (np.concatenate(column) for column in zip(*voters, strict=True))
    keys, inverse = np.unique(pixel * (int(labels.max()) + 1) + region, return_inverse=True)
    pixel, region = np.divmod(keys, int(labels.max()) + 1)
    order = np.argsort(np.bincount(inverse, says), kind="stable")
    result = labels.copy()
    result.ravel()[pixel[order]] = region[order]  # the last to speak for a pixel has the most votes
    return result
