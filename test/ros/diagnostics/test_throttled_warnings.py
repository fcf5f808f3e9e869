"""What is said, how often, and what is remembered of it."""

import pytest

from moonseg3r_ros.diagnostics.throttled_warnings import MOST, Voice


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def speaker():
    clock, lines = Clock(), []
    return Voice(lines.append, clock), clock, lines


def test_a_topic_is_said_at_once_and_then_every_ten_seconds_with_a_count():
    voice, clock, lines = speaker()
    for _ in range(5):
        voice.say("no depth", "no depth here")
        clock.now += 1
    voice.say("no pose", "no pose here")
    clock.now += 5
    voice.say("no depth", "no depth again")
    assert lines == ["no depth here", "no pose here", "no depth again (4 more since the last time)"]


def test_causes_are_those_of_late_in_the_order_of_their_last_mention():
    voice, clock, _ = speaker()
    voice.say("a", "old")
    clock.now += 20
    voice.say("b", "first")
    voice.say("c", "second")
    voice.say("b", "third")
    assert list(voice.causes().items()) == [("c", "second"), ("b", "third")]


def test_how_often_a_topic_was_spoken_of_lately_is_known():
    voice, clock, _ = speaker()
    for _ in range(21):
        voice.say("often", "every half second")
        clock.now += 0.5
    voice.say("once", "once")
    assert (voice.rate("often"), voice.rate("once"), voice.rate("never")) == (pytest.approx(2.0, abs=0.2), 0.0, 0.0)
    clock.now += 20
    assert voice.rate("often") == 0.0


def test_what_is_kept_is_bounded():
    voice, _, lines = speaker()
    for n in range(10 * MOST):
        voice.say(f"topic {n}", "text")
    assert len(voice.causes()) == MOST
    assert len(lines) == 10 * MOST
