"""`moonseg3r bench ros`: found without importing ROS, refused in one line without it, and its tables hold what they say."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from moonseg3r_core.cli import main
from moonseg3r_ros.benchmarks import command

HELP = """
import sys
from moonseg3r_core.cli import main
try:
    main(["bench", "--help"])
finally:
    print("moonseg3r_ros" in sys.modules)
"""


def test_the_help_lists_it_without_importing_it():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True)
    assert done.returncode == 0
    assert "    ros " in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


def test_without_ros_it_says_so_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert main(["bench", "ros"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "needs ROS 2" in said
    assert "setup.bash" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hz"], "expected one argument"),
        (["--only", "bandwidth"], "invalid choice: 'bandwidth'"),
        (["x"], "unrecognized"),
    ],
)
def test_bad_usage_is_one_line(capsys, words, said):
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "ros", *words])
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert said in printed
    assert "bench ros --help" in printed


def test_a_table_of_the_running_node(domain, capsys):
    pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed")
    (idle,) = tables(capsys, "idle")
    assert [row["input"] for row in idle] == ["none", "30 images/s, paused"]
    assert all(0 <= float(row["% of a core"]) <= 100 * os.cpu_count() for row in idle)


def test_cpu_ticks_are_those_of_the_process():
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    from moonseg3r_ros.benchmarks.rig import _read_cpu_ticks

    before, ticks, after = sum(os.times()[:2]), _read_cpu_ticks(os.getpid()), sum(os.times()[:2])
    assert before - 0.02 <= ticks / os.sysconf("SC_CLK_TCK") <= after + 0.02


@pytest.mark.slow
def test_the_other_tables(domain, capsys):
    parameters, arrival = tables(capsys, "parameters", "arrival")
    assert [(row["parameter"], row["times"]) for row in parameters] == [("get", "5"), ("set", "5")]
    assert all(0 < float(row["median ms"]) <= float(row["worst ms"]) for row in parameters)
    assert [(row["profile"], row["images"]) for row in arrival] == [("shared memory", "4"), ("Fast DDS's own", "4")]
    assert all(0 <= float(row[f"at {where} %"]) <= 100 for row in arrival for where in ("a listener", "the node"))


@pytest.mark.slow
def test_the_table_of_latencies(domain, capsys):
    (latency,) = tables(capsys, "latency", options=("--frames", "16", "--voxel", "0.001", "--hz", "1"))
    cases = ["nobody listens", "every topic heard", "and a large map with each frame"]
    assert [row["case"] for row in latency] == cases
    assert [row["from outside ms"] == "" for row in latency] == [True, False, False]
    assert float(latency[2]["points"]) >= 300_000 > float(latency[0]["points"])
    for row in latency:
        assert 0 < float(row["latency ms"]) <= float(row["latency 90 %"])
        assert float(row["step ms"]) > 0


def tables(capsys, *cases, options=()):
    """What is printed for these cases."""
    arguments = ["--frames", "4", "--seconds", "1", "--times", "5", *options]
    assert main(["bench", "ros", *arguments, "--only", *cases]) == 0
    return [table_of(text) for text in capsys.readouterr().out.split("\n\n|")[1:]]


def table_of(text):
    """The rows of a Markdown table whose first bar was cut off."""
    names, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.split("\n\n")[0].splitlines()
    ]
    return [dict(zip(names, row, strict=True)) for row in rows]


LOG = [
    {"points": 0, "map": 9.0, "cloud": 5.0},  # what was published before any frame
    {"stamp": 1, "step": 100.0, "beyond": 2.0},
    {"points": 50, "map": 8.0, "cloud": 4.0},
    {"stamp": 2, "step": 110.0, "beyond": 4.0},
    {"stamp": 3, "step": 120.0, "beyond": 9.0},
    {"points": 200, "map": 30.0, "cloud": 20.0},
]


@pytest.fixture
def rig():
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    return SimpleNamespace(
        play=lambda rate: None, read_log=lambda: LOG, count={"dropped": 3}.get, values={"map points": "200"}
    )


def test_a_row_of_latencies_by_hand(rig):
    from moonseg3r_ros.benchmarks.cases import _measure_row

    row = _measure_row("all", rig, 1.0)
    assert (row["frames"], row["dropped"], row["points"], row["step ms"]) == (3, 3, 125, 110.0)
    assert (row["latency ms"], row["latency 90 %"]) == (4.0, pytest.approx(8.0))
    assert (row["with cloud ms"], row["with all ms"]) == (pytest.approx((6 + 29) / 2), pytest.approx((10 + 39) / 2))
    assert row["from outside ms"] == ""
    large = _measure_row("large", rig, 1.0, min_points=100)
    assert (large["frames"], large["latency ms"], large["with all ms"]) == (1, 9.0, 39.0)


def test_a_map_that_stays_small_is_an_error(rig):
    from moonseg3r_core import MoonSeg3RError
    from moonseg3r_ros.benchmarks.cases import _measure_row

    with pytest.raises(MoonSeg3RError, match="must grow to 300 points, got 200; lower --voxel"):
        _measure_row("large", rig, 1.0, min_points=300)
