"""Small nano files of random numbers, for tests of what happens with such a file."""

import torch

from moonseg3r_core.reconstruction.cut3r.checkpoint import Checkpoint, write_checkpoint
from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r
from moonseg3r_core.reconstruction.cut3r.net.sizes import Cut3rSizes

SIZES = Cut3rSizes(
    enc_dim=32, enc_depth=2, enc_heads=4, dec_dim=48, dec_depth=4, dec_heads=4, state_heads=4, state_size=20,
    memory_size=10, head="linear", image_size=64,
)  # fmt: skip


def write_nano(path, sizes=SIZES, seed=0):
    """A file as training writes it: half precision, every tensor once, the sizes in its header."""
    torch.manual_seed(seed)
    once = dict(Cut3r(sizes).named_parameters())
    write_checkpoint(path, Checkpoint(path, sizes, {name: t.detach().half() for name, t in once.items()}, ""))
    return path
