"""A small plane-sweep net: one view, its past views and a first depth in, depth with its spread out.

After MVSNet (Yao et al. 2018), SimpleRecon (Sayed et al. 2022) and CasMVSNet (Gu et al. 2020): features are correlated
over planes of depth, a U-Net judges the scores together with the image and the first depth, and at half resolution every
pixel is matched again at the depths found around it, which draws the contours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moonseg3r_core.io.safetensors import read_net, write_net
from moonseg3r_core.ops.blocks import Block, double
from moonseg3r_core.reconstruction.intrinsics import scale_intrinsics
from moonseg3r_core.reconstruction.multi_view.plane_sweep import Sweep, correlate, make_log_planes

KIND = "multi_view_net"
STEP = 16  # the sides of an image are multiples of this
MATCH, HALF, QUARTER = 32, 24, 48  # channels: for matching, at 1/2, at 1/4 of the image
MATCH_FINE, CONTOUR = 16, 32  # channels at 1/2: for matching, of the choice
_WINDOW = 2  # planes on either side of the best one that depth is averaged over
_STEPS = (-0.06, -0.03, 0.03, 0.06)  # from a pixel's log depth to others that it is tried at
_TRIED = 9 + 1 + len(_STEPS)  # depths at 1/2: those found around the pixel, the second best plane's, and its own moved
_REACH = 0.5  # difference of log depths that the choice is told of
_FIRST_SIGMA = 0.2  # of the log of a first depth
_SPREAD_RANGE = (-5.0, 1.5)  # logarithm of the spread of log depth
_FAR_LOG = 3.0  # log depth is kept within this of the typical depth


@dataclass(frozen=True)
class Encoded:
    """Features of a view: `levels` at 1/2, 1/4, 1/8, 1/16, and those that are matched, (B, MATCH, H/4, W/4) and
    (B, MATCH_FINE, H/2, W/2).
    """

    levels: tuple[Tensor, ...]
    matched: Tensor
    matched_fine: Tensor


@dataclass(frozen=True)
class Sources:
    """Other views of a batch: matched features (B, S, MATCH, h, w) and (B, S, MATCH_FINE, 2 h, 2 w), source_from_view
    (B, S, 4, 4) with translations in the typical depth, and which of them count (B, S) bool.
    """

    matched: Tensor
    matched_fine: Tensor
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
    """log_depth (B, H/2, W/2) over the typical depth, log_spread (B, H/2, W/2) of it (Laplace's b), the planes' logits
    (B, P, H/4, W/4), and the log depths that were tried at 1/2 with the share of each, (B, K, H/2, W/2).
    """

    log_depth: Tensor
    log_spread: Tensor
    logits: Tensor
    tried: Tensor
    shares: Tensor


class SourceFusion(nn.Module):
    """Fuses the scores of several sources by weights from the scores, the share that is seen, and the parallax."""

    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.Conv2d(4, 16, 1), nn.ReLU(), nn.Conv2d(16, 1, 1))

    def forward(self, view: Tensor, features: Tensor, sources: Sources, sweep: Sweep) -> tuple[Tensor, Tensor, Tensor]:
        """Correlate a view with its sources: fused scores (B, P, h, w), how much of each pixel is seen (B, 1, h, w) and
        the largest parallax (B, 1, h, w).
        """
        batch, _, height, width = view.shape
        used = sources.used[:, :, None, None, None]
        scores, seen = correlate(view, features, sweep)
        seen = seen & used
        parallax = sweep.compute_parallax().reshape(batch, -1, 1, height, width).add(1).log()
        share = seen.float().mean(2, keepdim=True)
        masked = torch.where(seen, scores, 0.0)
        facts = torch.cat((masked.amax(2, keepdim=True), masked.mean(2, keepdim=True), share, parallax), 2)
        weights = self.weigh(facts.flatten(0, 1)).reshape(batch, -1, 1, height, width).float()
        weights = torch.where(used, weights, -1e4).softmax(1) * seen
        total = weights.sum(1)
        fused = (weights * masked).sum(1) / total.clamp(min=1e-4)
        return fused, total.mean(1, keepdim=True), (parallax * used).amax(1)


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
        self.fuse = SourceFusion()
        self.judge = Block(2 * planes + QUARTER + 2, quarter)
        self.inner = nn.ModuleList((Block(quarter + eighth, eighth), Block(eighth + sixteenth, sixteenth)))
        self.outer = nn.ModuleList((Block(sixteenth + eighth, eighth), Block(eighth + quarter, quarter)))
        self.choose = nn.Conv2d(quarter, planes, 1)
        self.fine = nn.Conv2d(quarter, HALF, 1)
        self.match_fine = Block(2 * HALF, MATCH_FINE)
        self.lift = nn.Conv2d(QUARTER, HALF, 1)
        self.fuse_fine = SourceFusion()
        self.contour = nn.Sequential(Block(2 * _TRIED + 2 * HALF + 5, CONTOUR), Block(CONTOUR, CONTOUR))
        self.finish = nn.Conv2d(CONTOUR, _TRIED + 2, 3, padding=1)
        nn.init.normal_(self.finish.weight, std=1e-2)
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
        matched = self.match(wide)
        fine = self.match_fine(torch.cat((levels[0], double(self.lift(F.relu(wide)))), 1))
        return Encoded(tuple(levels), matched, fine)

    def forward(self, view: Encoded, sources: Sources, intrinsics: Tensor, first: FirstDepth) -> Prediction:
        """Predict the depth of a view; intrinsics (B, 3, 3) on the grid of 1/4."""
        volume = (*self._sweep(view.matched, sources, intrinsics), self._compute_likelihood(first.shrink()))
        x, logits = self._regularize(self.judge(torch.cat((*volume, view.levels[1]), 1)), view)
        return self._refine(x, logits, view, sources, intrinsics, first)

    def _sweep(self, view: Tensor, sources: Sources, intrinsics: Tensor) -> Sequence[Tensor]:
        """Sweep the planes: fused scores (B, P, h, w), how much of each pixel is seen (B, 1, h, w) and the parallax."""
        batch, _, height, width = view.shape
        if not sources.used.any():
            return [view.new_zeros(batch, self.planes + 2, height, width)]
        sweep = Sweep.from_poses(intrinsics, sources.source_from_view, self.log_planes.exp(), (height, width))
        return self.fuse(view, sources.matched, sources, sweep)

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

    def _average_planes(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Average the planes around the best one, and around the best of the others: log depths (B, 1, h, w)."""
        best = logits.detach().argmax(1, keepdim=True)
        offsets = torch.arange(-_WINDOW, _WINDOW + 1, device=logits.device).reshape(1, -1, 1, 1)
        rows = (best + offsets).clamp(0, self.planes - 1)
        others = logits.detach().scatter(1, rows, -torch.inf)
        second = (others.argmax(1, keepdim=True) + offsets).clamp(0, self.planes - 1)
        first, second = ((logits.gather(1, r).softmax(1) * self.log_planes[r]).sum(1, True) for r in (rows, second))
        return first, second

    def _refine(
        self, x: Tensor, logits: Tensor, view: Encoded, sources: Sources, intrinsics: Tensor, first: FirstDepth
    ) -> Prediction:
        """Double the resolution: try the depths around each pixel in the sources, and choose by the image as well."""
        best, second = self._average_planes(logits)
        entropy = torch.special.entr(logits.softmax(1)).sum(1, keepdim=True)
        middle = double(best)
        nearby = F.unfold(F.pad(best, (1, 1, 1, 1), mode="replicate"), 3).unflatten(2, best.shape[2:])
        nearby = F.interpolate(torch.cat((nearby, second), 1), scale_factor=2)
        tried = torch.cat((nearby, *(middle + step for step in _STEPS)), 1)
        known = first.known[:, None]
        away = torch.where(known, (first.log_depth[:, None] - middle).clamp(-1, 1), 0.0)
        facts = (
            *self._match_fine(view.matched_fine, sources, intrinsics, tried.detach()),
            ((tried - middle) / _REACH).clamp(-1, 1), double(self.fine(x)), view.levels[0], double(entropy), away,
            known / (1 + 10 * _FIRST_SIGMA),
        )  # fmt: skip
        out = self.finish(F.relu(self.contour(torch.cat(facts, 1)))).float()
        shares = out[:, :_TRIED].softmax(1)
        log_depth = (shares * tried).sum(1) + out[:, _TRIED]
        spread = (out[:, _TRIED + 1] - 2.5).clamp(*_SPREAD_RANGE)
        return Prediction(log_depth.clamp(-_FAR_LOG, _FAR_LOG), spread, logits, tried, shares)

    def _match_fine(self, view: Tensor, sources: Sources, intrinsics: Tensor, tried: Tensor) -> Sequence[Tensor]:
        """Match at 1/2 at the depths that are tried: as `_sweep`."""
        batch, count, height, width = tried.shape
        if not sources.used.any():
            return [view.new_zeros(batch, count + 2, height, width)]
        fine = scale_intrinsics(intrinsics, 0.5)
        sweep = Sweep.from_poses(fine, sources.source_from_view, tried.exp(), (height, width))
        return self.fuse_fine(view, sources.matched_fine, sources, sweep)


def write_multi_view_net(path: Path, net: MultiViewNet) -> None:
    """Write a net to a file, its sizes in the header. Raises OutputError."""
    write_net(path, KIND, net, {"widths": net.widths, "planes": net.planes})


def read_multi_view_net(path: Path) -> MultiViewNet:
    """Read a net from a file. Raises WeightsError for a file that holds no such net."""
    net = read_net(path, KIND, lambda facts: MultiViewNet(facts["widths"], facts["planes"]), "moonseg3r train depth")
    net.log_planes = make_log_planes(net.planes)  # it was made on the meta device
    return net
