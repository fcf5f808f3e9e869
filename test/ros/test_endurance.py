"""A camera at 30 Hz and a step that takes a second: memory stays flat, the newest frame is taken, every drop is counted."""

import time
from bisect import bisect_left
from itertools import cycle
from pathlib import Path
from statistics import median

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed")

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from graph import Camera, image_message, info_message, stamp_of, time_of

from moonseg3r_core.synthetic import SyntheticSequence

SLOW = Path(__file__).parent / "slow_node.py"
START, PERIOD = 5_000_000_000, 33_333_333  # ns
VIEWS = 6
ON_THEIR_WAY = 10  # frames: the queues of the publisher and of the node hold 5 each
SECONDS = 600
WARM_UP_S = 60  # after which memory grows no more
FULL = 500  # queries that the memory holds at most: full long before that


class Film:
    """Views of a room over and over at 30 Hz: when each frame went out, by the monotonic clock."""

    def __init__(self, graph):
        sequence = SyntheticSequence(7, frames=VIEWS, height=480, width=640)
        views = [sequence[t] for t in (*range(VIEWS), *range(VIEWS - 2, 0, -1))]
        self.camera, self.sent = Camera(graph), []
        header = self.camera.header(START)
        self.shots = [
            (
                view.world_from_camera.numpy(),
                info_message(view, header),
                image_message((view.depth.numpy() * 1000).round().astype("<u2"), "16UC1", header),
                image_message(view.image.numpy(), "rgb8", header),
            )
            for view in views
        ]

    def play(self):
        begun, camera = time.monotonic(), self.camera
        for n, (pose, *messages) in zip(range(SECONDS * 30), cycle(self.shots), strict=False):
            time.sleep(max(0.0, begun + n / 30 - time.monotonic()))
            stamp = START + n * PERIOD
            for message in messages:
                message.header.stamp = time_of(stamp)
            self.sent.append(time.monotonic())
            camera.send_pose(pose, stamp)
            for publisher, message in zip((camera.infos, camera.depths, camera.images), messages, strict=True):
                publisher.publish(message)


@pytest.mark.slow
def test_a_camera_thirty_times_too_fast(graph, monkeypatch):
    monkeypatch.setenv("STEP", "1")
    node = graph.node(script=SLOW, diagnostics_period=1.0, memory__index__max_queries=FULL)
    film = Film(graph)
    poses = graph.listen(PoseStamped, "/moonseg3r/pose")
    diagnoses = graph.listen(DiagnosticArray, "/diagnostics")
    film.play()
    seconds = time.monotonic() - film.sent[0]
    graph.until(lambda: is_through(graph), "the last frame is through", node)

    taken = [(stamp_of(pose.header) - START) // PERIOD for pose in poses]
    assert taken == sorted(set(taken))
    check_newest(taken, poses.times, film.sent)
    values = [{pair.key: pair.value for pair in message.status[0].values} for message in diagnoses]
    received, processed, dropped, rejected = (
        int(values[-1][f"frames {what}"]) for what in ("received", "processed", "dropped", "rejected")
    )
    assert (processed, rejected) == (len(poses), 0)
    assert processed + dropped == received <= len(film.sent)
    assert processed <= seconds + 2  # a step takes a second, and more on a slow machine; two may be left at the end
    assert dropped > processed
    check_memory([float(value["memory MiB"]) for value in values])


def check_newest(taken, out, sent):
    """A frame that waits when a pose comes out came during that step: it was sent after the pose before, but for those
    then on their way. A queue would fall behind by all that is dropped.
    """
    missing = [bisect_left(sent, time) - frame for time, frame in zip(out, taken[2:], strict=False)]
    assert max(missing) <= ON_THEIR_WAY, missing


def check_memory(resident):
    """MiB, once a second: what the node holds in the last half minute is what it held after WARM_UP_S seconds."""
    early, late = median(resident[WARM_UP_S : WARM_UP_S + 30]), median(resident[-30:])
    assert late < 1.05 * early, resident


def is_through(graph):
    _, values = graph.diagnosed()
    ended = sum(int(values[f"frames {what}"]) for what in ("processed", "dropped", "rejected"))
    return ended == int(values["frames received"])
