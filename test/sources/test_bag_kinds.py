"""MCAP files of other systems, faults in words of our own, and codecs that are no images."""

from __future__ import annotations

import json
import logging
import sqlite3

import numpy as np
import pytest
import torch
from mcap.writer import Writer
from ros_messages import SECOND, edge, flat, tf

from moonseg3r_core.errors import FrameRejected, SourceError
from moonseg3r_core.sources import open_source
from moonseg3r_core.sources.bag_faults import describe_fault
from moonseg3r_core.sources.bag_parts import TYPES, normalize_type
from moonseg3r_core.sources.bag_reader import read_topics
from moonseg3r_core.sources.messages import decode_image_message
from moonseg3r_core.sources.video_codecs import find_video_codec
from moonseg3r_core.sources.write_bag import make_header, make_image, write_bag
from moonseg3r_core.types import Frame

LIBRARIES = ("rosbags", "Truncated record", "magic", "protobuf'", "Profile is", "database disk", "YAML from")


def write_mcap(path, profile="ros2", encoding="cdr", extra=(), summary=True, type="sensor_msgs/msg/Image"):
    """An image and a transform on three moments, beside a message on each of the `extra` (topic, encoding)."""
    options = {} if summary else {"use_summary_offsets": False, "use_statistics": False, "repeat_channels": False}
    with path.open("wb") as file:
        writer = Writer(file, **options)
        writer.start(profile, "test")
        image = writer.register_channel("/image", encoding, writer.register_schema(type, "ros2msg", b"uint8 x"))
        tree = writer.register_channel(
            "/tf", encoding, writer.register_schema("tf2_msgs/msg/TFMessage", "ros2msg", b"")
        )
        schema = writer.register_schema("foreign.Type", "jsonschema", b"{}")
        others = [writer.register_channel(topic, kind, schema if kind else 0) for topic, kind in extra]
        for n in range(3):
            at = (100 + n) * SECOND
            for channel, message in ((tree, tf(edge(n, 100 + n))), (image, make_image(flat(n), "rgb8", at))):
                writer.add_message(channel, at, bytes(TYPES.serialize_cdr(message, message.__msgtype__)), at)
            for channel in others:
                writer.add_message(channel, at, json.dumps({"n": n}).encode(), at)
        writer.finish()
    return path


class TestMcap:
    @pytest.mark.parametrize(
        "extra", [[("/state", "json"), ("/front", "protobuf")], [("/raw", "")], [("/image", "json")]]
    )
    @pytest.mark.parametrize("profile", ["ros2", "", "custom"])
    def test_topics_that_are_not_ros2_are_left_out_with_a_count(self, tmp_path, caplog, extra, profile):
        with caplog.at_level(logging.WARNING, "moonseg3r"):
            source = open_source(str(write_mcap(tmp_path / "a.mcap", profile, extra=extra)))
        assert [float(frame.world_from_camera[0, 3]) for frame in source] == [0, 1, 2]
        assert f"left out {len(extra)} of {2 + len(extra)} topics, which are not ROS 2: {extra[0][0]} (" in caplog.text
        assert not source.rejected

    @pytest.mark.parametrize("profile", ["", "ros2"])
    def test_a_file_without_profile_or_index_is_read_in_silence(self, tmp_path, caplog, profile):
        with caplog.at_level(logging.WARNING, "moonseg3r"):
            source = open_source(str(write_mcap(tmp_path / "a.mcap", profile, summary=False)))
            assert len(list(source)) == 3
        assert caplog.text == ""

    @pytest.mark.parametrize(("profile", "encoding"), [("ros1", "ros1"), ("", "ros1")])
    def test_ros1_is_named_with_the_command_that_converts_it(self, tmp_path, profile, encoding):
        file = write_mcap(tmp_path / "a.mcap", profile, encoding)
        with pytest.raises(SourceError, match=r"is a ROS 1 recording; convert its \.bag with `rosbags-convert --src"):
            open_source(str(file))

    def test_a_file_of_other_systems_alone_lists_them(self, tmp_path):
        with pytest.raises(SourceError, match=r"holds no topic of ROS 2; .* got: /image \(json\), /tf \(json\)"):
            open_source(str(write_mcap(tmp_path / "a.mcap", "", "json")))

    def test_a_folder_with_such_a_file_is_read(self, tmp_path, caplog):
        write_mcap(tmp_path / "a.mcap", extra=[("/state", "json")])
        topics = [("/image", "sensor_msgs/msg/Image", "cdr"), ("/state", "foreign", "json")]
        lines = [
            f"    - topic_metadata: {{name: {n}, type: {t}, serialization_format: {f}}}\n      message_count: 3\n"
            for n, t, f in topics
        ]
        (tmp_path / "metadata.yaml").write_text(
            "rosbag2_bagfile_information:\n  version: 5\n  storage_identifier: mcap\n  message_count: 6\n"
            "  duration: {nanoseconds: 1}\n  starting_time: {nanoseconds_since_epoch: 1}\n  relative_file_paths: [a.mcap]\n"
            "  compression_format: ''\n  compression_mode: ''\n  topics_with_message_count:\n" + "".join(lines)
        )
        with caplog.at_level(logging.WARNING, "moonseg3r"):
            source = open_source(str(tmp_path))
            assert len(list(source)) == 3
        assert "damaged" not in caplog.text
        assert "left out 1 of 3 topics" in caplog.text

    def test_a_cut_one_is_read_without_the_foreign_topics(self, tmp_path):
        file = write_mcap(tmp_path / "a.mcap", extra=[("/state", "json")])
        file.write_bytes(file.read_bytes()[:-40])
        assert [topic.name for topic in read_topics(file, lambda fault: None)] == ["/image", "/tf"]
        assert len(list(open_source(str(file)))) == 3

    @pytest.mark.parametrize(
        ("name", "type"),
        [
            ("sensor_msgs::msg::Image", "sensor_msgs/msg/Image"),
            ("sensor_msgs::msg::dds_::Image_", "sensor_msgs/msg/Image"),
            ("sensor_msgs/Image", "sensor_msgs/msg/Image"),
            ("foxglove.CompressedImage", "foxglove.CompressedImage"),
        ],
    )
    def test_spellings_of_a_type(self, name, type):
        assert normalize_type(name) == type


class TestFaults:
    @pytest.mark.parametrize(
        ("name", "content", "fault"),
        [
            ("a.mcap", b"", "a.mcap is empty"),
            ("a.mcap", b"text" * 30, "a.mcap is no MCAP file"),
            ("a.mcap", b"\x89MCAP0\r\n" + bytes(99), "a.mcap ends early"),
            ("a.db3", b"text" * 30, "a.db3 is no SQLite database"),
            ("a.db3", b"SQLite format 3\x00\x10\x00" + bytes(10) + bytes([0, 0, 1, 0]) + bytes(99), "a.db3 ends early"),
            ("metadata.yaml", b"a: [", "metadata.yaml is no YAML"),
            ("metadata.yaml", b"a: 1", "holds no rosbag2_bagfile_information"),
            ("metadata.yaml", b"rosbag2_bagfile_information: {version: 99}", "version 9 or older, got 99"),
            ("metadata.yaml", b"rosbag2_bagfile_information: {version: 5, storage_identifier: rosbag_v2}",
             "must name the storage mcap or sqlite3, got rosbag_v2"),
            ("metadata.yaml",
             b"rosbag2_bagfile_information: {version: 5, storage_identifier: mcap, relative_file_paths: [x.mcap]}",
             "names files that are not there: x.mcap"),
        ],
    )  # fmt: skip
    def test_they_are_said_in_our_own_words(self, tmp_path, name, content, fault):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match="cannot be read as a bag: ") as raised:
            open_source(str(tmp_path if name == "metadata.yaml" else tmp_path / name))
        assert fault in str(raised.value)
        assert not any(word in str(raised.value) for word in LIBRARIES)

    def test_a_whole_file_with_damage_within(self, tmp_path):
        write_mcap(tmp_path / "a.mcap")
        assert describe_fault(tmp_path / "a.mcap") == "a part of a.mcap is damaged"

    def test_a_database_that_is_no_bag(self, tmp_path):
        with sqlite3.connect(tmp_path / "a.db3") as database:
            database.execute("CREATE TABLE other (x)")
        with pytest.raises(SourceError, match=r"a part of a\.db3 is damaged"):
            open_source(str(tmp_path / "a.db3"))

    def test_an_undecodable_message_is_described_by_its_type(self, tmp_path):
        write_bag([Frame(0, 0.0, torch.from_numpy(flat(1)))], tmp_path / "a.db3", "raw")
        with sqlite3.connect(tmp_path / "a.db3") as database:
            database.execute("UPDATE messages SET data = x'00010000ffff'")
        with pytest.raises(SourceError, match=r"its 6 bytes are no sensor_msgs/msg/Image; left out"):
            list(open_source(str(tmp_path / "a.db3")))


class TestCodecs:
    @pytest.mark.parametrize(
        ("format", "data", "codec"),
        [
            ("h264", b"", "H.264"), ("rgb8; avc1", b"", "H.264"), ("H265", b"", "H.265"), ("hevc", b"", "H.265"),
            ("av1", b"", "AV1"), ("vp9", b"", "VP9"), ("rgb8; jpeg compressed bgr8", b"\xff\xd8\xff\xe0", ""),
            ("png", b"\x89PNG", ""), ("", b"\x00\x00\x00\x01", "H.264 or H.265"), ("webp", b"RIFF", ""),
        ],
    )  # fmt: skip
    def test_codecs_by_format_or_first_bytes(self, format, data, codec):
        assert find_video_codec(format, data) == codec

    @pytest.mark.parametrize(
        ("format", "data", "text"),
        [
            ("h264", bytes([0, 0, 0, 1, 0x67]), "images are H.264 video: .* got the format 'h264'"),
            ("draco", b"DRACO data", "no image of a known kind, its format is 'draco'"),
        ],
    )
    def test_a_compressed_image_that_is_none_names_its_format(self, format, data, text):
        kind = TYPES.types["sensor_msgs/msg/CompressedImage"]
        with pytest.raises(FrameRejected, match=text):
            decode_image_message(kind(make_header(0), format, np.frombuffer(data, np.uint8)))
