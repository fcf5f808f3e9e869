"""The data between stages: held to shape and dtype, never to value; every type has an empty form."""

from dataclasses import replace

import pytest
import torch

from moonseg3r_core.types import (
    Assignment,
    Corrections,
    FeatureMap,
    Frame,
    FrameResult,
    Geometry,
    Instance,
    InstanceMap,
    MaskProposals,
    PixelGrid,
    Queries,
    Recalled,
)


def image(height=4, width=6):
    return torch.zeros(height, width, 3, dtype=torch.uint8)


def test_frame_takes_what_a_recording_knows():
    frame = Frame(7, 0.5, image(), torch.ones(4, 6), torch.eye(3), torch.eye(4, dtype=torch.float64))
    assert frame.size == (4, 6)
    assert frame.to("cpu") is frame


def test_a_frame_on_another_device_keeps_its_image_on_the_host():
    frame = Frame(7, 0.5, image() + 3)
    assert frame.host_image.tolist() == frame.image.tolist()
    assert frame.to("meta").host_image is frame.host_image


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": torch.zeros(4, 6, 3)}, r"frame\.image must be torch\.uint8, got torch\.float32; convert"),
        ({"image": torch.zeros(3, 4, 6, dtype=torch.uint8)}, r"frame\.image must be \(H, W, 3\), got \(3, 4, 6\)"),
        ({"image": torch.zeros(0, 6, 3, dtype=torch.uint8)}, r"frame\.image must have pixels, got \(0, 6, 3\); leave"),
        ({"depth": torch.ones(4, 5)}, r"frame\.depth must be \(4, 6\), got \(4, 5\)"),
        ({"depth": [[1.0]]}, r"frame\.depth must be a \(4, 6\) torch tensor, got list"),
        ({"intrinsics": torch.eye(4)}, r"frame\.intrinsics must be \(3, 3\), got \(4, 4\)"),
        ({"world_from_camera": torch.eye(4)}, r"world_from_camera must be torch\.float64, got torch\.float32"),
    ],
)
def test_frame_says_what_was_expected_and_what_came(change, words):
    with pytest.raises(ValueError, match=words):
        Frame(**({"index": 0, "stamp": 0.0, "image": image()} | change))


def test_one_letter_is_one_size():
    with pytest.raises(ValueError, match=r"proposals\.scores must be \(2\), got \(3,\)"):
        MaskProposals(torch.zeros(2, 4, 6, dtype=torch.bool), torch.zeros(3))


def test_corrections_are_one_transform_per_key_view():
    assert len(Corrections.empty()) == 0
    assert len(Corrections(torch.tensor([3]), torch.eye(4, dtype=torch.float64)[None])) == 1
    with pytest.raises(ValueError, match=r"corrections\.new_from_old must be \(2, 4, 4\), got \(1, 4, 4\)"):
        Corrections(torch.tensor([3, 4]), torch.eye(4, dtype=torch.float64)[None])


def test_geometry_hangs_on_no_key_view_unless_one_is_named():
    assert Geometry.empty(4, 6).anchor == 0
    assert len(Geometry.empty(4, 6).corrections) == 0


def test_geometry_is_held_to_its_grid():
    g = Geometry.empty(4, 6)
    assert g.grid.is_image((4, 6))
    assert not g.valid.any()
    with pytest.raises(ValueError, match=r"geometry\.points must be \(5, 6, 3\)"):
        Geometry(g.points, g.confidence, g.depth, g.world_from_camera, g.intrinsics, PixelGrid(5, 6))


def test_values_are_not_looked_at():
    Frame(
        0, 0.0, image(), torch.full((4, 6), torch.nan), torch.eye(3), torch.full((4, 4), torch.nan, dtype=torch.float64)
    )


def test_every_type_has_an_empty_form():
    assert len(MaskProposals.empty(4, 6)) == 0
    assert len(Queries.empty(4, 6)) == 0
    assert len(Assignment.empty()) == 0
    assert len(InstanceMap.empty()) == 0
    recalled = Recalled.empty(8, (4, 6))
    assert recalled.queries.shape == (0, 8)
    assert (recalled.index_map == -1).all()
    assert FeatureMap.empty(2, 3).features.shape == (2, 3, 0)


def test_frozen():
    with pytest.raises(AttributeError):
        MaskProposals.empty(4, 6).scores = None


def test_result_ids_are_int32():
    with pytest.raises(ValueError, match=r"result\.instance_ids must be torch\.int32"):
        FrameResult(0, 0.0, torch.zeros(4, 6, dtype=torch.int64), Geometry.empty(4, 6), Assignment.empty())


def test_instances_are_published_that_are_seen_and_shown_enough():
    def shown(*seen, points=50):
        place = (0.0, 0.0, 0.0)
        listed = tuple(Instance(i, points, place, place, place, 0.5, 0, 0, n) for i, n in enumerate(seen, 1))
        map = InstanceMap.empty()
        return [i.id for i in replace(map, instances=listed).published(4, 30)]

    assert shown(9, 4, 3) == [1, 2]
    assert shown(9, 4, 3, points=29) == []
    assert shown(3, 3, 2) == [1, 2], "a stream of three frames"
    assert shown(1, 1) == [], "one frame alone tells nothing"
    assert shown() == []
