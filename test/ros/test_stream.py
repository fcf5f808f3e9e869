"""What streams do: too fast, interrupted, changing, jumping, malformed. The node survives, says so, and recovers."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from camera_stream import PERIOD, SECOND, SLOW, START, Stream, view
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from graph import LATCHED, bytes_of, image_message, stamp_of, time_of
from nav_msgs.msg import Path
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage


@pytest.fixture
def release(tmp_path, monkeypatch):
    """The file for which the steps of SLOW wait."""
    monkeypatch.setenv("RELEASE", str(tmp_path / "release"))
    return tmp_path / "release"


def test_a_camera_faster_than_the_node_gets_its_newest_frame_through(graph, release):
    node = graph.node(script=SLOW)
    stream = Stream(graph)
    first = stream.send()
    graph.until(lambda: "at work" in node.text, "the first step begins", node)
    for _ in range(4):
        last = stream.send()
        graph.until(lambda: int(graph.diagnosed()[1]["frames received"]) == stream.next, "the frame is received", node)
    release.touch()
    graph.until(lambda: last in stream.stamps, "the newest frame comes out", node)
    assert stream.stamps == [first, last]
    _, values = graph.diagnosed()
    assert (values["frames processed"], values["frames dropped"]) == ("2", "3")


def test_parameters_are_answered_while_a_step_runs(graph, release):
    node = graph.node(script=SLOW)
    stream = Stream(graph)
    stream.send()
    graph.until(lambda: "at work" in node.text, "the step begins", node)
    assert all(r.successful for r in graph.set(map__min_observations=3))
    assert graph.get("map.min_observations") == 3
    for service in ("pause", "resume", "reset"):
        assert graph.trigger(service)[0]
    assert not stream.poses
    release.touch()
    graph.until(lambda: stream.poses, "the step ends", node)


def test_a_topic_that_stops_and_starts_again(graph):
    node = graph.node()
    stream = Stream(graph)
    stream.through(3)
    graph.until(lambda: "no image for" in graph.diagnosed()[0], "the silence is named")
    stream.through(3)
    text = graph.until(
        lambda: (text := graph.diagnosed()[0]).startswith("images are") and text, "all is well again", node
    )
    assert "s older than this node's clock; set use_sim_time for a bag, or let the hosts' clocks agree" in text
    assert float(graph.diagnosed()[1]["image age s"]) > 1e9
    assert len(stream.poses) == 6


@pytest.mark.parametrize(("rule", "kept"), [("reset", 0), ("hold", 4)])
def test_time_that_jumps_back(graph, rule, kept):
    node = graph.node(time_jump=rule, map_rate=50.0)
    paths = graph.listen(Path, "/moonseg3r/path", LATCHED)
    stream = Stream(graph, period=5 * PERIOD)
    stream.through(4)
    stream.next = 0
    third = stream.send(
        3
    )  # the first two wait for a third that agrees, and of all three the newest is sure to come out
    graph.until(lambda: stream.stamps[-1] == third, "the third comes out", node)
    stream.through(1)
    assert node.text.count("jumped back by 1.5 s") == 1
    assert f"the map is {'held' if rule == 'hold' else rule}" in node.text
    graph.until(lambda: stamp_of(paths[-1].header) == START + 15 * PERIOD, "the last path")
    graph.until(  # a pose may come after the path that has it
        lambda: len(paths[-1].poses) == kept + len(stream.poses) - 4, "the path since the jump, or all of it", node
    )
    assert int(graph.diagnosed()[1]["frames rejected"]) == 0


@pytest.mark.parametrize("seconds", [-3.0, 1000.0])
def test_one_odd_stamp_leaves_one_image_out(graph, seconds):
    node = graph.node(map_rate=50.0, max_future=0.0)
    stream = Stream(graph)
    stream.through(3)
    stream.camera.send(view(3), START + 3 * PERIOD + round(seconds * SECOND))
    stream.next += 1
    stream.through(3)
    values = graph.diagnosed()[1]
    assert (values["frames rejected"], values["frames processed"]) == ("1", "6")
    assert "image left out: odd stamp: an image's stamp must follow the others" in node.text
    assert "jumped" not in node.text


def broken(view, header, **changes):
    message = image_message(view.image.numpy(), "rgb8", header)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


MALFORMED = {
    "wrong step": ({"step": 7}, "step"),
    "short data": ({"data": bytes_of(np.zeros(100, np.uint8))}, "bytes"),
    "unknown encoding": ({"encoding": "x-ray8"}, "x-ray8"),
    "zero size": ({"height": 0, "width": 0}, "0x0"),
    "gigantic": ({"height": 1 << 30, "width": 1 << 30, "step": 0}, "bytes"),
}


def test_malformed_messages_are_refused_and_the_node_goes_on(graph):
    node = graph.node()
    stream = Stream(graph)
    stream.through(2)
    for name, (changes, word) in MALFORMED.items():
        graph.until(lambda: int(graph.diagnosed()[1]["frames received"]) == stream.next, "all is received")
        rejected = int(graph.diagnosed()[1]["frames rejected"])
        stamp = START + stream.next * PERIOD
        picture = view(stream.next)
        stream.camera.send_pose(picture.world_from_camera.numpy(), stamp)
        stream.camera.depths.publish(image_message(picture.depth.numpy(), "32FC1", stream.camera.header(stamp)))
        stream.camera.images.publish(broken(picture, stream.camera.header(stamp), **changes))
        stream.next += 1
        graph.until(
            lambda n=rejected: int(graph.diagnosed()[1]["frames rejected"]) == n + 1, f"{name} is refused", node
        )
        graph.until(lambda w=word: w in node.text, f"{name} is said", node)
        stream.through(1)
    stamp = START + stream.next * PERIOD
    stream.camera.tf.publish(nan_transform(stream, stamp))
    graph.until(lambda: "finite" in node.text, "the transform is refused", node)
    future = 2**31 * 10**9 - 10**9
    stream.camera.images.publish(image_message(view(2).image.numpy(), "rgb8", stream.camera.header(future)))
    graph.until(lambda: "clock" in node.text and "max_future" in node.text, "the future is refused", node)
    stream.through(3)
    assert "Traceback" not in node.text
    assert "jumped" not in node.text


def test_an_image_that_the_clock_has_overtaken_in_jumping_back_is_left_out_in_silence(graph):
    node = graph.node(use_sim_time=True)
    clock, stream = graph.publisher(Clock, "/clock"), Stream(graph)

    def is_now(seconds):
        clock.publish(Clock(clock=time_of(seconds * SECOND)))
        graph.diagnosed()
        return graph._diagnostics[-1].header.stamp.sec == seconds

    graph.until(lambda: is_now(6), "the clock is heard", node)
    stream.send()
    graph.until(lambda: is_now(8) and stream.stamps, "the first image is through", node)
    graph.until(lambda: is_now(2), "the clock jumps back", node)
    stream.send()
    graph.until(lambda: graph.diagnosed()[1]["/image"].endswith(", 2 messages"), "the image of before is heard", node)
    assert (graph.diagnosed()[1]["frames received"], len(stream.stamps)) == ("1", 1)
    assert "must not lie after now" not in node.text


def nan_transform(stream, stamp):
    nan = float("nan")
    moved = Transform(translation=Vector3(x=nan, y=nan, z=nan), rotation=Quaternion(x=nan, y=nan, z=nan, w=nan))
    header = stream.camera.header(stamp, "map")
    return TFMessage(transforms=[TransformStamped(header=header, child_frame_id="camera", transform=moved)])


def test_another_encoding_in_mid_stream(graph):
    node = graph.node()
    stream = Stream(graph)
    pictures = graph.listen(Image, "/moonseg3r/segmentation")
    stream.through(3)
    ids = np.frombuffer(pictures[-1].data, "<i4") if graph.until(lambda: len(pictures) == 3, "pictures") else None
    picture, stamp = view(2), START + 3 * PERIOD
    stream.camera.send_pose(picture.world_from_camera.numpy(), stamp)
    stream.camera.depths.publish(
        image_message((picture.depth.numpy() * 1000).round().astype("<u2"), "16UC1", stream.camera.header(stamp))
    )
    stream.camera.images.publish(image_message(picture.image.numpy()[..., ::-1], "bgr8", stream.camera.header(stamp)))
    graph.until(lambda: len(pictures) == 4, "the frame of another encoding comes out", node)
    assert np.mean(np.frombuffer(pictures[-1].data, "<i4") == ids) > 0.99
    assert "images changed from 80x60 rgb8 to 80x60 bgr8" in node.text
