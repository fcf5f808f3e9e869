"""When the map is due: as often as asked, and so seldom that steps have most of the time."""

import pytest
from fake_clock import Clock

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import moonseg3r_ros.outputs as outputs
from moonseg3r_ros.outputs import MAX_MAP_SHARE, PublishRate


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(outputs, "monotonic", clock)
    return clock


def test_nothing_new_is_never_due(clock):
    rate = PublishRate()
    assert rate.compute_wait(1.0) is None
    rate.mark_changed()
    rate.mark_published(0.1)
    assert rate.compute_wait(1.0) is None


@pytest.mark.parametrize(("took", "pause"), [(0.0, 0.5), (0.1, 0.5), (2.0, 6.0)])
def test_a_map_waits_for_its_rate_and_for_its_share_of_the_time(clock, took, pause):
    rate = PublishRate()
    rate.mark_changed()
    assert rate.compute_wait(2.0) == 0
    rate.mark_published(took)
    rate.mark_changed()
    assert rate.compute_wait(2.0) == pytest.approx(pause)
    assert took / (took + rate.compute_wait(2.0)) <= MAX_MAP_SHARE
    clock.now += pause
    assert rate.compute_wait(2.0) == 0
