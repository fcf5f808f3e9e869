"""SAM and SAM 2: what transformers' own classes and its mask-generation pipeline say, with small random nets."""

import sys
from functools import cache
from types import ModuleType

import numpy as np
import pytest
import torch
from defaults import make_automatic
from PIL import Image
from sam_nets import NETS, sam2, sam2_video, saved
from torch.nn.functional import interpolate

from moonseg3r_core.build import build_segmenter, make_stage
from moonseg3r_core.config import load_config
from moonseg3r_core.errors import InputError
from moonseg3r_core.masks.automatic import make_point_grid
from moonseg3r_core.masks.sam import Padded, Stretched, predict, prepare_image
from moonseg3r_core.resolve import resolve
from moonseg3r_core.synthetic import SyntheticSequence
from moonseg3r_core.types import Frame, Geometry, MaskProposals

transformers = pytest.importorskip("transformers")

SIDE = 64
CPU = torch.device("cpu")
FITS = {"sam": Padded(SIDE), "sam2": Stretched(SIDE)}
SIZES = [(48, 64), (64, 48), (96, 80), (30, 100)]
NOWHERE = Geometry.empty()
LENIENT = {"predicted_iou": 0.0, "stability": 0.1, "box_overlap": 1.0, "mask_overlap": 0.95, "small_regions": 4}


def picture(size=(48, 64), seed=0):
    """Random blocks of color, (H, W, 3) uint8."""
    blocks = torch.rand(1, 3, 6, 8, generator=torch.manual_seed(seed)) * 255
    return interpolate(blocks, size)[0].permute(1, 2, 0).to(torch.uint8)


@cache
def make_net(kind):
    """A net that no test may change."""
    return NETS[kind]()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: saved(make_net(kind), tmp_path_factory.mktemp(kind)) for kind in NETS}


def masks_of(kind, net=None, **settings):
    return make_automatic(
        net or make_net(kind), FITS[kind], points_per_side=5, points_per_batch=7, **(LENIENT | settings)
    )


def raw(points=40, seed=0):
    """Logits (3 P, 16, 16) of noisy disks, firm ones and vague ones, and predicted IoU (3 P,)."""
    torch.manual_seed(seed)
    centre = torch.randint(1, 4, (points, 3, 1, 1, 2)) * 4 + torch.rand(points, 3, 1, 1, 2)
    radius, slope = torch.rand(points, 3, 1, 1) * 5 + 1, torch.rand(points, 3, 1, 1) * 20
    pixels = torch.stack(torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij"), dim=-1)
    logits = (radius - (pixels - centre).norm(dim=-1)) * slope + torch.randn(points, 3, 16, 16)
    return logits.flatten(0, 1), torch.rand(points * 3)


# --- the nets


@pytest.mark.parametrize("kind", NETS)
def test_masks_in_batches_are_those_of_the_library_at_once(kind, monkeypatch):
    net = make_net(kind)
    pixels, points = torch.randn(1, 3, SIDE, SIDE, generator=torch.manual_seed(1)), make_point_grid(5) * SIDE
    with torch.no_grad():
        theirs = net(pixel_values=pixels, input_points=points[None, :, None], multimask_output=True)
        embeddings = net.get_image_embeddings(pixels)
        ours = [predict(net, embeddings, batch) for batch in points.split(7)]
    logits, ious = (torch.cat(column) for column in zip(*ours, strict=True))
    assert logits.std() > 1
    assert logits.shape == (75, *theirs.pred_masks.shape[-2:])
    torch.testing.assert_close(logits, theirs.pred_masks[0].flatten(0, 1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ious, theirs.iou_scores[0].flatten(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", NETS)
def test_the_image_is_encoded_once_a_frame(kind):
    net, seen = make_net(kind), []
    hook = net.vision_encoder.register_forward_hook(lambda *_: seen.append(1))
    assert len(masks_of(kind, net)(Frame(0, 0.0, picture()), NOWHERE)) > 1
    hook.remove()
    assert len(seen) == 1


def test_a_net_of_the_hub_that_tracks_in_videos_gives_its_image_model(tmp_path):
    """The published folders of SAM 2.1 hold it."""
    video = sam2_video()
    model = built("sam2", saved(video, tmp_path))
    for name, tensor in model.net.state_dict().items():
        assert tensor.equal(video.state_dict()[name]), name


# --- pixels and points


@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_those_of_the_library(size):
    """To a gray level: the library rounds to whole levels after each direction of the resize."""
    processing = pytest.importorskip("transformers.models.sam.image_processing_pil_sam")
    processor = processing.SamImageProcessorPil(size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE})
    image = picture(size)
    theirs = processor(images=image.numpy(), return_tensors="pt")
    inner = FITS["sam"].compute_size(size)
    assert inner == tuple(theirs["reshaped_input_sizes"][0].tolist())
    ours = prepare_image(image, inner, SIDE)
    assert ours.shape == (1, 3, SIDE, SIDE)
    torch.testing.assert_close(ours, theirs["pixel_values"], rtol=0, atol=1.01 / 255 / 0.224)
    _, points, _, _ = processor.generate_crop_boxes(image.numpy(), SIDE, points_per_crop=5)
    grid = make_point_grid(5) * torch.tensor(inner[::-1])
    torch.testing.assert_close(grid, points[0, :, 0].float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_sam2_sees_the_image_stretched(size):
    image = picture(size)
    theirs = np.asarray(Image.fromarray(image.numpy()).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) / 255
    theirs = torch.from_numpy((theirs - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).permute(2, 0, 1)[None].float()
    ours = prepare_image(image, FITS["sam2"].compute_size(size), SIDE)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1.01 / 255 / 0.224)


# --- against the mask-generation pipeline


@pytest.fixture
def pipeline(monkeypatch):
    """The pipeline's functions for what comes after the net; only its suppression of boxes needs a package that is not
    here, and gets a plain loop for it.
    """
    processing = pytest.importorskip("transformers.models.sam.image_processing_pil_sam")
    for name in ("torchvision", "torchvision.ops", "torchvision.ops.boxes"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["torchvision.ops.boxes"].batched_nms = plain_suppression
    return processing


def plain_suppression(boxes, scores, idxs, iou_threshold):
    def iou(a, b):
        wide, high = (max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0.0) for i in (0, 1))
        areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
        return wide * high / (areas - wide * high) if areas > wide * high else 0.0

    kept, corners = [], boxes.double().tolist()
    for row in sorted(range(len(corners)), key=lambda r: (-float(scores[r]), r)):
        if all(iou(corners[row], corners[better]) <= iou_threshold for better in kept):
            kept.append(row)
    return torch.tensor(kept, dtype=torch.long)


def theirs_of(processing, kind, logits, ious, size):
    """(masks, scores) of the pipeline from raw outputs, as `MaskGenerationPipeline` calls its parts."""
    processor = processing.SamImageProcessorPil(size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE})
    grouped = logits.reshape(1, -1, 3, *logits.shape[-2:])
    if kind == "sam":
        (full,) = processor.post_process_masks(grouped, [size], [FITS["sam"].compute_size(size)], binarize=False)
    else:
        full = interpolate(grouped[0], size, mode="bilinear")  # all that Sam2ImageProcessor does here
    whole = torch.tensor([0.0, 0.0, size[1], size[0]])
    masks, scores, boxes = processor.filter_masks(full, ious.reshape(-1, 3), size, whole, 0.5, 0.8)
    masks, scores, *_ = processing._post_process_for_mask_generation(masks, scores, boxes, 0.7)
    return torch.from_numpy(np.stack(masks)), scores


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", NETS)
def test_what_comes_after_the_net_equals_the_pipeline(pipeline, kind, size, seed):
    logits, ious = raw(seed=seed)
    model = masks_of(
        kind, object(), predicted_iou=0.5, stability=0.8, box_overlap=0.7, mask_overlap=1.0, small_regions=0
    )
    sure = model.select_confident(logits, ious, size)
    ours = model.remove_duplicates(sure)
    masks, scores = theirs_of(pipeline, kind, logits, ious, size)
    assert 5 < len(ours) < len(sure) < len(ious)
    assert ours.masks.equal(masks)
    assert ours.scores.equal(scores)


def test_all_that_the_stage_proposes_is_what_the_pipeline_proposes(pipeline):
    """From the image on; at the net's own size no resize rounds."""
    net, image = make_net("sam"), picture((48, 64))
    processor = pipeline.SamImageProcessorPil(size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE})
    theirs = transformers.MaskGenerationPipeline(model=net, image_processor=processor, device="cpu")
    with torch.no_grad():
        parts = theirs.preprocess(Image.fromarray(image.numpy()), points_per_crop=5, points_per_batch=10)
        outputs = [theirs._forward(dict(part), 0.2, 0.3) for part in parts]
    ours = masks_of("sam", net, predicted_iou=0.2, stability=0.3).propose(image)
    masks = torch.from_numpy(np.stack([pipeline._rle_to_mask(rle) for part in outputs for rle in part["masks"]]))
    assert 3 < len(ours) < 75
    assert (ours.masks != masks).float().mean() < 1e-5
    torch.testing.assert_close(ours.scores, torch.cat([part["iou_scores"] for part in outputs]), rtol=1e-5, atol=1e-5)


# --- the stage


@cache
def render():
    return list(SyntheticSequence(7, frames=2, height=96, width=128))


def built(kind, folder, **settings):
    """The stage as a configuration makes it."""
    given = {"masks.kind": kind, f"masks.{kind}.weights": str(folder), "reconstruction.kind": "rgbd", "device": "cpu"}
    given |= {f"masks.{kind}.{name}": value for name, value in settings.items()}
    return make_stage("masks", load_config(overrides=given))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", NETS)
def test_masks_are_disjoint_and_largest_first(kind, size):
    found = masks_of(kind, min_area=9)(Frame(0, 0.0, picture(size)), NOWHERE)
    areas = found.masks.sum((1, 2)).tolist()
    assert len(found) > 1
    assert found.masks.shape[1:] == size
    assert found.masks.sum(0).max() == 1
    assert areas == sorted(areas, reverse=True)
    assert min(areas) >= 9
    assert found.scores.dtype == torch.float32


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("limits", [{"predicted_iou": 999.0}, {"stability": 1.0}, {"min_area": 9999}])
def test_no_mask_that_is_good_enough_is_no_error(kind, limits):
    found = masks_of(kind, **limits)(Frame(0, 0.0, picture()), NOWHERE)
    assert found.masks.shape == (0, 48, 64)


@pytest.mark.parametrize("kind", NETS)
def test_near_duplicates_leave_the_better_one(kind):
    many = masks_of(kind, mask_overlap=1.0)
    few = masks_of(kind, many.net, mask_overlap=0.5)
    found = many.propose(picture())
    assert 0 < len(few.remove_duplicates(found)) < len(many.remove_duplicates(found))


def test_masks_that_differ_in_small_regions_are_one():
    masks = torch.zeros(2, 20, 20, dtype=torch.bool)
    masks[:, 4:12, 4:12] = True
    masks[0, 6:8, 6:8], masks[0, 18, 18] = False, True
    found = MaskProposals(masks, torch.tensor([0.9, 0.8]))
    limits = {"box_overlap": 0.9, "mask_overlap": 0.95}
    assert len(masks_of("sam", object(), small_regions=0, **limits).remove_duplicates(found)) == 2
    kept = masks_of("sam", object(), small_regions=5, **limits).remove_duplicates(found)
    assert kept.masks.equal(masks[1:])
    assert kept.scores.equal(found.scores[:1])


@pytest.mark.parametrize("kind", NETS)
def test_half_precision_inside_and_float32_decisions(kind, folders):
    half, full = (
        built(kind, folders[kind], points_per_side=5, precision=p, **LENIENT) for p in ("bfloat16", "float32")
    )
    assert half.net.dtype == torch.bfloat16
    with torch.no_grad():
        embeddings = half.net.get_image_embeddings(prepare_image(picture(), (48, 64), SIDE).bfloat16())
        _, ious = predict(half.net, embeddings, make_point_grid(5) * SIDE)
    found, exact = half.propose(picture()), full.propose(picture())
    assert ious.dtype == found.scores.dtype == torch.float32
    assert len(found) > 1
    assert abs(len(found) - len(exact)) <= 0.2 * len(exact)


def test_presets_and_settings_build_the_model(folders):
    for preset, points in (("fast", 12), ("published", 32)):
        config = resolve(load_config(overrides={"masks.sam2.preset": preset}))
        assert config.masks.sam2.points_per_side == points
    model = built("sam2", folders["sam2"], points_per_side=3, stability=0.5)
    assert (len(model.grid), model.stability, model.predicted_iou, model.fit.side) == (9, 0.5, 0.8, SIDE)
    assert not any(parameter.requires_grad for parameter in model.net.parameters())


def test_another_net_is_refused_in_one_line(folders):
    with pytest.raises(InputError, match="must hold") as caught:
        built("sam", folders["sam2"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", NETS)
def test_a_walk_through_the_pipeline(kind, folders):
    lenient = {f"masks.{kind}.{name}": value for name, value in (LENIENT | {"points_per_side": 5}).items()}
    given = {"masks.kind": kind, f"masks.{kind}.weights": str(folders[kind])}
    given |= {"reconstruction.kind": "rgbd", "device": "cpu"}
    segmenter = build_segmenter(load_config(overrides=given | lenient))
    results = [segmenter.step(frame) for frame in render()]
    assert all(len(result.assignment) > 0 and result.instance_ids.any() for result in results)
    assert len(segmenter.snapshot().instances) > 0


@pytest.mark.slow
def test_sam2_tiny_at_its_real_size(tmp_path):
    """The published numbers of SAM 2.1 tiny, random weights."""
    stages = {"blocks": (1, 2, 7, 2), "windows": (8, 4, 14, 7), "everywhere": (5, 7, 9)}
    net = sam2(0.1, side=1024, width=96, hidden=256, **stages)
    assert 31e6 < sum(parameter.numel() for parameter in net.parameters()) < 32e6
    model = built("sam2", saved(net, tmp_path), points_per_side=3, **LENIENT)
    found = model(Frame(0, 0.0, picture((480, 640))), NOWHERE)
    assert found.masks.shape[1:] == (480, 640)
    assert len(found) > 1
