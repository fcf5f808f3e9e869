"""Every program of the graph ends when it is told to, with status 0, whatever it is doing."""

import re
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from camera_stream import SLOW, Stream
from recordings import recording, write_bag

PROGRAMS = ("moonseg3r_ros.main", "moonseg3r_ros.composition.container", "moonseg3r_ros.replay.command")
SOON = (0.1, 0.3, 0.8, 1.5)  # seconds: while ROS and torch are imported, or shortly after
STEP = "60"  # seconds; longer than anything here waits


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_step_under_way_is_not_waited_for(graph, monkeypatch, number):
    monkeypatch.setenv("STEP", STEP)
    node = graph.node(script=SLOW)
    Stream(graph).send()
    graph.until(lambda: int(graph.diagnosed()[1]["frames received"]) == 1, "the frame is received")
    assert node.end(number) == 0
    assert "Traceback" not in node.text


def test_a_step_in_foreign_code_is_not_waited_for_either(graph, monkeypatch):
    monkeypatch.setenv("STEP", STEP)
    monkeypatch.setenv("BUSY", "1")
    node = graph.node(script=SLOW)
    Stream(graph).send()
    graph.until(lambda: int(graph.diagnosed()[1]["frames received"]) == 1, "the frame is received")
    assert node.end() == 0
    assert "terminate" not in node.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_models_that_are_being_loaded_are_not_waited_for(graph, monkeypatch, number):
    monkeypatch.setenv("LOAD", STEP)
    node = graph.node(script=SLOW, ready=False)
    graph.until(lambda: "loading" in node.text, "it loads", node)
    assert node.end(number) == 0
    assert "Traceback" not in node.text


def test_a_node_that_never_got_going_ends_too(graph):
    node = graph.node(ready=False, use_sim_time=True, autostart=False)
    graph.diagnosed()
    assert node.end() == 0


def test_two_signals_in_a_row_are_one(graph):
    node = graph.node()
    node.process.send_signal(signal.SIGINT)
    assert node.end(signal.SIGINT) == 0
    assert "Traceback" not in node.text


def hears(program):
    """True when a process takes SIGTERM itself: our modules have been reached, ROS and torch perhaps not."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    caught = int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16)
    return caught >> (signal.SIGTERM - 1) & 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells which signals a process takes")
@pytest.mark.parametrize("module", PROGRAMS)
@pytest.mark.parametrize(("seconds", "number"), [(0.0, signal.SIGTERM), *((s, signal.SIGINT) for s in SOON)])
def test_a_signal_while_modules_are_imported_ends_it_like_any_other(graph, tmp_path, module, seconds, number):
    arguments = [write_bag(tmp_path / "bag", recording()), "--wait"] if module.endswith("replay") else []
    program = graph.start(module, *arguments)
    graph.until(lambda: hears(program), "it takes signals", program)
    time.sleep(seconds)
    assert program.end(number) == 0
    assert "Traceback" not in program.text
    assert "KeyboardInterrupt" not in program.text
