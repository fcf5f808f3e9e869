"""The plane sweep's correlation on a CPU, compiled at the first call by Numba: no feature is copied, one pass a source.

Numba (BSD-2-Clause) brings its compiler along. `correlate_by_sampling` computes the same with tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from moonseg3r_core.reconstruction.multi_view.plane_sweep import Sweep

_MIN_DEPTH = np.float32(1e-3)


def _compile(function: Callable[..., None]) -> Any:
    """Compile a function at its first call, and keep the result on disk where a folder can be written."""
    try:
        return numba.njit(fastmath=True, nogil=True, cache=True)(function)
    except RuntimeError:  # no folder can be written
        return numba.njit(fastmath=True, nogil=True)(function)


def correlate_on_cpu(view: Tensor, sources: Tensor, sweep: Sweep) -> tuple[Tensor, Tensor]:
    """Compute dot products and visibility (B, S, N, P): view (B, N, C), sources (B, S, h, w, C)."""
    return _Correlation.apply(view, sources, sweep)  # type: ignore[no-untyped-call,no-any-return]


class _Correlation(torch.autograd.Function):
    """The dot products with their gradient by both features."""

    @staticmethod
    def forward(ctx: Any, view: Tensor, sources: Tensor, sweep: Sweep) -> tuple[Tensor, Tensor]:
        shape = (*sources.shape[:2], view.shape[1], sweep.depths.shape[-1])
        scores, seen = torch.empty(shape), torch.empty(shape, dtype=torch.bool)
        for item, source in np.ndindex(shape[:2]):
            _correlate(
                *_list_arrays(view, sources, sweep, item, source),
                scores[item, source].numpy(),
                seen[item, source].numpy(),
            )
        ctx.save_for_backward(view, sources)
        ctx.sweep = sweep
        ctx.mark_non_differentiable(seen)
        return scores, seen

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        view, sources = ctx.saved_tensors
        by_view, by_sources = torch.zeros_like(view), torch.zeros_like(sources)
        scores = gradients[0].contiguous()
        for item, source in np.ndindex(sources.shape[:2]):
            arrays = _list_arrays(view, sources, ctx.sweep, item, source)
            _differentiate(
                *arrays, scores[item, source].numpy(), by_view[item].numpy(), by_sources[item, source].numpy()
            )
        return by_view, by_sources, None


def _list_arrays(view: Tensor, sources: Tensor, sweep: Sweep, item: int, source: int) -> tuple[np.ndarray, ...]:
    tensors = (
        view[item],
        sources[item, source],
        sweep.turned[item, source],
        sweep.shift[item, source],
        sweep.depths[item],
    )
    return tuple(tensor.detach().numpy() for tensor in tensors)


@_compile
def _correlate(view, source, turned, shift, depths, scores, seen):  # type: ignore[no-untyped-def]
    """Fill scores and seen (N, P) of one source."""
    height, width, channels = source.shape
    for n in range(view.shape[0]):
        for p in range(depths.shape[1]):
            scores[n, p], seen[n, p] = 0, False
            z = turned[2, n] * depths[n, p] + shift[2]
            if z <= _MIN_DEPTH:
                continue
            u, v = (turned[0, n] * depths[n, p] + shift[0]) / z, (turned[1, n] * depths[n, p] + shift[1]) / z
            if not (-0.5 < u < width - 0.5 and -0.5 < v < height - 0.5):
                continue
            seen[n, p] = True
            left, top = int(np.floor(u)), int(np.floor(v))
            a, b = np.float32(u - left), np.float32(v - top)
            one = source[max(top, 0), max(left, 0)]
            two = source[max(top, 0), min(left + 1, width - 1)]
            three = source[min(top + 1, height - 1), max(left, 0)]
            four = source[min(top + 1, height - 1), min(left + 1, width - 1)]
            total = np.float32(0)
            for c in range(channels):
                upper = one[c] + a * (two[c] - one[c])
                lower = three[c] + a * (four[c] - three[c])
                total += view[n, c] * (upper + b * (lower - upper))
            scores[n, p] = total


@_compile
def _differentiate(view, source, turned, shift, depths, by_scores, by_view, by_source):  # type: ignore[no-untyped-def]
    """Add the gradient of one source to by_view (N, C) and by_source (h, w, C)."""
    height, width, channels = source.shape
    for n in range(view.shape[0]):
        for p in range(depths.shape[1]):
            g = by_scores[n, p]
            z = turned[2, n] * depths[n, p] + shift[2]
            if g == 0 or z <= _MIN_DEPTH:
                continue
            u, v = (turned[0, n] * depths[n, p] + shift[0]) / z, (turned[1, n] * depths[n, p] + shift[1]) / z
            if not (-0.5 < u < width - 0.5 and -0.5 < v < height - 0.5):
                continue
            left, top = int(np.floor(u)), int(np.floor(v))
            a, b = np.float32(u - left), np.float32(v - top)
            x0, x1, y0, y1 = max(left, 0), min(left + 1, width - 1), max(top, 0), min(top + 1, height - 1)
            for c in range(channels):
                upper = source[y0, x0, c] + a * (source[y0, x1, c] - source[y0, x0, c])
                lower = source[y1, x0, c] + a * (source[y1, x1, c] - source[y1, x0, c])
                by_view[n, c] += g * (upper + b * (lower - upper))
            for c in range(channels):
                part = g * view[n, c]
                by_source[y0, x0, c] += (1 - a) * (1 - b) * part
                by_source[y0, x1, c] += a * (1 - b) * part
                by_source[y1, x0, c] += (1 - a) * b * part
                by_source[y1, x1, c] += a * b * part
