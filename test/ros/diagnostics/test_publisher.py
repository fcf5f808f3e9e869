"""What of the diagnoses goes to the log: a lasting error once, and its end."""

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from moonseg3r_ros.conversions.times import make_time
from moonseg3r_ros.diagnostics.diagnose import FrameCounters, InputStatus, NodeStatus
from moonseg3r_ros.diagnostics.publisher import DiagnosticsPublisher

IMAGE = InputStatus("image", "/image", "sensor_msgs/msg/Image", ("sensor_msgs/msg/Image",), messages=9, silence=0.1)
WELL = NodeStatus(
    "/node", "active", IMAGE, counters=FrameCounters(output_rate=9.0, step_ms=60.0, silence=0.1), age=60.0
)
GOOD = "OK: 9.0 images/s, a step takes 60.0 ms"


def refused(times, reason="too small"):
    return NodeStatus("/node", "active", IMAGE, counters=FrameCounters(rejected=times, reason=reason), age=60.0)


class Scripted(DiagnosticsPublisher):
    """Publishes given statuses."""

    def __init__(self, statuses):
        self.messages, self.log, self.statuses = [], [], iter(statuses)
        logger = SimpleNamespace(
            **{level: lambda text, to=level: self.log.append((to, text)) for level in ("warning", "info")}
        )
        node = SimpleNamespace(
            create_publisher=lambda *_, **__: SimpleNamespace(publish=self.messages.append),
            create_timer=lambda *_, **__: None,
            get_clock=lambda: SimpleNamespace(now=lambda: SimpleNamespace(to_msg=lambda: make_time(0))),
            get_logger=lambda: logger,
        )
        super().__init__(node, None, 1.0)

    def get_status(self):
        return next(self.statuses)


def publish(*statuses):
    """The lines of the log as (level, text)."""
    publisher = Scripted(statuses)
    for _ in statuses:
        publisher.publish()
    assert len(publisher.messages) == len(statuses)
    return publisher.log


def test_an_error_that_lasts_is_logged_once_however_its_numbers_change():
    assert publish(*map(refused, range(1, 9))) == [("warning", "images are refused, 2 up to now: too small")]


def test_its_end_is_logged_once():
    assert publish(refused(1), refused(2), WELL, WELL, WELL)[1:] == [("info", f"no longer so: {GOOD}")]


def test_what_lasts_one_period_is_not_logged():
    assert publish(WELL, refused(1), WELL, WELL, refused(2), WELL) == []
    assert len(publish(refused(1), refused(2), WELL, refused(3), refused(4))) == 1


def test_another_error_is_logged_too():
    silent = NodeStatus("/node", "active", InputStatus("image", "/image", "sensor_msgs/msg/Image"), age=60.0)
    lines = publish(refused(1), refused(2), silent, silent, refused(3), refused(4))
    assert [level for level, _ in lines] == ["warning"] * 3
    assert [text[:12] for _, text in lines] == ["images are r", "no publisher", "images are r"]


def test_what_is_in_the_log_already_is_not_logged_again():
    faulty = NodeStatus("/node", "inactive", IMAGE, fault="no GPU")
    future = NodeStatus("/node", "active", IMAGE, warnings={"future stamp": "image refused: its stamp"}, age=60.0)
    assert publish(faulty, faulty, future, future) == []


def test_a_warning_is_no_error():
    paused = NodeStatus("/node", "active", IMAGE, paused=True)
    assert publish(paused, paused, WELL, WELL) == []
