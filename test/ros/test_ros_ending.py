"""Every program of the graph ends when it is told to, with status 0, whatever it is doing."""

import signal

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from test_ros_stream import SLOW, Stream

STEP = "60"  # seconds; longer than anything here waits


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_step_under_way_is_not_waited_for(graph, monkeypatch, number):
    monkeypatch.setenv("STEP", STEP)
    node = graph.node(script=SLOW)
    Stream(graph).send()
    graph.until(lambda: int(graph.diagnosed()[1]["frames received"]) == 1, "the frame is received")
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
