"""Depth Anything with its real classes at small random size: it gives what its own library gives, where it belongs."""

import numpy as np
import pytest
import torch
from depth_nets import KINDS, tiny

from moonseg3r_core.errors import WeightsError
from moonseg3r_core.ops.images import normalize_image
from moonseg3r_core.reconstruction.config import MultiViewConfig, OdometryConfig
from moonseg3r_core.reconstruction.depth.build import build_depth, make_random_net
from moonseg3r_core.reconstruction.depth.network import DepthNetwork, choose_input_size, make_strided_grid
from moonseg3r_core.types import PixelGrid

transformers = pytest.importorskip("transformers")

CPU = torch.device("cpu")
SETTINGS = {
    "pose": "tracked", "precision": "float32", "short_side": 56, "stride": 1, "max_depth": 20.0, "field_of_view": 60.0,
    "seed": None, "device": CPU, "multi_view": MultiViewConfig(sources=0), "odometry": OdometryConfig(),
}  # fmt: skip


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def noise(height, width, seed=0):
    return torch.randint(256, (height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_it_equals_the_librarys_own_forward_on_what_was_loaded(tmp_path, kind):
    tiny(kind).save_pretrained(tmp_path)
    stage = build_depth(str(tmp_path), **SETTINGS)
    image = noise(56, 84)
    depth, grid = stage.predict(image)
    pixels = (image.numpy() / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    with torch.no_grad():
        own = tiny(kind)(pixel_values=torch.from_numpy(pixels).permute(2, 0, 1)[None].float()).predicted_depth[0]
    assert float(own.std()) > 0
    assert grid.is_image((56, 84))
    found = depth if kind == "metric" else 1 / depth - 1e-3 * own.max()
    torch.testing.assert_close(found, own, atol=1e-4, rtol=1e-4)


def test_the_picture_is_prepared_as_published():
    """transformers' own preparation, on a photograph of smooth colors that becomes smaller."""
    from PIL import Image

    make = getattr(transformers, "DPTImageProcessorPil", None)
    if make is None:
        pytest.skip("this transformers prepares pictures with torchvision alone")
    coarse = Image.fromarray(noise(12, 16).numpy()).resize((640, 480), Image.Resampling.BICUBIC)
    processor = make(
        size={"height": 224, "width": 224}, keep_aspect_ratio=True, ensure_multiple_of=14, resample=3,
        image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
    )  # fmt: skip
    published = torch.as_tensor(processor(coarse, return_tensors="pt")["pixel_values"])
    size = choose_input_size(480, 640, 224, 14)
    assert tuple(published.shape[2:]) == size == (224, 294)
    ours = normalize_image(torch.from_numpy(np.array(coarse)), *size, mode="bicubic")
    assert float((ours - published).abs().max()) < 0.04  # two levels of 255


@pytest.mark.parametrize(
    ("side", "expected"),
    [((480, 640), (518, 686)), ((640, 480), (686, 518)), ((100, 100), (518, 518)), ((360, 540), (518, 784))],
)
def test_the_net_sees_whole_patches(side, expected):
    assert choose_input_size(*side, 518, 14) == expected


def test_a_grid_with_a_stride_lies_where_its_pixels_do():
    assert make_strided_grid((48, 64), (48, 64), 1).is_image((48, 64))
    grid = make_strided_grid((480, 640), (56, 70), 2)  # rows 1, 3, 5... of 56, each 480 / 56 rows of the image high
    assert (grid.height, grid.width) == (28, 35)
    assert (grid.scale_v, grid.offset_v) == pytest.approx((2 * 480 / 56, 1.5 * 480 / 56 - 0.5))
    assert (grid.scale_u, grid.offset_u) == pytest.approx((2 * 640 / 70, 1.5 * 640 / 70 - 0.5))


class Says:
    """A network that says these values, of one kind or the other."""

    def __init__(self, values, kind):
        self.values, self.config = values, transformers.DepthAnythingConfig(**KINDS[kind])

    def parameters(self):
        yield torch.zeros(1)

    def __call__(self, pixel_values):
        assert pixel_values.shape[2:] == self.values.shape
        return transformers.modeling_outputs.DepthEstimatorOutput(predicted_depth=self.values[None])


def test_the_largest_relative_value_is_nearest_and_none_is_unknown():
    values = torch.full((14, 28), 1.0)
    values[0, :3] = torch.tensor([4.0, 0.0, float("nan")])
    depth, _ = DepthNetwork(Says(values, "relative"), 14, 1)(noise(14, 28))
    assert depth[0, :4].tolist() == pytest.approx([1 / 4.004, 1 / 0.004, 0, 1 / 1.004])
    depth, _ = DepthNetwork(Says(values, "metric"), 14, 1)(noise(14, 28))
    assert depth[0, :4].tolist() == [4, 0, 0, 1]


def test_a_stride_takes_pixels_as_they_are():
    values = torch.rand(28, 42) + 1
    depth, grid = DepthNetwork(Says(values, "metric"), 28, 3)(noise(28, 42))
    assert depth.equal(values[1::3, 1::3])
    assert (grid.height, grid.width) == depth.shape
    assert isinstance(grid, PixelGrid)


def test_an_untrained_net_is_the_same_for_a_seed_and_metric_by_its_name(tmp_path, kind):
    tiny(kind).save_pretrained(tmp_path)
    one, other = (DepthNetwork(make_random_net(str(tmp_path), seed, CPU), 56, 1) for seed in (1, 1))
    assert one.is_metric == (kind == "metric")
    assert one.predict(noise(56, 70)).equal(other.predict(noise(56, 70)))


def test_weights_of_another_model_or_none_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MOONSEG3R_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match="get it: moonseg3r weights get depth-anything-v2-small"):
        build_depth("depth-anything-v2-small", **SETTINGS)
    transformers.Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"of model_type 'depth_anything' in config\.json, got 'dinov2'"):
        build_depth(str(tmp_path), **SETTINGS)
