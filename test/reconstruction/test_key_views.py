"""Moves of key views are told once, and those below a centimetre add up until they are one."""

import pytest
import torch

from moonseg3r_core.errors import InputError
from moonseg3r_core.reconstruction.key_views import CorrectionLog, KeyViews, measure_moves


def views(**places):
    """Key views by number at x metres: views(_1=0.0)."""
    poses = torch.eye(4, dtype=torch.float64).repeat(len(places), 1, 1)
    poses[:, 0, 3] = torch.tensor(list(places.values()), dtype=torch.float64)
    numbers = torch.tensor([int(name[1:]) for name in places], dtype=torch.int64)
    return KeyViews(numbers, poses, torch.full((len(places),), 2.0, dtype=torch.float64))


def tell(log, **places):
    told = log.update(views(**places))
    return dict(zip(told.anchors.tolist(), told.new_from_old[:, 0, 3].tolist(), strict=True))


def test_a_move_is_told_once_and_small_ones_add_up():
    log = CorrectionLog()
    assert tell(log, _1=0.0, _2=1.0) == {}, "new ones have not moved"
    assert tell(log, _1=0.008, _2=1.5, _3=2.0) == pytest.approx({2: 0.5})
    assert tell(log, _1=0.008, _2=1.5, _3=2.0) == {}
    assert tell(log, _1=0.016, _2=1.5, _3=2.0) == pytest.approx({1: 0.016})
    assert tell(log, _2=1.5, _3=3.0, _7=9.0) == pytest.approx({3: 1.0}), "a removed one never moves again"


def test_a_turn_and_a_scale_move_what_is_far():
    still = torch.eye(4, dtype=torch.float64)[None]
    turned, scaled = still.clone(), still.clone()
    turned[0, :2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    scaled[0, :3, :3] *= 1.1
    depth = torch.tensor([2.0], dtype=torch.float64)
    # A probe lies 1 m aside and 0.8 m down at 2 m: it turns by sqrt(2) of its distance, and scales by a tenth of its own.
    assert measure_moves(still, turned, depth).item() == pytest.approx((2 * (1 + 0.64)) ** 0.5)
    assert measure_moves(still, scaled, depth).item() == pytest.approx(0.1 * (1 + 0.64 + 4) ** 0.5)


def test_a_saved_log_goes_on_where_it_was():
    log, other = CorrectionLog(), CorrectionLog()
    tell(log, _1=0.0, _2=1.0)
    tell(log, _1=0.008, _2=1.0)
    other.load_state_dict(log.state_dict())
    assert tell(other, _1=0.012, _2=1.0) == tell(log, _1=0.012, _2=1.0) == pytest.approx({1: 0.012})
    other.load_state_dict({})
    assert tell(other, _1=5.0) == {}, "an older file has no key views"
    with pytest.raises(InputError, match="anchors must rise"):
        other.load_state_dict(log.state_dict() | {"anchors": torch.tensor([2, 1])})
