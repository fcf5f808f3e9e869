"""What is said, how often, and what is remembered of it."""

import pytest
from fake_clock import Clock

from moonseg3r_ros.diagnostics.throttled_warnings import MAX_TOPICS, ThrottledWarnings


def make_warnings():
    clock, lines = Clock(), []
    return ThrottledWarnings(lines.append, clock), clock, lines


def test_a_topic_is_said_at_once_and_then_every_ten_seconds_with_a_count():
    warnings, clock, lines = make_warnings()
    for _ in range(5):
        warnings.warn("no depth", "no depth here")
        clock.now += 1
    warnings.warn("no pose", "no pose here")
    clock.now += 5
    warnings.warn("no depth", "no depth again")
    assert lines == ["no depth here", "no pose here", "no depth again (4 more since the last time)"]


def test_causes_are_those_of_late_in_the_order_of_their_last_mention():
    warnings, clock, _ = make_warnings()
    warnings.warn("a", "old")
    clock.now += 20
    warnings.warn("b", "first")
    warnings.warn("c", "second")
    warnings.warn("b", "third")
    assert list(warnings.list_recent().items()) == [("c", "second"), ("b", "third")]


def test_how_often_a_topic_was_spoken_of_lately_is_known():
    warnings, clock, _ = make_warnings()
    for _ in range(21):
        warnings.warn("often", "every half second")
        clock.now += 0.5
    warnings.warn("once", "once")
    assert (warnings.get_rate("often"), warnings.get_rate("once"), warnings.get_rate("never")) == (
        pytest.approx(2.0, abs=0.2),
        0.0,
        0.0,
    )
    clock.now += 20
    assert warnings.get_rate("often") == 0.0


def test_what_is_kept_is_bounded():
    warnings, _, lines = make_warnings()
    for n in range(10 * MAX_TOPICS):
        warnings.warn(f"topic {n}", "text")
    assert len(warnings.list_recent()) == MAX_TOPICS
    assert len(lines) == 10 * MAX_TOPICS
