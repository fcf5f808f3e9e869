"""A recording replayed into the node: what comes out is the recording's own poses and the core's own map."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed")

from geometry_msgs.msg import PoseStamped
from graph import LATCHED, cloud_of, pose_of, stamp_of
from sensor_msgs.msg import Image, PointCloud2
from tf2_msgs.msg import TFMessage

from moonseg3r_core import build_segmenter, load_config, open_source
from moonseg3r_core.cli import main as moonseg3r
from moonseg3r_core.io.ply import read_ply
from moonseg3r_core.sources.write_bag import write_bag
from moonseg3r_core.synthetic import SyntheticSequence

KITCHEN = Path(__file__).resolve().parents[3] / "shared" / "data" / "kitchen"
SETTINGS = {"reconstruction.kind": "rgbd", "masks.kind": "regions", "device": "cpu"}
COLOR, DEPTH, INFO = "/camera/color/image_raw", "/camera/depth/image_raw", "/camera/color/camera_info"
TOPICS = [f"image:={COLOR}", f"depth:={DEPTH}", f"camera_info:={INFO}"]
RECORDED = (COLOR, DEPTH, INFO, "/tf")


def room():
    return SyntheticSequence(7, frames=16, height=120, width=160)


def kitchen(frames=None):
    if not KITCHEN.is_dir():
        pytest.skip("no shared/data/kitchen beside the repository")
    return islice(open_source(str(KITCHEN)), frames)


RECORDINGS = [
    pytest.param(room, id="room"),
    pytest.param(lambda: kitchen(12), id="kitchen"),
    pytest.param(kitchen, id="whole kitchen", marks=pytest.mark.slow),
]


@pytest.fixture(params=RECORDINGS)
def bag(request, tmp_path):
    """A bag, and its frames by stamp in nanoseconds as the core reads them."""
    path = tmp_path / "bag.mcap"
    write_bag(request.param(), path, color="raw")
    frames = {round(frame.stamp * 1e9): frame for frame in open_source(str(path))}
    return SimpleNamespace(path=path, frames=frames, stamps=sorted(frames))


class Listener:
    """The node with what it says of a bag."""

    def __init__(self, graph, bag):
        self.graph, self.bag = graph, bag
        self.node = graph.node(remap=TOPICS)
        self.transforms = graph.listen(TFMessage, "/tf")
        self.poses = graph.listen(PoseStamped, "/moonseg3r/pose")
        self.pictures = graph.listen(Image, "/moonseg3r/segmentation")
        self.maps = graph.listen(PointCloud2, "/moonseg3r/map", LATCHED)

    def replay(self, *options):
        """Play the bag to its end, and wait until all that came is through and on the map."""
        waiting = "--wait", "--wait-for", "/observer"
        player = self.graph.start("moonseg3r_ros.replay.command", self.bag.path, *waiting, *options)
        self.graph.until(self._is_connected, "node and observer hear the replay", player)
        self.graph.listen(Image, COLOR)  # the sign to begin: from now on nothing is lost to discovery
        self.graph.until(lambda: player.process.poll() is not None, "the replay ends", seconds=600)
        self.graph.until(self._is_through, "all is through", self.node)

    def _is_connected(self):
        heard = self.graph.diagnosed()[1]
        return self.transforms.publishers() == 2 and all(heard.get(topic, "0")[0] != "0" for topic in RECORDED)

    def _is_through(self):
        counts = self.counts()
        done = counts["processed"] + counts["dropped"] + counts["rejected"] == counts["received"] > 0
        heard = done and len(self.pictures) == counts["processed"]
        return heard and self.maps and stamp_of(self.maps[-1].header) == self.stamps[-1]

    def counts(self):
        values = self.graph.diagnosed()[1]
        return {name: int(values[f"frames {name}"]) for name in ("received", "processed", "dropped", "rejected")}

    @property
    def stamps(self):
        """Of the frames that came out."""
        return [stamp_of(picture.header) for picture in self.pictures]

    def pose(self, stamp):
        """The camera in the map at a stamp, as the node says it."""
        found = lambda: [p for p in self.poses if stamp_of(p.header) == stamp]  # noqa: E731
        return pose_of(self.graph.until(found, f"the pose at {stamp}", self.node)[0].pose)

    def edges(self):
        """Those that were heard on TF."""
        return Counter(
            (t.header.frame_id, t.child_frame_id, stamp_of(t.header)) for m in self.transforms for t in m.transforms
        )

    def ids(self):
        return [np.frombuffer(p.data, "<i4").reshape(p.height, p.width) for p in self.pictures]


def test_whatever_is_dropped_poses_and_ids_are_right(graph, bag):
    listener = Listener(graph, bag)
    listener.replay("--rate", 4)
    stamps = listener.stamps
    assert stamps == sorted(stamps)
    assert set(stamps) <= set(bag.stamps)
    for stamp in stamps:
        np.testing.assert_allclose(listener.pose(stamp), bag.frames[stamp].world_from_camera.numpy(), rtol=0, atol=1e-6)
    assert set(listener.edges().values()) == {1}  # map -> camera is the bag's own
    assert {edge[:2] for edge in listener.edges()} == {("map", "camera")}

    check_cloud(listener.maps[-1], check_ids(bag, stamps, listener.ids()))


def test_in_lockstep_it_is_the_map_of_moonseg3r_run(graph, bag, tmp_path):
    messages = pytest.importorskip("moonseg3r_msgs.msg", reason="moonseg3r_msgs is not built")
    out, settings = tmp_path / "out", [f"{name}={value}" for name, value in SETTINGS.items()]
    assert moonseg3r(["run", str(bag.path), "-o", str(out), "--quiet", "--set", *settings]) == 0
    listener = Listener(graph, bag)
    instances = graph.listen(messages.InstanceArray, "/moonseg3r/instances", LATCHED)
    listener.replay("--rate", 1000, "--lockstep", "/moonseg3r", "--lockstep-timeout", 600)
    count = len(bag.frames)
    assert listener.counts() == {"received": count, "processed": count, "dropped": 0, "rejected": 0}
    assert listener.stamps == bag.stamps
    check_cloud(listener.maps[-1], read_ply(out / "map.ply"))
    graph.until(lambda: instances and stamp_of(instances[-1].header) == bag.stamps[-1], "the last instances")
    check_instances(instances[-1].instances, json.loads((out / "instances.json").read_text()), bag.stamps)
    check_ids(bag, listener.stamps, listener.ids())


def check_ids(bag, stamps, pictures):
    """The ids of each picture are those of the core on the frames of these stamps; return the core's map."""
    segmenter = build_segmenter(load_config(overrides=SETTINGS))
    for stamp, ids in zip(stamps, pictures, strict=True):
        np.testing.assert_array_equal(ids, segmenter.step(bag.frames[stamp]).instance_ids)
    return segmenter.snapshot()


def check_cloud(message, scene):
    """A valid cloud, with the points, colors, ids and confidence of the core's map."""
    assert [(f.name, f.offset, f.datatype, f.count) for f in message.fields] == [
        ("x", 0, 7, 1), ("y", 4, 7, 1), ("z", 8, 7, 1), ("rgb", 12, 7, 1), ("instance_id", 16, 5, 1), ("confidence", 20, 7, 1),
    ]  # fmt: skip
    assert (message.header.frame_id, message.height, message.width) == ("map", 1, len(scene))
    assert (message.point_step, message.row_step, len(message.data)) == (24, 24 * len(scene), 24 * len(scene))
    assert message.is_dense
    assert not message.is_bigendian
    cloud = cloud_of(message)
    np.testing.assert_allclose(np.stack([cloud[axis] for axis in "xyz"], 1), scene.points, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(cloud["instance_id"], scene.instance_ids)
    np.testing.assert_array_equal(cloud["confidence"], scene.confidence)
    np.testing.assert_array_equal(
        cloud["rgb"].copy().view("<u4"), scene.colors.numpy().astype("<u4") @ [1 << 16, 1 << 8, 1]
    )


def check_instances(told, written, stamps):
    """~/instances against instances.json, which also holds those that are not shown."""
    least = load_config().map
    shown = [i for i in written if i["observations"] >= least.min_observations and i["points"] >= least.min_points]
    assert len(shown) > 10
    seconds = lambda time: time.sec * 10**9 + time.nanosec  # noqa: E731
    got = [(i.id, i.points, i.observations, seconds(i.first_seen), seconds(i.last_seen)) for i in told]
    assert got == [
        (i["id"], i["points"], i["observations"], stamps[i["first_frame"]], stamps[i["last_frame"]]) for i in shown
    ]
    for one, other in zip(told, shown, strict=True):
        centroid = one.centroid.x, one.centroid.y, one.centroid.z
        np.testing.assert_allclose(centroid, other["centroid"], rtol=0, atol=1e-5)
