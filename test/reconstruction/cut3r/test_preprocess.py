"""CUT3R's input image: sizes and crops on paper, pixel centres, and intrinsics that follow them."""

import numpy as np
import pytest
import torch
from PIL import Image

from moonseg3r_core.errors import FrameRejected
from moonseg3r_core.geometry import project
from moonseg3r_core.reconstruction.cut3r.preprocess import (
    compute_crop_box,
    compute_resized_size,
    fit_image,
)
from moonseg3r_core.reconstruction.intrinsics import compute_grid_intrinsics


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("size", "image_size", "resized", "box"),
    [
        ((480, 640), 512, (384, 512), (0, 0, 384, 512)),
        ((640, 480), 512, (512, 384), (0, 0, 512, 384)),
        ((1080, 1920), 512, (288, 512), (0, 0, 288, 512)),
        ((240, 320), 512, (384, 512), (0, 0, 384, 512)),
        ((720, 720), 512, (512, 512), (64, 0, 448, 512)),  # a square is cut to 4:3
        ((999, 1000), 512, (511, 512), (7, 0, 503, 512)),  # 255 = 511 // 2, less 248 = (510 // 16) * 8
        ((375, 1242), 512, (155, 512), (5, 0, 149, 512)),
        ((480, 640), 224, (224, 299), (0, 37, 224, 261)),
        ((640, 480), 224, (299, 224), (37, 0, 261, 224)),
        ((100, 100), 224, (224, 224), (0, 0, 224, 224)),
        ((480, 640), 64, (48, 64), (0, 0, 48, 64)),
        ((64, 64), 64, (64, 64), (8, 0, 56, 64)),
        ((90, 90), 48, (48, 48), (8, 0, 40, 48)),  # half of 3/4 is 18, of which 16 are whole patches
    ],
)
def test_sizes_and_crops_are_those_of_the_facts(size, image_size, resized, box):
    assert compute_resized_size(*size, image_size) == resized
    assert compute_crop_box(*resized, image_size) == box
    view, grid = fit_image(noise(*size), image_size)
    assert view.shape == (1, 3, grid.height, grid.width) == (1, 3, box[2] - box[0], box[3] - box[1])
    assert view.dtype == torch.float32


@pytest.mark.parametrize(
    ("size", "image_size", "smooth"),
    [
        ((300, 600), 512, Image.Resampling.LANCZOS),
        ((150, 512), 512, Image.Resampling.BICUBIC),
        ((150, 300), 512, Image.Resampling.BICUBIC),
        ((230, 500), 224, Image.Resampling.LANCZOS),
        ((200, 500), 224, Image.Resampling.BICUBIC),  # the long side grows to 560
    ],
)
def test_the_filter_depends_on_whether_the_long_side_shrinks(size, image_size, smooth):
    image = noise(*size)
    h, w = compute_resized_size(*size, image_size)
    top, left, bottom, right = compute_crop_box(h, w, image_size)
    plain = np.asarray(Image.fromarray(image).resize((w, h), smooth))[top:bottom, left:right]
    expected = (torch.from_numpy(plain.copy()).permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.5
    assert torch.equal(fit_image(image, image_size)[0], expected)


def test_black_is_minus_one_and_white_is_one():
    assert fit_image(np.zeros((48, 64, 3), np.uint8), 64)[0].unique().tolist() == [-1]
    assert fit_image(np.full((48, 64, 3), 255, np.uint8), 64)[0].unique().tolist() == [1]


@pytest.mark.parametrize(
    ("size", "image_size"),
    [((100, 128), 512), ((250, 100), 512), ((240, 240), 64), ((250, 140), 224), ((111, 222), 64)],
)
def test_a_pixel_of_the_grid_shows_what_lies_at_its_place_in_the_image(size, image_size):
    image = np.zeros((*size, 3), np.uint8)  # red is u, green is v
    image[..., 0] = np.arange(size[1])[None, :]
    image[..., 1] = np.arange(size[0])[:, None]
    view, grid = fit_image(image, image_size)
    shown = (view[0] / 2 + 0.5) * 255
    u = torch.arange(grid.width) * grid.scale_u + grid.offset_u
    v = torch.arange(grid.height) * grid.scale_v + grid.offset_v
    inner = slice(8, -8)  # beside the border a smoothing filter has one side only
    assert float((shown[0, inner, inner] - u[None, inner]).abs().max()) < 0.51
    assert float((shown[1, inner, inner] - v[inner, None]).abs().max()) < 0.51


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0), (2, 100), (500, 7)])
def test_an_image_without_a_whole_patch_is_rejected_in_words(size):
    with pytest.raises(FrameRejected, match=r"at least 16 x 16 pixels .* got \d+ x \d+; give a larger"):
        fit_image(np.zeros((*size, 3), np.uint8), 512)


def test_a_point_seen_in_the_image_is_seen_at_the_same_place_of_the_grid():
    image = noise(300, 500)
    k = torch.tensor([[400.0, 0.0, 260.0], [0.0, 380.0, 140.0], [0.0, 0.0, 1.0]])
    points = torch.tensor([[0.1, -0.2, 1.5], [0.4, 0.1, 2.0], [-1.0, 0.5, 3.0]])
    _, grid = fit_image(image, 224)
    there, _ = project(points, compute_grid_intrinsics(k, grid))
    back = there * torch.tensor([grid.scale_u, grid.scale_v]) + torch.tensor([grid.offset_u, grid.offset_v])
    assert torch.allclose(back, project(points, k)[0], atol=1e-3)
    assert float(k[0, 0]) == 400.0
