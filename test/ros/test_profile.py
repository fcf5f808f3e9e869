"""The files beside the code: the Fast DDS profile, RViz's configuration, the example of a parameter file."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from sensor_msgs.msg import Image

from moonseg3r_core import Config, Frame
from moonseg3r_core.sources.write_bag import write_bag
from moonseg3r_ros.conversions.markers import NAMESPACES
from moonseg3r_ros.interface import OUTPUTS, QOS
from moonseg3r_ros.parameters import NodeParameters
from moonseg3r_ros.settings import NodeSettings

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "config" / "fastdds_shared_memory.xml"
RVIZ = yaml.safe_load((ROOT / "rviz" / "moonseg3r.rviz").read_text())
DISPLAYS = {display["Name"]: display for display in RVIZ["Visualization Manager"]["Displays"]}
IMAGE = "/camera/color/image_raw"
DDS = "{http://www.eprosima.com}"


class TestProfile:
    def test_every_participant_has_shared_memory_that_holds_images_and_udp_for_other_hosts(self):
        root = ElementTree.parse(PROFILE).getroot()
        kinds = {
            t.findtext(f"{DDS}transport_id"): t.findtext(f"{DDS}type") for t in root.iter(f"{DDS}transport_descriptor")
        }
        (participant,) = root.iter(f"{DDS}participant")
        used = [kinds[item.text] for item in participant.iter(f"{DDS}transport_id")]
        assert used == ["SHM", "UDPv4"]
        assert participant.get("is_default_profile") == "true"
        assert participant.findtext(f".//{DDS}useBuiltinTransports") == "false"
        assert int(root.findtext(f".//{DDS}segment_size")) == 32 << 20
        assert int(root.findtext(f".//{DDS}maxMessageSize")) == 16 << 20

    def test_with_it_no_image_is_lost_between_processes_though_nobody_asks_again(self, graph, tmp_path):
        pictures = torch.randint(0, 256, (30, 480, 640, 3), dtype=torch.uint8)
        write_bag((Frame(n, n / 30, picture) for n, picture in enumerate(pictures)), tmp_path / "bag.mcap", "raw")
        qos = QoSProfile(depth=len(pictures), reliability=ReliabilityPolicy.BEST_EFFORT)
        heard = graph.listen(Image, IMAGE, qos, wait=False)
        policy = f"qos_overrides.{IMAGE}.publisher.reliability:=best_effort"
        replay = graph.start("moonseg3r_ros.replay.command", tmp_path / "bag.mcap", "--ros-args", "-p", policy)
        graph.until(lambda: replay.process.poll() is not None, "the replay ends")
        graph.until(lambda: len(heard) == len(pictures), "all images")
        for message, picture in zip(heard, pictures, strict=True):
            assert bytes(message.data) == picture.numpy().tobytes()


class TestRviz:
    @pytest.mark.parametrize(
        ("name", "kind", "topic"),
        [
            ("Map", "PointCloud2", "map"),
            ("Map by id", "PointCloud2", "map"),
            ("Instances", "MarkerArray", "markers"),
            ("Path", "Path", "path"),
            ("Camera pose", "Pose", "pose"),
            ("Overlay", "Image", "overlay"),
        ],
    )
    def test_a_display_takes_what_the_node_publishes(self, name, kind, topic):
        display = DISPLAYS[name]
        published = OUTPUTS[f"~/{topic}"]
        assert display["Class"] == f"rviz_default_plugins/{kind}"
        assert display["Topic"]["Value"] == f"/moonseg3r/{topic}"
        assert published.type.endswith(kind) or kind == "Pose"
        assert qos_check_compatible(QOS[published.qos], asked(display))[0] != QoSCompatibility.ERROR
        assert (asked(display).durability, QOS[published.qos].durability).count(DurabilityPolicy.TRANSIENT_LOCAL) != 1

    def test_it_looks_from_the_nodes_map_frame_with_all_displays_on_but_one_of_each_kind(self):
        assert RVIZ["Visualization Manager"]["Global Options"]["Fixed Frame"] == NodeSettings().map_frame
        assert {name for name, display in DISPLAYS.items() if not display["Enabled"]} == {"Map by id", "TF"}
        assert all(display["Enabled"] == display["Value"] for display in DISPLAYS.values())

    def test_the_map_shows_a_field_that_it_has(self):
        assert DISPLAYS["Map"]["Color Transformer"] == "RGB8"
        by_id = DISPLAYS["Map by id"]
        assert (by_id["Color Transformer"], by_id["Channel Name"]) == ("Intensity", "instance_id")

    def test_the_markers_namespaces_are_the_nodes(self):
        assert set(DISPLAYS["Instances"]["Namespaces"]) == set(NAMESPACES)

    def test_the_camera_shows_the_displays_that_are_there(self):
        assert DISPLAYS["Camera"]["Topic"]["Value"] == "/image"
        assert set(DISPLAYS["Camera"]["Visibility"]) == {*DISPLAYS, "Value"} - {"Camera"}


def asked(display):
    """The QoS of a display's subscription."""
    topic = display["Topic"]
    return QoSProfile(
        depth=topic["Depth"],
        reliability=ReliabilityPolicy[topic["Reliability Policy"].upper().replace(" ", "_")],
        durability=DurabilityPolicy[topic["Durability Policy"].upper().replace(" ", "_")],
    )


def test_the_example_of_a_parameter_file_names_parameters_and_values_that_the_node_takes():
    content = yaml.safe_load((ROOT / "config" / "ros.yaml").read_text())
    given = content["/**"]["ros__parameters"]
    values = NodeParameters(Config(), NodeSettings())
    own = {name: value for name, value in given.items() if name != "qos_overrides"}
    assert set(own) <= {key.name for key in values.list_keys()}
    changed = {key.name: key.value for key in values.apply(own).list_keys()}
    assert {name: changed[name] for name in own} == own
