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
LATE = 2  # frames that may be on their way
SETTLED = 60  # seconds after which memory grows no more
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

    def play(self, seconds):
        begun, camera = time.monotonic(), self.camera
        for n, (pose, *messages) in zip(range(round(seconds * 30)), cycle(self.shots), strict=False):
            time.sleep(max(0.0, begun + n / 30 - time.monotonic()))
            stamp = START + n * PERIOD
            for message in messages:
                message.header.stamp = time_of(stamp)
            self.sent.append(time.monotonic())
            camera.send_pose(pose, stamp)
            for publisher, message in zip((camera.infos, camera.depths, camera.images), messages, strict=True):
                publisher.publish(message)


@pytest.mark.parametrize("seconds", [10, pytest.param(600, marks=pytest.mark.slow)])
def test_a_camera_thirty_times_too_fast(graph, monkeypatch, seconds):
    monkeypatch.setenv("STEP", "1")
    node = graph.node(script=SLOW, diagnostics_period=1.0, memory__index__max_queries=FULL)
    film = Film(graph)
    poses = graph.listen(PoseStamped, "/moonseg3r/pose")
    diagnoses = graph.listen(DiagnosticArray, "/diagnostics")
    film.play(seconds)
    graph.until(lambda: is_through(graph), "the last frame is through", node)

    taken = [(stamp_of(pose.header) - START) // PERIOD for pose in poses]
    assert taken == sorted(set(taken))
    assert taken[-1] >= len(film.sent) - LATE
    check_newest(taken, poses.times, film.sent)
    values = [{pair.key: pair.value for pair in message.status[0].values} for message in diagnoses]
    received, processed, dropped, rejected = (
        int(values[-1][f"frames {what}"]) for what in ("received", "processed", "dropped", "rejected")
    )
    assert (processed, rejected) == (len(poses), 0)
    assert processed + dropped == received <= len(film.sent)
    assert dropped > 10 * processed
    if seconds > SETTLED:
        check_memory([float(value["memory MiB"]) for value in values])


def check_newest(taken, out, sent):
    """A step begins once the pose of the one before is out: by then nothing newer had been sent for LATE periods.

    Now and then an image is lost on its way (best effort); a queue would be behind by a whole step, and ever more.
    """
    behind = [bisect_left(sent, time) - 1 - frame for time, frame in zip(out, taken[1:], strict=False)]
    assert sum(frames <= LATE for frames in behind) >= 0.8 * len(behind), behind


def check_memory(resident):
    """MiB, once a second: what the node holds in the last half minute is what it held after SETTLED seconds."""
    early, late = median(resident[SETTLED : SETTLED + 30]), median(resident[-30:])
    assert late < 1.05 * early, resident


def is_through(graph):
    _, values = graph.diagnosed()
    ended = sum(int(values[f"frames {what}"]) for what in ("processed", "dropped", "rejected"))
    return ended == int(values["frames received"])
