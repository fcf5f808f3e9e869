"""moonseg3r_replay: a bag's bytes on its topics, in its time. Real processes; the bags are written here, small."""

import re
import signal
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed")

import rclpy
from graph import LATCHED, stamp_of, time_of
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from recordings import ALL, BEST_EFFORT, SECOND, START, STEP, THING, edge, recording, tick, write_bag
from rosbags.rosbag2 import StoragePlugin
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

import moonseg3r_ros.replay.lockstep as lockstep_module
import moonseg3r_ros.replay.player as player_module
import moonseg3r_ros.replay.topics as topics_module
from moonseg3r_core import InputError, Message
from moonseg3r_ros.replay.bag import Bag
from moonseg3r_ros.replay.command import build_parser
from moonseg3r_ros.replay.lockstep import NoLockstep
from moonseg3r_ros.replay.player import NoClock, Player
from moonseg3r_ros.replay.run import replay
from moonseg3r_ros.replay.topics import TF, wait_until_stable

REPLAY = "moonseg3r_ros.replay.command"


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("bags") / "bag", recording())


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3], ids=["file.mcap", "folder.db3"])
def test_every_message_comes_as_it_was_recorded(graph, tmp_path, storage):
    messages = recording()
    path = write_bag(tmp_path / "bag", messages, storage)
    path = next(path.glob("*.mcap"), path)
    images = graph.listen(Image, "/image", BEST_EFFORT, wait=False)
    words = graph.listen(String, "/words", ALL, wait=False)
    text = graph.ended(graph.start(REPLAY, path, "--rate", 4))
    graph.until(lambda: len(images) == 20 and len(words) == 20, "all messages")
    assert images == [message for topic, _, message in messages if topic == "/image"]
    assert words == [message for topic, _, message in messages if topic == "/words"]
    assert "published 40 messages" in text


def test_static_transforms_come_at_the_start_together_for_those_who_come_late_too(graph, bag):
    words = graph.listen(String, "/words", wait=False)
    replay = graph.start(REPLAY, bag, "--start", 0.5, "--loop")
    graph.until(lambda: words, "the replay runs", replay)
    late = graph.listen(TFMessage, "/tf_static", LATCHED)
    graph.until(lambda: late, "static transforms")
    found = {(edge.header.frame_id, edge.child_frame_id): edge.transform.translation.x for edge in late[0].transforms}
    assert found == {("map", "odom"): 0.0, ("base", "camera"): 2.0}


def test_a_damaged_static_transform_is_told_and_left_out(bag, monkeypatch):
    raws = [serialize_message(edge("map", "odom")), b"\x00\x01\x00\x00", serialize_message(edge("base", "camera"))]
    found = [Message("/tf_static", TF, n, raw) for n, raw in enumerate(raws)]
    monkeypatch.setattr(Bag, "read", lambda self, topics, start=0: iter(found))
    said = []
    merged = Bag(bag, said.append).merge_static_transforms(["/tf_static"])["/tf_static"]
    transforms = deserialize_message(merged, TFMessage).transforms
    assert [transform.child_frame_id for transform in transforms] == ["odom", "camera"]
    assert len(said) == 1
    assert "a message on /tf_static" in said[0]


def test_the_clock_begins_with_the_bag_and_ends_with_its_last_message(graph, tmp_path):
    times = [0, 1, 1, SECOND // 5]
    path = write_bag(tmp_path / "bag", [("/words", START + t, String(data="")) for t in times])
    clock = graph.listen(Clock, "/clock", ALL, wait=False)
    graph.listen(String, "/words", wait=False)
    graph.ended(graph.start(REPLAY, path))
    graph.until(lambda: clock and tick(clock[-1]) == START + SECOND // 5, "the last tick")
    ticks = [tick(message) for message in clock]
    assert ticks[:2] == [START, START + 1]
    assert ticks == sorted(set(ticks))


def test_without_its_own_clock_it_plays_the_bags(graph, tmp_path):
    own = Clock(clock=time_of(5 * SECOND))
    path = write_bag(tmp_path / "bag", [("/clock", START, own), ("/words", START + 1, String(data=""))])
    clock = graph.listen(Clock, "/clock", ALL, wait=False)
    words = graph.listen(String, "/words", wait=False)
    graph.ended(graph.start(REPLAY, path, "--no-clock"))
    graph.until(lambda: words and clock, "the bag's clock")
    assert list(clock) == [own]
    graph.ended(graph.start(REPLAY, path))
    graph.until(lambda: len(words) == 2 and len(clock) == 3, "the clock of the replay")
    assert [tick(message) for message in clock[1:]] == [START + 1 - 1, START + 1]


def test_a_part_of_the_bag_under_other_names(graph, bag):
    images = graph.listen(Image, "/camera/image", BEST_EFFORT, wait=False)
    words = graph.listen(String, "/words", wait=False)
    part = ("--start", 0.25, "--duration", 0.5, "--topics", "/image")
    graph.ended(graph.start(REPLAY, bag, *part, "--ros-args", "-r", "/image:=/camera/image"))
    graph.until(lambda: len(images) == 11, "the images from 0.25 to 0.75 s")
    assert [message.data[0] for message in images] == list(range(5, 16))
    assert not words


def test_a_type_that_is_not_installed_is_left_out_and_said_once(graph, tmp_path):
    thing = [("/thing", START + n, THING) for n in range(3)]
    words = graph.listen(String, "/words", wait=False)
    text = graph.ended(graph.start(REPLAY, write_bag(tmp_path / "bag", [*thing, ("/words", START, String(data="x"))])))
    graph.until(lambda: words, "the word")
    assert text.count("nowhere_msgs/msg/Thing") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_loop_starts_over_and_ends_with_a_signal(graph, bag, number):
    images = graph.listen(Image, "/image", BEST_EFFORT, wait=False)
    clock = graph.listen(Clock, "/clock", ALL, wait=False)
    replay = graph.start(REPLAY, bag, "--loop", "--rate", 10)
    graph.until(lambda: len(images) > 45, "three rounds", replay)
    assert replay.end(number) == 0
    assert "Traceback" not in replay.text
    stamps = [stamp_of(message.header) for message in images[:45]]
    assert stamps == [START + (n % 20) * STEP for n in range(45)]
    assert [tick(message) for message in clock].count(START) >= 3


def test_it_waits_for_the_node_that_it_is_told_of(graph, bag):
    images = graph.listen(Image, "/image", BEST_EFFORT, wait=False)
    replay = graph.start(REPLAY, bag, "--wait", "--wait-for", "/late", "--rate", 4)
    graph.until(lambda: graph.observer.count_publishers("/image"), "its publisher", replay)
    late = rclpy.create_node("late", context=graph.context)
    graph.executor.add_node(late)
    heard = []
    late.create_subscription(Image, "/image", heard.append, BEST_EFFORT)
    graph.ended(replay)
    graph.until(lambda: len(images) == 20 and len(heard) == 20, "all images at both")
    late.destroy_node()


def test_it_says_that_nobody_listens_and_starts(graph, bag):
    text = graph.ended(graph.start(REPLAY, bag, "--wait", 0.1, "--rate", 10))
    assert "no node has subscribed to /image within 0.1 s" in text
    assert "--wait waits for a node that is still starting" in text
    assert "published 40 messages" in text


def test_topics_are_offered_as_recorded_or_as_a_parameter_says(graph, bag):
    graph.start(REPLAY, bag, "--wait", "--wait-for", "/nobody")
    policy = "qos_overrides./image.publisher.reliability:=reliable"
    assert offered(graph, "/image") == (ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)
    assert offered(graph, "/words") == (ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)
    assert offered(graph, "/tf_static") == (ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)
    assert graph.programs.pop().end() == 0
    graph.until(lambda: not graph.observer.count_publishers("/image"), "the first replay is gone")
    graph.start(REPLAY, bag, "--wait", "--wait-for", "/nobody", "--ros-args", "-p", policy)
    assert offered(graph, "/image") == (ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)


def offered(graph, topic):
    (info,) = graph.until(lambda: graph.observer.get_publishers_info_by_topic(topic), f"a publisher on {topic}")
    return info.qos_profile.reliability, info.qos_profile.durability


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.mcap"], "none.mcap does not exist"),
        (["text.mcap"], "text.mcap cannot be read as a bag"),
        (["{bag}", "--topics", "/words", "/where"], "no messages on /where; it holds: /image (20)"),
        (["{bag}", "--start", "7"], "no message on these topics at or after --start 7"),
        (["wordy", "--lockstep", "/eyes"], "the bag holds no colour image topic"),
        (
            ["{bag}", "--topics", "/words", "--lockstep", "/eyes"],
            "on /image, which are not played; add /image to --topics",
        ),
        (["strange"], "no topic's message type is installed here: /thing (nowhere_msgs/msg/Thing)"),
    ],
)
def test_what_cannot_be_played_is_told(graph, bag, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mcap").write_text("no bag")
    write_bag(tmp_path / "strange", [("/thing", START, THING)])
    write_bag(tmp_path / "wordy", [("/words", START, String(data=""))])
    given = build_parser().parse_args([argument.format(bag=bag) for argument in arguments])
    with pytest.raises(InputError, match=re.escape(said)):
        replay(graph.observer, given)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: BAG"),
        (["bag", "--rate", "0"], "--rate: expected a number above 0, got '0'"),
        (["bag", "--start", "-1"], "--start: expected a number of seconds >= 0, got '-1'"),
        (["bag", "--duration", "soon"], "--duration: expected a number of seconds >= 0, got 'soon'"),
        (["bag", "--wait", "inf"], "--wait: expected a number of seconds >= 0, got 'inf'"),
    ],
)
def test_bad_usage_is_told(capsys, arguments, said):
    with pytest.raises(SystemExit, match="2"):
        build_parser().parse_args(arguments)
    assert said in capsys.readouterr().err


def test_bad_input_is_one_line_and_status_2():
    run = subprocess.run([sys.executable, "-m", REPLAY, "none.mcap"], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert (
        run.stderr
        == "moonseg3r_replay: error: none.mcap does not exist; give a rosbag2 folder, a .mcap or a .db3 file.\n"
    )


class Time:
    """The module `time` of the player and the lockstep, which sleeping alone moves on."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def replace_time(monkeypatch):
    """Let the player and the lockstep sleep in a Time of their own."""
    time = Time()
    for module in (player_module, lockstep_module):
        monkeypatch.setattr(module, "time", time)
    return time


class Outlet:
    """A publisher that notes when it was used, and takes its time."""

    def __init__(self, time, takes=()):
        self.time, self.takes, self.log = time, iter(takes), []

    def publish(self, raw):
        self.log.append((round(self.time.now, 6), raw))
        self.time.now += next(self.takes, 0.0)


class Ticks(NoClock):
    """A clock that notes what it was told."""

    def __init__(self):
        self.told = []

    def advance(self, stamp):
        self.told.append(stamp)


def words(*seconds):
    return [Message("/words", "std_msgs/msg/String", round(t * SECOND), str(n).encode()) for n, t in enumerate(seconds)]


def test_it_begins_when_no_further_subscription_comes(monkeypatch):
    monkeypatch.setattr(topics_module, "time", time := Time())
    wait_until_stable(lambda: sum(time.now >= moment for moment in (0.4, 0.8, 1.25, 9.0)))
    assert 1.75 <= time.now < 1.85


@pytest.mark.parametrize("rate", [0.5, 1.0, 4.0])
def test_messages_go_at_their_time_by_the_rate(monkeypatch, rate):
    time = replace_time(monkeypatch)
    outlet, clock = Outlet(time), Ticks()
    assert Player({"/words": outlet}, clock, rate, NoLockstep()).play(words(10, 10.5, 12), 9 * SECOND, 100 * SECOND)
    assert outlet.log == [(1 / rate, b"0"), (1.5 / rate, b"1"), (3 / rate, b"2")]
    steps = [later - sooner for sooner, later in zip(clock.told, clock.told[1:], strict=False)]
    assert clock.told[0] == 9 * SECOND
    assert min(steps) >= 0
    assert max(steps) <= round(rate * SECOND / 40)


def test_a_late_message_goes_at_once_and_the_next_at_its_own_time(monkeypatch):
    time = replace_time(monkeypatch)
    outlet = Outlet(time, takes=[2.5])
    player = Player({"/words": outlet}, NoClock(), 1.0, NoLockstep())
    player.play(words(0, 1, 2, 3), 0, 100 * SECOND)
    assert outlet.log == [(0.0, b"0"), (2.5, b"1"), (2.5, b"2"), (3.0, b"3")]
    assert player.report().startswith("published 4 messages in 3.0 s, the latest 2500.0 ms after its time")


def test_the_end_is_part_of_what_is_played(monkeypatch):
    time = replace_time(monkeypatch)
    outlet = Outlet(time)
    player = Player({"/words": outlet}, NoClock(), 1.0, NoLockstep())
    assert player.play(words(0, 1, 2), 0, SECOND)
    assert [raw for _, raw in outlet.log] == [b"0", b"1"]
    assert not player.play([], 0, SECOND)
