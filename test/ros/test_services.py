"""Lifecycle, services and parameters of the running node."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import numpy as np
from camera_stream import PERIOD, START, Stream
from graph import LATCHED, NODE, cloud_of, stamp_of
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import DescribeParameters
from robot import RELIABLY
from sensor_msgs.msg import Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from moonseg3r_core import Config, InputError, list_settings
from moonseg3r_ros.services import Services
from moonseg3r_ros.worker import Worker


def ids_seen(pictures):
    return set(np.unique(np.concatenate([np.frombuffer(p.data, "<i4") for p in pictures])).tolist()) - {0}


def change(graph, transition):
    return graph.call(
        ChangeState, "/moonseg3r/change_state", ChangeState.Request(transition=Transition(id=transition))
    ).success


def state(graph):
    return graph.call(GetState, "/moonseg3r/get_state", GetState.Request()).current_state.label


@pytest.fixture
def file(tmp_path):
    return tmp_path / "kitchen.map"


def test_a_saved_map_goes_on_with_the_same_ids_in_another_process(graph, file):
    node = graph.node(map_file=str(file), map_rate=50.0)
    pictures = graph.listen(Image, "/moonseg3r/segmentation")
    stream = Stream(graph)
    stream.through(10)
    graph.until(lambda: len(pictures) == 10, "all pictures")
    before = np.frombuffer(pictures[-1].data, "<i4")
    success, message = graph.trigger("save_map")
    assert success, message
    assert file.exists()
    assert str(file) in message
    assert "instances" in message
    assert node.end() == 0

    maps = graph.listen(PointCloud2, "/moonseg3r/map", LATCHED, wait=False)
    graph.node(map_file=str(file), map_rate=50.0)
    success, message = graph.trigger("load_map")
    assert success, message
    graph.until(lambda: maps and len(cloud_of(maps[-1])) > 0, "the loaded map is shown")
    again = Stream(graph)
    again.next = 9
    again.through(1)
    graph.until(lambda: len(pictures) == 11, "the picture after loading")
    np.testing.assert_array_equal(np.frombuffer(pictures[-1].data, "<i4"), before)


def test_a_map_that_cannot_be_saved_before_the_clean_up_is_one_plain_answer():
    """The job was still waiting for a long step when the node was cleaned up."""
    worker, submitted = Worker(lambda item: None, lambda: None, lambda error: None), []
    assert worker.stop(60.0)
    node = SimpleNamespace(create_service=lambda *arguments, **options: None)
    state = SimpleNamespace(worker=None, inputs=None)
    services = Services(node, state, submitted.append)
    with pytest.raises(InputError, match="the node was taken down before it could be done; try again"):
        services._call_and_wait(worker, SimpleNamespace(unload=None), lambda: None)
    assert not submitted


def test_reset_forgets_and_ids_start_again(graph):
    graph.node(map_rate=50.0)
    maps = graph.listen(PointCloud2, "/moonseg3r/map", LATCHED)
    pictures = graph.listen(Image, "/moonseg3r/segmentation")
    stream = Stream(graph)
    stream.through(5)
    graph.until(lambda: len(pictures) == 5, "pictures")
    first = ids_seen(pictures[:1])
    assert graph.trigger("reset")[0]
    graph.until(lambda: len(cloud_of(maps[-1])) == 0, "an empty map is shown")
    stream.send(shown=0)  # the first view again
    graph.until(lambda: len(pictures) == 6, "a picture after the reset")
    assert ids_seen(pictures[5:]) == first


def test_pause_takes_no_frame_and_resume_goes_on_in_the_same_map(graph):
    graph.node()
    stream = Stream(graph)
    stream.through(3)
    assert graph.trigger("pause")[0]
    stream.send(3)
    graph.until(lambda: "paused" in graph.diagnosed()[0], "the pause is named")
    graph.until(lambda: int(graph.diagnosed()[1]["frames received"]) == 6, "the frames come")
    assert len(stream.poses) == 3
    assert graph.trigger("resume")[0]
    stream.through(2)
    assert len(stream.poses) == 5


def test_a_map_that_cannot_be_loaded_is_refused_and_the_one_in_use_stays(graph, tmp_path):
    (tmp_path / "empty.map").write_bytes(b"no map")
    graph.node()
    stream = Stream(graph)
    stream.through(2)
    for name, words in (("", "map_file"), ("/nowhere/at/all.map", "/nowhere"), (f"{tmp_path}/empty.map", "empty.map")):
        assert all(result.successful for result in graph.set(map_file=name))
        success, message = graph.trigger("load_map")
        assert not success
        assert words in message
        stream.through(1)


def test_the_life_of_the_node(graph):
    node = graph.node(ready=False, autostart=False, map_rate=50.0)
    assert state(graph) == "unconfigured"
    success, message = graph.trigger("save_map")
    assert not success
    assert "configure" in message
    assert "not configured" in graph.diagnosed()[0]
    assert change(graph, Transition.TRANSITION_CONFIGURE)
    assert state(graph) == "inactive"
    assert not graph.subscribed("/image")
    assert change(graph, Transition.TRANSITION_ACTIVATE)
    pictures = graph.listen(Image, "/moonseg3r/segmentation")
    stream = Stream(graph)
    stream.through(5)
    assert change(graph, Transition.TRANSITION_DEACTIVATE)
    graph.until(lambda: not graph.subscribed("/image"), "the subscriptions end")
    assert "inactive" in graph.diagnosed()[0]
    assert change(graph, Transition.TRANSITION_ACTIVATE)
    graph.until(lambda: graph.subscribed("/image") and graph.subscribed("/tf"), "the subscriptions are back")
    stream = Stream(graph)
    stream.next = 5
    stream.through(1)
    graph.until(lambda: len(pictures) == 6, "pictures")
    assert ids_seen(pictures[5:]) <= ids_seen(pictures[:5])  # the map was kept
    assert change(graph, Transition.TRANSITION_DEACTIVATE)
    assert change(graph, Transition.TRANSITION_CLEANUP)
    assert state(graph) == "unconfigured"
    assert change(graph, Transition.TRANSITION_CONFIGURE)
    assert change(graph, Transition.TRANSITION_ACTIVATE)
    graph.until(lambda: graph.subscribed("/image") and graph.subscribed("/tf"), "the subscriptions are back")
    stream.through(1)
    graph.until(lambda: len(pictures) == 7, "pictures")
    assert min(ids_seen(pictures[6:])) == 1  # and is forgotten now
    assert node.end() == 0


def test_what_the_core_knows_of_a_setting_describes_its_parameter(graph):
    graph.node()
    known = {key.name: key for key in list_settings(Config())}
    described = graph.call(
        DescribeParameters, "/moonseg3r/describe_parameters", DescribeParameters.Request(names=list(known))
    ).descriptors
    for descriptor in described:
        key = known[descriptor.name]
        assert descriptor.description == key.help
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        assert bool(ranges) == (key.low is not None or key.high is not None)
        assert all(key.low is None or r.from_value == key.low for r in ranges)
        assert all(choice in descriptor.additional_constraints for choice in key.choices)


def test_parameters_change_where_the_core_allows_it_and_are_refused_with_the_reason_where_not(graph):
    node = graph.node()
    stream = Stream(graph)
    stream.through(2)
    cases = {
        ("map.min_points", 5): "",
        ("fusion.match_threshold", 1.4): "",
        ("masks.regions.scale", 20.0): "",
        ("map_rate", 5.0): "",
        ("fusion.match_threshold", 99.0): "range",
        ("fusion.match", "nearest"): "one of",
        ("map.voxel", 0.05): "map.voxel",
        ("image_transport", "compressed"): "inactive",
        ("masks.kind", "precomputed"): "folder",
        ("masks.kind", "sam2"): "moonseg3r weights get sam2.1-tiny",
        ("config_file", "x"): "read-only",
    }
    for (name, value), words in cases.items():
        (result,) = graph.set(**{name: value})
        assert result.successful == (words == ""), (name, value, result.reason)
        assert words in result.reason, result.reason
    assert graph.get("masks.regions.scale") == 20.0
    assert graph.get("map.voxel") == 0.02
    stream.through(2)
    assert stream.stamps[-1] == START + 3 * PERIOD
    assert "not in use" not in node.text


def test_a_change_that_cannot_be_built_leaves_all_settings_in_use(graph, tmp_path):
    """The parameters then say what was asked for; what is published and told follows the settings in use."""
    node = graph.node(map_rate=50.0)
    stream = Stream(graph)
    stream.through(3)
    maps = graph.listen(MarkerArray, "/moonseg3r/markers", LATCHED)
    graph.until(lambda: maps and len(maps[-1].markers) > 1, "instances", node)
    told = graph.diagnosed()[1]["settings resolved"]
    assert "refinement.kind=average" in told
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"no weights")
    graph.set(masks__kind="nano", masks__nano__weights=str(damaged), map__min_observations=100)
    graph.until(lambda: "stay as they were" in node.text, "the change fails", node)
    stream.through(2)
    graph.until(lambda: stamp_of(maps[-1].markers[-1].header) == stream.stamps[-1], "the next map", node)
    assert len(maps[-1].markers) > 1
    assert graph.diagnosed()[1]["settings resolved"] == told


def test_a_wrong_parameter_at_the_start_is_one_line_and_status_2(graph):
    for value, words in (
        ({"fusion__match": "nearest"}, "fusion.match"),
        ({"map__voxel": 1}, "map.voxel"),
        ({"config_file": "/no/such.yaml"}, "/no/such.yaml"),
    ):
        node = graph.node(ready=False, **value)
        assert node.process.wait(60) == 2
        assert node.text.count("\n") == 1
        assert words in node.text
        assert "Traceback" not in node.text
        node.killed = True  # it ended by itself, and not with 0


def test_an_unknown_parameter_is_named_with_the_nearest_one(graph):
    node = graph.node(masks__knid="regions", use_sim_time=False, **RELIABLY)
    graph.until(lambda: "masks.knid" in node.text, "the unknown parameter is named", node)
    assert "parameter 'masks.knid' is unknown and does nothing; did you mean 'masks.kind'?" in node.text
    assert node.text.count("is unknown") == 1


@pytest.mark.parametrize(
    ("argument", "status", "stream"), [("--help", 0, "stdout"), ("masks.kind:=regions", 2, "stderr")]
)
def test_the_node_says_how_it_is_called(argument, status, stream):
    run = subprocess.run([sys.executable, "-m", NODE, argument], capture_output=True, text=True, timeout=60)
    said = getattr(run, stream)
    assert run.returncode == status
    assert "moonseg3r_node --ros-args" in said
    assert argument in said or status == 0
    assert said.count("\n") == 1


def test_a_configuration_file_holds_unless_a_parameter_says_otherwise(graph, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("map: {voxel: 0.05}\nfusion: {match_threshold: 1.5}\n")
    graph.node(config_file=str(file), fusion__match_threshold=0.5)
    assert graph.get("map.voxel") == 0.05
    assert graph.get("fusion.match_threshold") == 0.5
