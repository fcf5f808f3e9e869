"""The two-branch decoder: image tokens read the state while state tokens read the image (paper eq 1)."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from moonseg3r_core.reconstruction.cut3r.net.attention import AttentionHook, wrap_attention
from moonseg3r_core.reconstruction.cut3r.net.rope import Rotation

Ropes = tuple[Rotation, Rotation | None]  # of the image's and the state's tokens, None for tokens without positions


def decode(
    blocks: Iterable[tuple[nn.Module, nn.Module]], image: Tensor, state: Tensor, image_ropes: Ropes, state_ropes: Ropes,
    hooks: tuple[AttentionHook, ...],
) -> tuple[list[Tensor], Tensor]:  # fmt: skip
    """Decode image tokens (B, 1 + N, C), the pose token first, and state tokens (B, S, C) by pairs of blocks.

    Each branch attends to the other's previous layer, with the rotations of its own heads. Returns the image tokens
    from the embedding (0) to the last layer, and the last state tokens.
    """
    layers = [image]
    for number, (image_block, state_block) in enumerate(blocks):
        following = image_block(image, state, *image_ropes)
        state = state_block(state, image, *reversed(state_ropes), wrap_attention(number, hooks))
        image = following
        layers.append(image)
    return layers, state
