"""moonseg3r_replay --lockstep: no image before the node has dealt with the one before, in time that goes on where it must."""

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped
from graph import image_message, stamp_of, transform_of
from recordings import ALL, BEST_EFFORT, START, STEP, recording, tick, write_bag
from robot import GUESSING, MOUNTED, VIEW, driven, header
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

REPLAY = "moonseg3r_ros.replay.command"
COUNT, PERIOD, SECOND = 8, 100_000_000, 10**9


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("bags") / "bag", recording())


def diagnose(received, rejected=0, dropped=0):
    """What a node named /eyes publishes on /diagnostics, as far as a replay in lockstep reads it."""
    counts = {"frames received": received, "frames rejected": rejected, "frames dropped": dropped}
    values = counts | {"listened to": "/eyes/map /eyes/pose"}
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticArray(status=[DiagnosticStatus(name="/eyes: output", values=pairs)])


def test_in_lockstep_an_image_goes_when_the_one_before_is_processed_rejected_or_dropped(graph, bag):
    images = graph.listen(Image, "/image", BEST_EFFORT, wait=False)
    words = graph.listen(String, "/words", ALL, wait=False)
    replay = graph.start(
        REPLAY, bag, "--rate", 1000, "--lockstep", "/eyes", "--wait-for", "/observer", "--lockstep-timeout", 600
    )
    poses = graph.publisher(PoseStamped, "/eyes/pose", 10)
    diagnostics = graph.publisher(DiagnosticArray, "/diagnostics", 10)
    diagnostics.publish(diagnose(received=3))
    for n in range(20):
        graph.until(lambda n=n: len(words) > n and len(images) > n, f"image {n}", replay)
        assert len(images) == n + 1
        if n in (5, 6):
            diagnostics.publish(diagnose(received=n + 4, rejected=n - 4, dropped=2))
        elif n == 7:
            diagnostics.publish(diagnose(received=n + 4, rejected=2, dropped=3))
        else:
            poses.publish(PoseStamped(header=images[n].header))
    text = graph.ended(replay)
    assert "published 40 messages" in text
    assert "has not answered" not in text


def test_meanwhile_other_messages_go_on_as_far_as_an_image_may_need_them(graph, bag):
    """Words have the images' times, one every 0.05 s: those of 0.2 s, and of 1.1 s for a node that waits for them."""
    images = graph.listen(Image, "/image", BEST_EFFORT, wait=False)
    words = graph.listen(String, "/words", ALL, wait=False)
    clock = graph.listen(Clock, "/clock", ALL, wait=False)
    replay = graph.start(
        REPLAY, bag, "--rate", 1000, "--lockstep", "/eyes", "--wait-for", "/observer", "--lockstep-timeout", 600
    )
    poses = graph.publisher(PoseStamped, "/eyes/pose", 10)
    diagnostics = graph.publisher(DiagnosticArray, "/diagnostics", 10)
    diagnostics.publish(diagnose(received=0))
    graph.until(lambda: len(words) == 5 and images, "the words of 0.2 s", replay)
    diagnostics.publish(diagnose(received=1))  # the node has all of the first image, and works
    poses.publish(PoseStamped(header=images[0].header))
    graph.until(lambda: len(words) == 6 and len(images) == 2, "a word for the next image", replay)
    diagnostics.publish(diagnose(received=1))  # it waits for what belongs to the second
    graph.until(lambda: len(words) == 20, "all words", replay)
    end = START + 19 * STEP
    graph.until(lambda: tick(clock[-1]) > end + SECOND, "the clock goes on without messages", replay)
    assert len(images) == 2
    for n in range(1, 20):
        graph.until(lambda n=n: len(images) > n, f"image {n}", replay)
        poses.publish(PoseStamped(header=images[n].header))
    graph.ended(replay)
    assert [tick(message) for message in clock] == sorted({tick(message) for message in clock})


def test_in_lockstep_a_node_that_does_not_answer_is_waited_for_ever_shorter_and_told_once(graph, bag):
    text = graph.ended(
        graph.start(REPLAY, bag, "--wait", 0, "--rate", 1000, "--lockstep", "/eyes", "--lockstep-timeout", 0.2)
    )
    assert text.count("/eyes has not answered an image within 0.2 s, neither on /eyes/pose nor on /diagnostics") == 1
    assert "published 40 messages" in text


def take_images(count):
    """(topic, ns, message): images that are recorded as they were taken."""
    stamps = [START + n * PERIOD for n in range(count)]
    return [("/image", stamp, image_message(VIEW.image.numpy(), "rgb8", header(stamp))) for stamp in stamps]


def drive(seconds):
    """(topic, ns, message): the robot's TF four times a second, each recorded 0.15 s after its stamp."""
    mount = TFMessage(transforms=[transform_of(MOUNTED, header(0, "base"), "camera")])
    found = [("/tf_static", START, mount)]
    for stamp in range(START, START + round(seconds * 1e9) + 1, 250_000_000):
        edge = transform_of(driven(stamp), header(stamp, "odom"), "base")
        found.append(("/tf", stamp + 150_000_000, TFMessage(transforms=[edge])))
    return found


@pytest.mark.parametrize(
    ("others", "lacks_tf"),
    [
        pytest.param([], False, id="images alone, the first of which waits a second for a camera_info and a tree"),
        pytest.param(drive(1.0), False, id="each waits for TF that was recorded after the next images"),
        pytest.param(drive(0.5), True, id="the last wait for TF that never comes"),
    ],
)
def test_a_node_by_the_bags_clock_gets_what_an_image_waits_for_and_none_is_dropped(graph, tmp_path, others, lacks_tf):
    path = write_bag(tmp_path / "bag", sorted([*take_images(COUNT), *others], key=lambda entry: entry[1]))
    node = graph.node(script=GUESSING, reconstruction__kind="cut3r", use_sim_time=True)
    poses = graph.listen(PoseStamped, "/moonseg3r/pose")
    replay = graph.start(REPLAY, path, "--rate", 1000, "--lockstep", "/moonseg3r", "--lockstep-timeout", 600)
    assert "has not answered" not in graph.ended(replay)
    graph.until(lambda: len(poses) == COUNT, "all images come out", node)
    assert [stamp_of(pose.header) for pose in poses] == [START + n * PERIOD for n in range(COUNT)]
    assert graph.diagnosed()[1]["frames dropped"] == "0"
    assert ("no TF is published" in node.text) == lacks_tf
