"""The two-branch decoder: image tokens read the state while state tokens read the image (paper eq 1)."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from moonseg3r_core.reconstruction.cut3r.net.attention import AttentionHook, wrap_attention
from moonseg3r_core.reconstruction.cut3r.net.rope import Rotation

Ropes = tuple[
    Rotation, Rotation | None
]  # of the image's tokens and of the state's, None where the latter have no place


def decode(
    blocks: Iterable[tuple[nn.Module, nn.Module]],
    image: Tensor,
    state: Tensor,
    image_turns: Ropes,
    state_turns: Ropes,
    watchers: tuple[AttentionHook, ...],
) -> tuple[list[Tensor], Tensor]:
    """Pairs of an image and a state block, over image tokens (B, 1 + N, C), the pose token first, and state (B, S, C).

    Both read what the other was a layer before. The turns are those for each branch's own heads. Returns the image
    tokens from the embedding (0) to the last layer, and the state's last.
    """
    layers = [image]
    for number, (image_block, state_block) in enumerate(blocks):
        seen = image_block(image, state, *image_turns)
        state = state_block(state, image, *reversed(state_turns), wrap_attention(number, watchers))
        image = seen
        layers.append(image)
    return layers, state
