"""Masks of published models that find whole entities: Mask2Former, FastSAM, CropFormer.

Mask2Former is transformers' own class at a small random size. ultralytics (AGPL-3.0) and detectron2 are never installed
for a test: small modules stand in for them that follow their documentation. ultralytics: a model is called with an array
(H, W, 3) uint8 in the order blue, green, red and returns a list of results; `result.masks` is None where nothing is
found, else `masks.data` is (N, H, W) at the image's size (retina_masks) and `boxes.conf` (N,). detectron2: a predictor
made of a CfgNode takes such an array and returns `instances` with pred_masks (M, H, W) and scores (M,).
"""

import sys
import types
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from defaults import CPU, load_fastsam, load_mask2former, make_mask2former

from moonseg3r_core.errors import FrameRejected, InputError, MissingDependency
from moonseg3r_core.masks.cropformer import build as build_cropformer
from moonseg3r_core.masks.mask2former import choose_network_size, select_entities
from moonseg3r_core.ops.images import normalize_image
from moonseg3r_core.types import Frame, Geometry

NOTHING = Geometry.empty()


def frame(height=48, width=64, index=3):
    generator = torch.Generator().manual_seed(height * width)
    return Frame(index, 0.0, torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator))


def disjoint_and_ordered(out):
    areas = out.masks.sum((1, 2)).tolist()
    return bool((out.masks.sum(0) <= 1).all()) and areas == sorted(areas, reverse=True)


# --- Mask2Former


@cache
def small_net(labels=1, seed=0, queries=12):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    backbone = transformers.SwinConfig(
        embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=32,
        encoder_layers=1, decoder_layers=3, num_attention_heads=2, dim_feedforward=32, num_queries=queries,
        num_labels=labels,
    )  # fmt: skip
    net = transformers.Mask2FormerForUniversalSegmentation(config).eval()
    for name, parameter in net.named_parameters():  # as initialized its masks are nearly flat: make them differ
        if "class_predictor" in name or "mask_embedder" in name:
            parameter.data.mul_(4)
    return net


def processor(**settings):
    module = pytest.importorskip("transformers.models.mask2former.image_processing_pil_mask2former")
    return module.Mask2FormerImageProcessorPil(**settings)


@pytest.mark.parametrize(
    "size", [(480, 640), (640, 480), (720, 1280), (1080, 1920), (384, 512), (968, 1296), (30, 900), (112, 212)]
)
def test_the_net_looks_at_the_size_that_was_published(size):
    theirs = processor()(np.zeros((*size, 3), np.uint8), return_tensors="pt")["pixel_values"]
    assert choose_network_size(*size, 800, 1333) == tuple(theirs.shape[2:])


@pytest.mark.parametrize("size", [(96, 128), (320, 240)])
def test_pixels_are_those_of_transformers_own_preprocessing(size):
    image = cv2.GaussianBlur(frame(*size).image.numpy(), (0, 0), 2)
    theirs = processor(size={"shortest_edge": 160, "longest_edge": 300})(image, return_tensors="pt")["pixel_values"]
    ours = normalize_image(torch.from_numpy(image), *choose_network_size(*size, 160, 300))
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) < 1.01 / 255 / 0.224  # theirs are rounded to whole colors in between


@pytest.mark.parametrize("labels", [1, 5])
def test_our_forward_is_transformers_own(tmp_path, labels):
    net = small_net(labels)
    net.save_pretrained(tmp_path)
    model = load_mask2former(tmp_path, min_area=1, short_side=64, long_side=96)
    given = frame(90, 130)
    pixels = normalize_image(given.image, *choose_network_size(90, 130, 64, 96))
    assert pixels.shape == (1, 3, 64, 96)
    with torch.no_grad():
        theirs = net(pixel_values=pixels)
    classes, masks = model.predict_logits(given.image)
    assert classes.shape == (12, labels + 1)
    torch.testing.assert_close(classes, theirs.class_queries_logits[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(masks, theirs.masks_queries_logits[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_entities_are_those_of_transformers_post_processing(seed):
    """Theirs works per class and at 384 x 384, so one class and an image of that size: then both say the same."""
    with torch.no_grad():
        said = small_net(seed=seed)(
            pixel_values=torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(seed))
        )
    every = (
        select_entities(said.class_queries_logits[0], said.masks_queries_logits[0], (384, 384), 0.0, 0.5)
        .scores.sort()
        .values
    )
    threshold = float(every[5:7].mean())  # so that some are left out, and none is near it
    theirs = processor().post_process_instance_segmentation(
        said, threshold=threshold, target_sizes=[(384, 384)], return_binary_maps=True
    )[0]
    ours = select_entities(said.class_queries_logits[0], said.masks_queries_logits[0], (384, 384), threshold, 0.5)
    scores = [segment["score"] for segment in theirs["segments_info"]]
    assert len(scores) == 6
    order = torch.tensor(scores).argsort(descending=True), ours.scores.argsort(descending=True)
    torch.testing.assert_close(ours.scores[order[1]], torch.tensor(scores)[order[0]], atol=1e-5, rtol=0)
    assert torch.equal(ours.masks[order[1]], theirs["segmentation"][order[0]] > 0)


def logits(*probabilities):
    return torch.tensor(probabilities).logit()


def test_a_score_is_any_object_times_the_mean_probability_in_the_mask():
    classes = torch.tensor([[0.3, 0.6, 0.1], [0.05, 0.05, 0.9], [0.45, 0.0, 0.55]]).log()  # the last is no object
    masks = logits([[0.9, 0.7], [0.2, 0.4]], [[0.9, 0.9], [0.9, 0.9]], [[0.9, 0.9], [0.9, 0.9]])
    out = select_entities(classes, masks, (2, 2), 0.4, 0.5)
    assert out.masks.tolist() == [[[True, True], [False, False]], [[True, True], [True, True]]]
    assert out.scores.tolist() == pytest.approx([0.9 * 0.8, 0.45 * 0.9])
    assert select_entities(classes, masks, (2, 2), 0.41, 0.5).scores.tolist() == pytest.approx([0.72])
    smaller = select_entities(classes, masks, (2, 2), 0.4, 0.8)
    assert smaller.masks[0].tolist() == [[True, False], [False, False]]
    assert float(smaller.scores[0]) == pytest.approx(0.9 * 0.9)


def test_masks_come_at_the_size_of_the_image():
    masks = logits([[0.9, 0.1]])
    out = select_entities(torch.tensor([[0.9, 0.1]]).log(), masks, (3, 8), 0.5, 0.5)
    assert out.masks.tolist() == [[[True] * 4 + [False] * 4] * 3]


def test_nothing_found_is_no_mask(tmp_path):
    assert select_entities(logits([0.1, 0.9]), torch.zeros(1, 2, 2), (4, 6), 0.99, 0.5).masks.shape == (0, 4, 6)
    model = make_mask2former(small_net(), confidence=1.0, short_side=32)
    assert model(frame(20, 30), NOTHING).masks.shape == (0, 20, 30)


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (37, 211), (1, 1)])
def test_a_frame_becomes_disjoint_masks_largest_first(size):
    model = make_mask2former(small_net(), min_area=1, short_side=64, long_side=128, confidence=0.2)
    out = model(frame(*size), NOTHING)
    assert out.masks.shape[1:] == size
    assert disjoint_and_ordered(out)
    assert len(out) > 1 or size == (1, 1)
    assert all(score >= 0.2 for score in out.scores.tolist())


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_says_about_the_same(tmp_path, precision):
    small_net().save_pretrained(tmp_path)
    full, half = (
        load_mask2former(tmp_path, precision=numbers, min_area=1, short_side=64, confidence=0.2)
        for numbers in ("float32", precision)
    )
    assert next(half.net.parameters()).dtype == getattr(torch, precision)
    given = frame()
    assert float((full.predict_logits(given.image)[0] - half.predict_logits(given.image)[0]).abs().max()) < 0.2
    assert disjoint_and_ordered(half(given, NOTHING))


def test_transformers_that_is_not_here_is_named_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependency, match='python -m pip install "transformers'):
        load_mask2former(tmp_path)


# --- FastSAM


class FakeFastSam:
    """Finds the red things and the blue things of a picture, as ultralytics' FastSAM would answer."""

    loaded = None
    shrink = 1  # masks come smaller by this

    def __init__(self, weights):
        if not weights.endswith(".pt"):
            raise TypeError(f"model='{weights}' is not a supported model format")
        type(self).loaded = weights

    def __call__(self, source, **settings):
        assert isinstance(source, np.ndarray)
        assert source.dtype == np.uint8
        assert source.flags.c_contiguous
        self.settings = settings
        blue, red = source[..., 0].astype(int), source[..., 2].astype(int)
        things = [(red > blue + 100, 0.9), (blue > red + 100, 0.7), (source.min(-1) >= 0, settings["conf"] - 0.01)]
        found = [(mask, score) for mask, score in things if mask.any() and score >= settings["conf"]]
        result = types.SimpleNamespace(masks=None, boxes=types.SimpleNamespace(conf=torch.zeros(0)))
        if found:
            data = torch.from_numpy(np.stack([mask for mask, _ in found])).float()[:, :: self.shrink, :: self.shrink]
            result.masks = types.SimpleNamespace(data=data)
            result.boxes = types.SimpleNamespace(conf=torch.tensor([score for _, score in found]))
        return [result]


@pytest.fixture
def fastsam(monkeypatch, tmp_path):
    """Makes the stage with the given settings; ultralytics is the stand-in."""
    monkeypatch.setitem(sys.modules, "ultralytics", types.SimpleNamespace(FastSAM=FakeFastSam))
    weights = tmp_path / "FastSAM-s.pt"
    weights.write_bytes(b"weights")
    return lambda **settings: load_fastsam(weights, **settings)


def flags():
    """A red flag and, larger, a blue one, on gray; RGB."""
    image = torch.full((20, 30, 3), 128, dtype=torch.uint8)
    image[2:6, 3:9] = torch.tensor([220, 10, 10], dtype=torch.uint8)
    image[8:18, 10:28] = torch.tensor([10, 10, 220], dtype=torch.uint8)
    return Frame(0, 0.0, image)


def test_fastsam_gets_blue_green_red_and_gives_masks_largest_first(fastsam, tmp_path):
    model = fastsam(min_area=1)
    out = model(flags(), NOTHING)
    assert [int(mask.sum()) for mask in out.masks] == [180, 24]
    assert bool(out.masks[1, 2:6, 3:9].all())  # the red one, which a picture in another order would call blue
    assert out.scores.tolist() == pytest.approx([0.7, 0.9])
    assert FakeFastSam.loaded == str(tmp_path / "FastSAM-s.pt")


def test_fastsam_gets_the_settings(fastsam):
    model = fastsam(min_area=30, long_side=640, confidence=0.8, box_overlap=0.6)
    assert len(model(flags(), NOTHING)) == 0  # the blue one is not sure enough, the red one too small
    asked = {"retina_masks": True, "imgsz": 640, "conf": 0.8, "iou": 0.6, "device": CPU, "verbose": False}
    assert model.model.settings == asked


def test_fastsam_that_finds_nothing_gives_no_mask(fastsam):
    assert fastsam()(Frame(0, 0.0, torch.full((20, 30, 3), 128, dtype=torch.uint8)), NOTHING).masks.shape == (0, 20, 30)


def test_masks_of_another_size_are_brought_to_the_images(fastsam, monkeypatch):
    monkeypatch.setattr(FakeFastSam, "shrink", 2)
    out = fastsam(min_area=1)(flags(), NOTHING)
    assert out.masks.shape == (2, 20, 30)
    assert torch.equal(out.masks[0].nonzero().amin(0), torch.tensor([8, 10]))


def test_ultralytics_that_is_not_here_is_named_with_its_licence_and_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(MissingDependency, match=r"AGPL-3\.0.*run python -m pip install ultralytics$"):
        load_fastsam("fastsam-s")


def test_weights_that_ultralytics_cannot_read_are_one_clear_line(fastsam, tmp_path):
    (tmp_path / "net.pth").write_bytes(b"")
    with pytest.raises(InputError, match="must hold FastSAM's weights"):
        load_fastsam(tmp_path / "net.pth")


def test_a_folder_holds_one_file_of_weights(fastsam, tmp_path):
    assert load_fastsam(tmp_path)
    (tmp_path / "FastSAM-x.pt").write_bytes(b"weights")
    with pytest.raises(InputError, match="must hold one file of weights"):
        load_fastsam(tmp_path)


# --- CropFormer, as its script wrote it


def write_scene(folder, names=("0", "10"), inner="output/mask"):
    """What mask_predict.py of MaskClustering leaves: two masks, the surer (2) over the other."""
    labels = np.zeros((12, 16), np.uint8)
    labels[2:10, 2:12], labels[4:8, 6:14] = 1, 2
    for name in names:
        path = folder / inner / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), labels)
    return labels


def written(folder, min_area=1):
    return build_cropformer(str(folder), "", "", "", 0.5, CPU, min_area)


@pytest.mark.parametrize("inner", ["output/mask", "scene0011_00/output/mask", "."])
def test_the_folder_of_its_script_is_read(tmp_path, inner):
    scene = tmp_path / "scene0011_00"
    labels = write_scene(scene, inner=inner)
    out = written(scene)(frame(12, 16, index=10), NOTHING)
    assert [int(mask.sum()) for mask in out.masks] == [56, 32]
    assert np.array_equal(out.masks[1].numpy(), labels == 2)
    assert len(written(scene, min_area=33)(frame(12, 16, index=0), NOTHING)) == 1


def test_frames_are_known_by_the_number_that_ends_the_name(tmp_path):
    write_scene(tmp_path, names=("frame_000000", "frame_000010"))
    model = written(tmp_path)
    assert [len(model(frame(12, 16, index=i), NOTHING)) for i in (0, 1, 10)] == [2, 0, 2]
    assert model.missing == 1  # its script looks at every tenth image


def test_masks_of_other_pictures_are_rejected(tmp_path):
    write_scene(tmp_path)
    with pytest.raises(FrameRejected, match="must be 16 x 16 like the image"):
        written(tmp_path)(frame(16, 16, index=0), NOTHING)


@pytest.mark.parametrize("names", [(), ("left_1", "right_1"), ("overview", "1")])
def test_a_folder_that_its_script_did_not_write_is_refused(tmp_path, names):
    write_scene(tmp_path, names)
    with pytest.raises(InputError, match=r"set masks\.cropformer\.folder"):
        written(tmp_path)
    with pytest.raises(InputError, match="got none"):
        written(tmp_path / "absent")


# --- CropFormer, live


class FakeSettings(types.SimpleNamespace):
    """detectron2's CfgNode, as far as it is used."""

    def merge_from_file(self, path):
        self.file = path


class FakePredictor:
    """detectron2's DefaultPredictor: the bright things of a picture, and all of it with a low score."""

    def __init__(self, config):
        if not config.MODEL.WEIGHTS.endswith(".pth"):
            raise ValueError(f"Unable to read {config.MODEL.WEIGHTS}")
        self.config = config

    def __call__(self, original_image):
        assert original_image.dtype == np.uint8
        assert original_image.flags.c_contiguous
        blue, red = (
            torch.from_numpy(original_image[..., 0].astype(int)),
            torch.from_numpy(original_image[..., 2].astype(int)),
        )
        masks = torch.stack((red > blue + 100, blue > red + 100, blue >= 0)).float()
        return {"instances": types.SimpleNamespace(pred_masks=masks, scores=torch.tensor([0.9, 0.7, 0.3]))}


PROJECT = {
    "mask2former/__init__.py": "def add_maskformer2_config(config): config.added.append('mask2former')",
    "demo_cropformer/predictor.py": (
        "from detectron2.engine.defaults import DefaultPredictor\nclass CropFormerPredictor(DefaultPredictor): pass"
    ),
    "configs/entityv2/entity_segmentation/cropformer_hornet_3x.yaml": "MODEL: {}",
    "model.pth": "weights",
}


@pytest.fixture
def project(monkeypatch, tmp_path):
    """The authors' folder, beside a stand-in for detectron2."""
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    new = lambda: FakeSettings(MODEL=types.SimpleNamespace(WEIGHTS="", DEVICE="cuda"), added=[])  # noqa: E731
    parts = {
        "detectron2": {}, "detectron2.config": {"get_cfg": new}, "detectron2.projects": {}, "detectron2.engine": {},
        "detectron2.projects.deeplab": {"add_deeplab_config": lambda config: config.added.append("deeplab")},
        "detectron2.engine.defaults": {"DefaultPredictor": FakePredictor},
    }  # fmt: skip
    for name, has in parts.items():
        module = types.ModuleType(name)
        vars(module).update(has)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "mask2former", None)  # so that what the test imports is gone after it
    monkeypatch.delitem(sys.modules, "mask2former")
    return tmp_path


def live(project, net="cropformer_hornet_3x", weights="model.pth", confidence=0.5, min_area=1):
    return build_cropformer("", str(project), net, str(project / weights), confidence, CPU, min_area)


def test_cropformer_runs_live_through_its_authors_predictor(project):
    model = live(project)
    out = model(flags(), NOTHING)
    assert [int(mask.sum()) for mask in out.masks] == [180, 24]
    assert out.scores.tolist() == pytest.approx([0.7, 0.9])
    config = model.predictor.config
    assert config.MODEL.WEIGHTS.endswith("/model.pth")
    assert config.MODEL.DEVICE == "cpu"
    assert config.added == ["deeplab", "mask2former"]
    assert config.file.endswith("entity_segmentation/cropformer_hornet_3x.yaml")
    assert str(project) not in sys.path


def test_cropformer_leaves_out_what_it_is_not_sure_of(project):
    assert len(live(project, confidence=0.8)(flags(), NOTHING)) == 1
    everything = live(project, confidence=0.2)(flags(), NOTHING)
    assert [int(mask.sum()) for mask in everything.masks] == [396, 180, 24]
    assert live(project, confidence=1.0)(flags(), NOTHING).masks.shape == (0, 20, 30)


def test_a_net_or_weights_that_are_not_there_are_one_clear_line(project):
    with pytest.raises(InputError, match=r"net must be one of cropformer_hornet_3x in .*, got 'large'"):
        live(project, net="large")
    with pytest.raises(InputError, match="must hold the weights of CropFormer's cropformer_hornet_3x"):
        live(project, weights="configs/entityv2/entity_segmentation/cropformer_hornet_3x.yaml")


@pytest.mark.parametrize("absent", ["detectron2.config", "detectron2.projects.deeplab", "mask2former"])
def test_code_that_is_not_here_is_named_with_its_licence_and_what_to_do(project, monkeypatch, absent):
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingDependency, match=r"no commercial use.*detectron2\.git.*masks\.cropformer\.project"):
        live(project)


def test_the_project_that_is_not_given_is_named(project):
    for given in (str(project / "mask2former"), ""):
        with pytest.raises(MissingDependency, match=rf"is '{given}', no folder with .*masks\.cropformer\.folder"):
            build_cropformer("", given, "", "", 0.5, CPU, 1)
