"""Stages that run concurrently: what depends on the image alone starts while the reconstruction runs."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from moonseg3r_core.types import Frame, Geometry, PixelGrid


@dataclass(frozen=True)
class _Pending:
    """A prediction that was started: the frame, the grid it assumes, and its future result."""

    frame: Frame
    grid: PixelGrid
    result: Future[Any]


class ConcurrentStage:
    """A mask or feature model that is started by `prefetch` in its own thread (on a GPU, its own stream).

    The model may read nothing of the geometry but its grid. The grid is assumed to be the last frame's; where it
    differs, as in the first frame, the model runs when it is called. Results are the same as without prefetching.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        self.model = model
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._thread = ThreadPoolExecutor(1, type(model).__name__)
        self._grid: PixelGrid | None = None
        self._pending: _Pending | None = None

    def prefetch(self, frame: Frame) -> None:
        """Start on a frame; the pending result of a frame that was rejected is dropped."""
        if self._pending is not None:
            self._pending.result.cancel()  # has no effect while the model runs
        if self._grid is None:
            return
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        self._pending = _Pending(frame, self._grid, self._thread.submit(self._predict, frame, self._grid))

    def __call__(self, frame: Frame, geometry: Geometry) -> Any:
        pending, self._pending, self._grid = self._pending, None, geometry.grid
        if pending is not None and pending.frame is frame:
            result = pending.result.result()
            if pending.grid == geometry.grid:
                return result
        return self.model(frame, geometry)

    @torch.no_grad()
    def _predict(self, frame: Frame, grid: PixelGrid) -> Any:
        blank = replace(Geometry.empty(grid.height, grid.width, frame.image.device), grid=grid)
        with torch.cuda.stream(self._stream) if self._stream is not None else nullcontext():
            result = self.model(frame, blank)
        if self._stream is not None:
            self._stream.synchronize()
        return result
