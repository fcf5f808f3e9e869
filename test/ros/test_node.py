"""The whole node, as a robot sees it: messages in, messages out, real processes over real DDS."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from billboards import HEIGHT, WIDTH, K, frame
from geometry_msgs.msg import PoseStamped
from graph import LATCHED, Camera, cloud_of, pose_of, stamp_of
from nav_msgs.msg import Path
from sensor_msgs.msg import Image, PointCloud2
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray
from walks import configured

from moonseg3r_core import build_segmenter

START = 5_000_000_000  # ns
PERIOD = 100_000_000
WALK = [frame(t, (0.03 * t - 0.2, 0.01 * t, 0.0))[0] for t in range(10)]


def stamp(t):
    return START + t * PERIOD


def core_walk(frames, **settings):
    """What the core alone makes of the frames: the results and the map."""
    segmenter = build_segmenter(configured(**settings))
    results = [segmenter.step(f) for f in frames]
    return results, segmenter.snapshot()


def send_all(graph, camera, frames, start=0):
    """Send each frame when the one before has come out, so that nothing is dropped."""
    poses = graph.listen(PoseStamped, "/moonseg3r/pose")
    for t, f in enumerate(frames, start):
        camera.send(f, stamp(t))
        graph.until(lambda t=t: poses and stamp_of(poses[-1].header) == stamp(t), f"the pose of frame {t}")
    return poses


@pytest.fixture
def node(graph):
    return graph.node(map_rate=50.0)


def test_what_goes_in_comes_out_on_every_topic(graph, node):
    pictures = graph.listen(Image, "/moonseg3r/segmentation")
    overlays = graph.listen(Image, "/moonseg3r/overlay")
    clouds = graph.listen(PointCloud2, "/moonseg3r/cloud")
    maps = graph.listen(PointCloud2, "/moonseg3r/map", LATCHED)
    markers = graph.listen(MarkerArray, "/moonseg3r/markers", LATCHED)
    paths = graph.listen(Path, "/moonseg3r/path", LATCHED)
    camera = Camera(graph)
    heard = graph.listen(TFMessage, "/tf")
    poses = send_all(graph, camera, WALK)
    results, scene = core_walk(WALK)
    last = stamp(len(WALK) - 1)
    graph.until(lambda: maps and stamp_of(maps[-1].header) == last, "the last map")
    graph.until(lambda: len(pictures) == len(clouds) == len(overlays) == len(WALK), "every picture and cloud")

    # The observer's own TF comes back; the node has nothing to add to it.
    said = [t for message in heard for t in message.transforms]
    assert {(t.header.frame_id, t.child_frame_id) for t in said} == {("map", "camera")}
    assert sorted(stamp_of(t.header) for t in said) == [stamp(t) for t in range(len(WALK))]
    for pose, f in zip(poses, WALK, strict=True):
        np.testing.assert_allclose(pose_of(pose.pose), f.world_from_camera.numpy(), atol=1e-6)
    assert [stamp_of(p.header) for p in poses] == [stamp(t) for t in range(len(WALK))]

    for t, (picture, result) in enumerate(zip(pictures, results, strict=True)):
        assert (picture.encoding, picture.height, picture.width) == ("32SC1", HEIGHT, WIDTH)
        assert stamp_of(picture.header) == stamp(t)
        assert picture.header.frame_id == "camera"
        np.testing.assert_array_equal(np.frombuffer(picture.data, "<i4").reshape(HEIGHT, WIDTH), result.instance_ids)
    assert {(o.encoding, o.height * o.step == len(o.data)) for o in overlays} == {("rgb8", True)}

    assert [(f.name, f.offset, f.datatype) for f in maps[-1].fields] == [
        ("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("rgb", 12, 7), ("instance_id", 16, 5), ("confidence", 20, 7),
    ]  # fmt: skip
    cloud = cloud_of(maps[-1])
    np.testing.assert_allclose(np.stack([cloud[axis] for axis in "xyz"], 1), scene.points, atol=1e-6)
    np.testing.assert_array_equal(cloud["instance_id"], scene.instance_ids)
    np.testing.assert_array_equal(cloud["confidence"], scene.confidence)
    rgb = cloud["rgb"].copy().view("<u4")
    np.testing.assert_array_equal(np.stack([rgb >> 16 & 255, rgb >> 8 & 255, rgb & 255], 1), scene.colors)
    assert set(cloud_of(clouds[-1])["instance_id"]) <= set(results[-1].instance_ids.unique().tolist())
    assert len(cloud_of(clouds[-1])) == int(results[-1].geometry.valid.sum())

    shown = {i.id for i in scene.published(4, 30)}
    graph.until(lambda: markers and stamp_of(markers[-1].markers[0].header) == last, "the last markers")
    assert {m.id for m in markers[-1].markers if m.action == Marker.ADD} == shown
    graph.until(lambda: paths and len(paths[-1].poses) == len(WALK), "the whole path")


def test_instances_say_what_the_core_knows_of_them(graph, node):
    messages = pytest.importorskip("moonseg3r_msgs.msg", reason="moonseg3r_msgs is not built")
    heard = graph.listen(messages.InstanceArray, "/moonseg3r/instances", LATCHED)
    assert all(r.successful for r in graph.set(descriptors=True))
    send_all(graph, Camera(graph), WALK)
    _, scene = core_walk(WALK)
    graph.until(lambda: heard and stamp_of(heard[-1].header) == stamp(len(WALK) - 1), "the last instances")
    expected = scene.published(4, 30)
    assert [i.id for i in heard[-1].instances] == [i.id for i in expected]
    for got, want in zip(heard[-1].instances, expected, strict=True):
        assert (got.points, got.observations) == (want.points, want.observations)
        np.testing.assert_allclose(
            [got.box_size.x, got.box_size.y, got.box_size.z], np.subtract(want.box_max, want.box_min), atol=1e-6
        )
        np.testing.assert_allclose([got.centroid.x, got.centroid.y, got.centroid.z], want.centroid, atol=1e-5)
        first, last = (s.sec * 10**9 + s.nanosec for s in (got.first_seen, got.last_seen))
        assert (first, last) == (stamp(want.first_frame), stamp(want.last_frame))
        np.testing.assert_allclose(got.descriptor, scene.descriptors[want.id], atol=1e-6)


def test_the_map_lies_by_the_first_camera_where_asked(graph):
    graph.node(map_rate=50.0, map_origin="first_camera")
    poses = send_all(graph, Camera(graph, world="odom"), WALK)
    first = pose_of(poses[0].pose)
    np.testing.assert_allclose(first[:3, 3], 0, atol=1e-9)
    np.testing.assert_allclose(first[:3, :3] @ [0, 0, 1], [1, 0, 0], atol=1e-9)  # looks along x
    np.testing.assert_allclose(first[:3, :3] @ [0, -1, 0], [0, 0, 1], atol=1e-9)  # its up is up
    moved = np.linalg.inv(first) @ pose_of(poses[-1].pose)
    wanted = np.linalg.inv(WALK[0].world_from_camera.numpy()) @ WALK[-1].world_from_camera.numpy()
    np.testing.assert_allclose(moved, wanted, atol=1e-9)


def test_with_an_odometry_frame_the_map_is_its_parent(graph):
    """REP-105: odom -> base -> camera is the robot's; the node adds map -> odom, and no second parent to anything."""
    graph.node(map_rate=50.0, odom_frame="odom", map_origin="first_camera")
    camera = Camera(graph, world="odom")
    heard = graph.listen(TFMessage, "/tf")
    send_all(graph, camera, WALK)
    edges = lambda: [t for message in heard for t in message.transforms if t.header.frame_id == "map"]  # noqa: E731
    graph.until(lambda: edges() and stamp_of(edges()[-1].header) > stamp(len(WALK) - 1), "map -> odom")
    assert {t.child_frame_id for t in edges()} == {"odom"}
    map_from_odom = pose_of(edges()[0].transform)
    np.testing.assert_allclose((map_from_odom @ WALK[0].world_from_camera.numpy())[:3, 3], 0, atol=1e-9)
    assert np.ptp([pose_of(edge.transform) for edge in edges()], axis=0).max() < 1e-9  # given poses: it does not move


def halved(f):
    """The same view with every second pixel."""
    k = K.clone()
    k[:2] /= 2
    k[:2, 2] -= 0.25
    fields = {"image": f.image[::2, ::2].contiguous(), "depth": f.depth[::2, ::2].contiguous(), "intrinsics": k}
    return type(f)(f.index, f.stamp, world_from_camera=f.world_from_camera, **fields)


def test_frames_smaller_and_larger_in_mid_stream_go_on_in_the_same_map(graph, node):
    camera = Camera(graph)
    pictures = graph.listen(Image, "/moonseg3r/segmentation")
    send_all(graph, camera, WALK[:5])
    halves = [halved(f) for f in WALK[5:8]]
    send_all(graph, camera, halves, start=5)
    send_all(graph, camera, WALK[8:], start=8)
    results, _ = core_walk([*WALK[:5], *halves, *WALK[8:]])
    graph.until(lambda: len(pictures) == len(WALK), "a picture for every frame")
    for picture, result in zip(pictures, results, strict=True):
        assert (picture.height, picture.width) == tuple(result.instance_ids.shape)
        ids = np.frombuffer(picture.data, "<i4").reshape(picture.height, picture.width)
        np.testing.assert_array_equal(ids, result.instance_ids)
    graph.until(lambda: "images changed from" in node.text, "the change is said")
