"""Rates and medians over the last seconds."""

import pytest
from fake_clock import Clock

from moonseg3r_ros.diagnostics.rate_meter import MAX_EVENTS, RateMeter


def a_meter(gaps=(), values=()):
    clock = Clock()
    meter = RateMeter(10.0, clock)
    for gap, value in zip(gaps, values or [0.0] * len(gaps), strict=True):
        clock.now += gap
        meter.add(value)
    return meter, clock


def test_before_anything_happens():
    meter, _ = a_meter()
    assert (meter.rate, meter.median, meter.silence) == (0.0, None, None)


def test_one_event_has_no_rate():
    meter, clock = a_meter([1.0], [7.0])
    clock.now += 0.5
    assert (meter.rate, meter.median, meter.silence) == (0.0, 7.0, 0.5)


def test_a_steady_rate():
    meter, _ = a_meter([0.1] * 50)
    assert meter.rate == pytest.approx(10.0)


def test_the_rate_sinks_when_events_stop_and_silence_goes_on_counting():
    meter, clock = a_meter([0.1] * 11)
    clock.now += 1.0
    assert meter.rate == pytest.approx(5.0)
    clock.now += 99.0
    assert (meter.rate, meter.median) == (0.0, None)
    assert meter.silence == pytest.approx(100.0)


def test_the_median_is_of_the_last_seconds():
    meter, _ = a_meter([1.0, 20.0, 1.0, 1.0], [1000.0, 3.0, 1.0, 2.0])
    assert meter.median == 2.0


def test_more_than_it_holds_leaves_the_rate_right():
    meter, _ = a_meter([0.001] * (3 * MAX_EVENTS))
    assert meter.rate == pytest.approx(1000.0)
