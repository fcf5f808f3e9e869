"""The local memory that predicts the next frame's pose token: read before the decoder, written after it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moonseg3r_core.reconstruction.cut3r.net.blocks import DecoderBlock, make_token, repeat_blocks
from moonseg3r_core.reconstruction.cut3r.net.sizes import Cut3rSizes


class LocalMemory(nn.Module):
    """M slots (B, M, 2C) of pairs: an image's mean token, and its pose token."""

    def __init__(self, sizes: Cut3rSizes) -> None:
        super().__init__()
        width, heads = 2 * sizes.dec_dim, sizes.dec_heads
        self.masked_token = make_token(1, 1, sizes.dec_dim)
        self.mem = make_token(1, sizes.memory_size, width)
        self.proj_q = nn.Linear(sizes.enc_dim, sizes.dec_dim)
        self.write_blocks = repeat_blocks(lambda: DecoderBlock(width, heads), sizes.memory_blocks)
        self.read_blocks = repeat_blocks(lambda: DecoderBlock(width, heads), sizes.memory_blocks)

    def read(self, image: Tensor, memory: Tensor) -> Tensor:
        """Predict the pose token (B, 1, C) of an image's mean token (B, 1, Ce) from memory (B, M, 2C)."""
        x = torch.cat((self.proj_q(image), self.masked_token.expand(len(image), -1, -1)), dim=-1)
        for block in self.read_blocks:
            x = block(x, memory)
        return x.chunk(2, dim=-1)[1]

    def write(self, memory: Tensor, image: Tensor, pose: Tensor) -> Tensor:
        """Write an image's mean token (B, 1, Ce) with its pose token (B, 1, C). Returns the next memory."""
        pair = torch.cat((self.proj_q(image), pose), dim=-1)
        for block in self.write_blocks:
            memory = block(memory, pair)
        return memory
