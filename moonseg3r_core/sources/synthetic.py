"""Read `synthetic:SEED` or `synthetic:SEED:FRAMES`: a rendered room."""

from __future__ import annotations

import re

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.config import DEFAULT, InputConfig
from moonseg3r_core.sources.source import IndexedRecording
from moonseg3r_core.types import Frame


class SyntheticSource(IndexedRecording):
    """The frames of `moonseg3r_core.synthetic.sequence.SyntheticSequence`."""

    kind: str = "synthetic"

    def __init__(self, spec: str, stride: int, max_frames: int | None, input: InputConfig = DEFAULT) -> None:
        super().__init__(spec, None, stride, max_frames, input)
        match = re.fullmatch(r"synthetic:(\d{1,18})(?::(\d{1,6}))?", spec)
        if not match or (match.group(2) and not int(match.group(2))):
            raise SourceError(
                f"expected synthetic:SEED or synthetic:SEED:FRAMES with whole numbers, got '{spec}';"
                " for example synthetic:7 or synthetic:7:120."
            )
        from moonseg3r_core.synthetic.sequence import SyntheticSequence

        seed, frames = int(match.group(1)), match.group(2)
        self.sequence = SyntheticSequence(seed, int(frames)) if frames else SyntheticSequence(seed)
        self.total = len(self.sequence)

    def _read_frame(self, ordinal: int) -> Frame:
        return self.sequence[ordinal]
