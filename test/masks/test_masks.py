"""Masks: overlaps drawn on paper, files of every kind, regions that are objects."""

import dataclasses
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from defaults import make_regions
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from moonseg3r_core.errors import FrameRejected, InputError
from moonseg3r_core.masks import precomputed
from moonseg3r_core.masks.filters import MaskFilter, make_proposals, paint_labels
from moonseg3r_core.masks.region_merging import MergeRule, RegionGraph, find_mutual_best, group_borders, merge_regions
from moonseg3r_core.masks.surface import compute_steps, compute_surface
from moonseg3r_core.types import Frame, Geometry, MaskProposals, PixelGrid

SHARED = Path(__file__).resolve().parents[3] / "shared"


def proposals(*rows, scores=None):
    """Masks drawn as text, one string per mask: `#` is in, `/` ends a line."""
    masks = torch.tensor([[[c == "#" for c in line] for line in row.split("/")] for row in rows])
    return MaskProposals(masks, torch.ones(len(rows)) if scores is None else torch.tensor(scores))


def picture(labels):
    return ["".join(str(int(label)) for label in line) for line in labels]


def frame(height=6, width=8, index=3):
    return Frame(index, 0.0, torch.zeros(height, width, 3, dtype=torch.uint8))


NOTHING = Geometry.empty(6, 8)


# --- filters


def test_the_best_scoring_mask_keeps_the_overlap():
    assert picture(paint_labels(proposals("####", "#...", scores=[0.9, 0.5]))) == ["1111"]
    assert picture(paint_labels(proposals("####", "#...", scores=[0.5, 0.9]))) == ["2111"]


def test_equal_scores_leave_the_overlap_to_the_smaller_mask_then_to_the_earlier_row():
    assert picture(paint_labels(proposals("####", ".##."))) == ["1221"]
    assert picture(paint_labels(proposals(".##.", "####"))) == ["2112"]
    assert picture(paint_labels(proposals("##.", ".##"))) == ["112"]


def test_masks_come_out_largest_first_without_the_small_ones():
    labels = torch.tensor([[7, 7, 0, 2], [7, 5, 5, 2]])
    out = make_proposals(labels, min_area=2)
    assert picture(paint_labels(out)) == [
        "1102",
        "1332",
    ]  # 7 has three pixels; 2 and 5 two each, in the order of labels
    assert len(make_proposals(labels, min_area=3)) == 1
    assert len(make_proposals(labels, min_area=4)) == 0


def test_scores_follow_their_labels_and_negative_labels_are_no_mask():
    out = make_proposals(torch.tensor([[-1, 1, 2, 2]]), scores=torch.tensor([0.25, 0.75]))
    assert out.scores.tolist() == [0.75, 0.25]
    assert picture(paint_labels(out)) == ["0211"]


def test_the_filter_counts_what_the_overlap_leaves():
    out = MaskFilter(min_area=2)(proposals("####", ".###", scores=[0.5, 0.9]))
    assert picture(paint_labels(out)) == ["0111"]  # one pixel of the first mask is left: too small
    assert out.scores.tolist() == pytest.approx([0.9])


def test_nothing_in_nothing_out():
    out = MaskFilter(10)(MaskProposals.empty(4, 5))
    assert out.masks.shape == (0, 4, 5)
    assert make_proposals(torch.zeros(4, 5, dtype=torch.int32)).masks.shape == (0, 4, 5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 6))
def test_the_order_of_the_rows_does_not_matter(seed, count):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(count, 5, 7, generator=generator) < 0.4
    scores = torch.randperm(count, generator=generator).float()
    order = torch.randperm(count, generator=generator)
    a = paint_labels(MaskProposals(masks, scores)).long()
    b = paint_labels(MaskProposals(masks[order], scores[order])).long()
    back = torch.cat((torch.zeros(1, dtype=torch.int64), order + 1))
    assert torch.equal(a, back[b])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_other_names_for_the_labels_give_the_same_masks(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 5, (6, 7), generator=generator)
    names = torch.cat((torch.zeros(1, dtype=torch.int64), torch.randperm(40000, generator=generator)[:4] + 1))
    a, b = make_proposals(labels), make_proposals(names[labels])
    assert {mask.numpy().tobytes() for mask in a.masks} == {mask.numpy().tobytes() for mask in b.masks}
    assert torch.equal(make_proposals(paint_labels(a)).masks, a.masks)


# --- precomputed


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def drawn_labels(dtype=np.uint16):
    labels = np.zeros((6, 8), dtype)
    labels[:3, :4], labels[4:, 6:] = 7, 201
    return labels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", ["3.png", "000003.png"])
def test_a_label_image_becomes_masks(tmp_path, dtype, name):
    write(tmp_path / name, drawn_labels(dtype))
    out = precomputed.build(str(tmp_path), min_area=1)(frame(), NOTHING)
    assert [int(mask.sum()) for mask in out.masks] == [12, 4]
    assert np.array_equal(out.masks[0].numpy(), drawn_labels() == 7)
    assert len(precomputed.build(str(tmp_path), min_area=5)(frame(), NOTHING)) == 1


def test_sixteen_bit_labels_are_not_cut_to_eight(tmp_path):
    labels = np.zeros((6, 8), np.uint16)
    labels[:, :4], labels[:, 4:] = 1, 257
    write(tmp_path / "3.png", labels)
    assert len(precomputed.build(str(tmp_path), min_area=1)(frame(), NOTHING)) == 2


def test_binary_pictures_of_a_frame_become_masks_and_the_smaller_lies_on_top(tmp_path):
    large, small = np.zeros((6, 8), np.uint8), np.zeros((6, 8, 4), np.uint8)
    large[:4], small[:2, :2, :3], small[..., 3] = 255, 1, 255
    write(tmp_path / "3" / "0.png", large)
    write(tmp_path / "3" / "1.png", small)
    out = precomputed.build(str(tmp_path), min_area=1)(frame(), NOTHING)
    assert [int(mask.sum()) for mask in out.masks] == [28, 4]
    assert bool(out.masks[1, :2, :2].all())


def test_void_masks_give_empty_proposals(tmp_path):
    write(tmp_path / "3.png", np.zeros((6, 8), np.uint16))
    assert precomputed.build(str(tmp_path), 50)(frame(), NOTHING).masks.shape == (0, 6, 8)


def test_a_frame_without_a_file_is_counted_and_said_once(tmp_path, caplog):
    write(tmp_path / "3.png", drawn_labels())
    model = precomputed.build(str(tmp_path), min_area=1)
    with caplog.at_level(logging.WARNING, "moonseg3r"):
        assert [len(model(frame(index=i), NOTHING)) for i in (3, 4, 5)] == [2, 0, 0]
    assert model.missing == 2
    assert len(caplog.records) == 1
    assert "frame 4" in caplog.text


def test_masks_of_another_size_are_resized_when_the_aspect_agrees(tmp_path, caplog):
    write(tmp_path / "3.png", drawn_labels())
    model = precomputed.build(str(tmp_path), min_area=1)
    with caplog.at_level(logging.WARNING, "moonseg3r"):
        out = model(frame(12, 16), NOTHING)
        assert len(model(frame(12, 16), NOTHING)) == 2
    assert [int(mask.sum()) for mask in out.masks] == [48, 16]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("size", [(6, 9), (8, 6), (12, 8)])
def test_masks_of_another_shape_are_rejected(tmp_path, size):
    write(tmp_path / "3.png", drawn_labels())
    with pytest.raises(FrameRejected, match=rf"must be {size[1]} x {size[0]} like the image, got 8 x 6"):
        precomputed.build(str(tmp_path), 50)(frame(*size), NOTHING)


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_a_file_that_cannot_be_read_rejects_its_frame_alone(tmp_path, content):
    write(tmp_path / "4.png", drawn_labels())
    whole = (tmp_path / "4.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole[:20] if content is None else content)
    model = precomputed.build(str(tmp_path), min_area=1)
    with pytest.raises(FrameRejected, match=r"3\.png must be a readable PNG"):
        model(frame(), NOTHING)
    assert len(model(frame(index=4), NOTHING)) == 2


def test_colored_labels_and_empty_folders_are_rejected(tmp_path):
    colored = np.zeros((6, 8, 3), np.uint8)
    colored[0, 0] = (1, 2, 3)
    write(tmp_path / "3.png", colored)
    (tmp_path / "4").mkdir()
    model = precomputed.build(str(tmp_path), 50)
    with pytest.raises(FrameRejected, match="one channel"):
        model(frame(), NOTHING)
    with pytest.raises(FrameRejected, match="one binary PNG per mask"):
        model(frame(index=4), NOTHING)


def test_gray_saved_as_color_is_read(tmp_path):
    write(tmp_path / "3.png", np.repeat(drawn_labels(np.uint8)[..., None], 3, axis=2))
    assert len(precomputed.build(str(tmp_path), min_area=1)(frame(), NOTHING)) == 2


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_labels_of_a_png_with_a_palette_are_its_entries(tmp_path, bits):
    """Entries 0 and 1 have the same color, so that colors could not tell."""
    labels = (drawn_labels(np.uint8) > 0).astype(np.uint8) if bits == 1 else drawn_labels(np.uint8)
    image = Image.fromarray(labels, "P")
    image.putpalette([*[7] * 6, *range(6, 48)])
    image.save(tmp_path / "3.png", bits=bits)
    out = precomputed.build(str(tmp_path), min_area=1)(frame(), NOTHING)
    assert torch.equal(out.masks, make_proposals(torch.from_numpy(labels.astype(np.int32)), 1).masks)


def test_a_truncated_palette_png_rejects_its_frame(tmp_path):
    image = Image.fromarray(drawn_labels(np.uint8), "P")
    image.putpalette(list(range(48)))
    image.save(tmp_path / "3.png")
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:60])
    with pytest.raises(FrameRejected, match=r"3\.png must be a readable PNG"):
        precomputed.build(str(tmp_path), 50)(frame(), NOTHING)


def test_masks_as_jpeg_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "3.jpg"), drawn_labels(np.uint8))
    with pytest.raises(InputError, match="JPEG, which changes ids"):
        precomputed.build(str(tmp_path), 50)
    (tmp_path / "3.jpg").rename(tmp_path / "3.png")
    with pytest.raises(FrameRejected, match="JPEG, which changes ids"):
        precomputed.build(str(tmp_path), 50)(frame(), NOTHING)


def test_a_folder_that_is_missing_or_holds_no_masks_is_an_error(tmp_path):
    with pytest.raises(InputError, match="found none"):
        precomputed.build(str(tmp_path / "absent"), 50)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match="got neither"):
        precomputed.build(str(tmp_path), 50)


# --- regions


def chain(colors, edges, areas=None):
    """Regions in a row, each bordering the next by ten steps; edges: how broken each border is."""
    areas = np.array(areas or [1000.0] * len(colors))
    lab = np.stack([np.array(colors, float), np.zeros(len(colors)), np.zeros(len(colors))], 1)
    contrast = np.abs(np.diff(lab[:, 0]))
    sums = np.stack([np.full(len(edges), 10.0), 10 * contrast, 10 * np.array(edges), np.full(len(edges), 10.0)], 1)
    first = np.arange(len(edges))
    return RegionGraph(areas, lab * areas[:, None], first, first + 1, sums)


RULE = MergeRule(color=10.0, crease=0.5, small_area=100.0)


def test_like_colored_smooth_neighbors_merge_and_others_do_not():
    assert merge_regions(chain([0, 5, 30], [0, 0]), RULE).tolist() == [0, 0, 1]
    assert merge_regions(chain([0, 5, 30], [1.0, 0]), RULE).tolist() == [0, 1, 2]
    assert merge_regions(chain([0, 0, 0, 0], [0, 0, 0]), RULE).tolist() == [0, 0, 0, 0]


def test_a_small_region_joins_more_easily():
    assert merge_regions(chain([0, 15], [0]), RULE).tolist() == [0, 1]
    assert merge_regions(chain([0, 15], [0], areas=[1000.0, 4.0]), RULE).tolist() == [0, 0]


def test_shading_that_changes_slowly_does_not_divide():
    graph = chain([0, 30], [0])
    graph.sums[0, 1] = 10 * 2.0  # two units across the border, thirty between the means
    assert merge_regions(graph, RULE).tolist() == [0, 0]


def test_borders_are_grouped_without_order():
    first, second, sums = group_borders(np.array([2, 0, 1, 1]), np.array([0, 2, 1, 2]), np.ones((4, 1)), 3)
    assert (first.tolist(), second.tolist(), sums[:, 0].tolist()) == ([0, 1], [2, 2], [2.0, 1.0])


def test_only_borders_that_are_cheapest_of_both_sides_are_chosen():
    chosen = find_mutual_best(np.array([0, 1, 2]), np.array([1, 2, 3]), np.array([2.0, 1.0, 3.0]), 4)
    assert chosen.tolist() == [1]


def look_down(height=120, width=160):
    """Two boxes on a gray plane seen from above: image, depth, truth. One is red; the other is gray like the plane."""
    depth = np.full((height, width), 2.0, np.float32)
    truth = np.zeros((height, width), int)
    truth[30:80, 20:60], truth[40:90, 95:140] = 1, 2
    depth[truth > 0] = 1.6
    image = np.full((height, width, 3), 128, np.uint8)
    image[truth == 1] = (200, 30, 30)
    noise = np.random.default_rng(0).integers(-3, 4, image.shape)
    return (image + noise).astype(np.uint8), depth, truth


def seen(image, depth):
    height, width = depth.shape
    k = torch.tensor([[140.0, 0, (width - 1) / 2], [0, 140.0, (height - 1) / 2], [0, 0, 1]])
    z = torch.from_numpy(depth)
    geometry = Geometry(
        torch.zeros(height, width, 3), (z > 0).float(), z, torch.eye(4).double(), k, PixelGrid(height, width)
    )
    return Frame(0, 0.0, torch.from_numpy(image)), geometry


def best_iou(out, truth):
    return max((float((m & truth).sum() / (m | truth).sum()) for m in out.masks.numpy()), default=0.0)


def test_two_boxes_on_a_plane_are_three_regions():
    image, depth, truth = look_down()
    out = make_regions()(*seen(image, depth))
    assert len(out) == 3
    for object_id in (0, 1, 2):
        assert best_iou(out, truth == object_id) > 0.85
    assert torch.equal(out.masks.sum(0), torch.ones(depth.shape, dtype=torch.int64))


def test_without_points_color_alone_decides():
    image, depth, truth = look_down()
    out = make_regions()(*seen(image, depth * 0))
    assert len(out) == 2
    assert best_iou(out, truth == 1) > 0.85


def test_a_black_frame_is_one_region():
    image, depth, _ = look_down()
    out = make_regions()(*seen(image * 0, depth * 0))
    assert len(out) == 1
    assert bool(out.masks.all())


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (37, 500)])
def test_odd_sizes_pass(size):
    rng = np.random.default_rng(1)
    out = make_regions(min_area=1)(*seen(rng.integers(0, 255, (*size, 3)).astype(np.uint8), np.ones(size, np.float32)))
    assert out.masks.shape[1:] == size
    assert len(out) >= 1


def test_the_same_frame_gives_the_same_regions():
    given_frame = seen(*look_down()[:2])
    assert torch.equal(make_regions()(*given_frame).masks, make_regions()(*given_frame).masks)


def test_edges_count_less_where_depth_is_less_sure_than_most():
    image, depth, truth = look_down()
    frame, geometry = seen(image, depth)
    lab = np.zeros((*depth.shape, 3), np.float32)

    def find_steps(confidence):
        shown = dataclasses.replace(geometry, confidence=torch.from_numpy(confidence.astype(np.float32)))
        return compute_steps(lab, compute_surface(shown, frame.size, *depth.shape, reach=4), jump=0.02, convex=0.0)

    sure = find_steps(np.full(depth.shape, 3.0))
    unsure = find_steps(np.where(truth == 1, 0.6, 3.0))
    at_box, elsewhere = (np.isin(truth.ravel()[sure.start], keep) & (sure.edge == 1) for keep in ([1], [2]))
    assert at_box.any()
    np.testing.assert_allclose(unsure.edge[at_box], 0.2, atol=1e-6)
    np.testing.assert_allclose(unsure.known[at_box], 0.2, atol=1e-6)
    np.testing.assert_array_equal(unsure.edge[elsewhere], 1)


def test_a_geometry_on_a_grid_of_its_own_lands_on_the_image():
    image, depth, truth = look_down()
    half = depth[:, 20:156][::2, ::2]  # every second pixel of the columns 20..155
    small = PixelGrid(60, 68, 2.0, 2.0, 20.0, 0.0)
    k = torch.tensor([[70.0, 0, 29.75], [0, 70.0, 29.75], [0, 0, 1]])
    z = torch.from_numpy(half.copy())
    geometry = Geometry(torch.zeros(60, 68, 3), (z > 0).float(), z, torch.eye(4).double(), k, small)
    out = make_regions()(Frame(0, 0.0, torch.from_numpy(image)), geometry)
    assert best_iou(out, truth == 2) > 0.8


def test_normals_of_a_slanted_plane():
    height, width = 60, 80
    image, k = np.zeros((height, width, 3), np.uint8), 100.0
    v = np.arange(height)[:, None] - (height - 1) / 2
    depth = np.broadcast_to(2 / (1 + v / k), (height, width)).astype(np.float32)  # the plane z + y = 2
    height_normal = np.array([0, -1, -1]) / np.sqrt(2)
    _, geometry = seen(image, depth.copy())
    geometry.intrinsics[0, 0] = geometry.intrinsics[1, 1] = k
    surface = compute_surface(geometry, (height, width), height, width, reach=4)
    assert surface.valid[5:-5, 5:-5].all()
    np.testing.assert_allclose(surface.normals[8:-8, 8:-8], np.broadcast_to(height_normal, (44, 64, 3)), atol=0.02)


# --- one real use


@pytest.mark.skipif(not (SHARED / "data/kitchen").is_dir(), reason="no shared/data/kitchen beside the repository")
def test_the_kitchen_brings_masks_and_regions_find_its_table():
    folder = SHARED / "data/kitchen"
    image = cv2.cvtColor(cv2.imread(str(folder / "color/0.jpg")), cv2.COLOR_BGR2RGB)
    depth = cv2.imread(str(folder / "depth/0.png"), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000
    given_frame, geometry = seen(image, depth)
    geometry.intrinsics[0, 0] = geometry.intrinsics[1, 1] = 527.4
    given = precomputed.build(str(folder / "masks"), 50)(given_frame, geometry)
    stored = cv2.imread(str(folder / "masks/0.png"), cv2.IMREAD_UNCHANGED)
    assert len(given) == sum(int((stored == i).sum()) >= 50 for i in np.unique(stored) if i)
    truth = cv2.imread(str(folder / "labels/0.png"), cv2.IMREAD_UNCHANGED)
    table = np.bincount(truth[300:420, 380:420].ravel()).argmax()
    assert best_iou(make_regions()(given_frame, geometry), truth == table) > 0.5
