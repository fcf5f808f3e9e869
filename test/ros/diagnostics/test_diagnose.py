"""Why there is no output: every cause by itself, and which of two is named."""

from dataclasses import replace

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.serialization import deserialize_message, serialize_message

from moonseg3r_ros.conversions.times import make_time
from moonseg3r_ros.diagnostics.diagnose import (
    ERROR,
    OK,
    WARN,
    FrameCounters,
    InputStatus,
    NodeStatus,
    ResourceUsage,
    diagnose,
    make_status_message,
)

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO, TF, ODOMETRY = "sensor_msgs/msg/CameraInfo", "tf2_msgs/msg/TFMessage", "nav_msgs/msg/Odometry"
PATH = "nav_msgs/msg/Path"


def heard(topic, type, **changes):
    return replace(InputStatus(topic, f"/{topic.strip('/')}", type, (type,), messages=9, silence=0.1), **changes)


def unheard(topic, type, **changes):
    return heard(topic, type, messages=0, silence=None, **changes)


NEEDS = {"camera_info": heard("camera_info", INFO), "depth": heard("depth", IMAGE), "pose": heard("/tf", TF)}
WELL = NodeStatus(
    "/moonseg3r", "active", heard("image", IMAGE), NEEDS, age=60.0,
    counters=FrameCounters(received=90, processed=88, dropped=1, rejected=1, reason="an old reason", input_rate=9.9, output_rate=9.8,
              latency_ms=4.25, step_ms=61.0, stage_ms={"masks": 30.0, "lift": 4.0}, silence=0.1),
)  # fmt: skip
DEAD = replace(
    WELL, counters=replace(WELL.counters, silence=None, processed=0, rejected=0, reason="")
)  # nothing comes out


def a_need(**feeds):
    return NEEDS | feeds


TABLE = {
    "all is well": (WELL, OK, ["OK: 9.8 images/s", "61.0 ms"]),
    "not configured": (replace(DEAD, state="unconfigured"), WARN, ["not configured", "ros2 lifecycle set /moonseg3r configure"]),
    "weights missing": (
        replace(DEAD, state="unconfigured", fault="weights 'sam2' are missing; moonseg3r weights get sam2"),
        ERROR, ["not configured: weights 'sam2' are missing; moonseg3r weights get sam2"],
    ),
    "inactive": (replace(DEAD, state="inactive"), WARN, ["inactive", "ros2 lifecycle set /moonseg3r activate"]),
    "activation failed": (replace(DEAD, state="inactive", fault="no GPU"), ERROR, ["inactive: no GPU"]),
    "paused": (replace(DEAD, paused=True), WARN, ["paused", "/moonseg3r/resume"]),
    "no publisher, others exist": (
        replace(DEAD, image=unheard("image", IMAGE, publishers=()), image_topics=("/cam/image_raw", "/rear/image_raw")),
        ERROR, ["no publisher on /image", "/cam/image_raw, /rear/image_raw", "-r image:=/cam/image_raw"],
    ),
    "no publisher at all": (
        replace(DEAD, image=unheard("image", IMAGE, publishers=())), ERROR, ["no publisher on /image", "ROS_DOMAIN_ID"],
    ),
    "no publisher, a compressed one exists": (
        replace(DEAD, image=unheard("image", IMAGE, publishers=()), image_topics=("/cam/image_raw/compressed",)),
        ERROR, ["no publisher on /image", "-p image_transport:=compressed -r image/compressed:=/cam/image_raw/compressed"],
    ),
    "no publisher, a raw one exists": (
        replace(DEAD, image=unheard("image/compressed", COMPRESSED, publishers=()), image_topics=("/cam/image_raw",)),
        ERROR, ["-p image_transport:=raw -r image:=/cam/image_raw"],
    ),
    "compressed, raw expected": (
        replace(DEAD, image=unheard("image", IMAGE, publishers=(COMPRESSED,))),
        ERROR, [f"/image carries {COMPRESSED}, expected {IMAGE}", "set image_transport to compressed"],
    ),
    "raw, compressed expected": (
        replace(DEAD, image=unheard("image/compressed", COMPRESSED, publishers=(IMAGE,))),
        ERROR, [f"/image/compressed carries {IMAGE}", "set image_transport to raw"],
    ),
    "no image at all": (
        replace(DEAD, image=unheard("image", IMAGE, publishers=("std_msgs/msg/String",))),
        ERROR, ["carries std_msgs/msg/String", "remap image to a topic of that type"],
    ),
    "reliability": (
        replace(DEAD, image=unheard("image", IMAGE, incompatible="reliability")),
        ERROR, ["QoS", "does not offer this node's reliability", "qos_overrides./image.subscription.reliability to best_effort"],
    ),
    "durability": (
        replace(DEAD, image=unheard("image", IMAGE, incompatible="durability")), ERROR, ["durability to volatile"],
    ),
    "another policy": (
        replace(DEAD, image=unheard("image", IMAGE, incompatible="deadline")), ERROR, ["deadline to what it offers"],
    ),
    "nothing sent": (
        replace(DEAD, image=unheard("image", IMAGE)), ERROR, ["no image: /image has a publisher, but no message has come"],
    ),
    "camera stopped": (
        replace(WELL, image=heard("image", IMAGE, silence=5.25), counters=replace(WELL.counters, silence=5.2)),
        ERROR, ["no image for 5.2 s on /image"],
    ),
    "camera came back with another QoS": (
        replace(WELL, image=heard("image", IMAGE, silence=5.2, incompatible="reliability"), counters=replace(WELL.counters, silence=5.2)),
        ERROR, ["QoS", "best_effort"],
    ),
    "static TF of another durability": (
        replace(DEAD, needs=a_need(pose=heard("/tf", TF)), others=(unheard("/tf_static", TF, incompatible="durability"),)),
        ERROR, ["QoS: the publisher of /tf_static", "qos_overrides./tf_static.subscription.durability to volatile"],
    ),
    "static TF of another durability that is not needed": (
        replace(WELL, others=(unheard("/tf_static", TF, incompatible="durability"),)), WARN, ["QoS: the publisher of /tf_static"],
    ),
    "camera_info sent once before": (
        replace(DEAD, needs=a_need(camera_info=unheard("camera_info", INFO, latched=True))),
        ERROR, ["/camera_info is sent for late subscribers too", "qos_overrides./camera_info.subscription.durability to transient_local"],
    ),
    "old images": (replace(WELL, image_age=812.3), WARN, ["images are 812 s older than this node's clock", "use_sim_time"]),
    "the map moved": (
        replace(WELL, warnings={"map moved: x": "map -> odom jumped by 0.50 m"}), WARN, ["map -> odom jumped by 0.50 m"],
    ),
    "a corrected path that cannot be used": (
        replace(WELL, warnings={"corrected path": "a corrected path is left out: why"}), WARN, ["a corrected path is left out"],
    ),
    "no corrected path is published": (
        replace(WELL, others=(unheard("corrected_path", PATH, publishers=()),)),
        WARN, ["no corrected path: no publisher on /corrected_path; remap corrected_path", "map -> odom"],
    ),
    "a corrected path of another type": (
        replace(WELL, others=(unheard("corrected_path", PATH, publishers=("nav_msgs/msg/Odometry",)),)),
        WARN, ["/corrected_path carries nav_msgs/msg/Odometry, expected nav_msgs/msg/Path"],
    ),
    "a corrected path that does not come": (
        replace(WELL, others=(unheard("corrected_path", PATH),)), WARN, ["no corrected path: /corrected_path has a publisher"],
    ),
    "no clock": (replace(DEAD, clock_missing=True), ERROR, ["no output: use_sim_time is set", "--clock"]),
    "no clock, images come out": (replace(WELL, clock_missing=True), WARN, ["come out late: use_sim_time is set", "--clock"]),
    "no camera_info published": (
        replace(DEAD, needs=a_need(camera_info=unheard("camera_info", INFO, publishers=()))),
        ERROR, ["no camera_info: no publisher on /camera_info", "remap camera_info"],
    ),
    "no camera_info sent": (
        replace(DEAD, needs=a_need(camera_info=unheard("camera_info", INFO))),
        ERROR, ["no camera_info: /camera_info has a publisher, but no message has come"],
    ),
    "no depth published": (
        replace(DEAD, needs=a_need(depth=unheard("depth", IMAGE, publishers=()))),
        ERROR, ["no depth: no publisher on /depth", "remap depth"],
    ),
    "compressed depth": (
        replace(DEAD, needs=a_need(depth=unheard("depth", IMAGE, publishers=(COMPRESSED,)))),
        ERROR, ["set depth_transport to compressedDepth"],
    ),
    "raw depth": (
        replace(DEAD, needs=a_need(depth=unheard("depth/compressedDepth", COMPRESSED, publishers=(IMAGE,)))),
        ERROR, ["set depth_transport to raw"],
    ),
    "depth of another time": (
        replace(DEAD, warnings={"no depth": "no depth within 0.017 s of the image at 5.000 s, the nearest is 0.4 s away"}),
        ERROR, ["no depth within 0.017 s of the image at 5.000 s", "lost on the way"],
    ),
    "QoS of depth": (
        replace(DEAD, needs=a_need(depth=unheard("depth", IMAGE, incompatible="reliability"))),
        ERROR, ["qos_overrides./depth.subscription.reliability"],
    ),
    "no TF at all": (
        replace(DEAD, needs=a_need(pose=unheard("/tf", TF, publishers=()))), ERROR, ["no pose: no publisher on /tf", "localization"],
    ),
    "no TF for the image": (
        replace(DEAD, warnings={"no pose": "no pose at 5.000 s: unknown frame 'camera'; known frames: base, odom"}),
        ERROR, ["no pose at 5.000 s: unknown frame 'camera'; known frames: base, odom", "world_frame"],
    ),
    "no odometry": (
        replace(DEAD, needs=a_need(pose=unheard("odom", ODOMETRY))), ERROR, ["no pose: /odom has a publisher"],
    ),
    "all refused": (
        replace(DEAD, counters=replace(DEAD.counters, rejected=12, reason="unknown encoding 'x-ray8'")),
        ERROR, ["images are refused, 12 up to now: unknown encoding 'x-ray8'"],
    ),
    "stamps of the future": (
        replace(DEAD, warnings={"future stamp": "image refused: its stamp 9.000 s must not lie after now"}),
        ERROR, ["image refused: its stamp 9.000 s must not lie after now"],
    ),
    "most frames are held": (
        replace(WELL, counters=replace(WELL.counters, held=70, held_reason="too dark", held_rate=5.0)),
        WARN, ["held: 5.0 of 9.8 images/s", "the last good pose stands: too dark"],
    ),
    "few frames are held": (replace(WELL, counters=replace(WELL.counters, held=70, held_reason="too dark", held_rate=4.8)), OK, ["OK:"]),
    "images come out, TF does not": (
        replace(WELL, warnings={"tf": "no TF is published: map -> odom needs the camera in it"}), WARN, ["no TF is published"],
    ),
    "untrained": (replace(WELL, untrained=True), WARN, ["UNTRAINED (reconstruction.random is set): OK: 9.8 images/s"]),
    "untrained and dead": (
        replace(DEAD, untrained=True, image=unheard("image", IMAGE, publishers=())), ERROR, ["UNTRAINED", "no publisher on /image"],
    ),
    "slow": (
        replace(WELL, counters=replace(WELL.counters, input_rate=30.0, output_rate=3.1, drop_rate=26.9, step_ms=322.0, dropped=807)),
        WARN, ["slow: 3.1 of 30.0 images/s come out", "322.0 ms", "807 were dropped"],
    ),
    "a very long step": (replace(DEAD, counters=replace(DEAD.counters, busy=12.0)), WARN, ["one image has been in work for 12 s"]),
    "the first image is in work": (replace(DEAD, counters=replace(DEAD.counters, busy=1.25)), OK, ["the first image", "1.2 s"]),
    "a refused image is in work": (
        replace(DEAD, counters=replace(DEAD.counters, busy=0.1, rejected=3, reason="too small")), ERROR, ["too small"],
    ),
    "just started": (
        replace(DEAD, age=0.4, image=unheard("image", IMAGE, publishers=())), OK, ["waiting for the first image"],
    ),
    "something else": (replace(DEAD, warnings={"a": "an old one", "b": "a new\none"}), ERROR, ["no output: a new one"]),
    "nothing known": (DEAD, ERROR, ["no output", "have not come out yet"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_a_cause_is_named(name):
    status, level, words = TABLE[name]
    found, text, _ = diagnose(status)
    assert found == level, text
    assert [word for word in words if word not in text] == [], text
    assert "\n" not in text


STOPPED = replace(WELL, counters=replace(WELL.counters, silence=9.0))
CHANGING = {  # two statuses of one cause, whose lines differ in their numbers
    "no image": [replace(STOPPED, image=heard("image", IMAGE, silence=silence)) for silence in (5.25, 6.5)],
    "no pose": [replace(DEAD, warnings={"no pose": f"no pose at {stamp} s: unknown frame"}) for stamp in (5, 6)],
    "images are refused": [replace(DEAD, counters=replace(DEAD.counters, rejected=count)) for count in (3, 4)],
    "no output: disk": [replace(DEAD, warnings={"disk": f"the disk takes {seconds} s"}) for seconds in (1, 2)],
}


@pytest.mark.parametrize("key", CHANGING)
def test_lines_that_differ_in_numbers_alone_have_one_key(key):
    one, other = map(diagnose, CHANGING[key])
    assert one.text != other.text
    assert one.key == other.key == key


def test_the_key_of_any_other_line_is_the_line():
    for status in (WELL, replace(WELL, untrained=True), replace(DEAD, image=unheard("image", IMAGE))):
        assert diagnose(status).key == diagnose(status).text


FAULTS = [  # each spoils the status; all of them at once must name the first, without it the second, and so on
    ("not configured", {"state": "unconfigured"}),
    ("paused", {"paused": True}),
    ("no publisher", {"image": unheard("image", IMAGE, publishers=())}),
    ("use_sim_time", {"clock_missing": True}),
    ("no camera_info", {"needs": a_need(camera_info=unheard("camera_info", INFO), depth=unheard("depth", IMAGE))}),
    ("no depth", {"needs": a_need(depth=unheard("depth", IMAGE), pose=unheard("/tf", TF))}),
    ("no pose", {"needs": a_need(pose=unheard("/tf", TF))}),
    ("images are refused", {"counters": replace(DEAD.counters, rejected=3)}),
    ("no output: at last", {"warnings": {"other": "at last"}}),
]


@pytest.mark.parametrize("first", range(len(FAULTS)))
def test_of_several_causes_the_likeliest_is_named(first):
    changes = {}
    for _, change in reversed(FAULTS[first:]):
        changes |= change
    assert FAULTS[first][0] in diagnose(replace(DEAD, **changes))[1]


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (unheard("image", IMAGE, publishers=(COMPRESSED,), incompatible="reliability"), "carries"),
        (unheard("image", IMAGE, incompatible="reliability"), "QoS"),
    ],
)
def test_type_comes_before_qos_and_qos_before_silence(image, word):
    assert word in diagnose(replace(DEAD, image=image))[1]


def test_output_silences_every_complaint_but_those_of_the_state():
    troubled = replace(WELL, warnings={"no pose": "no pose"}, needs={"depth": unheard("depth", IMAGE)})
    assert diagnose(troubled)[0] == OK
    assert "paused" in diagnose(replace(troubled, paused=True))[1]


def test_a_publisher_of_the_right_type_among_others_is_enough():
    mixed = heard("image", IMAGE, publishers=(COMPRESSED, IMAGE))
    assert "carries" not in diagnose(replace(DEAD, image=mixed))[1]


def test_one_incompatible_publisher_is_no_cause_while_another_is_heard():
    assert "QoS" not in diagnose(replace(DEAD, image=heard("image", IMAGE, incompatible="reliability")))[1]


def test_a_camera_info_that_came_once_holds():
    once = heard("camera_info", INFO, messages=1, silence=500.0)
    assert "camera_info" not in diagnose(replace(DEAD, needs=a_need(camera_info=once)))[1]


def test_the_message_holds_verdict_and_numbers():
    node = replace(WELL, usage=ResourceUsage(300_000, 42, 97, 812.4, 0.0), warnings={"x": "one", "y": "two"})
    node = replace(node, map_frame="map", counters=replace(node.counters, map_jumps=2))
    message = make_status_message(make_time(5_000_000_001), node)
    (status,) = message.status
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (5, 1)
    assert (status.level, status.message) == diagnose(node)[:2]
    assert (status.level, status.name, status.hardware_id) == (DiagnosticStatus.OK, "/moonseg3r: output", "/image")
    assert {pair.key: pair.value for pair in status.values} == {
        "state": "active",
        "frames received": "90", "frames processed": "88", "frames dropped": "1", "frames rejected": "1",
        "frames held": "0", "last held": "",
        "input rate": "9.90", "output rate": "9.80", "latency ms": "4.2", "step ms": "61.0",
        "map ms": "", "image age s": "0.0", "listened to": "", "masks ms": "30.0", "lift ms": "4.0",
        **dict.fromkeys(("/image", "/camera_info", "/depth", "/tf"), "0 connected, 9 messages"),
        "settings resolved": "", "map frame": "map", "map jumps": "2", "map points": "300000", "instances": "42", "instances stored": "97", "memory MiB": "812", "GPU MiB": "0", "last complaint": "two",
    }  # fmt: skip
    assert deserialize_message(serialize_message(message), DiagnosticArray) == message
