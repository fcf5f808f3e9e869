"""The learned queries: the net's properties, its file, and what the stage makes of a frame."""

import dataclasses

import pytest
import torch

from moonseg3r_core.config import load_config
from moonseg3r_core.errors import ConfigError, InputError, OutputError
from moonseg3r_core.io.safetensors import write_net
from moonseg3r_core.masks.mask_net import MaskNet, write_mask_net
from moonseg3r_core.ops.grids import sample_cells
from moonseg3r_core.refinement.average import average_under_masks
from moonseg3r_core.refinement.learned import (
    LearnedRefinement,
    QueryNet,
    QuerySizes,
    ReferenceNet,
    align_features,
    build,
    compute_cell_shares,
    compute_prototypes,
    concatenate_features,
    read_query_net,
    write_query_net,
)
from moonseg3r_core.resolve import QUERY_WEIGHTS, resolve
from moonseg3r_core.types import FeatureMap, Geometry, PixelGrid, Queries, Recalled

SIZES = QuerySizes(geometric=3, semantic=5, width=16, heads=2, layers=2)
CELLS = 6


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(1)


def query_net(**changes):
    """A net that says something of everything: what is zero before training is drawn at random."""
    net = QueryNet(dataclasses.replace(SIZES, **changes)).eval().requires_grad_(False)
    for parameter in net.parameters():
        if parameter.dim() > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    return net


@pytest.fixture(name="net")
def a_net():
    return query_net()


def looked_at(masks=3, context=4, cells=CELLS):
    """Features, shares, context and known of one frame; every mask covers at least its own cell."""
    shares = torch.rand(1, masks, cells) * (torch.rand(1, masks, cells) < 0.5)
    shares[0, range(masks), range(masks)] = 0.5
    known = torch.ones(1, context, dtype=torch.bool)
    return torch.randn(1, cells, SIZES.channels), shares, torch.randn(1, context, SIZES.width), known


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("masks", "context"), [(3, 4), (0, 0), (0, 4), (1, 0), (3, 0)])
def test_there_is_a_query_for_every_mask(net, masks, context):
    queries = net(*looked_at(masks, context))
    assert queries.shape == (1, masks, SIZES.width)
    assert queries.isfinite().all()
    assert torch.allclose(queries.square().mean(-1), torch.ones(1, masks), atol=1e-3)


def test_masks_that_pad_change_nothing(net):
    features, shares, context, known = looked_at()
    padded = torch.zeros(1, 5, CELLS)
    padded[:, [0, 2, 4]] = shares
    found = net(features, padded, context, known)
    close(found[:, [0, 2, 4]], net(features, shares, context, known))
    assert found.isfinite().all()


def test_cells_that_pad_change_nothing(net):
    features, shares, context, known = looked_at()
    more, none = torch.cat((features, 9 * torch.randn(1, 2, SIZES.channels)), 1), torch.zeros(1, 3, 2)
    close(net(more, torch.cat((shares, none), -1), context, known), net(features, shares, context, known))


def test_context_that_is_not_known_changes_nothing(net):
    features, shares, context, known = looked_at()
    more = torch.cat((9 * torch.randn(1, 2, SIZES.width), context), 1)
    mixed = torch.cat((torch.zeros(1, 2, dtype=torch.bool), known), 1)
    close(net(features, shares, more, mixed), net(features, shares, context, known))
    close(net(features, shares, context, ~known), net(features, shares, context[:, :0], known[:, :0]))


def test_frames_side_by_side_are_as_alone(net):
    one, other = looked_at(3, 4), looked_at(1, 2, cells=4)
    features, shares = torch.zeros(2, CELLS, SIZES.channels), torch.zeros(2, 3, CELLS)
    context, known = torch.zeros(2, 4, SIZES.width), torch.zeros(2, 4, dtype=torch.bool)
    for row, (f, s, c, k) in enumerate((one, other)):
        features[row, : f.shape[1]], shares[row, : s.shape[1], : s.shape[2]] = f[0], s[0]
        context[row, : c.shape[1]], known[row, : k.shape[1]] = c[0], k[0]
    found = net(features, shares, context, known)
    close(found[:1], net(*one))
    close(found[1:, :1], net(*other))


def test_the_order_of_masks_cells_and_context_does_not_matter(net):
    features, shares, context, known = looked_at()
    expected = net(features, shares, context, known)
    masks, cells, past = torch.randperm(3), torch.randperm(CELLS), torch.randperm(4)
    found = net(features[:, cells], shares[:, masks][..., cells], context[:, past], known)
    close(found, expected[:, masks])


def test_one_mask_alone_sees_only_its_cells(net):
    features, shares, context, known = looked_at(masks=1)
    shares[0, 0] = torch.tensor([0.5, 1.0, 0.0, 0.25, 0.0, 0.0])
    expected = net(features, shares, context, known)
    outside, inside = features.clone(), features.clone()
    outside[0, [2, 4, 5]] = 9 * torch.randn(3, SIZES.channels)
    inside[0, 3] += 1
    assert torch.equal(net(outside, shares, context, known), expected)
    assert (net(inside, shares, context, known) - expected).abs().max() > 1e-3


def test_masks_of_a_frame_look_at_one_another(net):
    features, shares, context, known = looked_at(masks=2)
    shares[0] = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    other = features.clone()
    other[0, 3:] += 1
    difference = net(other, shares, context, known) - net(features, shares, context, known)
    assert (difference.abs().amax(-1) > 1e-3).all()


def test_a_cell_counts_by_its_share(net):
    """Eq 3 with shares: two halves of a cell are as the whole, and all shares at half as much change nothing."""
    features, shares, context, known = looked_at()
    expected = net(features, shares, context, known)
    halved = torch.cat((shares, shares), -1) / 2
    close(net(torch.cat((features, features), 1), halved, context, known), expected)
    close(net(features, shares / 2, context, known), expected)


def test_what_is_recalled_matters_where_the_net_looks_at_it():
    features, shares, context, known = looked_at()
    looks, blind = query_net(), query_net(context=False)
    for given in (torch.randn(context.shape), context[:, :2], context[:, :0]):
        aware = [looks(features, shares, c, known[:, : c.shape[1]]) for c in (context, given)]
        assert (aware[0] - aware[1]).abs().max() > 1e-3
        unaware = [blind(features, shares, c, known[:, : c.shape[1]]) for c in (context, given)]
        assert torch.equal(*unaware)


def test_gradients_are_finite_beside_padding():
    net = QueryNet(SIZES)
    features, shares, context, known = looked_at()
    shares, known = torch.cat((shares, torch.zeros(1, 2, CELLS)), 1), known.clone()
    known[:, 1] = False
    features.requires_grad_(), context.requires_grad_()
    net(features, shares, context, known)[:, :3].square().sum().backward()
    given = [features.grad, context.grad, *(parameter.grad for parameter in net.parameters())]
    assert all(gradient.isfinite().all() for gradient in given)
    assert not context.grad[:, 1].any()


def test_prototypes_are_those_of_masked_average_pooling():
    labels = torch.randint(0, 4, (12, 8), dtype=torch.int32)
    features = torch.randn(3, 4, 5)
    found = compute_prototypes(features.reshape(1, 12, 5), compute_cell_shares(labels, 4, 3, 4)[None])[0]
    close(found, average_under_masks(features, labels, 4))
    assert not found[3].any(), "a mask without a pixel"


def test_shares_of_cells_on_paper():
    labels = torch.tensor([[1, 1, 2, 0], [1, 2, 2, 0]], dtype=torch.int32)
    assert compute_cell_shares(labels, 2, 1, 2).tolist() == [[0.75, 0.0], [0.25, 0.5]]


def test_a_feature_counts_by_its_direction_and_none_stays_none():
    geometric, semantic = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[0.0, 7.0, 0.0], [1.0, 1.0, 1.0]])
    root2, root3 = 2**0.5, 3**0.5
    expected = torch.tensor([[0.6 * root2, 0.8 * root2, 0, root3, 0], [0, 0, 1, 1, 1]])
    close(concatenate_features(geometric, semantic), expected)
    close(concatenate_features(geometric[:, :0], semantic), expected[:, 2:])


def test_the_reference_net_gives_queries_width():
    assert ReferenceNet(SIZES)(torch.randn(2, 7, SIZES.channels)).shape == (2, 7, SIZES.width)


# The file


@pytest.mark.parametrize("context", [True, False])
def test_a_file_holds_the_net(tmp_path, context):
    net, file = query_net(context=context, hidden=2), tmp_path / "net.safetensors"
    write_query_net(file, net)
    again = read_query_net(file)
    assert again.sizes == net.sizes
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor.half().float(), rtol=0, atol=0)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert build(str(file), torch.device("cpu")).net.sizes == net.sizes


def files_of_something_else(folder):
    write_mask_net(folder / "masks", MaskNet((8, 8, 8)))
    write_net(folder / "unknown size", "query_net", query_net(), {**dataclasses.asdict(SIZES), "depth": 3})
    write_net(folder / "other sizes", "query_net", query_net(), {**dataclasses.asdict(SIZES), "width": 32})
    write_net(folder / "no sizes", "query_net", query_net(), {})
    write_query_net(folder / "whole", query_net())
    (folder / "cut").write_bytes((folder / "whole").read_bytes()[:-8])
    (folder / "empty").write_bytes(b"")
    (folder / "words").write_bytes(b"nonsense")
    (folder / "whole").unlink()
    return sorted(folder.iterdir())


def test_a_file_of_something_else_is_an_error_in_one_line(tmp_path):
    for file in files_of_something_else(tmp_path):
        with pytest.raises(InputError, match="must hold a query net as `moonseg3r train queries` writes it") as refused:
            read_query_net(file)
        assert str(file) in str(refused.value)
        assert len(str(refused.value).splitlines()) == 1


def test_a_file_that_is_not_there_is_an_error_in_one_line(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(InputError, match="give a file of query net weights") as refused:
            read_query_net(path)
        assert len(str(refused.value).splitlines()) == 1


def test_a_file_that_cannot_be_written_is_an_error(tmp_path, net):
    with pytest.raises(OutputError, match="cannot write"):
        write_query_net(tmp_path / "no folder" / "net.safetensors", net)


def test_each_kind_of_reconstruction_has_its_own_weights(tmp_path):
    for kind, name in QUERY_WEIGHTS.items():
        settings = {"reconstruction.kind": kind, "refinement.kind": "learned"}
        assert resolve(load_config(overrides=settings)).refinement.learned.weights == name
        own = load_config(overrides={**settings, "refinement.learned.weights": str(tmp_path / "own")})
        assert resolve(own).refinement.learned.weights == str(tmp_path / "own")
    with pytest.raises(ConfigError, match=r"moonseg3r train queries.*refinement\.learned\.weights") as refused:
        resolve(load_config(overrides={"reconstruction.kind": "cut3r", "refinement.kind": "learned"}))
    assert len(str(refused.value).splitlines()) == 1


# The stage


def lifted(labels, masks):
    empty = Queries.empty(*labels.shape)
    return dataclasses.replace(
        empty, features=torch.zeros(masks, 0), labels=labels, areas=torch.ones(masks, dtype=torch.int64),
        boxes=torch.zeros(masks, 2, 3), scores=torch.ones(masks),
    )  # fmt: skip


def scene(masks=2, geometric=3, semantic=5):
    """Queries, F2d and geometry of an image of 8 x 12 pixels, in cells of 4."""
    labels = torch.zeros(8, 12, dtype=torch.int32)
    for mask in range(masks):
        labels[:, 4 * mask : 4 * mask + 3] = mask + 1
    bare = Geometry.empty(8, 12)
    geometry = dataclasses.replace(bare, features=FeatureMap(torch.randn(2, 3, geometric)) if geometric else None)
    return lifted(labels, masks), FeatureMap(torch.randn(2, 3, semantic), (8, 12)), geometry


def remembered(queries):
    return dataclasses.replace(Recalled.empty(0, (8, 12)), queries=queries)


def test_the_stage_gives_lifted_masks_their_queries(net):
    queries, features, geometry = scene()
    recalled = torch.randn(4, SIZES.width)
    found = LearnedRefinement(net)(queries, features, geometry, remembered(recalled))
    cells = concatenate_features(geometry.features.features.reshape(6, 3), features.features.reshape(6, 5))
    shares = torch.zeros(1, 2, 6)
    shares[0, 0, [0, 3]] = shares[0, 1, [1, 4]] = 0.75
    close(found.features[None], net(cells[None], shares, recalled[None], torch.ones(1, 4, dtype=torch.bool)))
    for name in ("labels", "areas", "boxes", "scores"):
        assert getattr(found, name) is getattr(queries, name)


@pytest.mark.parametrize("recalled", [Recalled.empty(), Recalled.empty(7, (8, 12)), Recalled.empty(16)])
def test_an_empty_memory_has_any_width(net, recalled):
    found = LearnedRefinement(net)(*scene(), recalled)
    assert found.features.shape == (2, SIZES.width)


def test_no_masks_have_no_queries(net):
    found = LearnedRefinement(net)(*scene(masks=0), remembered(torch.randn(4, SIZES.width)))
    assert found.features.shape == (0, SIZES.width)


def test_a_reconstruction_may_bring_no_features():
    model = LearnedRefinement(query_net(geometric=0))
    assert model(*scene(geometric=0), Recalled.empty()).features.shape == (2, SIZES.width)


@pytest.mark.parametrize("channels", [(4, 5), (3, 6), (0, 5), (5, 3)])
def test_features_of_other_channels_are_refused(net, channels):
    words = f"of 3 and 5 channels, got {channels[0]} and {channels[1]}; set"
    with pytest.raises(InputError, match=words) as refused:
        LearnedRefinement(net)(*scene(2, *channels), Recalled.empty())
    assert len(str(refused.value).splitlines()) == 1


def test_a_memory_of_other_queries_is_refused(net):
    with pytest.raises(InputError, match="must hold queries of width 16, got 8") as refused:
        LearnedRefinement(net)(*scene(), remembered(torch.randn(4, 8)))
    assert len(str(refused.value).splitlines()) == 1


# Features on cells


def test_both_features_come_on_the_finer_grid():
    fine, coarse = torch.randn(4, 6, 5), torch.randn(2, 3, 3)
    geometry = dataclasses.replace(Geometry.empty(8, 12), features=FeatureMap(coarse))
    cells = align_features(FeatureMap(fine, (8, 12)), geometry)
    assert cells.size == (4, 6)
    assert torch.equal(cells.semantic, fine.reshape(24, 5))
    close(cells.geometric, sample_cells(FeatureMap(coarse), geometry, 4, 6).reshape(24, 3))
    geometry = dataclasses.replace(geometry, features=FeatureMap(fine))
    cells = align_features(FeatureMap(coarse), geometry)
    assert torch.equal(cells.geometric, fine.reshape(24, 5))
    assert cells.semantic.shape == (24, 3)


@pytest.mark.parametrize("size", [None, (8, 12)])
def test_without_f3d_it_has_no_channels(size):
    cells = align_features(FeatureMap(torch.randn(2, 3, 5), size), Geometry.empty(8, 12))
    assert cells.geometric.shape == (6, 0)
    assert cells.semantic.shape == (6, 5)


def ramp(cells, rows=1):
    """A map of one channel whose value is the number of the column."""
    return torch.arange(float(cells)).repeat(rows, 1)[..., None]


@pytest.mark.parametrize("size", [None, (8, 12)])
def test_a_map_that_lies_on_these_cells_is_itself(size):
    features = torch.randn(2, 3, 5)
    assert sample_cells(FeatureMap(features, size), Geometry.empty(8, 12), 2, 3) is features


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (8, [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]),  # (j + 0.5) / 2 - 0.5, and the border's
        (2, [0.5, 2.5]),
        (1, [1.5]),
    ],
)
def test_between_the_centres_of_a_map_it_is_bilinear(cells, expected):
    for size in (None, (8, 8)):
        found = sample_cells(FeatureMap(ramp(4), size), Geometry.empty(8, 8), 1, cells)
        close(found.flatten(), torch.tensor(expected))
        turned = sample_cells(FeatureMap(ramp(4).transpose(0, 1), size), Geometry.empty(8, 8), cells, 1)
        close(turned.flatten(), torch.tensor(expected))


@pytest.mark.parametrize("scale", [1, 2])
def test_a_cropped_geometry_sees_the_middle_of_the_image(scale):
    """An image of four cells, 64 pixels at scale 1; the geometry's 32 are its middle, and its two cells those in it."""
    offset = 16 * scale + (scale - 1) / 2  # of the centre of the geometry's first pixel
    grid = PixelGrid(32, 32, scale, scale, offset, (scale - 1) / 2)
    geometry = dataclasses.replace(Geometry.empty(32, 32), grid=grid)
    features = FeatureMap(ramp(4), (32 * scale, 64 * scale))
    close(sample_cells(features, geometry, 1, 2).flatten(), torch.tensor([1.0, 2.0]))
    close(sample_cells(features, geometry, 1, 4).flatten(), torch.tensor([0.75, 1.25, 1.75, 2.25]))


def test_what_is_outside_of_the_map_takes_its_border():
    grid = PixelGrid(8, 32, offset_u=-16.0)
    geometry = dataclasses.replace(Geometry.empty(8, 32), grid=grid)
    found = sample_cells(FeatureMap(ramp(4), (8, 64)), geometry, 1, 4)
    close(found.flatten(), torch.tensor([0.0, 0.0, 0.0, 0.25]))  # centres at -12.5, -4.5, 3.5 and 11.5


def test_a_map_of_one_value_stays_so():
    features = FeatureMap(torch.full((3, 5, 2), 7.0), (30, 50))
    geometry = dataclasses.replace(Geometry.empty(20, 20), grid=PixelGrid(20, 20, 3.0, 2.0, -4.0, 1.5))
    close(sample_cells(features, geometry, 4, 7), torch.full((4, 7, 2), 7.0))


def test_an_untrained_net_gives_prototypes():
    net = QueryNet(SIZES).eval()
    features, shares, context, known = looked_at()
    with torch.no_grad():
        queries = net(features, shares, context, known)
        turned = torch.nn.functional.layer_norm(net.project(compute_prototypes(features, shares)), (SIZES.width,))
    torch.testing.assert_close(queries, turned)
