"""What issue by issue was promised, on real and rendered recordings: minutes long, `make test-slow`. Never times."""

from pathlib import Path

import pytest
import torch
from walks import EXACT

from moonseg3r_core.benchmarks.accuracy import measure_accuracy
from moonseg3r_core.benchmarks.cut3r import measure_long_run
from moonseg3r_core.benchmarks.speed import measure_endurance
from moonseg3r_core.config import load_config

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
pytestmark = pytest.mark.slow
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")


def rows(masks):
    paths = [DATA / "kitchen", DATA / "rooms"]
    scores, _ = measure_accuracy(paths, masks, load_config(overrides=EXACT), quiet=True)
    return {str(row["fusion"]): row for row in scores.rows}


@needs_data
def test_given_masks_reach_the_targets():
    default = rows("given")["default"]
    assert default["kitchen AP"] >= 0.22
    assert default["kitchen AP50"] >= 0.50
    assert default["rooms AP"] >= 0.70
    assert default["rooms AP50"] >= 0.83


@needs_data
def test_regions_beat_both_baselines():
    scores = rows("regions")
    default = scores["default"]
    for baseline in ("one instance per mask", "greedy overlap, 3 cm"):
        for group in ("kitchen", "rooms"):
            assert default[f"{group} AP"] > scores[baseline][f"{group} AP"]


def test_memory_stays_flat_over_a_long_loop():
    table = measure_endurance(load_config(overrides=EXACT), frames=2000, quiet=True)
    assert table.rows[-1]["memory ratio"] <= 1.15


def test_cut3r_runs_on_without_growing():
    table = measure_long_run(3000, torch.device("cpu"), quiet=True)
    assert table.rows[-1]["key frames"] == 3000
    assert table.rows[-1]["memory ratio"] <= 1.05
