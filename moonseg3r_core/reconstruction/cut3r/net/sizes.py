"""The hyper-parameters of a CUT3R net; layers have the same names in every size."""

from __future__ import annotations

from dataclasses import dataclass

PATCH = 16  # pixels along the edge of a token
MLP_RATIO = 4
MODULATED_BLOCKS = 2  # of the world head; F3d is the last one's output
RAY_HEADS = 16
EPS = 1e-6  # of all layer norms


@dataclass(frozen=True)
class Cut3rSizes:
    """Widths, depths and heads; the defaults are those of cut3r_512_dpt_4_64.

    image_size: the long side of the input in pixels, or, at 224, the short side of a square crop.
    head: dpt or linear; the `dpt_` widths apply to dpt only.
    memory_blocks: of the pose memory, for reading and for writing each.
    """

    enc_dim: int = 1024
    enc_depth: int = 24
    enc_heads: int = 16
    dec_dim: int = 768
    dec_depth: int = 12
    dec_heads: int = 12
    state_heads: int = 16
    state_size: int = 768
    state_positions: str = "2d"
    memory_size: int = 256
    memory_blocks: int = 2
    ray_depth: int = 2
    head: str = "dpt"
    image_size: int = 512
    dpt_width: int = 256
    dpt_last: int = 128
    dpt_layers: tuple[int, int, int, int] = (96, 192, 384, 768)

    @property
    def hooks(self) -> tuple[int, int, int]:
        """The decoder's layers (from 1) that the dense heads take: half-way, three quarters, and the last."""
        return self.dec_depth * 2 // 4, self.dec_depth * 3 // 4, self.dec_depth


SIZES = {
    "cut3r-512": Cut3rSizes(),
    "cut3r-224": Cut3rSizes(head="linear", image_size=224),
    "cut3r-tiny": Cut3rSizes(
        enc_dim=64, enc_depth=2, enc_heads=4, dec_dim=48, dec_depth=4, dec_heads=4, state_heads=6, state_size=50,
        memory_size=10, image_size=64, dpt_width=24, dpt_last=12, dpt_layers=(8, 12, 16, 20),
    ),
}  # fmt: skip
