"""One odd stamp is left out; several that agree, or a clock that went back too, are a jump of time."""

import pytest

from moonseg3r_core.sources.stamps import StampedItem, StampFilter


def play(*moments):
    """(stamp, arrived) of each image, or its stamp alone at which it arrives: those taken, those left out, the jumps."""
    stamps, taken, left_out, jumps = StampFilter(), [], [], []
    for moment in moments:
        stamp, arrived = moment if isinstance(moment, tuple) else (moment, moment)
        took, left, jump = stamps.add(StampedItem(stamp, arrived, None))
        taken += [each.stamp for each in took]
        left_out += [each.stamp for each in left]
        jumps += [jump] if jump else []
    return taken, left_out, jumps


def test_stamps_that_go_on_are_taken_at_once():
    assert play(1, 1.1, 1.1, 1.05, 1.3) == ([1, 1.1, 1.1, 1.05, 1.3], [], [])


@pytest.mark.parametrize("odd", [3.0, 7.0, -50.0, 1e9])
def test_one_odd_stamp_is_left_out(odd):
    assert play(5.0, 5.1, 5.2, (odd, 5.3), 5.4, 5.5) == ([5.0, 5.1, 5.2, 5.4, 5.5], [odd], [])


def test_one_stamp_ahead_of_a_slow_camera_is_left_out():
    moments = [n * 0.36 for n in range(10)]
    moments[5] = (moments[5] + 0.9, moments[5])
    taken, left_out, jumps = play(*moments)
    assert (len(taken), left_out, jumps) == (9, [moments[5][0]], [])


def test_images_that_come_late_in_a_burst_are_taken():
    moments = [n * 0.1 for n in range(10)] + [(1.0 + n * 0.1, 4.0) for n in range(5)] + [4.1, 4.2, 4.3]
    taken, left_out, jumps = play(*moments)
    assert (len(taken), left_out, jumps) == (18, [], [])


def test_a_slow_camera_whose_images_come_late_now_and_then_loses_none():
    late = (0.1, 1.3, 0.2, 0.9, 0.1, 0.1, 1.2, 0.1, 0.3, 0.1) * 3
    moments = [(float(n), n + delay) for n, delay in enumerate(late)]
    assert play(*moments) == ([float(n) for n in range(30)], [], [])


def test_odd_stamps_in_turn_with_good_ones_are_left_out_each():
    moments = [5.0, 5.1, 5.2, (3.0, 5.3), 5.4, (3.1, 5.5), 5.6, (3.2, 5.7), 5.8]
    assert play(*moments) == ([5.0, 5.1, 5.2, 5.4, 5.6, 5.8], [3.0, 3.1, 3.2], [])


def test_odd_stamps_that_do_not_agree_are_no_jump():
    moments = [5.0, 5.1, (3.0, 5.2), (1.0, 5.3), (4.0, 5.4), 5.5]
    assert play(*moments) == ([5.0, 5.1, 5.5], [3.0, 1.0, 4.0], [])


def test_three_that_agree_are_a_jump_and_none_is_lost():
    moments = [5.0, 5.1, (1.0, 5.2), (1.1, 5.3), (1.2, 5.4), (1.3, 5.5)]
    assert play(*moments) == ([5.0, 5.1, 1.0, 1.1, 1.2, 1.3], [], [pytest.approx(4.1)])


def test_a_short_loop_is_a_jump_though_its_third_image_is_nearly_at_the_end():
    moments = [5.0, 5.5, 6.0, 6.5, (5.0, 7.0), (5.5, 7.5), (6.0, 8.0), (6.5, 8.5)]
    assert play(*moments) == ([5.0, 5.5, 6.0, 6.5, 5.0, 5.5, 6.0, 6.5], [], [1.5])


def test_with_a_clock_that_went_back_one_is_enough():
    assert play(5.0, 5.1, 1.0, 1.1) == ([5.0, 5.1, 1.0, 1.1], [], [pytest.approx(4.1)])


def test_a_pause_of_the_camera_is_no_oddity():
    assert play(5.0, 5.1, 5.2, 95.0, 95.1) == ([5.0, 5.1, 5.2, 95.0, 95.1], [], [])


def test_a_jump_ahead_that_the_clock_did_not_make_is_taken_when_three_agree():
    moments = [5.0, 5.1, 5.2, (95.0, 5.3), (95.1, 5.4), (95.2, 5.5), (95.3, 5.6)]
    assert play(*moments) == ([5.0, 5.1, 5.2, 95.0, 95.1, 95.2, 95.3], [], [])


@pytest.mark.parametrize("speed", [0.01, 1.0, 1000.0])
def test_a_recording_that_is_played_at_any_speed_by_another_clock_goes_on(speed):
    moments = [(float(n), n / speed) for n in range(20)]  # one image a second
    assert play(*moments) == ([float(n) for n in range(20)], [], [])
