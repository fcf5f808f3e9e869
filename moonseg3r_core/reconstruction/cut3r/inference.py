"""One frame through the net, and what is decided by read from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r, OutputRequest, Outputs, Tokens
from moonseg3r_core.reconstruction.cut3r.net.sizes import Cut3rSizes
from moonseg3r_core.reconstruction.cut3r.net.state import State
from moonseg3r_core.reconstruction.cut3r.quality import OutputCheck, check_outputs

_HALF = {"float16": torch.float16, "bfloat16": torch.bfloat16}
_CAST = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.ConvTranspose2d)


class Net(Protocol):
    """What the room needs of `model.Cut3r`."""

    @property
    def sizes(self) -> Cut3rSizes: ...

    def start(self, batch: int = 1) -> State: ...

    def encode(self, image: Tensor) -> Tokens: ...

    def __call__(self, view: Tokens, state: State, ask: OutputRequest) -> tuple[Outputs, State]: ...


@dataclass(frozen=True)
class Inference:
    """A frame seen: its tokens, what came out, the state that would follow, and what is decided by."""

    tokens: Tokens
    outputs: Outputs
    state: State
    reading: OutputCheck


class NetRunner:
    """The net at a precision: float32, bfloat16 or float16. Outputs and states are float32."""

    def __init__(self, net: Net, precision: str, min_confidence: float) -> None:
        self.net, self.min_confidence = net, min_confidence
        self._half = _HALF.get(precision)

    @torch.no_grad()
    def start(self) -> State:
        """The state of one stream before its first frame."""
        return self.net.start()

    def encode(self, image: Tensor) -> Tokens:
        """Image (1, 3, H, W) in [-1, 1] -> tokens."""
        with self._autocast(image):
            return self.net.encode(image)

    def __call__(self, tokens: Tokens, state: State, ask: OutputRequest) -> Inference:
        """The frame after this state, which stays as it is."""
        with self._autocast(tokens.features):
            outputs, following = self.net(tokens, state, ask)
        return Inference(tokens, outputs, following, check_outputs(outputs, following, self.min_confidence))

    def _autocast(self, like: Tensor) -> torch.autocast:
        return torch.autocast(like.device.type, dtype=self._half, enabled=self._half is not None)


def cast_to_precision(net: Cut3r, precision: str) -> Cut3r:
    """The net itself, its matrices kept in half precision where autocast would cast them in every frame: same outputs.

    The pose head, and what makes the first state, work in float32 and keep theirs.
    """
    half = _HALF.get(precision)
    apart = {*net.downstream_head.pose_head.modules(), net.decoder_embed_state}
    for module in net.modules() if half else ():
        if isinstance(module, _CAST) and module not in apart:
            module.to(half)
    return net
