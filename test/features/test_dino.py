"""DINOv3 and DINOv2 as stages, real classes at small random size: every token lies where its patch does."""

import copy
import json
from contextlib import nullcontext
from functools import cache

import numpy as np
import pytest
import torch

from moonseg3r_core.build import build_segmenter
from moonseg3r_core.config import load_config
from moonseg3r_core.errors import InputError
from moonseg3r_core.features.dino import DinoFeatures, build_dinov2, build_dinov3, count_patches, crop_to_grid
from moonseg3r_core.ops.grids import sample_cells
from moonseg3r_core.ops.images import resize_image
from moonseg3r_core.reconstruction.cut3r.preprocess import fit_image
from moonseg3r_core.synthetic import SyntheticSequence
from moonseg3r_core.types import Frame, Geometry, PixelGrid

transformers = pytest.importorskip("transformers")

CPU = torch.device("cpu")
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8, "image_size": 48}
NETS = {
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig", {"intermediate_size": 64}),
    "dinov3 with registers": ("DINOv3ViTModel", "DINOv3ViTConfig", {"intermediate_size": 48, "num_register_tokens": 3}),
    "dinov3 gated": ("DINOv3ViTModel", "DINOv3ViTConfig", {"intermediate_size": 64, "use_gated_mlp": True}),
    "dinov2": ("Dinov2Model", "Dinov2Config", {"mlp_ratio": 2}),
    "dinov2 with registers": ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", {"num_register_tokens": 2}),
}
MAKERS = {"dinov3": build_dinov3, "dinov2": build_dinov2}


@cache
def tiny(name):
    """A net of random numbers, those that begin as zeros or ones too; no test may change it."""
    model, config, own = NETS[name]
    torch.manual_seed(3)
    net = getattr(transformers, model)(getattr(transformers, config)(**SIZES, **own)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return net


@pytest.fixture(params=NETS)
def name(request):
    return request.param


@pytest.fixture
def net(name):
    return tiny(name)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Each net as its library keeps it."""
    place = tmp_path_factory.mktemp("nets")
    for name in NETS:
        tiny(name).save_pretrained(place / name)
    return {name: place / name for name in NETS}


def noise(height, width, seed=0):
    return torch.randint(256, (height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def tokens(model, image, grid=None):
    """The model's map (h, w, C) of an image, over a geometry of that grid or of the image's own."""
    grid = grid or PixelGrid(*image.shape[:2])
    return model(Frame(0, 0.0, image), geometry_on(grid)).features


def geometry_on(grid):
    zeros = torch.zeros(grid.height, grid.width)
    return Geometry(
        torch.zeros(grid.height, grid.width, 3), zeros, zeros, torch.eye(4, dtype=torch.float64), torch.eye(3), grid
    )


def place_of_largest(change):
    """(row, column) of the token that changed most; change (h, w, C)."""
    index = int(change.norm(dim=-1).argmax())
    return divmod(index, change.shape[1])


def test_it_equals_the_librarys_own_forward_on_what_was_loaded(folders, name):
    net, model = tiny(name), MAKERS[name.split()[0]](str(folders[name]), "float32", 0, CPU)
    registers = getattr(net.config, "num_register_tokens", 0)
    for h, w in ((6, 6), (8, 5), (5, 12)):
        image = noise(8 * h, 8 * w)
        found = tokens(model, image)
        pixels = (image.numpy() / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
        with torch.no_grad():
            own = net(torch.from_numpy(pixels).permute(2, 0, 1)[None].float()).last_hidden_state
        assert own.shape[1] == 1 + registers + h * w
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, own[0, 1 + registers :].view(h, w, 32), atol=1e-5, rtol=0)


@pytest.mark.parametrize("patch", [(0, 0), (1, 6), (4, 2)])
def test_the_token_of_the_patch_that_changed_changes_most(net, patch):
    """So rows are rows, and no token that belongs to no patch is left among them."""
    image, (row, column) = noise(40, 72), patch
    other = image.clone()
    other[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = noise(8, 8, seed=1)
    model = DinoFeatures(net, long_side=0)
    assert place_of_largest(tokens(model, other) - tokens(model, image)) == patch


def test_where_the_left_half_differs_tokens_on_the_left_change_most(net):
    image, other = noise(40, 160), noise(40, 160)
    other[:, :80] = noise(40, 80, seed=1)
    model = DinoFeatures(net, long_side=80)
    change = (tokens(model, other) - tokens(model, image)).norm(dim=-1)
    assert change.shape == (3, 10)  # 20 rows of pixels are two and a half patches
    assert change[:, :5].min() > change[:, 5:].max()


def test_positions_of_dinov2_are_stretched_over_pictures_of_other_shapes():
    """Embeddings that grow from left to right give the tokens of a blank picture that are alike down each column."""
    net = copy.deepcopy(tiny("dinov2"))
    ramp = torch.linspace(-1, 1, 6)[None, :, None] * torch.randn(32)
    net.embeddings.position_embeddings.data[0, 1:] = ramp.expand(6, 6, 32).flatten(0, 1)
    found = tokens(DinoFeatures(net, long_side=0), torch.full((32, 96, 3), 90, dtype=torch.uint8))
    assert found.shape == (4, 12, 32)
    assert torch.allclose(found, found[:1].expand_as(found), atol=1e-4)
    steps = (found[0] - found[0, :1]).norm(dim=-1).diff()
    assert bool((steps > 1e-2).all())  # ever further from the first column's


@pytest.mark.parametrize("name", ["dinov3", "dinov3 with registers"])
def test_positions_of_dinov3_tell_right_from_below(name):
    """On a blank picture with one spot, the patch to its right looks at it from elsewhere than the one below it."""
    image = torch.full((48, 48, 3), 90, dtype=torch.uint8)
    image[16:24, 16:24] = torch.tensor([250, 10, 60], dtype=torch.uint8)
    found = tokens(DinoFeatures(tiny(name), long_side=0), image)
    assert not torch.allclose(found[2, 3], found[3, 2], atol=1e-3)


def test_a_grid_that_covers_a_part_gives_what_that_part_alone_gives(net):
    image, model = noise(60, 100), DinoFeatures(net, long_side=64)
    inside = PixelGrid(20, 32, scale_u=2.0, scale_v=2.0, offset_u=10.5, offset_v=8.5)  # pixels 10..73 and 8..47
    assert crop_to_grid(image, inside).equal(image[8:48, 10:74])
    alone = tokens(model, image[8:48, 10:74].contiguous())
    assert tokens(model, image, inside).equal(alone)
    assert not torch.allclose(tokens(model, image)[: alone.shape[0], : alone.shape[1]], alone, atol=0.1)


SEEN = {
    "wide": ((96, 200), fit_image(noise(96, 200).numpy(), 128)[1], (60, 130)),
    "high": ((200, 96), fit_image(noise(200, 96).numpy(), 128)[1], (90, 30)),
    "square": ((120, 120), fit_image(noise(120, 120).numpy(), 128)[1], (40, 70)),
    "a corner": ((96, 200), PixelGrid(48, 80, offset_u=110.0, offset_v=40.0), (76, 130)),
}


@pytest.mark.parametrize("seen", SEEN)
def test_features_lie_where_the_geometry_sees_the_same(net, seen):
    """A change of the image around a pixel is largest in the cell of the geometry's pixel that shows it."""
    size, grid, (v, u) = SEEN[seen]  # three grids as CUT3R's, and one that is a corner of the image
    image = noise(*size)
    other = image.clone()
    other[v - 6 : v + 7, u - 6 : u + 7] = 255 - other[v - 6 : v + 7, u - 6 : u + 7]
    model, geometry = DinoFeatures(net, long_side=max(grid.height, grid.width)), geometry_on(grid)
    before, after = (model(Frame(0, 0.0, each), geometry) for each in (image, other))
    h, w = grid.height // 8, grid.width // 8
    assert before.features.shape[:2] == (h, w)  # cell by cell
    row, column = place_of_largest(sample_cells(after, geometry, h, w) - sample_cells(before, geometry, h, w))
    cell = np.array([(v - grid.offset_v) / grid.scale_v, (u - grid.offset_u) / grid.scale_u]) / 8
    assert np.abs(cell - (row + 0.5, column + 0.5)).max() < 1.0


@pytest.mark.parametrize(
    ("side", "long_side", "expected"),
    [((384, 512), 512, (24, 32)), ((480, 640), 512, (24, 32)), ((968, 1296), 512, (24, 32)), ((640, 480), 0, (40, 30)),
     ((1080, 1920), 512, (18, 32)), ((5, 500), 512, (1, 32)), ((7, 3), 0, (1, 1))],
)  # fmt: skip
def test_the_net_sees_whole_patches(side, long_side, expected):
    assert count_patches(*side, long_side, 16) == expected


def test_what_shrinks_is_smoothed_and_what_is_plain_stays():
    image = noise(64, 96)
    small = resize_image(image, 8, 12)
    assert small.shape == (3, 8, 12)
    assert (small - 0.5).abs().max() < 0.15  # noise that nobody averages keeps its extremes
    plain = torch.full((33, 47, 3), 77, dtype=torch.uint8)
    assert torch.allclose(resize_image(plain, 16, 64), torch.tensor(77 / 255).expand(3, 16, 64), atol=1e-6)
    assert torch.allclose(resize_image(image, 64, 96), image.permute(2, 0, 1) / 255, atol=1e-6)


@pytest.mark.parametrize(("name", "precision"), [*((name, "bfloat16") for name in NETS), ("dinov2", "float16")])
def test_half_precision_is_within_and_float32_comes_out(folders, name, precision):
    image = noise(40, 64)
    make = MAKERS[name.split()[0]]
    model = make(str(folders[name]), precision, 0, CPU)
    assert model.net.dtype == getattr(torch, precision)
    whole, half = (tokens(each, image) for each in (make(str(folders[name]), "float32", 0, CPU), model))
    assert half.dtype == torch.float32
    assert 0 < (whole - half).abs().max() < 0.3
    assert torch.cosine_similarity(whole, half, dim=-1).min() > 0.99


def test_one_batch_a_frame_and_nothing_leaves_the_device(net):
    """On the meta device, which holds no numbers, any copy to the CPU is an error."""
    net, seen = copy.deepcopy(net), []
    net.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs["pixel_values"].shape), with_kwargs=True)
    with torch.device("meta"):
        frame = Frame(0, 0.0, torch.zeros(60, 90, 3, dtype=torch.uint8))
        geometry = geometry_on(PixelGrid(60, 90))
    found = DinoFeatures(net.to("meta"), long_side=48)(frame, geometry).features
    assert found.is_meta
    assert found.shape == (4, 6, 32)
    assert seen == [(1, 3, 32, 48)]


def test_a_file_with_the_names_that_the_hub_has_loads_whole(folders, tmp_path):
    """The published DINOv3 files name their layers `layer.N`, without the `model.` of newer libraries."""
    from safetensors.torch import load_file, save_file

    kept = load_file(folders["dinov3"] / "model.safetensors")
    save_file({key.removeprefix("model."): part for key, part in kept.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((folders["dinov3"] / "config.json").read_text())
    image = noise(40, 64)
    a, b = (build_dinov3(str(folder), "float32", 0, CPU) for folder in (folders["dinov3"], tmp_path))
    assert tokens(a, image).equal(tokens(b, image))


@pytest.mark.parametrize(
    ("kind", "other"), [("dinov3", "dinov2"), ("dinov2", "dinov3"), ("dinov3", "dinov2 with registers")]
)
def test_weights_of_another_model_are_refused(folders, kind, other):
    with pytest.raises(InputError, match=r"must hold"):
        MAKERS[kind](str(folders[other]), "float32", 0, CPU)


def test_a_file_that_is_cut_short_or_names_no_model_is_refused(folders, tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"got no model\.safetensors"):
        build_dinov2(str(tmp_path), "float32", 0, CPU)
    (tmp_path / "model.safetensors").write_bytes((folders["dinov2"] / "model.safetensors").read_bytes()[:-9])
    for config in ("{", (folders["dinov2"] / "config.json").read_text()):
        (tmp_path / "config.json").write_text(config)
        with pytest.raises(InputError, match="got one that does not load"):
            build_dinov2(str(tmp_path), "float32", 0, CPU)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"auto_map": {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}, "trust_remote_code": True}, None),
        ({"_attn_implementation": "someone/kernel"}, "must use attention of transformers, got other code"),
        ({"attn_implementation": {"": "someone/kernel"}}, "must use attention of transformers, got other code"),
        (
            {"model_type": "llama"},
            "of model_type 'dinov2' in config.json, got 'llama'; give a folder of that model, or set",
        ),
    ],
)
def test_no_code_of_a_folder_is_run(folders, tmp_path, facts, words):
    config = json.loads((folders["dinov2"] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | facts))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'harm')!r}, 'w')")
    (tmp_path / "model.safetensors").write_bytes((folders["dinov2"] / "model.safetensors").read_bytes())
    with nullcontext() if words is None else pytest.raises(InputError, match=words):
        build_dinov2(str(tmp_path), "float32", 0, CPU)
    assert not (tmp_path / "harm").exists()


@cache
def render():
    return list(SyntheticSequence(1, frames=4, height=90, width=120))


def stack(folder, kind="dinov3"):
    """The settings of a segmenter with these features on exact geometry."""
    return {
        "reconstruction.kind": "rgbd", "masks.kind": "regions", "features.kind": kind, "device": "cpu",
        f"features.{kind}.weights": str(folder), f"features.{kind}.long_side": 96,
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), [("dinov3", "dinov3 with registers"), ("dinov2", "dinov2")])
def test_a_walk_through_the_segmenter_finds_instances(folders, kind, name):
    config = load_config(overrides=stack(folders[name], kind) | {"refinement.kind": "average"})
    segmenter = build_segmenter(config)
    results = [segmenter.step(frame) for frame in render()]
    found = segmenter.snapshot()
    assert len(found.instances) > 1
    assert max(instance.observations for instance in found.instances) == len(results)
    assert len(next(iter(found.descriptors.values()))) > 32  # of F3d and these
    assert bool(results[-1].instance_ids.any())


def test_beside_the_reconstruction_it_says_the_same(folders):
    settings = stack(folders["dinov3"]) | {"refinement.kind": "average"}
    alone, beside = (build_segmenter(load_config(overrides=settings | {"pipeline": on})) for on in (False, True))
    for frame in render()[:2]:
        assert alone.step(frame).instance_ids.equal(beside.step(frame).instance_ids)
    a, b = (each.snapshot().descriptors for each in (alone, beside))
    assert a.keys() == b.keys()
    assert all(a[key].equal(b[key]) for key in a)


def test_queries_of_other_features_are_refused(folders):
    config = load_config(overrides=stack(folders["dinov3"]) | {"refinement.kind": "learned"})
    segmenter = build_segmenter(config)
    with pytest.raises(InputError, match="these query weights are for F3d and F2d of"):
        segmenter.step(render()[0])


@pytest.mark.slow
def test_queries_can_be_trained_on_them(folders, tmp_path):
    pytest.importorskip("lightning_fabric")
    import yaml

    from moonseg3r_core.cli import main
    from moonseg3r_core.refinement.learned import read_query_net

    recipe = {
        "stack": {key: value for key, value in stack(folders["dinov3"]).items() if not key.startswith(("masks", "device"))},
        "width": 16, "heads": 2, "layers": 1, "hidden": 2, "epochs": 1, "frames": 2, "batch": 1, "scenes": 1, "held": 0,
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    arguments = ["--config", str(tmp_path / "recipe.yaml"), "rooms", "-o", str(tmp_path / "out"), "--device", "cpu"]
    assert main(["train", "queries", *arguments]) == 0
    (file,) = (tmp_path / "out").glob("*.safetensors")
    assert read_query_net(file).sizes.semantic == 32
    learned = {"refinement.kind": "learned", "refinement.learned.weights": str(file)}
    segmenter = build_segmenter(load_config(overrides=stack(folders["dinov3"]) | learned))
    result = [segmenter.step(frame) for frame in render()[:2]][-1]
    assert bool(result.instance_ids.any())


@pytest.mark.slow
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_dinov3_of_real_size(precision):
    """ViT-S/16, whose sizes are its configuration's defaults, on the frames that the paper takes."""
    torch.manual_seed(0)
    net = transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(num_register_tokens=4)).eval().to(precision)
    assert sum(parameter.numel() for parameter in net.parameters()) == pytest.approx(21.6e6, rel=0.01)
    found = tokens(DinoFeatures(net, long_side=512), noise(384, 512))
    assert found.shape == (24, 32, 384)
    assert found.dtype == torch.float32
    assert bool(torch.isfinite(found).all())
