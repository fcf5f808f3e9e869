"""The benchmarks: their tables hold what they say, and the settings they compare are the ones that ship."""

import re
from pathlib import Path

import pytest
import torch
from walks import EXACT

from moonseg3r_core.benchmarks import accuracy
from moonseg3r_core.benchmarks.accuracy import BASELINES, find_recordings, list_fusions, measure_accuracy
from moonseg3r_core.benchmarks.preset import find_config
from moonseg3r_core.benchmarks.speed import measure_endurance, measure_speed
from moonseg3r_core.benchmarks.table import Table
from moonseg3r_core.cli import main
from moonseg3r_core.config import load_config
from moonseg3r_core.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def given_rows(rooms):
    """The rows of the default settings on one room with given masks."""
    return measure_accuracy([rooms / "room_1"], "given", load_config(overrides=EXACT), quiet=True)[0].rows


def test_a_table_is_markdown():
    text = str(Table("title", [{"name": "a", "x": 0.5}, {"name": "long", "x": 12.25}], digits=1))
    assert text.splitlines() == [
        "title",
        "",
        "| name |    x |",
        "|------|------|",
        "| a    |  0.5 |",
        "| long | 12.2 |",
    ]


def test_accuracy_has_a_row_for_every_fusion_and_a_ceiling(given_rows):
    scores = {str(row["fusion"]): row for row in given_rows}
    assert all(0 <= row["room_1 AP"] <= row["room_1 AP25"] <= 1 for row in given_rows)
    assert scores["true ids (ceiling)"]["room_1 AP"] >= scores["one instance per mask"]["room_1 AP"]
    assert scores["true ids (ceiling)"]["room_1 AP50"] > 0
    assert list(scores) == [*BASELINES, *list_fusions(), "true ids (ceiling)"]
    assert scores["default"] == scores["+ view consensus"] | {"fusion": "default"}, "averages are not merged"


def test_a_folder_of_recordings_has_their_mean_and_masks_may_be_regions(rooms, monkeypatch):
    monkeypatch.setattr(accuracy, "list_fusions", dict)
    paths = [rooms, rooms / "room_1", rooms / "room_2"]
    for row in measure_accuracy(paths, "regions", load_config(overrides=EXACT), quiet=True)[0].rows:
        assert row[f"{rooms.name} AP25"] == pytest.approx((row["room_1 AP25"] + row["room_2 AP25"]) / 2)
    assert row["room_1 AP25"] > 0


def test_settings_of_ones_own_have_a_row_and_change_no_other(rooms, given_rows, monkeypatch):
    """A matcher of one's own stands beside the fusions that the other rows name."""
    left_out = ("paper (eq 12)", "+ overlap with the map", "+ parts join", "+ view consensus")
    fusions = {name: settings for name, settings in list_fusions().items() if name not in left_out}
    monkeypatch.setattr(accuracy, "list_fusions", lambda: fusions)
    own = {**EXACT, "fusion.match": "paper", "fusion.match_threshold": 1.8, "fusion.parts": "new"}
    *others, mine, ceiling = measure_accuracy([rooms / "room_1"], "given", load_config(overrides=own), quiet=True)[
        0
    ].rows
    assert [*others, ceiling] == [row for row in given_rows if row["fusion"] not in left_out]
    assert mine["fusion"] == "as set"
    assert mine["room_1 AP25"] != others[-1]["room_1 AP25"]


def test_own_masks_have_one_row_and_the_instances_of_each_object(rooms):
    own = {**EXACT, "masks.kind": "regions", "map.min_observations": 3}
    scores, counts = measure_accuracy([rooms / "room_1"], "own", load_config(overrides=own), quiet=True)
    assert [row["fusion"] for row in scores.rows] == ["default"]
    frames, listed = counts.rows
    assert [frames["ids of"], listed["ids of"]] == ["room_1, frames", "room_1, list"]
    assert frames["objects"] == listed["objects"] > 0
    for row in counts.rows:
        assert row["objects"] >= row["found at 0.25"] >= row["found at 0.5"] > 0
        assert row["instances"] >= row["match no object"]
    assert frames["instances"] > listed["instances"] >= listed["found at 0.25"], "some are seen less than three times"


def test_the_paper_row_is_the_paper_file():
    file, row = load_config(ROOT / "config" / "paper.yaml"), load_config(overrides=list_fusions()["paper (eq 12)"])
    assert file == row
    assert (file.memory.index.update, file.memory.index.max_keys) == ("paper", 0)


@pytest.mark.parametrize("place", ["config", "share/moonseg3r_ros/config"])
def test_a_file_of_config_is_found_from_a_repository_and_from_an_installation(tmp_path, place):
    module = tmp_path / "lib" / "site-packages" / "package" / "module.py"
    module = module if "share" in place else tmp_path / "package" / "folder" / "module.py"
    with pytest.raises(InputError, match=r"config/paper.yaml in .* got none"):
        find_config("paper.yaml", module)
    file = tmp_path / place / "paper.yaml"
    file.parent.mkdir(parents=True)
    file.touch()
    assert find_config("paper.yaml", module) == file


def test_no_recording_with_truth_is_one_line(tmp_path):
    with pytest.raises(InputError, match="folder of such, got neither"):
        find_recordings(tmp_path)


def test_speed_names_every_stage(rooms):
    table = measure_speed(str(rooms / "room_1"), load_config(overrides=EXACT), frames=3)
    assert {"reconstruction", "masks", "memory", "store", "step"} <= {row["stage"] for row in table.rows}
    assert "3 frames" in table.title


def test_endurance_reports_four_times():
    table = measure_endurance(load_config(overrides=EXACT), frames=12, loop=3, quiet=True)
    assert [row["frames"] for row in table.rows] == [3, 6, 9, 12]
    assert all(row["instances"] > 0 for row in table.rows)


def test_memory_bench_from_the_command_line(capsys, monkeypatch):
    from moonseg3r_core.benchmarks import memory

    small = memory.measure_updates(new_keys=20, stored=(1000, 2000), repeats=1)
    assert [row["stored"] for row in small.rows] == [1000, 2000, 2000] * 2
    monkeypatch.setattr(memory, "main", lambda: print("tables") or 0)
    assert main(["bench", "memory"]) == 0
    assert "tables" in capsys.readouterr().out


@pytest.mark.usefixtures("stand_in")
def test_the_readme_example_runs():
    text = (ROOT / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.S).group(1)
    names: dict = {}
    exec(code.replace("synthetic:7:40", "synthetic:7:3"), names)
    assert len(names["scene"].points) > 100  # of a net with random weights
    assert names["result"].instance_ids.dtype == torch.int32


def test_the_readme_names_commands_that_exist():
    text = (ROOT / "README.md").read_text()
    from moonseg3r_core.cli import COMMANDS

    assert set(re.findall(r"moonseg3r (\w+)", text.split("## Use it")[1].split("From Python")[0])) <= set(COMMANDS)
