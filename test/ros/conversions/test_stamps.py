"""Running frame numbers and their stamps, also above those of a loaded map."""

import pytest
import torch

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from moonseg3r_core.types import Instance
from moonseg3r_ros.conversions.stamps import FrameStamps

STAMP = 1_789_000_000_123_456_789  # nanoseconds: float64 would lose the last digits


def make_state(first, last, retired_before=0):
    return {
        "store.instances.first_frame": torch.tensor(first, dtype=torch.int64),
        "store.instances.last_frame": torch.tensor(last, dtype=torch.int64),
        "store.retired.whole": torch.tensor([[7, 0, first[0], last[0], 1]] if first else []).long().view(-1, 5),
        "store.retired_before": torch.tensor(retired_before),
        "store.map.sums": torch.tensor([first]),
    }


def test_frames_are_numbered_from_0_and_a_stamp_that_jumps_back_keeps_its_number():
    stamps = FrameStamps()
    assert [stamps.add(stamp) for stamp in (STAMP, STAMP + 5, STAMP - 9)] == [0, 1, 2]
    assert [stamps.get_stamp(number) for number in range(3)] == [STAMP, STAMP + 5, STAMP - 9]
    instance = stamps.stamp_instance(Instance(1, 2, (0, 0, 0), (0, 0, 0), (0, 0, 0), 0.5, 0, 2, 3))
    assert (instance.first_frame, instance.last_frame) == (STAMP, STAMP - 9)


def test_a_state_has_stamps_in_place_of_numbers():
    stamps = FrameStamps()
    for n in range(4):
        stamps.add(STAMP + n)
    state = stamps.stamp_state(make_state([0, 1], [2, 3], 3))
    expected = make_state([STAMP, STAMP + 1], [STAMP + 2, STAMP + 3], STAMP + 3)
    expected["store.map.sums"] = torch.tensor([[0, 1]])
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


def test_numbers_go_on_above_a_loaded_maps_stamps_which_stay():
    stamps = FrameStamps(make_state([STAMP], [STAMP + 2], STAMP + 6))
    assert stamps.add(5) == STAMP + 7
    saved = stamps.stamp_state(make_state([STAMP, STAMP + 7], [STAMP + 7, STAMP + 7], STAMP + 6))
    assert saved["store.instances.first_frame"].tolist() == [STAMP, 5]
    assert saved["store.retired_before"].item() == STAMP + 6
    assert FrameStamps(make_state([], [])).add(STAMP) == 1  # above 0, where nothing was retired yet
