"""Which topics of a bag belong together: robots, cameras, depth by encoding, transforms. Cases drawn by hand."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from ros_messages import SECOND, edge, flat, metres, shift, tf
from rosbags.rosbag2 import StoragePlugin, Writer

from moonseg3r_core.config import load_config
from moonseg3r_core.errors import SourceError
from moonseg3r_core.resolve import check_recording, resolve
from moonseg3r_core.sources import Topics, open_source
from moonseg3r_core.sources.bag_parts import TYPES, Topic
from moonseg3r_core.sources.bag_topics import choose_topics
from moonseg3r_core.sources.camera_topics import name_sibling, strip_transport
from moonseg3r_core.sources.topic_facts import BagFacts, EdgeSample, TopicFacts
from moonseg3r_core.sources.transform_topics import (
    TransformGroup,
    choose_transforms,
    find_alternation,
    find_contradiction,
)
from moonseg3r_core.sources.write_bag import make_camera_info, make_header, make_image

K = torch.tensor([[10.0, 0, 3.5], [0, 10, 2.5], [0, 0, 1]])
COLOR, DEPTH, INFO = "/camera/color/image_raw", "/camera/depth/image_raw", "/camera/color/camera_info"
OPTICAL, DEPTH_FRAME = "color_optical", "depth_optical"


def record(folder, messages):
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {}
        for topic, stamp, message in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=TYPES)
            writer.write(connections[topic], round(stamp * SECOND), TYPES.serialize_cdr(message, kind))
    return folder


def of(frame, message, stamp):
    """The message in a frame of its own."""
    message.header = make_header(round(stamp * SECOND), frame)
    return message


def camera(prefix, stamp, n, frame="camera", with_depth=True, with_info=True):
    ns = round(stamp * SECOND)
    found = [(f"{prefix}/color/image_raw", stamp, of(frame, make_image(flat(n), "rgb8", ns), stamp))]
    if with_info:
        found.append((f"{prefix}/color/camera_info", stamp, of(frame, make_camera_info(K, (6, 8), ns), stamp)))
    if with_depth:
        depth = of(frame, make_image(metres(n + 1), "16UC1", ns), stamp)
        found.append((f"{prefix}/aligned_depth_to_color/image_raw", stamp, depth))
    return found


def two_robots(with_second_camera=False, apart=0.003):
    """Robot 1 walks along x, robot 2 stands 50 m away; both have odom -> base -> camera."""
    messages = [(f"/{name}/tf_static", 99.9, tf(edge(0, 0, "base", "camera"))) for name in ("r1", "r2")]
    messages.append(("/r2/tf", 99.9, tf(edge(50, 99.9, "odom", "base"))))
    for n in range(6):
        at = 100 + n / 10
        messages += [
            ("/r1/tf", at, tf(edge(n, at, "odom", "base"))),
            ("/r2/tf", at + apart, tf(edge(50, at + apart, "odom", "base"))),
            *camera("/r1/camera", at, n),
            *(camera("/r2/camera", at + apart, 40 + n) if with_second_camera else []),
        ]
    return messages


class TestRobots:
    @pytest.mark.parametrize("apart", [0.003, 0.0])  # simulated robots share their stamps
    def test_the_transforms_are_those_of_the_camera(self, tmp_path, caplog, apart):
        with caplog.at_level(logging.WARNING, "moonseg3r"):
            frames = list(open_source(str(record(tmp_path / "bag", two_robots(apart=apart)))))
        assert [float(frame.world_from_camera[0, 3]) for frame in frames] == list(range(6))
        assert "/r2 is left out: /r2/tf moves 'base' otherwise than /r1/tf does" in caplog.text

    def test_two_cameras_are_refused_until_a_robot_is_named(self, tmp_path):
        bag = str(record(tmp_path / "bag", two_robots(with_second_camera=True)))
        with pytest.raises(
            SourceError, match=r"2 robots, r1 and r2 .*; choose one with --robot r1, or name its topics"
        ):
            open_source(bag)
        for name, first, x in (("r1", 0, 0.0), ("/r2/", 40, 50.0)):
            frame = next(iter(open_source(bag, topics=Topics(robot=name))))
            assert int(frame.image[0, 0, 0]) == first
            assert float(frame.depth[0, 0]) == first + 1
            assert float(frame.world_from_camera[0, 3]) == x
        with pytest.raises(SourceError, match="no topics of robot r3; its namespaces are r1, r2"):
            open_source(bag, topics=Topics(robot="r3"))

    def test_a_named_topic_of_transforms_is_taken(self, tmp_path):
        bag = str(record(tmp_path / "bag", two_robots()))
        frames = list(open_source(bag, topics=Topics(tf="/r2/tf")))
        assert {float(frame.world_from_camera[0, 3]) for frame in frames} == {50.0}

    def test_two_robots_without_transforms_are_told_by_their_frames(self, tmp_path):
        messages = []
        for n in range(3):
            messages += [*camera("/a/camera", 100 + n / 10, n), *camera("/b/camera", 100.05 + n / 10, n)]
        with pytest.raises(SourceError, match=r"2 robots, a and b \(both cameras have the frame 'camera'\)"):
            open_source(str(record(tmp_path / "bag", messages)))

    def test_robots_of_a_fleet_are_told_by_the_namespace_in_which_they_differ(self, tmp_path):
        messages = []
        for n in range(3):
            messages += [*camera("/fleet/a/cam", 100 + n / 10, n), *camera("/fleet/b/cam", 100.05 + n / 10, 30 + n)]
        bag = str(record(tmp_path / "bag", messages))
        with pytest.raises(SourceError, match=r"2 robots, fleet/a and fleet/b .* --robot fleet/a"):
            open_source(bag)
        assert int(next(iter(open_source(bag, topics=Topics(robot="fleet/b")))).image[0, 0, 0]) == 30

    def test_two_cameras_of_one_robot_are_said(self, tmp_path, caplog):
        messages = []
        for n in range(3):
            at = 100 + n / 10
            messages += [("/tf", at, tf(edge(n, at, "odom", "front"), edge(n, at, "odom", "rear")))]
            messages += [*camera("/front", at, n, "front"), *camera("/rear", at, n, "rear")]
        with caplog.at_level(logging.WARNING, "moonseg3r"):
            source = open_source(str(record(tmp_path / "bag", messages)))
        assert source.topics.color.name == "/front/color/image_raw"
        assert source.topics.depth.name == "/front/aligned_depth_to_color/image_raw"
        assert "there is also /rear/color/image_raw: choose with --topic color=TOPIC" in caplog.text

    def test_two_publishers_of_one_transform_give_no_poses(self, tmp_path):
        messages = []
        for n in range(8):
            at = 100 + n / 10
            both = [
                ("/tf", at, tf(edge(n / 10, at, "odom", "camera"))),
                ("/tf", at, tf(edge(20, at, "odom", "camera"))),
            ]
            messages += [*both, *camera("/camera", at, n)]
        source = open_source(str(record(tmp_path / "bag", messages)))
        assert source.lacks == ("poses",)
        assert "/tf holds two transforms 'odom' -> 'camera' in turn, 20.0 m apart" in source.absent["poses"]
        assert all(frame.world_from_camera is None for frame in source)
        config = resolve(load_config(overrides={"reconstruction.kind": "rgbd"}))
        with pytest.raises(SourceError, match="brings no poses: /tf holds two transforms"):
            check_recording(config, source.name, source.lacks, source.absent)


def group(prefix, moving=(), static=()):
    return TransformGroup(prefix, (Topic(f"{prefix}/tf", "tf2_msgs/msg/TFMessage", 9),), tuple(static), tuple(moving))


def walk(child="base", x=0.0, parent="odom", stamps=(1.0, 2.0, 3.0)):
    return [EdgeSample(parent, child, stamp, shift(x + stamp)) for stamp in stamps]


class TestTransformGroups:
    def test_a_copy_contradicts_nothing_and_other_poses_or_stamps_do(self):
        ours = group("/r1", walk())
        assert find_contradiction(ours, group("/relay", walk())) == ""
        assert find_contradiction(ours, group("/throttled", walk(stamps=(1.0, 3.0)))) == ""
        assert "/r2/tf moves 'base' otherwise" in find_contradiction(ours, group("/r2", walk(x=1e-9)))
        assert "moves 'base'" in find_contradiction(ours, group("/r2", walk(stamps=(1.5, 2.5))))
        assert find_contradiction(ours, group("/later", walk(stamps=(7.0, 8.0)))) == ""
        assert find_contradiction(ours, group("/r2", walk("r2/base", x=9))) == ""

    def test_static_transforms_that_differ_contradict(self):
        def fixed(x, parent="base"):
            return [EdgeSample(parent, "camera", 0.0, shift(x))]

        ours = group("/r1", static=fixed(1.0))
        assert find_contradiction(ours, group("", static=fixed(1.001))) == ""
        assert "fixes 'camera' elsewhere" in find_contradiction(ours, group("", static=fixed(1.2)))
        assert "fixes 'camera' elsewhere" in find_contradiction(ours, group("", static=fixed(1.0, "arm")))

    def test_the_nearest_namespace_comes_first(self):
        groups = [group("", walk(x=7)), group("/r1", walk()), group("/r2", walk(x=9))]
        chosen = choose_transforms(groups, "/r1/camera/image", "base")
        assert [topic.name for topic in chosen.topics] == ["/r1/tf"]
        assert sorted(chosen.left_out) == ["", "/r2"]
        global_one = choose_transforms([*groups[:1], groups[2]], "/camera/image", "base")
        assert [topic.name for topic in global_one.topics] == ["/tf"]

    def test_what_agrees_is_read_too_and_a_copy_elsewhere_is_not(self):
        groups = [group("/r1", walk()), group("", walk("odom", parent="map")), group("/r2", walk())]
        chosen = choose_transforms(groups, "/r1/camera/image", "base")
        assert [topic.name for topic in chosen.topics] == ["/r1/tf", "/tf"]
        assert chosen.left_out == {}

    def test_two_that_are_equally_near_are_refused(self):
        with pytest.raises(SourceError, match="2 robots, r1 and r2"):
            choose_transforms([group("/r1", walk()), group("/r2", walk(x=9))], "/camera/image", "base")
        chosen = choose_transforms([group("/r1", walk()), group("/r2", walk(x=9))], "/r2/", "base")
        assert [topic.name for topic in chosen.topics] == ["/r2/tf"]

    def test_a_fast_robot_is_no_second_publisher(self):
        steps = [EdgeSample("odom", "base", n / 10, shift(2.0 * n)) for n in range(9)]  # 20 m/s
        assert find_alternation(steps) == ""
        jump = [EdgeSample("map", "odom", n / 10, shift(5.0 * (n > 4))) for n in range(9)]  # a correction
        assert find_alternation(jump) == ""
        parents = [EdgeSample("odom" if n % 2 else "map", "base", n / 10, shift(0)) for n in range(9)]
        assert find_alternation(parents) == "places 'base' below 'map' and 'odom' in turn"


def image(name, frame="c", encoding="rgb8", size=(6, 8), count=10, kind="Image", stamps=()):
    return Topic(name, f"sensor_msgs/msg/{kind}", count), TopicFacts(frame, size, encoding, None, stamps)


def info(name, frame="c", size=(6, 8), k=K):
    return Topic(name, "sensor_msgs/msg/CameraInfo", 10), TopicFacts(frame, size, "", make_camera_info(k, size, 0))


def choose(*known, **requested):
    facts = BagFacts({topic.name: each for topic, each in known})
    return choose_topics([topic for topic, _ in known], Topics(**requested), facts)


class TestCameras:
    def test_depth_is_known_by_its_encoding(self):
        oak = choose(image("/oak/rgb/image_raw"), image("/oak/stereo/image_raw", encoding="16uc1"))
        assert oak.depth.name == "/oak/stereo/image_raw"
        coded = image("/oak/stereo/x", encoding="32fc1; compresseddepth png", kind="CompressedImage")
        assert choose(image("/oak/rgb/image_raw"), coded).depth.name == "/oak/stereo/x"

    def test_video_of_other_message_types_is_named(self):
        video = Topic("/cam/video", "foxglove_msgs/msg/CompressedVideo", 5), TopicFacts()
        with pytest.raises(SourceError, match="/cam/video is a video stream; decode it to sensor_msgs/msg/Image first"):
            choose(video, image("/cam/depth", encoding="16uc1"))

    def test_pictures_of_depth_and_other_measures_are_not_depth(self):
        chosen = choose(
            image("/cam/rgb"),
            image("/cam/depth_colored", encoding="bgr8"),
            image("/cam/confidence_map", encoding="32fc1"),
            image("/cam/ir/image", encoding="mono16"),
            image("/cam/segmentation", encoding="16uc1"),
        )
        assert chosen.color.name == "/cam/rgb"
        assert chosen.depth is None
        assert "there is /cam/depth_colored (bgr8, 8x6, frame 'c')" in chosen.absent["depth"]
        assert chosen.absent["depth"].endswith("name one with --topic depth=TOPIC")

    def test_a_stream_is_no_single_picture_and_no_video(self):
        assert choose(image("/map/image", count=1), image("/z/image", count=20)).color.name == "/z/image"
        video = image("/a/image/compressed", encoding="h264", kind="CompressedImage")
        assert (
            choose(video, image("/b/image/compressed", encoding="jpeg", kind="CompressedImage")).color.name[:2] == "/b"
        )

    def test_the_depth_of_another_camera_is_not_taken_for_likeness_of_names(self):
        topics = [image("/front/color/image", "f"), image("/rear/depth/image", "r", "16uc1")]
        near = image("/other/range", "f", "16uc1")
        assert choose(*topics, near).depth.name == "/other/range"
        alone = choose(*topics)
        assert alone.depth is None
        assert "depth lies in frame 'r', colour in 'f', and it cannot be registered" in alone.absent["depth"]
        assert "align_depth.enable:=true" in alone.absent["depth"]

    def test_a_camera_that_looks_elsewhere_is_another_one(self):
        def fixed(child, pose):
            return EdgeSample("base", child, 0.0, pose)

        turned = np.diag([-1.0, 1.0, -1.0, 1.0])
        for pose, is_there in ((shift(0.05), True), (turned, False), (shift(3.0), False)):
            tree = (
                Topic("/tf_static", "tf2_msgs/msg/TFMessage", 1),
                TopicFacts(edges=(fixed("f", np.eye(4)), fixed("r", pose))),
            )
            wide = info("/cam/depth/camera_info", "r", k=K * 0.5)
            chosen = choose(
                image("/cam/color/image", "f"), info("/cam/color/camera_info", "f"),
                image("/cam/depth/image", "r", "16uc1"), wide, tree,
            )  # fmt: skip
            assert (chosen.depth is not None) == is_there
            assert (chosen.depth_info is not None) == is_there

    @pytest.mark.parametrize(
        ("known", "name"),
        [
            ([info("/camera/infra1/camera_info", "i")], None),
            ([info("/camera/color/camera_info")], "/camera/color/camera_info"),
            ([info("/camera/color/camera_info", "other_name")], "/camera/color/camera_info"),  # beside the image
            ([info("/camera/camera_info"), info("/camera/infra1/camera_info", "i")], "/camera/camera_info"),
            ([info("/calibration", size=(60, 80))], None),
            ([info("/calibration")], "/calibration"),
            ([info("/b/color/camera_info"), image("/b/color/image_raw")], None),  # that image's
            ([info("/camera/info", ""), info("/b/info", "")], "/camera/info"),
        ],
    )  # fmt: skip
    def test_a_camera_info_belongs_by_frame_place_and_size(self, known, name):
        chosen = choose(image(COLOR), *known, color=COLOR)
        assert (chosen.camera_info and chosen.camera_info.name) == name
        if name is None:
            assert known[0][0].name in chosen.absent["intrinsics"]

    def test_one_of_another_shape_is_left_out_and_said(self):
        chosen = choose(image(COLOR), info(INFO, size=(6, 6)))
        assert chosen.camera_info is None
        assert "must be for images of 8x6, got 6x6" in chosen.absent["intrinsics"]
        assert len(chosen.unusable) == 1
        assert choose(image(COLOR), info(INFO, size=(12, 16), k=K * 2)).camera_info.name == INFO  # scaled

    def test_siblings(self):
        assert name_sibling("/a/b/image_raw") == "/a/b/camera_info"
        assert name_sibling("/a/b/image_raw/compressed") == "/a/b/camera_info"
        assert name_sibling("/image") == "/camera_info"
        assert strip_transport("/depth/compressedDepth") == "/depth"


class TestUnalignedDepth:
    @staticmethod
    def bag(folder, parts=("info", "tf")):
        """A wall at 2 m; the depth camera sits 0.2 m to the right of the colour camera."""
        messages = []
        if "tf" in parts:
            messages.append(("/tf_static", 99.9, tf(edge(0.2, 0, OPTICAL, DEPTH_FRAME))))
        for n in range(3):
            at = 100 + n / 10
            ns = round(at * SECOND)
            messages += [
                ("/tf", at, tf(edge(n, at, "odom", OPTICAL))),
                (INFO, at, of(OPTICAL, make_camera_info(K, (6, 8), ns), at)),
                (DEPTH, at, of(DEPTH_FRAME, make_image(metres(2), "16UC1", ns), at)),
                (COLOR, at, of(OPTICAL, make_image(flat(n), "rgb8", ns), at)),
            ]
            if "info" in parts:
                own = make_camera_info(K + torch.eye(3), (6, 8), ns)
                messages.append(("/camera/depth/camera_info", at, of(DEPTH_FRAME, own, at)))
        return str(record(folder, messages))

    def test_it_is_registered_with_what_the_bag_holds(self, tmp_path, caplog):
        with caplog.at_level(logging.WARNING, "moonseg3r"):
            source = open_source(self.bag(tmp_path / "bag"))
        assert (
            f"{DEPTH} (frame '{DEPTH_FRAME}') is registered to {COLOR} (frame '{OPTICAL}') with /camera/depth/"
            in caplog.text
        )
        for frame in source:
            assert (frame.depth[:, 0] == 0).all()
            assert (frame.depth[3, 1:] == 2).all()

    @pytest.mark.parametrize(("parts", "why"), [(("info",), "unknown frame"), (("tf",), "no camera_info of the depth")])
    def test_it_is_refused_with_the_remedy_where_that_is_missing(self, tmp_path, caplog, parts, why):
        with caplog.at_level(logging.WARNING, "moonseg3r"):
            source = open_source(self.bag(tmp_path / "bag", parts))
        assert source.lacks == ("depth",)
        assert why in source.absent["depth"]
        assert "take the depth that is registered to the colour" in source.absent["depth"]
        assert caplog.text == ""
        with caplog.at_level(logging.WARNING, "moonseg3r"):
            assert all(frame.depth is None for frame in source)
        assert caplog.text.count("/camera/depth/image_raw is left out") == 1
