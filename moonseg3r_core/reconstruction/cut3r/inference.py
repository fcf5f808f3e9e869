"""One frame through the net at a chosen precision, with the check of its outputs."""

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
    """The interface of `net.model.Cut3r` that the stage uses."""

    @property
    def sizes(self) -> Cut3rSizes: ...

    def start(self, batch: int = 1) -> State: ...

    def encode(self, image: Tensor) -> Tokens: ...

    def __call__(self, view: Tokens, state: State, request: OutputRequest) -> tuple[Outputs, State]: ...


@dataclass(frozen=True)
class Inference:
    """The result of one frame: its tokens, outputs, the next state, and the check of the outputs."""

    tokens: Tokens
    outputs: Outputs
    state: State
    check: OutputCheck


class NetRunner:
    """Runs the net at float32, bfloat16 or float16. Outputs and states are float32."""

    def __init__(self, net: Net, precision: str, min_confidence: float) -> None:
        self.net, self.min_confidence = net, min_confidence
        self._half = _HALF.get(precision)

    @torch.no_grad()
    def start(self) -> State:
        """Return the state of one stream before its first frame."""
        return self.net.start()

    def encode(self, image: Tensor) -> Tokens:
        """Image (1, 3, H, W) in [-1, 1] -> tokens."""
        with self._make_autocast(image):
            return self.net.encode(image)

    def __call__(self, tokens: Tokens, state: State, request: OutputRequest) -> Inference:
        """Run the frame that follows a state. The state itself does not change."""
        with self._make_autocast(tokens.features):
            outputs, following = self.net(tokens, state, request)
        return Inference(tokens, outputs, following, check_outputs(outputs, following, self.min_confidence))

    def _make_autocast(self, like: Tensor) -> torch.autocast:
        return torch.autocast(like.device.type, dtype=self._half, enabled=self._half is not None)


def cast_to_precision(net: Cut3r, precision: str) -> Cut3r:
    """Cast, in place, the matrices that autocast would cast in every frame. The outputs stay equal.

    The pose head and the layer of the first state compute in float32 and keep their weights.
    """
    half = _HALF.get(precision)
    excluded = {*net.downstream_head.pose_head.modules(), net.decoder_embed_state}
    for module in net.modules() if half else ():
        if isinstance(module, _CAST) and module not in excluded:
            module.to(half)
    return net
