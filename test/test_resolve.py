"""A resolved configuration says what runs: no `auto`, no 0 and no empty name that stands for something else."""

import pytest

from moonseg3r_core.build import build_segmenter, specify_stages
from moonseg3r_core.config import Config, load_config
from moonseg3r_core.errors import ConfigError
from moonseg3r_core.resolve import RecordingFacts, describe_resolved, resolve
from moonseg3r_core.settings import list_settings

FACTS = RecordingFacts(grid_width=320)
# An empty text or a 0 that means none, never or off.
OFF = {
    "masks.cropformer.folder",
    "masks.cropformer.project",
    "masks.precomputed.folder",
    "seed",
    "masks.regions.convex",
    "input.depth_scale",
}
OFF |= {"reconstruction.nano.reset_every", "reconstruction.cut3r.reset_every", "reconstruction.rgbd.edge"}


def values(config):
    return {key.name: key.value for key in list_settings(config)}


@pytest.mark.parametrize("kind", ["nano", "rgbd"])
def test_nothing_is_left_open(kind):
    resolved = values(resolve(load_config(overrides={"reconstruction.kind": kind}), FACTS))
    assert "auto" not in resolved.values()
    off = {name for name, value in resolved.items() if value is not False and value in (0, "")}
    averaged = {"fusion.merge_threshold", "refinement.learned.weights"}  # of a merge and a refinement that do not run
    assert off <= OFF | (averaged if kind == "rgbd" else set())


def test_what_suits_the_reconstruction_and_the_queries():
    color, depth = (resolve(load_config(overrides={"reconstruction.kind": kind})) for kind in ("nano", "rgbd"))
    assert (color.refinement.kind, color.fusion.merge) == ("learned", "borders")
    assert (color.fusion.merge_threshold, color.fusion.match_threshold, color.fusion.overlap_voxel) == (0.4, 1.25, 0.1)
    assert (depth.refinement.kind, depth.fusion.merge) == ("average", "none")
    assert (depth.fusion.match_threshold, depth.fusion.overlap_voxel) == (1.0, 0.05)


def test_what_is_set_stays():
    own = {"fusion.match_threshold": 0.5, "fusion.merge": "similarity", "memory.index.cell": 7, "masks.kind": "regions"}
    resolved = values(resolve(load_config(overrides=own), FACTS))
    assert own.items() <= resolved.items()
    assert resolved["fusion.merge_threshold"] == 0.8


def test_resolving_again_changes_nothing():
    once = resolve(Config(), FACTS)
    assert resolve(once, FACTS) == once
    assert describe_resolved(once, FACTS) == ""


def test_forty_cells_from_left_to_right():
    cells = [resolve(Config(), RecordingFacts(grid_width=width)).memory.index.cell for width in (320, 321, 8)]
    assert cells == [8, 9, 1]
    assert resolve(Config()).memory.index.cell == 0  # not known before the first frame


def test_the_segmenter_is_built_of_what_was_resolved():
    config = load_config(overrides={"reconstruction.kind": "rgbd", "masks.kind": "regions", "device": "cpu"})
    built, again = (build_segmenter(each).stages.store for each in (config, resolve(config)))
    assert built.overlap_voxel == again.overlap_voxel == 0.05
    assert specify_stages(resolve(config)) == specify_stages(resolve(resolve(config)))


def test_settings_that_cannot_go_together_are_refused():
    with pytest.raises(ConfigError, match=r"features.kind=reconstruction expects a reconstruction with a net"):
        resolve(load_config(overrides={"features.kind": "reconstruction", "reconstruction.kind": "rgbd"}))
