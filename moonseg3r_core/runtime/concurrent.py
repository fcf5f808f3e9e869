"""A frame's models side by side: what looks at the image alone begins while the reconstruction is at work."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from moonseg3r_core.types import Frame, Geometry, PixelGrid


@dataclass(frozen=True)
class _Begun:
    """What a model is at: the frame, the grid that it is expected to come with, and the result to be."""

    frame: Frame
    grid: PixelGrid
    result: Future[Any]


class SideBySide:
    """A mask or feature model, begun by `begin` in a thread (on a GPU in a stream) of its own, asked by the call.

    The model must look at nothing of the geometry but its grid. That is taken to be the last frame's; where it is
    another after all, as in the first frame, the model runs when it is asked. Results are the same as without.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        self.model = model
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._thread = ThreadPoolExecutor(1, type(model).__name__)
        self._grid: PixelGrid | None = None
        self._begun: _Begun | None = None

    def begin(self, frame: Frame) -> None:
        """Start on a frame; what was begun and not asked for, of a frame that was rejected, is dropped."""
        if self._begun is not None:
            self._begun.result.cancel()  # unless the model is at it
        if self._grid is None:
            return
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        self._begun = _Begun(frame, self._grid, self._thread.submit(self._look, frame, self._grid))

    def __call__(self, frame: Frame, geometry: Geometry) -> Any:
        begun, self._begun, self._grid = self._begun, None, geometry.grid
        if begun is not None and begun.frame is frame:
            said = begun.result.result()
            if begun.grid == geometry.grid:
                return said
        return self.model(frame, geometry)

    @torch.no_grad()
    def _look(self, frame: Frame, grid: PixelGrid) -> Any:
        blank = replace(Geometry.empty(grid.height, grid.width, frame.image.device), grid=grid)
        with torch.cuda.stream(self._stream) if self._stream is not None else nullcontext():
            said = self.model(frame, blank)
        if self._stream is not None:
            self._stream.synchronize()
        return said
