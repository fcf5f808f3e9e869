"""The dense prediction head of DPT (Ranftl et al., 2021): four layers of tokens become one feature map."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from moonseg3r_core.reconstruction.cut3r.net.sizes import Cut3rSizes


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(relu(self.conv1(relu(x)), inplace=True))


class Fusion(nn.Module):
    """Adds a finer layer to the coarser one and doubles the resolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(width, width, 1)
        self.resConfUnit1, self.resConfUnit2 = ResidualUnit(width), ResidualUnit(width)

    def forward(self, x: Tensor, finer: Tensor | None = None) -> Tensor:
        if finer is not None:
            x = x + self.resConfUnit1(finer)
        # The 1x1 convolution and the upsampling commute, because bilinear weights sum to 1; this order is cheaper.
        return upsample(self.out_conv(self.resConfUnit2(x)))


class Scratch(nn.Module):
    """Convolutions that bring four layers to one width, each registered under two names, and the four fusions."""

    def __init__(self, layers: Sequence[int], width: int) -> None:
        super().__init__()
        self.layer_rn = nn.ModuleList(nn.Conv2d(dim, width, 3, padding=1, bias=False) for dim in layers)
        for number, convolution in enumerate(self.layer_rn, start=1):
            self.add_module(f"layer{number}_rn", convolution)
        self.refinenet1, self.refinenet2, self.refinenet3, self.refinenet4 = (Fusion(width) for _ in layers)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        one, two, three, four = (convolve(x) for convolve, x in zip(self.layer_rn, maps, strict=True))
        path = self.refinenet4(four)[:, :, : three.shape[2], : three.shape[3]]  # an odd grid has a row or column less
        path = self.refinenet3(path, three)
        path = self.refinenet2(path, two)
        return self.refinenet1(path, one)


class Upsample(nn.Module):
    """`upsample` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return upsample(x)


class DptAdapter(nn.Module):
    """Four layers of tokens (B, N, C) on a grid (h, w) -> (B, channels, 16 h, 16 w)."""

    def __init__(self, sizes: Cut3rSizes, channels: int) -> None:
        super().__init__()
        c, decoder, width = sizes.dpt_layers, sizes.dec_dim, sizes.dpt_width
        self.act_postprocess = nn.ModuleList((
            nn.Sequential(nn.Conv2d(sizes.enc_dim, c[0], 1), nn.ConvTranspose2d(c[0], c[0], 4, stride=4)),
            nn.Sequential(nn.Conv2d(decoder, c[1], 1), nn.ConvTranspose2d(c[1], c[1], 2, stride=2)),
            nn.Sequential(nn.Conv2d(decoder, c[2], 1)),
            nn.Sequential(nn.Conv2d(decoder, c[3], 1), nn.Conv2d(c[3], c[3], 3, stride=2, padding=1)),
        ))  # fmt: skip
        self.scratch = Scratch(c, width)
        self.head = nn.Sequential(
            nn.Conv2d(width, width // 2, 3, padding=1), Upsample(),
            nn.Conv2d(width // 2, sizes.dpt_last, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(sizes.dpt_last, channels, 1),
        )  # fmt: skip

    def forward(self, layers: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        maps = [tokens.transpose(1, 2).unflatten(2, grid) for tokens in layers]
        return self.head(self.scratch([process(x) for process, x in zip(self.act_postprocess, maps, strict=True)]))


def upsample(x: Tensor) -> Tensor:
    """Double height and width; the corners keep their place."""
    return interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
