"""When the map is due: as often as asked, and so seldom that steps have most of the time."""

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import moonseg3r_ros.outputs as outputs
from moonseg3r_ros.outputs import SHARE, Pace


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(outputs, "monotonic", clock)
    return clock


def test_nothing_new_is_never_due(clock):
    pace = Pace()
    assert pace.wait(1.0) is None
    pace.changed()
    pace.done(0.1)
    assert pace.wait(1.0) is None


@pytest.mark.parametrize(("took", "pause"), [(0.0, 0.5), (0.1, 0.5), (2.0, 6.0)])
def test_a_map_waits_for_its_rate_and_for_its_share_of_the_time(clock, took, pause):
    pace = Pace()
    pace.changed()
    assert pace.wait(2.0) == 0
    pace.done(took)
    pace.changed()
    assert pace.wait(2.0) == pytest.approx(pause)
    assert took / (took + pace.wait(2.0)) <= SHARE
    clock.now += pause
    assert pace.wait(2.0) == 0
