"""moonseg3r_container, called over DDS from another process: load, list, unload, and what cannot be loaded."""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("composition_interfaces", reason="composition_interfaces is not installed")

from composition_interfaces.srv import ListNodes, LoadNode, UnloadNode
from graph import WAIT_TIMEOUT_S
from rclpy.parameter import Parameter
from std_msgs.msg import String

CONTAINER = "moonseg3r_ros.composition.container"
HERE = Path(__file__).parents[1]
TOYS = (
    "Plain",
    "Keywords",
    "Opinionated",
    "Living",
    "Slow",
    "Mother",
    "Chatty",
    "Failing",
    "Leaving",
    "Fragile",
    "Stuck",
    "Needing",
    "Busy",
)


def register(folder, *points, name="toys"):
    """A distribution that registers components as `package::Class = module:Class`."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(["[rclpy_components]", *points]) + "\n")
    return folder


class Client:
    """Calls a container's services."""

    def __init__(self, graph, name="/ComponentManager"):
        self.graph, self.name = graph, name

    def load(self, plugin, package="toys", parameters=None, extra=None, **fields):
        def messages(values):
            return [Parameter(key, value=value).to_parameter_msg() for key, value in (values or {}).items()]

        return self.call(LoadNode, "load_node", LoadNode.Request(
            package_name=package, plugin_name=plugin, parameters=messages(parameters), extra_arguments=messages(extra),
            **fields,
        ))  # fmt: skip

    def unload(self, id):
        return self.call(UnloadNode, "unload_node", UnloadNode.Request(unique_id=id))

    def list(self):
        response = self.call(ListNodes, "list_nodes", ListNodes.Request())
        return dict(zip(response.unique_ids, response.full_node_names, strict=True))

    def call(self, kind, service, request):
        return self.graph.call(kind, f"{self.name}/_container/{service}", request)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """The Python path of the container: our components, and two distributions of one name that register them."""
    first = register(tmp_path / "first", *(f"toys::{name} = toys:{name}" for name in TOYS))
    second = register(
        tmp_path / "second", "toys::Data = toys:not_a_node", "toys::Gone = toys.gone:Node", "toys::Plain = no:thing"
    )
    monkeypatch.setenv("PYTHONPATH", f"{first}:{second}:{HERE}")


@pytest.fixture
def container(graph, path):
    graph.start(CONTAINER)
    return Client(graph)


def seen(graph):
    """The nodes of the graph, without the test's own."""
    found = graph.observer.get_node_names_and_namespaces()
    return {f"{space.rstrip('/')}/{name}" for name, space in found} - {"/observer", "/ComponentManager"}


def wait_for_nodes(graph, *names):
    """Wait until these nodes are in the graph, and no others."""
    graph.until(lambda: seen(graph) == set(names), lambda: f"the nodes are {names}, they are {seen(graph)}")


def test_a_request_reaches_a_node_however_its_constructor_is_written(graph, container):
    for id, kind in enumerate(("Plain", "Keywords", "Opinionated", "Living"), 1):
        words = graph.listen(String, f"/news_{kind}", wait=False)
        loaded = container.load(
            f"toys::{kind}", node_name="reader", node_namespace="/a/b", remap_rules=[f"words:=/news_{kind}"],
            parameters={"text": f"hello {kind}"},
        )  # fmt: skip
        assert (loaded.error_message, loaded.full_node_name, loaded.unique_id) == ("", "/a/b/reader", id)
        assert graph.until(lambda words=words: words, "a word")[0].data == f"hello {kind}"
        assert container.list() == {id: "/a/b/reader"}
        wait_for_nodes(graph, "/a/b/reader")
        assert container.unload(id).success


def test_a_request_without_wishes_leaves_a_node_as_it_is(graph, container):
    assert container.load("toys::Plain").full_node_name == "/plain"
    assert container.load("Keywords").full_node_name == "/keywords"
    assert container.load("toys::Opinionated").full_node_name == "/own/mine"
    words = graph.listen(String, "/own/words")
    assert graph.until(lambda: words, "a word")[0].data == "mine"
    assert container.list() == {1: "/plain", 2: "/keywords", 3: "/own/mine"}


def test_other_nodes_that_a_constructor_makes_keep_their_names(graph, container):
    assert container.load("toys::Mother", node_name="eve").full_node_name == "/eve"
    wait_for_nodes(graph, "/eve", "/helper", "/child")


def test_global_arguments_reach_the_container_and_on_request_a_node(graph, path):
    graph.start(CONTAINER, "--ros-args", "-r", "__node:=box", "-r", "__ns:=/robot", "-r", "words:=/everywhere")
    box = Client(graph, "/robot/box")
    assert box.load("toys::Plain", extra={"use_intra_process_comms": True}).full_node_name == "/plain"
    assert (
        box.load("toys::Keywords", node_name="open", extra={"forward_global_arguments": True}).full_node_name
        == "/robot/open"
    )
    graph.until(
        lambda: {"/words", "/everywhere"} <= {name for name, _ in graph.observer.get_topic_names_and_types()},
        "both topics",
    )


def test_the_log_level_holds_from_the_constructor_on(graph, container):
    container.load("toys::Chatty", log_level=20)
    container.load("toys::Chatty", node_name="debugged", log_level=10)
    text = graph.programs[0].text
    assert "[debugged]: a detail of the constructor" in text
    assert "[chatty]: a detail of the constructor" not in text


def test_an_unloaded_node_is_gone_and_its_id_is_not_given_again(graph, container):
    ids = [container.load(f"toys::{kind}").unique_id for kind in ("Plain", "Living", "Keywords")]
    assert ids == [1, 2, 3]
    assert container.unload(2).success
    assert container.unload(1).success
    wait_for_nodes(graph, "/keywords")
    assert "shut down while unconfigured" in graph.programs[0].text
    again = container.unload(1)
    assert not again.success
    assert again.error_message == "no node has the id 1; ids here: 3"
    assert container.load("toys::Plain").unique_id == 4
    assert container.list() == {3: "/keywords", 4: "/plain"}


def test_a_transition_at_work_ends_before_its_node_is_unloaded(graph, container):
    container.load("toys::Slow")
    graph.until(lambda: "configuring" in graph.programs[0].text, "it configures itself")
    assert container.unload(1).success
    assert "shut down while inactive" in graph.programs[0].text
    assert "fails to shut down" not in graph.programs[0].text
    wait_for_nodes(graph)


REFUSED = [
    ({"plugin": "other::Plain", "package": "other"}, "package 'other' registers no component 'other::Plain' in"),
    ({"plugin": "toys::Plane"}, "'toys::Plane' in the entry points 'rclpy_components'; it has: toys::Busy, toys::Chatty, "),
    ({"plugin": "toys::Gone"}, "toys.gone:Node cannot be imported: ModuleNotFoundError"),
    ({"plugin": "toys::Data"}, "toys:not_a_node must be a subclass of rclpy.node.Node, got {'a': 'dictionary'}"),
    ({"plugin": "toys::Failing"}, "toys:Failing() failed: RuntimeError: no camera, no fun"),
    ({"plugin": "toys::Leaving"}, "toys:Leaving() failed: SystemExit: 3"),
    ({"plugin": "toys::Needing"}, "missing 1 required positional argument: 'camera'"),
    ({"plugin": "toys::Plain", "node_name": "no name"}, "toys:Plain() failed: RCLInvalidROSArgsError"),
    ({"plugin": "toys::Plain", "remap_rules": ["no rule"]}, "toys:Plain() failed: RCLInvalidROSArgsError"),
    ({"plugin": "toys::Plain", "parameters": {"text": 7}}, "toys:Plain() failed: InvalidParameterTypeException"),
    ({"plugin": "toys::Plain", "extra": {"enable_rosout": "yes"}}, "must be true or false, got 'yes'"),
    ({"plugin": "toys::Plain", "log_level": 7}, "log_level must be one of 0 unset, 10 debug, 20 info, 30 warn,"),
    ({"plugin": "toys::Keywords", "node_name": "there"}, "a node named /there is loaded already, id 1;"),
]  # fmt: skip


def test_what_cannot_be_loaded_is_told_and_leaves_nothing(graph, container):
    assert container.load("toys::Plain", node_name="there").success
    for request, said in REFUSED:
        answer = container.load(**request)
        assert not answer.success
        assert said in answer.error_message
        assert "\n" not in answer.error_message
    assert container.list() == {1: "/there"}
    wait_for_nodes(graph, "/there")
    assert container.load("toys::Living").unique_id == 2


def test_a_callback_that_raises_is_logged_and_the_others_go_on(graph, container):
    container.load("toys::Fragile")
    container.load("toys::Plain")
    words = graph.listen(String, "/words")
    graph.until(lambda: graph.programs[0].text.count("ValueError: a callback failed") > 2, "it fails again")
    graph.until(lambda: len(words) > 2, "words")
    assert container.list() == {1: "/fragile", 2: "/plain"}


def test_callbacks_at_work_hold_up_neither_other_nodes_nor_the_container(graph, path, tmp_path, monkeypatch):
    monkeypatch.setenv("RELEASE", str(tmp_path / "release"))
    graph.start(CONTAINER)
    container, busy = Client(graph), 2 + max(4, os.cpu_count())  # more than any pool has threads
    for number in range(busy):
        assert container.load("toys::Busy", node_name=f"busy_{number}").success
    graph.until(lambda: graph.programs[0].text.count("at work") == busy, "all are at work")
    assert container.load("toys::Plain").success
    words = graph.listen(String, "/words")
    graph.until(lambda: len(words) > 2, "words")
    assert len(container.list()) == busy + 1
    (tmp_path / "release").touch()
    assert container.unload(1).success
    assert len(container.list()) == busy


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_takes_all_nodes_down(graph, container, number):
    for kind in ("Living", "Plain", "Mother"):
        assert container.load(f"toys::{kind}").success
    program = graph.programs[0]
    assert program.end(number) == 0
    assert "shut down while unconfigured" in program.text
    assert "Traceback" not in program.text


def test_a_signal_that_another_thread_gets_is_heard_too(graph, container):
    assert container.list() == {}
    process = graph.programs[0].process
    *_, other = sorted(map(int, os.listdir(f"/proc/{process.pid}/task")))
    assert ctypes.CDLL(None).tgkill(process.pid, other, signal.SIGINT) == 0
    assert process.wait(WAIT_TIMEOUT_S) == 0


def test_a_constructor_at_work_does_not_hold_up_the_end(graph, container):
    assert container.load("toys::Living").success
    client = graph.observer.create_client(LoadNode, "/ComponentManager/_container/load_node")
    assert client.wait_for_service(WAIT_TIMEOUT_S)
    client.call_async(LoadNode.Request(package_name="toys", plugin_name="toys::Stuck"))
    program = graph.programs[0]
    graph.until(lambda: "building" in program.text, "it is being built")
    assert program.end() == 0
    assert "shut down while unconfigured" in program.text


def test_it_carries_our_own_node_to_its_end(graph, container):
    loaded = container.load(
        "moonseg3r_ros::MoonSeg3RNode", "moonseg3r_ros", node_name="eyes", remap_rules=["image:=/cam"],
        parameters={"reconstruction.kind": "rgbd", "device": "cpu", "masks.kind": "regions"},
    )  # fmt: skip
    assert (loaded.error_message, loaded.full_node_name) == ("", "/eyes")
    graph.until(lambda: graph.observer.count_subscribers("/cam"), "it has configured and activated itself")
    assert container.unload(1).success
    wait_for_nodes(graph)


def test_bad_usage_is_one_line_and_status_2():
    run = subprocess.run([sys.executable, "-m", CONTAINER, "--fast"], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert run.stderr.startswith("moonseg3r_container: error: unknown arguments: --fast; usage: ")
    assert run.stderr.count("\n") == 1
