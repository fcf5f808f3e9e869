"""Handcrafted features: what is alike looks alike, what is not does not, and the scale of the cosine means something."""

from pathlib import Path

import numpy as np
import pytest
import torch
from defaults import make_handcrafted

from moonseg3r_core.features.handcrafted import compute_color_features, compute_texture_features
from moonseg3r_core.geometry import cosine_similarity
from moonseg3r_core.types import Frame, Geometry

SHARED = Path(__file__).resolve().parents[3] / "shared"


def features(image, **settings):
    return make_handcrafted(**settings)(Frame(0, 0.0, torch.from_numpy(image)), Geometry.empty()).features


def plain(color, height=32, width=32):
    return np.broadcast_to(np.array(color, np.uint8), (height, width, 3)).copy()


def alike(a, b):
    """Cosine of the two images' average features."""
    return float(cosine_similarity(features(a).mean((0, 1))[None], features(b).mean((0, 1))[None]))


def stripes(vertical):
    wave = (np.arange(64) // 4 % 2 * 120 + 60).astype(np.uint8)
    image = np.broadcast_to(wave[None, :] if vertical else wave[:, None], (64, 64))
    return np.repeat(image[..., None], 3, axis=2).copy()


@pytest.mark.parametrize(
    ("height", "width", "h", "w"), [(480, 640, 30, 40), (50, 33, 4, 3), (1, 1, 1, 1), (5, 100, 1, 7)]
)
def test_one_cell_per_sixteen_pixels_rounded_up(height, width, h, w):
    found = features(plain((10, 120, 200), height, width))
    assert found.shape == (h, w, 77)
    assert found.dtype == torch.float32
    assert bool(torch.isfinite(found).all())


def test_every_cell_of_a_plain_image_is_the_same():
    found = features(plain((10, 120, 200), 48, 64))
    assert torch.allclose(found, found[:1, :1].expand_as(found), atol=1e-4)


def test_a_cell_sees_its_own_pixels_alone_in_color():
    image = plain((128, 128, 128), 32, 48)
    image[:16, 16:32] = (200, 30, 30)
    found = compute_color_features(image, 2, 3, 200.0, 0.5)
    red, gray = compute_color_features(plain((200, 30, 30)), 2, 2, 200.0, 0.5)[0, 0], found[1, 0]
    assert torch.allclose(found[0, 1], red, atol=1e-4)
    assert torch.allclose(found[1, 2], gray, atol=1e-4)
    assert float((red - gray).abs().max()) > 0.01


def test_unlike_colors_are_unlike_and_a_change_of_light_is_not():
    red, green, blue, white = plain((200, 30, 30)), plain((40, 160, 60)), plain((40, 60, 190)), plain((235, 235, 235))
    for a, b in ((red, green), (red, blue), (green, blue), (red, white)):
        assert alike(a, b) < 0.3
    assert alike(red, (red * 0.8).astype(np.uint8)) > 0.75
    assert alike(white, (white * 0.8).astype(np.uint8)) > 0.85
    assert alike(red, red) == pytest.approx(1, abs=1e-5)


def test_stripes_have_a_direction_and_a_blank_wall_has_none():
    across, along = compute_texture_features(stripes(True), 4, 4), compute_texture_features(stripes(False), 4, 4)
    assert across[1:3, 1:3, 0].min() > 0.7  # gradients along x: cos(2 * 0) = 1
    assert along[1:3, 1:3, 0].max() < -0.7  # gradients along y: cos(2 * 90 degrees) = -1
    blank = compute_texture_features(plain((90, 90, 90)), 2, 2)
    assert np.abs(blank[..., :4]).max() < 1e-3
    assert blank[..., 4].max() < across[..., 4].min()
    assert alike(stripes(True), stripes(False)) < alike(stripes(True), np.roll(stripes(True), 5, axis=1)) - 0.05


def test_weights_choose_what_counts():
    a, b = stripes(True), stripes(False)
    assert torch.allclose(features(a, texture=0.0)[1, 1], features(b, texture=0.0)[1, 1], atol=0.02)
    dark, light = plain((60, 60, 60)), plain((200, 200, 200))
    assert torch.allclose(features(dark, lightness=0.0), features(light, lightness=0.0), atol=0.01)


@pytest.mark.skipif(not (SHARED / "data/rooms/room_11").is_dir(), reason="no shared/data/rooms beside the repository")
def test_objects_of_a_rendered_room_look_more_like_themselves_than_like_others():
    cv2 = pytest.importorskip("cv2")
    folder = SHARED / "data/rooms/room_11"
    model = make_handcrafted(cell=8)

    def averages(index):
        image = cv2.cvtColor(cv2.imread(str(folder / f"color/{index}.jpg")), cv2.COLOR_BGR2RGB)
        ids = cv2.imread(str(folder / f"instance/{index}.png"), cv2.IMREAD_UNCHANGED)[4::8, 4::8]
        found = model(Frame(index, 0.0, torch.from_numpy(image)), Geometry.empty()).features
        names = [i for i in np.unique(ids) if (ids == i).sum() > 10]
        return names, torch.stack([found[torch.from_numpy(ids == i)].mean(0) for i in names])

    (names_a, a), (names_b, b) = averages(10), averages(14)
    same = torch.tensor([[i == j for j in names_b] for i in names_a])
    likeness = cosine_similarity(a, b)
    assert float(likeness[same].mean()) > float(likeness[~same].mean()) + 0.15
