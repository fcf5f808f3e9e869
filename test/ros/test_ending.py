"""Every program of the graph ends when it is told to, with status 0, whatever it is doing."""

import re
import signal
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from camera_stream import SLOW, Stream
from composition_interfaces.srv import ListNodes
from recordings import recording, write_bag

PROGRAMS = ("moonseg3r_ros.main", "moonseg3r_ros.composition.container", "moonseg3r_ros.replay.command")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_step_under_way_is_not_waited_for(graph, number):
    node = graph.node(script=SLOW)
    Stream(graph).send()
    graph.until(lambda: "at work" in node.text, "the step begins", node)
    assert node.end(number) == 0
    assert "Traceback" not in node.text


def test_a_step_in_foreign_code_is_not_waited_for_either(graph, monkeypatch):
    monkeypatch.setenv("BUSY", "1")
    node = graph.node(script=SLOW)
    Stream(graph).send()
    graph.until(lambda: "at work" in node.text, "the step begins", node)
    assert node.end() == 0
    assert "terminate" not in node.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_models_that_are_being_loaded_are_not_waited_for(graph, monkeypatch, number):
    monkeypatch.setenv("LOAD", "600")
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


def is_handling_signals(program):
    """True when a process takes SIGTERM itself: our modules have been reached, ROS and torch have not."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    caught = int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16)
    return caught >> (signal.SIGTERM - 1) & 1


def has_loaded(program, library):
    """True when a process has begun to import a library."""
    return library in Path(f"/proc/{program.process.pid}/maps").read_text()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells which signals a process takes")
@pytest.mark.parametrize(
    ("module", "library", "number"),
    [
        *((module, "", signal.SIGTERM) for module in PROGRAMS),
        *((module, library, signal.SIGINT) for module in PROGRAMS for library in ("", "librcl.so")),
        (PROGRAMS[0], "libtorch_cpu.so", signal.SIGINT),
    ],
)
def test_a_signal_while_modules_are_imported_ends_it_like_any_other(graph, tmp_path, module, library, number):
    arguments = [write_bag(tmp_path / "bag", recording()), "--wait"] if "replay" in module else []
    program = graph.start(module, *arguments, preloaded=False)
    graph.until(lambda: is_handling_signals(program), "it takes signals", program)
    graph.until(lambda: has_loaded(program, library), f"it loads {library}", program)
    assert program.end(number) == 0
    assert "Traceback" not in program.text
    assert "KeyboardInterrupt" not in program.text


def test_programs_that_run_end_with_all_that_python_takes_down_then(graph, tmp_path):
    bag = write_bag(tmp_path / "bag", recording())
    container = graph.start("moonseg3r_ros.composition.container", preloaded=False)
    replay = graph.start("moonseg3r_ros.replay.command", bag, "--wait", 0, "--loop", preloaded=False)
    node = graph.start("moonseg3r_ros.main", preloaded=False)
    graph.call(ListNodes, "/ComponentManager/_container/list_nodes", ListNodes.Request())
    graph.until(lambda: "playing" in replay.text, "the replay plays", replay)
    graph.until(lambda: graph.subscribed("/tf_static"), "the node subscribes", node)
    for program in (container, replay, node):
        assert program.end() == 0
        assert "Traceback" not in program.text
