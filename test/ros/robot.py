"""A robot with a camera, for tests of the node with a reconstruction that needs images alone."""

import pathlib
import re

import numpy as np
from billboards import frame
from geometry_msgs.msg import PoseStamped
from graph import LATCHED, RELIABLE, image_message, info_message, pose_of, stamp_of, time_of, transform_of
from guessing_node import guessed
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from moonseg3r_ros.conversions.poses import BODY_FROM_OPTICAL

GUESSING = pathlib.Path(__file__).with_name("guessing_node.py")
START, PERIOD = 5_000_000_000, 100_000_000
VIEW = frame(0)[0]
MOUNTED = BODY_FROM_OPTICAL.copy()  # base from camera: half a metre up, looking ahead
MOUNTED[2, 3] = 0.5
TIMELESS = {"use_sim_time": True, "max_future": 0.0}
RELIABLY = {"qos_overrides__/image__subscription__reliability": "reliable"}


class Robot:
    """Sends images, and on request what else a robot says; hears poses and TF. Time is its own and stands still unless it
    is let pass, so that nothing here is too late on a slow machine, and nothing it sends is lost.
    """

    def __init__(self, graph, script=GUESSING, **parameters):
        parameters = {"reconstruction__kind": "cut3r", "map_rate": 50.0} | RELIABLY | TIMELESS | parameters
        self.graph, self.node = graph, graph.node(script=script, **parameters)
        self.clock, self.now = graph.publisher(Clock, "/clock"), 5.0
        self.tf, self.static = (
            graph.publisher(TFMessage, "/tf", RELIABLE),
            graph.publisher(TFMessage, "/tf_static", LATCHED),
        )
        self.infos, self.images = (
            graph.publisher(CameraInfo, "/camera_info"),
            graph.publisher(Image, "/image", RELIABLE),
        )
        self.poses, self.heard = graph.listen(PoseStamped, "/moonseg3r/pose"), graph.listen(TFMessage, "/tf")
        topics = ("/image", "/camera_info", "/tf", "/tf_static")
        graph.until(lambda: all(self.connected(topic) for topic in topics), "the node hears the robot", self.node)
        self.count = self.skipped = 0
        self.pass_time(0)

    def pass_time(self, seconds=1.1):
        """Let the clock go on once all that was sent is heard: by default for longer than an image waits."""
        self.see(self.count)
        self.now += seconds

        def told():
            self.clock.publish(Clock(clock=time_of(round(self.now * 1e9))))
            self.graph.diagnosed()
            return stamp_of(self.graph._diagnostics[-1].header) >= round(self.now * 1e9)

        self.graph.until(told, "the node's clock goes on", self.node)

    def connected(self, topic):
        return int(self.graph.diagnosed()[1].get(topic, "0 connected").split()[0])

    def messages(self, topic):
        return int(self.graph.diagnosed()[1][topic].split()[2])

    def see(self, number):
        """Wait until so many images have been heard."""
        self.graph.until(lambda: self.messages("/image") == number, f"image {number} is heard", self.node)

    def mount(self):
        """base -> camera, heard by the node."""
        self.static.publish(TFMessage(transforms=[transform_of(MOUNTED, header(0, "base"), "camera")]))
        self.graph.until(lambda: self.messages("/tf_static"), "the mount is heard", self.node)

    def inform(self):
        """A camera_info, heard by the node."""

        def informed():
            self.infos.publish(info_message(VIEW, header(START)))
            return self.messages("/camera_info")

        self.graph.until(informed, "camera_info is heard", self.node)

    def focal_lengths(self):
        """Those that the reconstruction was given, in words."""
        return re.findall(r"^intrinsics (.+)$", self.node.text, re.MULTILINE)

    def send(self, black=False):
        """The next image; its stamp."""
        self.count += 1
        stamp = self.stamp()
        self.images.publish(image_message(VIEW.image.numpy() * (not black), "rgb8", header(stamp)))
        return stamp

    def stamp(self):
        """That of the last image."""
        return START + self.skipped + (self.count - 1) * PERIOD

    def skip(self, seconds):
        """Let the next images be as much later."""
        self.skipped += round(seconds * 1e9)

    def localize(self, map_from_odom, stamp):
        """map -> odom at a stamp, as another node says it."""
        self.tf.publish(TFMessage(transforms=[transform_of(map_from_odom, header(stamp, "map"), "odom")]))

    def published(self):
        """(parent, child) of every edge heard on TF."""
        return [(e.header.frame_id, e.child_frame_id) for message in self.heard for e in message.transforms]

    def drive(self, stamp):
        """odom -> base at a stamp."""
        self.tf.publish(TFMessage(transforms=[transform_of(driven(stamp), header(stamp, "odom"), "base")]))

    def pose(self, stamp):
        """The camera in the map at a stamp, waited for."""
        found = lambda: [p for p in self.poses if stamp_of(p.header) == stamp]  # noqa: E731
        return pose_of(self.graph.until(found, f"the pose at {stamp}", self.node)[0].pose)

    def correction(self, child="odom"):
        """The edge map -> child that the node repeats for a later time, as of now."""
        self.pass_time(max(self.stamp() * 1e-9 - self.now, 0.0) + 0.02)  # past all stamps: the next repetition is new
        stamp = round((self.now + 0.5) * 1e9)
        return self.edges(stamp)[child]

    def edges(self, stamp):
        """What the node has said on TF at a stamp: child -> map_from_child."""
        found = lambda: [  # noqa: E731
            t for message in self.heard for t in message.transforms
            if t.header.frame_id == "map" and stamp_of(t.header) == stamp
        ]  # fmt: skip
        return {t.child_frame_id: pose_of(t.transform) for t in self.graph.until(found, f"TF at {stamp}", self.node)}


def header(stamp, frame_id="camera"):
    return Header(stamp=time_of(stamp), frame_id=frame_id)


def driven(stamp):
    """odom from base: a robot that goes ahead, and whose odometry takes it for a little slower than it is."""
    pose = np.eye(4)
    pose[0, 3], pose[1, 3] = 0.28 * (stamp * 1e-9 - 5), 1.0
    return pose


def in_map(stamp):
    """map from camera, the map's origin in the first camera."""
    return BODY_FROM_OPTICAL @ guessed(stamp * 1e-9).numpy()


def in_odom(stamp):
    """map from camera, the map level and where odometry begins."""
    return driven(START) @ MOUNTED @ np.linalg.inv(in_map(START)) @ in_map(stamp)
