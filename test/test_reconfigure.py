"""Settings that change while a map exists: only the stages that read them are replaced, and nothing is forgotten."""

from functools import cache

import cv2
import numpy as np
import pytest
import torch
from billboards import frame
from walks import configured, make_segmenter, split, walk

from moonseg3r_core.build import build_segmenter, reconfigure, specify_stages
from moonseg3r_core.config import Config
from moonseg3r_core.errors import ConfigError, InputError, MissingDependency
from moonseg3r_core.resolve import RecordingFacts, resolve
from moonseg3r_core.settings import list_settings, overlay

PATH = [(0.01 * t - 0.1, 0.0, 0.0) for t in range(9)]
CPU = torch.device("cpu")
KINDS = {"reconstruction.kind": "rgbd", "masks.kind": "regions", "memory.kind": "index", "fusion.boxes": "keys"} | {
    "refinement.kind": "average"
}
# Settings that another reconstruction than that of KINDS reads.
READ_WITH = {
    "reconstruction.nano": {"reconstruction.kind": "nano"},
    "reconstruction.cut3r": {"reconstruction.kind": "cut3r"},
    "reconstruction.depth": {"reconstruction.kind": "depth"},
    "reconstruction.multi_view": {"reconstruction.kind": "nano"},
    "reconstruction.odometry": {"reconstruction.kind": "nano"},
    **{
        f"masks.{kind}": {"masks.kind": kind}
        for kind in ("nano", "sam2", "sam", "fastsam", "mask2former", "cropformer")
    },
    **{f"features.{kind}": {"features.kind": kind} for kind in ("dinov3", "dinov2")},
    "reconstruction.random": {"reconstruction.kind": "nano"},
    "refinement.learned": {"refinement.kind": "learned"},
    "features.kind": {"reconstruction.kind": "nano"},
    "pipeline": {"masks.kind": "sam2"},
}
# The publisher and the readers of messages read these; the other kind's folder matters to no stage of KINDS.
OUTSIDE = {"map.min_observations", "map.min_points", "masks.precomputed.folder", "seed"} | {
    "input.depth_scale",
    "input.camera_axes",
    "input.implausible",
    "input.poses",
    "input.pose_scale",
}


def other_value(key):
    """A value of a setting that is not its own, within its range; None where there is no other."""
    if key.name == "device":  # resolving refuses one that is not there
        return None
    if key.choices:
        return next((choice for choice in key.choices if choice not in (key.value, "auto")), None)
    if key.type is str:
        return "elsewhere"
    if key.type is bool:
        return not key.value
    if key.high is not None and key.value >= key.high:
        return key.low
    return key.value + 1 if key.type is int else key.value + min(0.01, (key.high or 1e9) - key.value)


@pytest.mark.parametrize(
    "key",
    [key for key in list_settings(overlay(Config(), KINDS)) if other_value(key) is not None],
    ids=lambda k: k.name,
)
def test_every_setting_is_read_by_a_stage(key):
    """Or a change of it would be taken and do nothing."""
    config = overlay(Config(), KINDS | READ_WITH.get(key.name.rpartition(".")[0], READ_WITH.get(key.name, {})))
    changed = overlay(config, {key.name: other_value(key)})
    before, after = (specify_stages(resolve(each)) for each in (config, changed))
    differ = {name for name in after if after[name] != before[name]}
    assert bool(differ) == (key.name not in OUTSIDE)


@pytest.mark.parametrize(
    ("setting", "value", "stages"),
    [
        ("masks.regions.scale", 9.0, {"masks"}),
        ("masks.min_area", 9, {"masks"}),
        ("masks.every", 3, {"budget"}),
        ("masks.sam2.weights", "sam2.1-large", set()),  # of a model that is not in use
        ("pipeline", True, set()),  # regions look at the geometry
        ("masks.precomputed.folder", "x", set()),
        ("reconstruction.rgbd.max_depth", 3.0, {"reconstruction"}),
        ("memory.index.stride", 2, {"memory"}),
        ("fusion.min_points", 3, {"lift"}),
        ("fusion.merge", "similarity", {"merge"}),
        ("fusion.match_threshold", 1.5, {"match"}),
        ("fusion.parts", "new", {"match"}),
        ("fusion.consensus_views", 2, {"store"}),
        ("map.samples", 100, {"store"}),
        ("map.min_points", 3, set()),
    ],
)
def test_only_the_stages_that_read_a_setting_change(setting, value, stages):
    old = configured()
    segmenter = build_segmenter(old)
    before = vars(segmenter.stages).copy()
    reconfigure(segmenter, old, overlay(old, {setting: value}))
    assert {name for name, stage in vars(segmenter.stages).items() if stage is not before[name]} == stages


def test_the_same_configuration_changes_nothing():
    segmenter, _ = make_segmenter()
    before = vars(segmenter.stages).copy()
    reconfigure(segmenter, configured(), configured())
    assert all(stage is before[name] for name, stage in vars(segmenter.stages).items())


CHANGES = [
    {"fusion.consensus_views": 1, "fusion.consensus_rate": 0.3},
    {"fusion.consensus": "none"},
    {"fusion.match": "paper", "fusion.match_threshold": 0.5},
    {"fusion.parts": "new", "map.samples": 900},
    {"memory.index.max_keys": 15, "memory.index.max_queries": 9, "memory.index.queries_per_key": 2},
    {"reconstruction.rgbd.max_depth": 1.9, "fusion.average": "pairwise", "fusion.min_points": 200},
]


@cache
def walked(frames):
    """A segmenter after some frames; not to be changed."""
    segmenter, given = make_segmenter()
    walk(segmenter, given, PATH[:frames], split)
    return segmenter


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_a_reconfigured_segmenter_equals_one_built_so_that_took_over_the_state(change):
    (changed, given), (built, masks) = make_segmenter(), make_segmenter(**change)
    for segmenter in (changed, built):
        segmenter.load_state_dict(walked(5).state_dict())
    reconfigure(changed, configured(), configured(**change))
    for (a, _), (b, _) in zip(
        walk(changed, given, PATH[5:], split, start=5), walk(built, masks, PATH[5:], split, start=5), strict=True
    ):
        assert a.instance_ids.equal(b.instance_ids)
    a, b = changed.snapshot(), built.snapshot()
    assert a.points.equal(b.points)
    assert a.instance_ids.equal(b.instance_ids)
    assert a.confidence.equal(b.confidence)
    assert changed.final_ids == built.final_ids
    assert {n: t.shape for n, t in changed.state_dict().items()} == {n: t.shape for n, t in built.state_dict().items()}


def test_limits_that_shrink_apply_at_once():
    segmenter, _ = make_segmenter()
    segmenter.load_state_dict(state := walked(9).state_dict())
    assert len(state["memory.map.slots"]) > 60
    small = configured(
        **{"memory.index.max_keys": 60, "memory.index.max_queries": 5, "memory.index.queries_per_key": 1}
    )
    reconfigure(segmenter, configured(), small)
    shrunk = segmenter.state_dict()
    assert len(shrunk["memory.map.slots"]) <= 60
    assert shrunk["memory.bank.queries"].equal(state["memory.bank.queries"][-5:])
    assert shrunk["memory.map.offsets"].diff().max() == 1


def test_what_a_map_depends_on_may_not_change():
    segmenter, _ = make_segmenter()
    segmenter.load_state_dict(walked(5).state_dict())
    before, stages = segmenter.state_dict(), vars(segmenter.stages).copy()
    new = configured(**{"map.voxel": 0.05, "memory.kind": "none", "fusion.match_threshold": 2.0})
    with pytest.raises(ConfigError, match=r"memory.kind must stay index, got none, map.voxel must stay 0.02, got 0.05"):
        reconfigure(segmenter, configured(), new)
    assert vars(segmenter.stages) == stages
    assert segmenter.state_dict()["store.map.sums"].equal(before["store.map.sums"])


def test_an_implementation_that_cannot_be_made_changes_nothing(tmp_path, monkeypatch):
    segmenter, _ = make_segmenter()
    stages = vars(segmenter.stages).copy()
    for folder in ("", str(tmp_path)):
        masks = {"masks.kind": "precomputed", "masks.precomputed.folder": folder, "fusion.min_points": 3}
        with pytest.raises(InputError, match="masks"):
            reconfigure(segmenter, configured(), configured(**masks))

    def absent(name):
        raise MissingDependency(name)

    monkeypatch.setattr("moonseg3r_core.memory.memory.make_rasterizer", absent)
    with pytest.raises(MissingDependency):
        reconfigure(
            segmenter, configured(), configured(**{"memory.index.rasterizer": "pytorch3d", "fusion.min_points": 3})
        )
    assert vars(segmenter.stages) == stages


def test_masks_of_the_recording_stay(tmp_path):
    """`auto` took the recording's own masks: a change that is told of them takes no others for it."""
    cv2.imwrite(str(tmp_path / "0.png"), np.ones((8, 8), np.uint8))
    old = configured(**{"masks.kind": "auto"})
    segmenter = build_segmenter(old, masks_folder=tmp_path)
    masks = segmenter.stages.masks
    reconfigure(segmenter, old, overlay(old, {"map.samples": 99}), RecordingFacts(tmp_path))
    assert segmenter.stages.masks is masks
    reconfigure(segmenter, old, overlay(old, {"masks.kind": "regions"}), RecordingFacts(tmp_path))
    assert segmenter.stages.masks is not masks


def test_a_step_after_a_change_uses_the_new_setting():
    segmenter, given = make_segmenter()
    (first, _), *_ = walk(segmenter, given, PATH[:1])
    assert first.instance_ids.any()
    reconfigure(segmenter, configured(), configured(**{"fusion.min_points": 10**6}))
    given.ids[1] = frame(1)[1]
    assert not segmenter.step(frame(1)[0]).instance_ids.any()
