"""A small U-Net (Ronneberger et al. 2015) that says of pairs of pixels whether they lie on one object."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from moonseg3r_core.errors import InputError, OutputError
from moonseg3r_core.masks.affinities import OFFSETS

_HEADER = "mask_net"
_SMALL = 0.2  # of what a block adds at first, against He's initialization


class MaskNet(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] -> logits (B, C, H, W): that a pixel and the one OFFSETS[c] away are one object.

    widths: channels at 1/2, 1/4, ... of the picture's resolution. H and W are multiples of `step`.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 96, 128, 160)) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.stem = nn.Conv2d(12, widths[0], 3, padding=1)
        self.down = nn.ModuleList(map(Block, (widths[0], *widths[:-1]), widths))
        self.up = nn.ModuleList(Block(wide + narrow, narrow) for narrow, wide in pairwise(widths))
        self.head = nn.Conv2d(widths[0], 4 * len(OFFSETS), 1)

    @property
    def step(self) -> int:
        """What the sides of a picture are multiples of."""
        return 2 ** len(self.widths)

    def forward(self, images: Tensor) -> Tensor:
        x = self.down[0](self.stem(F.pixel_unshuffle(images, 2)))
        passed = []
        for block in self.down[1:]:
            passed.append(x)
            x = block(F.max_pool2d(x, 2))
        for block in reversed(self.up):
            x = block(torch.cat((F.interpolate(x, scale_factor=2), passed.pop()), 1))
        return F.pixel_shuffle(self.head(F.relu(x)), 2)


class Block(nn.Module):
    """Two convolutions beside a way past them, without normalization: what they add begins small."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, padding=1)
        self.second = nn.Conv2d(outside, outside, 3, padding=1)
        self.past = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()
        for conv, gain in ((self.first, 1.0), (self.second, _SMALL)):
            nn.init.normal_(conv.weight, std=gain * (2 / (9 * conv.in_channels)) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.past(x) + self.second(F.relu(self.first(F.relu(x))))


def write_mask_net(path: Path, net: MaskNet) -> None:
    """A net as safetensors in float16, its widths in the header; `path` is what it was until the new file is whole.

    Raises OutputError where that fails.
    """
    tensors = {name: tensor.detach().half().cpu().contiguous() for name, tensor in net.state_dict().items()}
    part = path.with_name(f".{path.name}.part")
    try:
        safetensors.torch.save_file(tensors, part, {_HEADER: json.dumps({"widths": net.widths})})
        part.chmod(0o644)  # some versions of safetensors keep it to its owner
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot write {path}: {error}; choose a folder that can be written.") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def read_mask_net(path: Path) -> MaskNet:
    """The net of a file, in float32, ready to be asked. Raises InputError for a file that is none of a mask net."""
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {})[_HEADER]
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        net = MaskNet(json.loads(header)["widths"])
        net.load_state_dict(tensors)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; give a file of mask weights.") from error
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path} must hold a mask net as `moonseg3r train masks` writes it, got one that does not: "
            f"{' '.join(str(error).split())[:200]}."
        ) from error
    return net.eval().requires_grad_(False)
