"""Frames from messages as they arrive: what waits for what and how long, what is said, what garbage does."""

from __future__ import annotations

import itertools
import math
from array import array
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ros_messages import SECOND, edge, flat, metres, odometry, pose_stamped, shift, tf

from moonseg3r_core import FrameAssembler, FrameMessages, FrameRejected, decode_frame
from moonseg3r_core.sources import transforms
from moonseg3r_core.sources.assembly import PAIRING_TIMEOUT_S
from moonseg3r_core.sources.bag_reader import TYPES
from moonseg3r_core.sources.messages import explain_misfit
from moonseg3r_core.sources.registration import reproject_depth
from moonseg3r_core.sources.transforms import MAX_SAMPLES, TransformError
from moonseg3r_core.sources.write_bag import make_camera_info, make_header, make_image
from moonseg3r_core.types import Frame

SIZE = (6, 8)
K = torch.tensor([[10.0, 0, 3.5], [0, 10, 2.5], [0, 0, 1]])
Event = tuple[float, str, object]  # arrival in seconds, what it is, message


def color(n: int, stamp: float) -> object:
    return make_image(flat(n), "rgb8", round(stamp * SECOND))


def depth(n: int, stamp: float) -> object:
    return make_image(metres(n + 1), "16UC1", round(stamp * SECOND))


def info(**changes: object) -> object:
    message = make_camera_info(K, SIZE, 0)
    for key, value in changes.items():
        setattr(message, key, value)
    return message


class Stream:
    """An assembler with what it said and gave; time is that of the event that came last."""

    def __init__(self, **changes: object) -> None:
        self.said: dict[str, str] = {}
        self.left_out: list[str] = []
        self.jumps: list[float] = []
        needs = {
            "with_depth": True, "with_info": True, "with_pose": True, "world": None, "rectified": False, "depth_topic": "",
            "may_release": lambda message, stamp, early: True, "warn": self.said.__setitem__,
            "leave_out": lambda why: self.left_out.append(why.reason), "report_jump": lambda seconds: self.jumps.append(seconds),
        }  # fmt: skip
        self.assembler = FrameAssembler(**{**needs, **changes})
        self.out: list[tuple[float, FrameMessages]] = []

    def take(self, now: float, kind: str, message: object) -> None:
        add = {
            "image": lambda: self.assembler.add_image(int(message.data[0]), message, now),
            "depth": lambda: self.assembler.add_depth(message, now),
            "info": lambda: self.assembler.add_info(message),
            "depth_info": lambda: self.assembler.add_depth_info(message),
            "tf": lambda: self.assembler.add_transforms(message, now, static=False),
            "tf_static": lambda: self.assembler.add_transforms(message, now, static=True),
            "pose": lambda: self.assembler.add_pose("/odom", message, now),
            "nothing": lambda: None,
        }
        add[kind]()
        self.out += [(now, parts) for parts in self.assembler.pop_ready(now)]

    def play(self, events: list[Event]) -> list[int]:
        """Take events in the order of their arrival; the indices that have come out by now."""
        for event in sorted(events, key=lambda event: event[0]):
            self.take(*event)
        return [parts.index for _, parts in self.out]

    @property
    def frames(self) -> dict[int, Frame]:
        return {parts.index: decode_frame(parts) for _, parts in self.out}


def moment(n: int, stamp: float, late: float = 0.0) -> list[Event]:
    """All that belongs to one image, arriving `late`: n red, n + 1 metres of depth, n metres along x."""
    at = stamp + late
    return [
        (at, "image", color(n, stamp)),
        (at, "depth", depth(n, stamp)),
        (at, "info", info()),
        (at, "tf", tf(edge(n, stamp))),
    ]


def check(frame: Frame, n: int) -> None:
    assert frame.index == n
    assert int(frame.image[0, 0, 0]) == n
    assert torch.equal(frame.depth, torch.full(SIZE, n + 1.0))
    assert torch.equal(frame.intrinsics, K)
    assert torch.equal(frame.world_from_camera, torch.from_numpy(shift(n)))


class TestWaiting:
    @pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
    def test_the_very_first_image_goes_out_with_the_last_of_its_parts(self, order):
        stream, events = Stream(), moment(7, 100.0)
        assert stream.play([events[i] for i in order[:3]]) == []
        assert stream.play([events[order[3]]]) == [7]
        check(stream.frames[7], 7)
        assert stream.said == {}

    def test_nothing_asked_for_is_nothing_waited_for(self):
        stream = Stream(with_depth=False, with_info=False, with_pose=False)
        assert stream.play([(100.0, "image", color(3, 100.0))]) == [3]
        frame = stream.frames[3]
        assert (frame.depth, frame.intrinsics, frame.world_from_camera) == (None, None, None)
        assert stream.said == {}

    def test_an_image_waits_for_depth_of_its_stamp_or_a_later_one(self):
        stream = Stream(with_info=False, with_pose=False)
        assert stream.play([(100.0, "image", color(0, 100.0)), (100.0, "depth", depth(0, 99.98))]) == []
        assert stream.play([(100.1, "depth", depth(1, 100.08))]) == []  # the frame rate is not known yet
        assert stream.play([(100.1, "image", color(1, 100.1))]) == [0]
        assert stream.play([(100.2, "depth", depth(2, 100.18))]) == [0, 1]
        assert [float(frame.depth[0, 0]) for frame in stream.frames.values()] == [1.0, 2.0]

    @pytest.mark.parametrize("missing", [0, 1, 2])
    def test_patience_ends(self, missing):
        events = moment(0, 100.0)
        _, kind, _ = events.pop(missing + 1)
        stream = Stream()
        assert stream.play([*events, (100 + PAIRING_TIMEOUT_S, "nothing", None)]) == []
        assert stream.play([(100.001 + PAIRING_TIMEOUT_S, "nothing", None)]) == [0]
        frame = stream.frames[0]
        lacks = {"depth": frame.depth, "info": frame.intrinsics, "tf": frame.world_from_camera}
        assert [name for name, value in lacks.items() if value is None] == [kind]
        assert list(stream.said) == [{"depth": "no depth", "info": "no camera_info", "tf": "no pose"}[kind]]

    def test_images_wait_for_the_first_camera_info_and_then_the_last_one_holds(self):
        stream, twice = Stream(with_depth=False, with_pose=False), info(k=2 * K.double().numpy().ravel())
        images = [(100 + n / 10, "image", color(n, 100 + n / 10)) for n in range(8)]
        assert stream.play(images[:6]) == []
        assert stream.play([(100.55, "info", info())]) == [0, 1, 2, 3, 4, 5]
        assert stream.play([images[6], (100.65, "info", twice), images[7]]) == [0, 1, 2, 3, 4, 5, 6, 7]
        assert [float(frame.intrinsics[0, 0]) for frame in stream.frames.values()] == [10.0] * 7 + [20.0]

    def test_a_root_that_is_not_the_map_is_waited_for_unless_it_is_given(self):
        events = [(100.0, "image", color(0, 100.0)), (100.0, "tf", tf(edge(5, 100.0, "odom", "camera")))]
        stream = Stream(with_depth=False, with_info=False)
        assert stream.play(events) == []
        assert stream.assembler.world is None
        assert stream.play([(100.4, "tf", tf(edge(90, 100.0, "map", "odom")))]) == [0]
        assert (stream.assembler.world, float(stream.frames[0].world_from_camera[0, 3])) == ("map", 95.0)
        alone = Stream(with_depth=False, with_info=False)
        assert alone.play([*events, (100.0 + PAIRING_TIMEOUT_S, "nothing", None)]) == [0]
        assert alone.assembler.world == "odom"
        assert Stream(with_depth=False, with_info=False, world="/odom").play(events) == [0]

    def test_an_image_may_be_held_up_as_long_for_a_reason_of_its_callers(self):
        asked, free = [], set()

        def may_release(message, stamp, early):
            asked.append((int(message.data[0]), stamp, early))
            return stamp in free

        stream = Stream(with_depth=False, with_info=False, with_pose=False, may_release=may_release)
        assert stream.play([(100.0, "image", color(0, 100.0)), (100.9, "image", color(1, 100.9))]) == []
        assert set(asked) == {(0, 100.0, True)}
        free.add(100.0)
        assert stream.play([(100.95, "nothing", None)]) == [0]
        assert stream.play([(101.0, "info", info())]) == [0]
        assert asked[-1] == (1, 100.9, False)  # a second after the first image
        assert stream.play([(101.9, "nothing", None)]) == [0]
        assert stream.play([(101.91, "nothing", None)]) == [0, 1]
        assert [parts.info is not None for _, parts in stream.out] == [False, True]  # used, though nobody asked for it

    def test_what_is_needed_comes_before_the_callers_reason(self):
        asked = []
        stream = Stream(with_depth=False, with_pose=False, may_release=lambda *image: asked.append(image) or True)
        assert stream.play([(100.0, "image", color(0, 100.0))]) == []
        assert not asked
        assert stream.play([(100.1, "info", info())]) == [0]

    def test_the_body_that_carries_the_camera_is_no_world(self):
        stream = Stream(with_depth=False, with_info=False)
        body = (100.0, "tf_static", tf(edge(1, 0, "base", "camera")))
        assert stream.play([body, (100.0, "image", color(0, 100.0)), (103.0, "nothing", None)]) == [0]
        assert (stream.out[0][1].pose, stream.assembler.world) == (None, None)
        assert "nothing tells where 'base' is, to which the camera's frame 'camera' is fixed" in stream.said["no pose"]
        assert stream.play([(103.0, "image", color(4, 103.0)), (103.0, "tf", tf(edge(3, 103.0, "start", "base")))]) == [
            0,
            4,
        ]
        assert (stream.assembler.world, float(stream.frames[4].world_from_camera[0, 3])) == ("start", 4.0)
        fixed = Stream(with_depth=False, with_info=False)  # on a wall, say
        hung = (100.0, "tf_static", tf(edge(2, 0, "world", "base")))
        assert fixed.play([body, hung, (100.0, "image", color(0, 100.0)), (101.0, "nothing", None)]) == [0]
        assert (fixed.assembler.world, float(fixed.frames[0].world_from_camera[0, 3])) == ("world", 3.0)

    def test_in_the_first_second_only_depth_of_the_very_stamp_is_sure(self):
        stream = Stream(with_info=False)
        for n in range(9):
            late = 0.0 if n == 0 else 0.01
            stream.play([e for e in moment(n, 100 + n / 10) if e[1] in ("image", "tf")])
            stream.take(100 + n / 10, "depth", depth(n, 100 + n / 10 + late))
            assert [parts.index for _, parts in stream.out] == list(range(1 if n < 1 else n + 1))
        unsure = Stream(with_info=False)
        for n in range(12):
            unsure.play([e for e in moment(n, 100 + n / 10) if e[1] in ("image", "tf")])
            unsure.take(100 + n / 10, "depth", depth(n, 100 + n / 10 + 0.01))
            assert len(unsure.out) == (0 if n < 10 else n + 1)

    def test_images_go_out_in_the_order_of_arrival(self):
        stream = Stream(with_info=False, with_pose=False)
        early = [
            (100.0, "image", color(1, 100.1)),
            (100.0, "image", color(0, 100.0)),
            (100.0, "depth", depth(0, 100.0)),
        ]
        assert stream.play(early) == []
        assert stream.assembler.newest_stamp == 100.1
        assert stream.play([(100.1, "depth", depth(1, 100.1))]) == [1, 0]

    def test_pose_topics_place_the_camera(self):
        stream = Stream(with_depth=False, with_info=False)
        stream.play([(100.0, "image", color(4, 100.0)), (100.0, "pose", pose_stamped(4, 100.0))])
        assert float(stream.frames[4].world_from_camera[0, 3]) == 4
        body = Stream(with_depth=False, with_info=False, world="odom")
        tree = [
            (99.0, "tf_static", tf(edge(1, 0, "base", "camera"))),
            (100.0, "tf", tf(edge(50, 100.0, "odom", "base"))),
        ]
        body.play([tree[0], (99.9, "pose", odometry(3, 100.0, "base")), tree[1], (100.0, "image", color(4, 100.0))])
        assert float(body.frames[4].world_from_camera[0, 3]) == 4  # the frame that odometry places is left to it

    def test_images_that_are_passed_tell_the_frame_rate(self):
        stream = Stream(with_info=False, with_pose=False)
        stream.take(100.0, "image", color(0, 100.0))
        stream.assembler.skip_image(color(1, 100.4), 100.4)
        assert stream.play([(100.4, "depth", depth(0, 100.15))]) == [0]
        assert stream.frames[0].depth is not None  # within half of 0.4 s


def poses(parent: str, child: str, speed: float, count: int = 40) -> list[Event]:
    """A transform 25 times a second, moving along x."""
    return [(99.9 + n / 25, "tf", tf(edge(speed * n, 99.9 + n / 25, parent, child))) for n in range(count)]


def topics(root: str, offset: float, count: int = 8) -> list[list[Event]]:
    """A stream's topics, each in its own order: images at 10 Hz and all that belongs to them."""
    stamps = [100 + n / 10 for n in range(count)]
    return [
        [(s, "image", color(n, s)) for n, s in enumerate(stamps)],
        [(s, "depth", depth(n, s + offset)) for n, s in enumerate(stamps)],
        [(99.9, "info", info()), (100.5, "info", info())],
        [(99.9, "tf_static", tf(edge(1, 0, "base", "camera")))],
        poses(root, "odom", 0.5),
        poses("odom", "base", 2.0),
    ]


def delayed(events: list[Event], delays: list[float]) -> list[Event]:
    """Each event late, none before its predecessor: as a network brings one topic."""
    arrivals = itertools.accumulate((at + late for (at, _, _), late in zip(events, delays, strict=True)), max)
    return [(at, kind, message) for at, (_, kind, message) in zip(arrivals, events, strict=True)]


ENDING: list[Event] = [(101 + n / 20, "nothing", None) for n in range(60)]


def same(one: Frame, other: Frame) -> bool:
    """True when two frames hold the same numbers, poses to a millionth."""
    pose = torch.allclose(one.world_from_camera, other.world_from_camera, atol=1e-6)
    return pose and all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in ("image", "depth", "intrinsics")
    )


@cache
def undisturbed(root: str, offset: float) -> tuple[list[Event], dict[int, Frame]]:
    """A stream's events, and its frames when none is late or lost."""
    events, stream = [*itertools.chain(*topics(root, offset))], Stream()
    assert stream.play([*events, *ENDING]) == list(range(8))
    return events, stream.frames


class TestProperties:
    @settings(max_examples=15, deadline=None)
    @given(st.data(), st.sampled_from(["map", "earth"]), st.sampled_from([0.0, 0.004, -0.004]))
    def test_the_order_of_arrival_within_patience_does_not_matter(self, data, root, offset):
        late = Stream()
        delays = st.floats(0, 0.9 * PAIRING_TIMEOUT_S)
        mixed = [
            delayed(t, data.draw(st.lists(delays, min_size=len(t), max_size=len(t)))) for t in topics(root, offset)
        ]
        assert late.play([*itertools.chain(*mixed), *ENDING]) == list(range(8))
        assert all(map(same, undisturbed(root, offset)[1].values(), late.frames.values()))

    @settings(max_examples=25, deadline=None)
    @given(st.data(), st.sampled_from(["map", "earth"]))
    def test_a_lost_message_costs_no_other_frame_anything(self, data, root):
        straight, whole = undisturbed(root, 0.0)
        torn = Stream()
        at, kind, message = lost = data.draw(st.sampled_from(straight))
        torn.play([*(event for event in straight if event is not lost), *ENDING])
        indices = [n for n in range(8) if kind != "image" or int(message.data[0]) != n]
        assert [parts.index for _, parts in torn.out] == indices
        assert all(now - parts.stamp <= PAIRING_TIMEOUT_S + 0.11 for now, parts in torn.out)
        if kind != "tf_static":  # of which there is one
            frames = torn.frames
            bare = [n for n in indices if kind == "depth" and at == 100 + n / 10]
            assert [n for n in indices if frames[n].depth is None] == bare
            assert all(same(whole[n], frames[n]) for n in indices if n not in bare)


class TestRegistering:
    """The depth camera sits 0.2 m to the right of the colour camera; a wall is 2 m away: two pixels of 10 px focal length
    lie between what both see.
    """

    WIDE = torch.tensor([[10.0, 0, 3.5], [0, 10, 2.5], [0, 0, 1]]) * torch.tensor([[2.0], [2.0], [1.0]])

    def play(self, stream: Stream, wide: bool = False, seconds: float = 0.0) -> Frame:
        wall = metres(2, (12, 16)) if wide else metres(2)
        message = make_image(wall, "16UC1", 100 * SECOND)
        message.header = make_header(100 * SECOND, "depth_camera")
        own = make_camera_info(self.WIDE, (12, 16), 0) if wide else make_camera_info(K + 1e-3, SIZE, 0)
        own.header = make_header(0, "depth_camera")
        stream.play(
            [
                (100.0, "image", color(0, 100.0)),
                (100.0, "depth", message),
                (100.0, "info", info()),
                (100.0 + seconds, "depth_info", own),
                (100.0 + seconds, "tf_static", tf(edge(0.2, 0, "camera", "depth_camera"))),
            ]
        )
        return stream.frames[0]

    @pytest.mark.parametrize("wide", [False, True])
    def test_depth_moves_to_where_the_colour_camera_sees_it(self, wide):
        stream = Stream(with_pose=False, depth_topic="/depth/image")
        seen = self.play(stream, wide).depth
        assert torch.equal(seen > 0, torch.tensor([[n >= 1 for n in range(8)]] * 6))
        assert torch.equal(seen[seen > 0], torch.full((int((seen > 0).sum()),), 2.0))
        assert stream.said == {}

    def test_the_colour_camera_info_is_not_that_of_the_depth(self):
        stream, other = Stream(with_pose=False, depth_topic="/cam/depth"), depth(0, 100.0)
        other.header = make_header(100 * SECOND, "depth_camera")
        static = tf(edge(0.2, 0, "camera", "depth_camera"))
        events = [(100.0, "info", info()), (100.0, "depth_info", info()), (100.0, "tf_static", static)]
        stream.play([*events, (100.0, "depth", other), (100.0, "image", color(0, 100.0)), (101.5, "nothing", None)])
        assert "no camera_info of the depth has come" in stream.said["no depth"]

    def test_an_image_waits_for_what_registers_its_depth(self):
        stream = Stream(with_pose=False, depth_topic="/depth/image")
        assert self.play(stream, seconds=0.5).depth is not None
        assert stream.out[0][0] == 100.5

    def test_extrinsics_that_stop_hold_on(self):
        stream = Stream(with_pose=False, depth_topic="/depth/image")
        for n, at in enumerate((100.0, 103.0)):
            message = make_image(metres(2), "16UC1", round(at * SECOND))
            message.header = make_header(round(at * SECOND), "depth_camera")
            parts = [(at, "tf", tf(edge(0.2, at, "camera", "depth_camera")))] if n == 0 else []
            own = make_camera_info(K + 1, SIZE, 0)
            own.header = message.header
            parts += [(at, "info", info()), (at, "depth_info", own)]
            stream.play([*parts, (at, "depth", message), (at, "image", color(n, at)), (at + 1.5, "nothing", None)])
        assert [parts.depth_camera is not None for _, parts in stream.out] == [True, True]
        assert stream.said == {}

    @pytest.mark.parametrize(("k", "is_own"), [(K, False), (WIDE, False), (WIDE * 0.75, True), (K * 0, False)])
    def test_depth_of_the_same_frame_with_another_camera_matrix_is_registered_by_it(self, k, is_own):
        size = (12, 16) if k is self.WIDE or is_own else SIZE
        stream = Stream(with_pose=False, depth_topic="/depth/image")
        events = [(100.0, "info", info()), (100.0, "depth_info", make_camera_info(k, size, 0))]
        stream.play([*events, (100.0, "depth", depth(0, 100.0)), (100.0, "image", color(0, 100.0))])
        assert (stream.out[0][1].depth_camera is not None) == is_own

    def test_the_nearer_surface_hides_the_farther_one(self):
        depth = np.array([[2.0, 2.0, 1.0, 2.0]])
        k = np.array([[10.0, 0, 1.5], [0, 10, 0], [0, 0, 1]])
        moved = np.eye(4)
        moved[0, 3] = 0.2  # two pixels at 1 m, one at 2 m
        assert reproject_depth(depth, k, np.eye(4), k, (1, 4)).tolist() == [[2, 2, 1, 2]]
        assert reproject_depth(depth, k, moved, k, (1, 4)).tolist() == [[0, 2, 2, 0]]
        moved[0, 3] = 0.1
        assert reproject_depth(depth, k, moved, k, (1, 4))[0, 3] == 1, "the near pixel lies before the far one"

    def test_a_turned_camera_behind_sees_other_depths(self):
        k = np.array([[10.0, 0, 2], [0, 10, 2], [0, 0, 1]])
        behind = np.eye(4)
        behind[2, 3] = 0.5
        half_turn = np.diag([-1.0, -1.0, 1.0, 1.0])
        depth = np.zeros((5, 5), np.float32)
        depth[2, 1] = 1.5
        assert float(reproject_depth(depth, k, behind, k, (5, 5)).max()) == 2.0
        assert float(reproject_depth(depth, k, half_turn, k, (5, 5))[2, 3]) == 1.5


class TestOptionalInfo:
    def test_one_of_another_shape_is_done_without_and_one_of_another_size_is_scaled(self):
        for size, k in (((6, 12), None), ((12, 16), TestRegistering.WIDE)):
            stream = Stream(with_info=False, with_depth=False, with_pose=False)
            other = make_camera_info(K if k is None else k, size, 0)
            stream.play([(100.0, "info", other), (100.0, "image", color(0, 100.0))])
            got = stream.frames[0].intrinsics
            assert list(stream.said) == ["camera_info"]
            if k is None:
                assert got is None
                assert "frames come without intrinsics" in stream.said["camera_info"]
            else:
                assert torch.allclose(got[:2, :2], K[:2, :2])
                assert "it is scaled to them" in stream.said["camera_info"]

    def test_a_principal_point_far_from_the_middle_is_not_scaled(self):
        message = make_camera_info(K, (24, 32), 0)
        assert "must be for images of 8x6, got 32x24" in explain_misfit(message, SIZE, False)


class TestSaying:
    def test_causes_are_named(self):
        stream = Stream()
        stream.play([(100.0, "image", color(0, 100.0)), (100.0, "tf", tf(edge(0, 100.0, "map", "lidar")))])
        stream.play([(102.0, "nothing", None)])
        assert stream.said == {
            "no camera_info": "no camera_info has come; frames come without intrinsics",
            "no depth": "no depth image has come",
            "no pose": "no pose at 100.000 s: no transform leads to the camera's frame 'camera'; known frames: lidar, map",
        }

    def test_how_far_the_nearest_depth_is(self):
        stream = Stream(with_info=False, with_pose=False)
        events = [(100 + n / 10, "image", color(n, 100 + n / 10)) for n in range(3)]
        stream.play([*events, (100.2, "depth", depth(0, 100.53))])
        assert stream.said["no depth"].endswith("0.050 s of the image at 100.200 s, the nearest is 0.330 s away")

    @pytest.mark.parametrize(
        ("changes", "topic"),
        [
            ({"k": np.zeros(9), "p": np.zeros(12)}, ["uncalibrated"]),
            ({"d": np.array([0.1, 0, 0, 0, 0])}, ["distortion"]),
            ({}, []),
        ],
    )
    def test_what_camera_info_lacks(self, changes, topic):
        stream = Stream(with_depth=False, with_pose=False)
        stream.play([(100.0, "image", color(0, 100.0)), (100.0, "info", info(**changes))])
        assert list(stream.said) == topic
        assert (stream.frames[0].intrinsics is None) == (topic == ["uncalibrated"])
        rectified = Stream(with_depth=False, with_pose=False, rectified=True)
        rectified.play([(100.0, "image", color(0, 100.0)), (100.0, "info", info(**changes))])
        assert list(rectified.said) == [name for name in topic if name != "distortion"]

    def test_depth_of_another_frame_that_nothing_registers_is_left_out_with_the_remedy(self):
        stream, other = Stream(with_info=False, with_pose=False), depth(0, 100.0)
        other.header = make_header(100 * SECOND, "depth_camera")
        stream.play([(100.0, "image", color(0, 100.0)), (100.0, "depth", other), (101.5, "nothing", None)])
        assert "depth lies in frame 'depth_camera', colour in 'camera'" in stream.said["no depth"]
        assert "align_depth.enable:=true" in stream.said["no depth"]
        assert stream.frames[0].depth is None

    @pytest.mark.parametrize(
        ("topic", "with_infos"), [("/camera/aligned_depth_to_color/image_raw", False), ("/d", True)]
    )
    def test_depth_of_another_frame_is_registered_by_its_name_or_its_camera_matrix(self, topic, with_infos):
        stream, other = Stream(with_info=False, with_pose=False, depth_topic=topic), depth(0, 100.0)
        other.header = make_header(100 * SECOND, "depth_camera")
        own = info(header=make_header(0, "depth_camera"))
        infos = [(100.0, "info", info()), (100.0, "depth_info", own)] if with_infos else []
        stream.play([*infos, (100.0, "image", color(0, 100.0)), (100.0, "depth", other), (101.5, "nothing", None)])
        assert stream.said == {"frames": "depth lies in frame 'depth_camera', colour in 'camera'; taken as registered"}
        assert torch.equal(stream.frames[0].depth, torch.full(SIZE, 1.0))

    def test_a_slash_is_no_other_frame(self):
        stream, other = Stream(with_info=False, with_pose=False), depth(0, 100.0)
        other.header = make_header(100 * SECOND, "/camera")
        stream.play([(100.0, "image", color(0, 100.0)), (100.0, "depth", other)])
        assert stream.said == {}
        assert stream.frames[0].depth is not None

    def test_a_bad_transform_is_said_and_those_with_it_hold(self):
        stream, bad = Stream(with_depth=False, with_info=False), edge(0, 100.0, "map", "hand")
        bad.transform.translation.x = math.nan
        stream.play([(100.0, "image", color(3, 100.0)), (100.0, "tf", tf(bad, edge(3, 100.0)))])
        assert list(stream.said) == ["bad transform on /tf"]
        assert stream.said["bad transform on /tf"].startswith("/tf: map <- hand: a transform must be finite")
        assert float(stream.frames[3].world_from_camera[0, 3]) == 3
        stream.take(100.0, "tf_static", tf(edge(0, 0, "camera", "camera")))
        assert "cannot be its own parent" in stream.said["bad transform on /tf_static"]
        still = odometry(0, 100.0, "base")
        still.pose.pose.orientation.w = 0.0
        stream.take(100.0, "pose", still)
        assert "with a rotation" in stream.said["bad transform on /odom"]


class TestTimeGoesBack:
    """A clock that goes back with the stamps, as simulated time does; and one that does not."""

    def test_what_lasts_and_what_is_forgotten(self):
        stream = Stream()
        base = (100.0, "tf_static", tf(edge(1, 0, "base", "camera")))
        stream.play([base, *moment(0, 100.0)[:3], (100.0, "tf", tf(edge(7, 100.0, "map", "base")))])
        stream.take(100.1, "image", color(1, 100.1))
        again = [(98.0, "image", color(2, 98.0)), (98.0, "tf", tf(edge(8, 98.0, "map", "base")))]
        assert stream.play(again[:1]) == [0]
        assert stream.jumps == [pytest.approx(2.1)]
        assert (stream.assembler.pending, stream.assembler.newest_stamp, stream.assembler.world) == (1, 98.0, "map")
        assert (
            stream.assembler._poses.buffer.find_parent("camera"),
            stream.assembler._poses.buffer.find_parent("base"),
        ) == ("base", None)
        assert stream.play(again[1:]) == [0]
        assert stream.play([(98.0, "depth", depth(2, 98.0))]) == [0, 2]
        frame = stream.frames[2]
        assert (float(frame.depth[0, 0]), float(frame.world_from_camera[0, 3])) == (3.0, 9.0)

    def test_the_tree_and_the_frame_rate_are_learned_anew(self):
        stream = Stream(with_info=False)
        stream.play([(5.0, "tf_static", tf(edge(1, 0, "base", "camera")))])
        stream.play([(n / 2, "image", color(n, n / 2)) for n in range(10, 14)])
        given = [10]  # which waited for more than a second
        again = [(1.0, "image", color(0, 1.0)), (1.0, "tf", tf(edge(2, 1.0, "odom", "base")))]
        assert stream.play([*again, (1.0, "depth", depth(0, 1.0)), (1.9, "nothing", None)]) == given
        assert stream.play([(2.1, "nothing", None)]) == [*given, 0]
        stream.take(0.3, "image", color(1, 0.3))  # shortly after the start of all time
        assert (
            stream.assembler._poses.buffer.find_parent("camera"),
            stream.assembler._poses.buffer.find_parent("base"),
        ) == ("base", None)
        again = [(0.3, "tf", tf(edge(2, 0.3, "odom", "base"))), (0.3, "depth", depth(1, 0.31))]
        assert stream.play(again) == [*given, 0]
        assert stream.play([(0.4, "image", color(2, 0.4))]) == [*given, 0, 1]
        assert len(stream.jumps) == 2

    def test_what_came_ahead_of_the_first_image_is_kept(self):
        stream = Stream()
        for n in range(50):
            stream.play(moment(n, 100 + n / 10))
        stream.play([(100.0, "tf", tf(edge(3, 100.0))), (100.0, "depth", depth(3, 100.0))])
        assert stream.assembler.newest_stamp == 104.9
        assert stream.play([(100.0, "image", color(3, 100.0))])[-1] == 3
        check(stream.frames[3], 3)

    def test_a_loop_that_nobody_tells_of(self):
        stream = Stream()
        for n in range(100):
            stream.play(moment(n % 50, 100 + n % 50 / 10, late=n // 50 * 5.0))
        assert [parts.index for _, parts in stream.out] == [*range(50), *range(50)]
        for now, parts in stream.out[50:]:
            check(decode_frame(parts), parts.index)
            assert now == max(parts.stamp, 100.2) + 5.0  # the first two wait for a third that agrees
        assert (stream.left_out, stream.jumps) == ([], [pytest.approx(4.9)])

    def test_one_odd_stamp_leaves_one_image_out_and_all_else_goes_on(self):
        stream = Stream()
        for n in range(10):
            stream.play(moment(n, 100 + n / 10))
            if n == 4:
                stream.play([event for event in moment(60, 97.0, late=3.45) if event[1] != "info"])
        assert [parts.index for _, parts in stream.out] == list(range(10))
        for index, frame in stream.frames.items():
            check(frame, index)
        assert (stream.left_out, stream.jumps) == (["odd stamp"], [])

    def test_one_transform_from_the_future_costs_little(self):
        stream = Stream(with_depth=False, with_info=False)
        for n in range(6):
            stream.play([e for e in moment(n, 100 + n / 10) if e[1] in ("image", "tf")])
            if n == 2:
                stream.take(100.2, "tf", tf(edge(0, 5000.0)))
        assert [parts.index for _, parts in stream.out if parts.pose is not None] == [0, 1, 2, 3, 4, 5]


class TestMemory:
    def test_images_without_transforms(self):
        stream, message = Stream(with_depth=False, with_info=False), color(0, 100.0)
        for n in range(500):
            stream.assembler.add_image(n, message, 100 + n / 100)
            assert sum(1 for _ in stream.assembler.pop_ready(100 + n / 100)) <= 1
            assert stream.assembler.pending <= 32
        for n in range(500):  # and nobody asks
            stream.assembler.add_image(n, message, 200.0)
        assert stream.assembler.pending <= 64

    def test_depth_without_images_and_transforms_at_2_khz(self):
        assembler, message, still = Stream().assembler, depth(0, 100.0), tf(edge(0, 100.0))
        for n in range(MAX_SAMPLES + 500):
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(100 * SECOND + n * SECOND // 2000, SECOND)
            still.transforms[0].header.stamp = message.header.stamp
            assembler.add_depth(message, 100 + n / 2000)
            assembler.add_transforms(still, 100 + n / 2000, static=False)
        assert len(assembler._depths.depths) == 64
        assert len(assembler._poses.buffer._edges["camera"].stamps) == MAX_SAMPLES

    def test_frames_with_ever_new_names(self, monkeypatch):
        monkeypatch.setattr(transforms, "MAX_FRAMES", 50)
        assembler = Stream().assembler
        assembler.add_transforms(tf(edge(1, 0, "base", "camera")), 100.0, static=True)
        for n in range(150):
            moving = tf(edge(n, 100 + n, "map", f"thing {n}"), edge(n, 100 + n, "map", "base"))
            assembler.add_transforms(moving, 0.0, static=False)
            assert n == 0 or assembler.lookup_transform("map", "camera", 99.5 + n)[0, 3] == n + 0.5
        assert len(assembler._poses.buffer._edges) == 50
        with pytest.raises(TransformError, match=r"and \d+ more$"):
            assembler.lookup_transform("nowhere", "camera", 100)


class TestFrames:
    @staticmethod
    def parts(**changes: object) -> FrameMessages:
        return FrameMessages(**{"index": 5, "stamp": 100.0, "image": color(5, 100.0), **changes})

    def test_data_as_rclpy_brings_it(self):
        message, far = color(5, 100.0), depth(5, 100.0)
        for one in (message, far):
            one.data = array("B", one.data.tobytes())
        frame = decode_frame(self.parts(image=message, depth=far, info=info(), pose=shift(5)))
        message.data[0] = far.data[0] = 77  # the frame holds its own
        check(frame, 5)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"k": np.full(9, np.nan)}, "must hold finite numbers"),
            ({"height": 480, "width": 640}, "for images of 8x6, got 640x480"),
            ({"roi": TYPES.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 3, 8, False)}, "got 8x3"),
        ],
    )
    def test_camera_info_that_cannot_be(self, changes, message):
        with pytest.raises(FrameRejected, match=message) as caught:
            decode_frame(self.parts(info=info(**changes)))
        assert "\n" not in str(caught.value)

    def test_a_pose_that_is_not_finite(self):
        with pytest.raises(FrameRejected, match="pose must be finite"):
            decode_frame(self.parts(pose=np.full((4, 4), np.nan)))

    def test_a_camera_that_changes_its_size_goes_on_with_its_new_calibration(self):
        stream, half = Stream(with_depth=False, with_pose=False), (4, 4)
        events = [(100.0, "image", color(0, 100.0)), (100.0, "info", info())]
        stream.play([*events, (100.1, "image", make_image(flat(1, half), "bgr8", 100 * SECOND + 1))])
        with pytest.raises(FrameRejected, match="camera_info must be for images of 4x4, got 8x6"):
            decode_frame(stream.out[1][1])
        stream.play(
            [(100.2, "info", make_camera_info(K, half, 0)), (100.2, "image", make_image(flat(2, half), "bgr8", 0))]
        )
        assert decode_frame(stream.out[2][1]).size == half

    def test_depth_that_cannot_be(self):
        with pytest.raises(FrameRejected, match="depth of 6x6 does not have the shape of colour of 8x6"):
            decode_frame(self.parts(depth=make_image(metres(1, (6, 6)), "16UC1", 0)))
        with pytest.raises(FrameRejected, match="unknown depth encoding 'rgb8'"):
            decode_frame(self.parts(depth=color(1, 100.0)))
