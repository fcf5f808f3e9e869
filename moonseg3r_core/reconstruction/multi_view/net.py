"""A small plane-sweep net: one view, its past views and a first depth in, depth with its spread out.

After MVSNet (Yao et al. 2018) and SimpleRecon (Sayed et al. 2022): features are correlated over planes of depth, a
U-Net judges the scores together with the image and the first depth, and a level at half resolution draws the contours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moonseg3r_core.io.safetensors import read_net, write_net
from moonseg3r_core.ops.blocks import Block, double, upsample_convex
from moonseg3r_core.reconstruction.multi_view.plane_sweep import Sweep, correlate, make_log_planes

KIND = "multi_view_net"
STEP = 16  # the sides of an image are multiples of this
MATCH, HALF, QUARTER = 32, 24, 48  # channels: for matching, at 1/2, at 1/4 of the image
_WINDOW = 2  # planes on either side of the best one that depth is averaged over
_FIRST_SIGMA = 0.2  # of the log of a first depth
_SPREAD_RANGE = (-5.0, 1.5)  # logarithm of the spread of log depth
_FAR_LOG = 3.0  # log depth is kept within this of the typical depth


@dataclass(frozen=True)
class Encoded:
    """Features of a view: `levels` at 1/2, 1/4, 1/8, 1/16, and those that are matched, (B, MATCH, H/4, W/4)."""

    levels: tuple[Tensor, ...]
    matched: Tensor


@dataclass(frozen=True)
class Sources:
    """Other views of a batch: matched features (B, S, MATCH, h, w), source_from_view (B, S, 4, 4) with translations in
    the typical depth, and which of them count (B, S) bool.
    """

    matched: Tensor
    source_from_view: Tensor
    used: Tensor


@dataclass(frozen=True)
class FirstDepth:
    """A view's first depth at 1/2 of its image: log depth over the typical one, and where it is known, (B, H/2, W/2)."""

    log_depth: Tensor
    known: Tensor

    def shrink(self) -> FirstDepth:
        """Halve the resolution: the mean of what is known."""
        known = self.known.float()
        share = F.avg_pool2d(known[:, None], 2)[:, 0]
        mean = F.avg_pool2d((self.log_depth * known)[:, None], 2)[:, 0] / share.clamp(min=1e-6)
        return FirstDepth(mean, share > 0)


@dataclass(frozen=True)
class Prediction:
    """log_depth (B, H/2, W/2) over the typical depth, log_spread (B, H/2, W/2) of it (Laplace's b), and the planes'
    logits (B, P, H/4, W/4).
    """

    log_depth: Tensor
    log_spread: Tensor
    logits: Tensor


class MultiViewNet(nn.Module):
    """widths: channels of the U-Net at 1/4, 1/8, 1/16. planes: of the sweep."""

    log_planes: Tensor

    def __init__(self, widths: Sequence[int] = (72, 112, 144), planes: int = 48) -> None:
        super().__init__()
        quarter, eighth, sixteenth = self.widths = tuple(widths)
        self.planes = planes
        self.stem = nn.Conv2d(12, HALF, 3, padding=1)
        inside = (HALF, HALF, QUARTER, eighth)
        self.down = nn.ModuleList(map(Block, inside, (HALF, QUARTER, eighth, sixteenth)))
        self.coarse = nn.Conv2d(eighth, QUARTER, 1)
        self.match = Block(QUARTER, MATCH)
        self.weigh = nn.Sequential(nn.Conv2d(4, 16, 1), nn.ReLU(), nn.Conv2d(16, 1, 1))
        self.judge = Block(2 * planes + QUARTER + 2, quarter)
        self.inner = nn.ModuleList((Block(quarter + eighth, eighth), Block(eighth + sixteenth, sixteenth)))
        self.outer = nn.ModuleList((Block(sixteenth + eighth, eighth), Block(eighth + quarter, quarter)))
        self.choose = nn.Conv2d(quarter, planes, 1)
        self.fine = nn.Conv2d(quarter, 36 + HALF, 1)
        self.contour = Block(2 * HALF + 4, HALF)
        self.finish = nn.Conv2d(HALF, 2, 3, padding=1)
        nn.init.normal_(self.finish.weight, std=1e-3)
        self.register_buffer("log_planes", make_log_planes(planes), persistent=False)

    def encode(self, images: Tensor) -> Encoded:
        """Encode images (B, 3, H, W) in [-1, 1]; each is normalized by its own mean and contrast."""
        x = images - images.mean((1, 2, 3), keepdim=True)
        x = x / (x.square().mean((1, 2, 3), keepdim=True).sqrt() + 0.05)
        x = self.stem(F.pixel_unshuffle(x, 2))
        levels = []
        for number, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if number else x)
            levels.append(x)
        wide = levels[1] + double(self.coarse(F.relu(levels[2])))
        return Encoded(tuple(levels), self.match(wide))

    def forward(self, view: Encoded, sources: Sources, intrinsics: Tensor, first: FirstDepth) -> Prediction:
        """Predict the depth of a view; intrinsics (B, 3, 3) on the grid of 1/4."""
        volume = (*self._sweep(view.matched, sources, intrinsics), self._compute_likelihood(first.shrink()))
        x, logits = self._regularize(self.judge(torch.cat((*volume, view.levels[1]), 1)), view)
        return self._refine(x, self._average_planes(logits), logits, view, first)

    def _sweep(self, view: Tensor, sources: Sources, intrinsics: Tensor) -> list[Tensor]:
        """Sweep the planes: fused scores (B, P, h, w), how much of each pixel is seen (B, 1, h, w) and the parallax."""
        batch, _, height, width = view.shape
        if not sources.used.any():
            return [view.new_zeros(batch, self.planes + 2, height, width)]
        sweep = Sweep.from_poses(intrinsics, sources.source_from_view, self.log_planes.exp(), (height, width))
        scores, seen = correlate(view, sources.matched, sweep)
        seen = seen & sources.used[:, :, None, None, None]
        parallax = sweep.compute_parallax().reshape(batch, -1, 1, height, width).add(1).log()
        share = seen.float().mean(2, keepdim=True)
        masked = torch.where(seen, scores, 0.0)
        facts = torch.cat((masked.amax(2, keepdim=True), masked.mean(2, keepdim=True), share, parallax), 2)
        weights = self.weigh(facts.flatten(0, 1)).reshape(batch, -1, 1, height, width).float()
        weights = torch.where(sources.used[:, :, None, None, None], weights, -1e4).softmax(1) * seen
        total = weights.sum(1)
        fused = (weights * masked).sum(1) / total.clamp(min=1e-4)
        parallax = (parallax * sources.used[:, :, None, None, None]).amax(1)
        return [fused, total.mean(1, keepdim=True), parallax]

    def _compute_likelihood(self, first: FirstDepth) -> Tensor:
        """Compute the likelihood (B, P, h, w) of each plane by a first depth; 0 where nothing is known."""
        away = (first.log_depth[:, None] - self.log_planes[:, None, None]) / _FIRST_SIGMA
        return torch.exp(-0.5 * away.square()) * first.known[:, None]

    def _regularize(self, x: Tensor, view: Encoded) -> tuple[Tensor, Tensor]:
        """Run the U-Net: features at 1/4 and the planes' logits."""
        skipped = []
        for block, level in zip(self.inner, view.levels[2:], strict=True):
            skipped.append(x)
            x = block(torch.cat((F.max_pool2d(x, 2), level), 1))
        for block in self.outer:
            x = block(torch.cat((double(x), skipped.pop()), 1))
        return F.relu(x), self.choose(F.relu(x)).float()

    def _average_planes(self, logits: Tensor) -> Tensor:
        """Average the planes around the best one: log depth (B, 1, h, w)."""
        best = logits.detach().argmax(1, keepdim=True)
        offsets = torch.arange(-_WINDOW, _WINDOW + 1, device=logits.device).reshape(1, -1, 1, 1)
        rows = (best + offsets).clamp(0, self.planes - 1)
        shares = logits.gather(1, rows).softmax(1)
        return (shares * self.log_planes[rows]).sum(1, keepdim=True)

    def _refine(self, x: Tensor, coarse: Tensor, logits: Tensor, view: Encoded, first: FirstDepth) -> Prediction:
        """Double the resolution of the depth, and add what the image and the first depth at 1/2 tell."""
        fine = self.fine(x)
        entropy = torch.special.entr(logits.softmax(1)).sum(1, keepdim=True)
        raised = upsample_convex(torch.cat((coarse, entropy), 1), fine[:, :36].float())
        log_depth = raised[:, :1]
        known = first.known[:, None]
        away = torch.where(known, (first.log_depth[:, None] - log_depth).clamp(-1, 1), 0.0)
        facts = (double(fine[:, 36:]), view.levels[0], raised, away, known / (1 + 10 * _FIRST_SIGMA))
        out = self.finish(F.relu(self.contour(torch.cat(facts, 1)))).float()
        spread = (out[:, 1] - 2.5).clamp(*_SPREAD_RANGE)
        return Prediction((log_depth[:, 0] + out[:, 0]).clamp(-_FAR_LOG, _FAR_LOG), spread, logits)


def write_multi_view_net(path: Path, net: MultiViewNet) -> None:
    """Write a net to a file, its sizes in the header. Raises OutputError."""
    write_net(path, KIND, net, {"widths": net.widths, "planes": net.planes})


def read_multi_view_net(path: Path) -> MultiViewNet:
    """Read a net from a file. Raises WeightsError for a file that holds no such net."""
    net = read_net(path, KIND, lambda facts: MultiViewNet(facts["widths"], facts["planes"]), "moonseg3r train depth")
    net.log_planes = make_log_planes(net.planes)  # it was made on the meta device
    return net
