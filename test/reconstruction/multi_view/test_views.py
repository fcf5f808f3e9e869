"""Past views: which are kept, which are chosen as sources, and where they stand after a correction."""

import pytest
import torch

from moonseg3r_core.errors import InputError
from moonseg3r_core.reconstruction.multi_view.views import MAX_VIEWS, PastView, PastViews

EYE = torch.eye(4, dtype=torch.float64)
SIZE = 3, 4


def at(x, y=0.0, turn=0.0):
    pose = EYE.clone()
    angle = torch.deg2rad(torch.tensor(turn, dtype=torch.float64))
    pose[0, 0] = pose[2, 2] = angle.cos()
    pose[0, 2], pose[2, 0] = angle.sin(), -angle.sin()
    pose[0, 3], pose[1, 3] = x, y
    return pose


def make_view(pose, anchor=0, size=SIZE):
    fine = torch.zeros(3, *(2 * side for side in size), dtype=torch.float16)
    return PastView(torch.zeros(2, *size, dtype=torch.float16), fine, pose, anchor, EYE)


def make_views(*poses):
    views = PastViews()
    for pose in poses:
        views.add(make_view(pose), 1.0)
    return views


def choose(views, count, pose=EYE):
    return [round(float(view.pose[0, 3]), 3) for view in views.choose(pose, 1.0, count, SIZE)]


def test_a_standing_camera_adds_one_view():
    assert len(make_views(at(0), at(0.001), at(0.002, turn=1.0))) == 1
    assert len(make_views(at(0), at(0.03), at(0.03, turn=2.0))) == 3


def test_the_oldest_view_goes():
    views = make_views(*(at(0.1 * number) for number in range(MAX_VIEWS + 5)))
    assert len(views) == MAX_VIEWS


def test_the_best_baseline_comes_first_and_views_that_look_away_never():
    views = make_views(at(0.3), at(0.02), at(0.1), at(0.12, turn=50.0), at(0.9))
    assert choose(views, 1) == [0.1]
    assert sorted(choose(views, 9)) == [0.02, 0.1, 0.3]


def test_sources_stand_apart_from_one_another():
    views = make_views(at(0.1), at(0.121), at(0.125, turn=3.0), at(-0.2))
    assert choose(views, 2) == [0.1, -0.2]


def test_features_of_another_size_are_no_sources():
    views = make_views(at(0.1))
    views.add(make_view(at(0.2), size=(6, 8)), 1.0)
    assert choose(views, 4) == [0.1]


def test_views_follow_their_anchor():
    views = PastViews()
    views.add(make_view(at(1.0), anchor=3), 1.0)
    views.add(make_view(at(2.0), anchor=4), 1.0)
    moved = EYE.clone()
    moved[1, 3] = 5.0
    for _ in range(2):  # a correction counts once
        views.correct({3: moved})
    first, second = (view.pose for view in views.choose(at(1.3, 5.0), 100.0, 4, SIZE))
    assert {tuple(first[:2, 3].tolist()), tuple(second[:2, 3].tolist())} == {(1.0, 5.0), (2.0, 0.0)}
    assert views.anchors == {3, 4}


def test_a_state_comes_back_and_a_damaged_one_is_refused():
    views = make_views(at(0.1), at(0.3))
    state, other = views.state_dict(), PastViews()
    other.load_state_dict(state)
    assert choose(other, 4) == choose(views, 4)
    with pytest.raises(InputError, match="finite"):
        other.load_state_dict(state | {"poses": state["poses"] * torch.nan})
    empty = PastViews()
    empty.load_state_dict(PastViews().state_dict())
    assert len(empty) == 0
