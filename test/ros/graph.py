"""A ROS graph for tests: real processes over real DDS, and one observer node in the test's own process."""

import array
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from preloaded import Starter
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

RETRY_S = 15.0  # seconds until a service is asked again
WAIT_TIMEOUT_S = 60.0  # how long a test waits before it fails; only what hangs takes this long
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
RELIABLE = QoSProfile(depth=100)
NODE = "moonseg3r_ros.main"


@cache
def get_starter():
    """The process that starts the programs of this one."""
    return Starter()


class Program:
    """A process of the graph; what it prints is kept in a file."""

    def __init__(self, words, log, preloaded=True):
        self.log = log
        lock = int(os.environ["DOMAIN_LOCK"])  # the domain is taken for as long as the process lives
        if preloaded:
            self.process = get_starter().start(words, log, lock)
        else:
            command = [sys.executable, *words]
            self.process = subprocess.Popen(command, stdout=log.open("w"), stderr=subprocess.STDOUT, pass_fds=[lock])
        self.killed = False

    @property
    def text(self):
        return self.log.read_text()

    def end(self, number=signal.SIGINT, seconds=WAIT_TIMEOUT_S):
        """Send a signal and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)

    def kill(self):
        self.killed = True
        self.process.kill()
        self.process.wait(WAIT_TIMEOUT_S)


class Heard(list):
    """The messages of one topic, in order of arrival; `publishers()` counts those that are heard."""

    def __init__(self):
        super().__init__()
        self.times = []
        self.publishers = lambda: 0

    def take(self, message):
        self.times.append(time.monotonic())
        self.append(message)


class Graph:
    """Programs and an observer in the domain of the environment."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.programs = []
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.observer = rclpy.create_node("observer", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.observer)
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def _spin(self):
        with contextlib.suppress(ExternalShutdownException):
            self.executor.spin()

    def close(self):
        """End what runs; every program that was not killed must end cleanly."""
        statuses = {program.log.stem: program.end() for program in self.programs if not program.killed}
        self.executor.shutdown()
        self.observer.destroy_node()
        rclpy.try_shutdown(context=self.context)
        self.thread.join(WAIT_TIMEOUT_S)
        assert not any(statuses.values()), statuses

    def start(self, module, *arguments, preloaded=True):
        """A Python module as a program."""
        return self._start(module.rpartition(".")[2], ["-m", module, *arguments], preloaded)

    def script(self, path, *arguments, preloaded=True):
        """A Python file as a program."""
        return self._start(Path(path).stem, [path, *arguments], preloaded)

    def _start(self, name, words, preloaded=True):
        log = self.folder / f"{name}-{len(self.programs)}.log"
        self.programs.append(Program([str(word) for word in words], log, preloaded))
        return self.programs[-1]

    def node(self, ready=True, script=None, remap=(), **parameters):
        """The MoonSeg3R node with parameters (dots are written __); waits until it is there (and active)."""
        defaults = {
            "reconstruction__kind": "rgbd",
            "device": "cpu",
            "masks__kind": "regions",
            "diagnostics_period": 0.1,
        }
        arguments = ["--ros-args"]
        for key, value in (defaults | parameters).items():
            text = (
                str(value).lower()
                if isinstance(value, bool)
                else f'"{value}"'
                if isinstance(value, str)
                else repr(value)
            )
            arguments += ["-p", f"{key.replace('__', '.')}:={text}"]
        for rule in remap:
            arguments += ["-r", rule]
        program = self.script(script, *arguments) if script else self.start(NODE, *arguments)
        if ready:
            self.until(lambda: self.subscribed("/tf_static"), "the node subscribes", program)
        return program

    def ended(self, program):
        """Wait until a program ends by itself, well; return what it printed."""
        self.until(lambda: program.process.poll() is not None, "the program ends", program)
        assert program.process.returncode == 0, program.text
        return program.text

    def subscribed(self, topic):
        return self.observer.count_subscribers(topic) > 0

    def until(self, true, what, program=None, seconds=WAIT_TIMEOUT_S):
        """Wait until `true()`; fails with `what`, a text or its function, and with what the programs printed."""
        end = time.monotonic() + seconds
        while not (got := true()):
            assert time.monotonic() < end, f"waited {seconds:g} s in vain: {self._explain(what)}"
            assert program is None or program.process.poll() is None, f"ended before: {self._explain(what)}"
            time.sleep(0.01)
        return got

    def _explain(self, what):
        printed = "\n".join(f"--- {p.log.name}\n{p.text[-3000:]}" for p in self.programs)
        return f"{what() if callable(what) else what}\n{printed}"

    def listen(self, kind, topic, qos=RELIABLE, wait=True):
        """Everything that comes on a topic from now on."""
        heard = Heard()
        heard.publishers = self.observer.create_subscription(kind, topic, heard.take, qos).get_publisher_count
        if wait:
            self.until(lambda: heard.publishers() > 0, f"a publisher on {topic}")
        if wait and topic.startswith("/moonseg3r/"):  # what nobody listens to is not built: the node must know of us
            self.until(lambda: topic in self.diagnosed()[1]["listened to"].split(), f"the node knows who hears {topic}")
        return heard

    def publisher(self, kind, topic, qos=qos_profile_sensor_data, wait=True):
        publisher = self.observer.create_publisher(kind, topic, qos)
        if wait:
            self.until(lambda: publisher.get_subscription_count() > 0, f"a subscriber on {topic}")
        return publisher

    def call(self, kind, name, request):
        """The response of a service; asked again where a server that has yet to discover its client cannot answer."""
        client = self.observer.create_client(kind, name)
        assert client.wait_for_service(WAIT_TIMEOUT_S), name
        calls = []

        def answer():
            if not calls or time.monotonic() - calls[-1][0] > RETRY_S:
                calls.append((time.monotonic(), client.call_async(request)))
            return next((future for _, future in calls if future.done()), None)

        return self.until(answer, f"{name} answers").result()

    def trigger(self, name, node="moonseg3r"):
        """(success, message) of one of the node's services."""
        response = self.call(Trigger, f"/{node}/{name}", Trigger.Request())
        return response.success, response.message

    def set(self, **parameters):
        """Set parameters one by one; the results."""
        items = [
            Parameter(name.replace("__", "."), value=value).to_parameter_msg() for name, value in parameters.items()
        ]
        return self.call(SetParameters, "/moonseg3r/set_parameters", SetParameters.Request(parameters=items)).results

    def get(self, name):
        values = self.call(GetParameters, "/moonseg3r/get_parameters", GetParameters.Request(names=[name])).values
        return Parameter.from_parameter_msg(rclpy.parameter.ParameterMsg(name=name, value=values[0])).value

    def diagnosed(self):
        """The node's newest word on /diagnostics: (message, values)."""
        if not hasattr(self, "_diagnostics"):
            self._diagnostics = self.listen(DiagnosticArray, "/diagnostics")
        count = len(self._diagnostics)
        self.until(lambda: len(self._diagnostics) > count + 1, "diagnostics")
        status = self._diagnostics[-1].status[0]
        return status.message, {pair.key: pair.value for pair in status.values}


class Camera:
    """Publishes the core's frames as a camera's driver does."""

    def __init__(self, graph, image="/image", qos=qos_profile_sensor_data, frame_id="camera", world="map", wait=True):
        self.frame_id, self.world = frame_id, world
        self.images = graph.publisher(Image, image, qos, wait)
        self.depths = graph.publisher(Image, "/depth", qos, wait)
        self.infos = graph.publisher(CameraInfo, "/camera_info", qos, wait)
        self.tf = graph.publisher(TFMessage, "/tf", QoSProfile(depth=100), wait)
        if wait:  # a publisher knows of a subscription before that one knows of it, and best effort is lost until then
            topics = [p.topic_name for p in (self.images, self.depths, self.infos, self.tf)]
            graph.until(
                lambda: all(int(graph.diagnosed()[1].get(t, "0")[0]) for t in topics), "the node hears the camera"
            )

    def send(self, frame, stamp):
        """All of a frame at a stamp in nanoseconds, the pose first."""
        self.send_pose(frame.world_from_camera.numpy(), stamp)
        self.infos.publish(info_message(frame, self.header(stamp)))
        self.depths.publish(image_message(frame.depth.numpy(), "32FC1", self.header(stamp)))
        self.images.publish(image_message(frame.image.numpy(), "rgb8", self.header(stamp)))

    def send_pose(self, pose, stamp):
        self.tf.publish(TFMessage(transforms=[transform_of(pose, self.header(stamp, self.world), self.frame_id)]))

    def header(self, stamp, frame_id=None):
        return Header(stamp=time_of(stamp), frame_id=frame_id or self.frame_id)


def time_of(stamp):
    return Time(sec=stamp // 10**9, nanosec=stamp % 10**9)


def stamp_of(header):
    return header.stamp.sec * 10**9 + header.stamp.nanosec


def bytes_of(values):
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(values).tobytes())
    return data


def image_message(pixels, encoding, header):
    height, width = pixels.shape[:2]
    data = bytes_of(pixels)
    return Image(header=header, height=height, width=width, encoding=encoding, step=len(data) // height, data=data)


def info_message(frame, header):
    k = frame.intrinsics.double().numpy()
    p = np.hstack((k, np.zeros((3, 1))))
    height, width = frame.size
    return CameraInfo(
        header=header,
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=k.ravel(),
        r=np.eye(3).ravel(),
        p=p.ravel(),
    )


def transform_of(pose, header, child):
    x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
    moved = Transform(
        translation=Vector3(x=pose[0, 3], y=pose[1, 3], z=pose[2, 3]), rotation=Quaternion(x=x, y=y, z=z, w=w)
    )
    return TransformStamped(header=header, child_frame_id=child, transform=moved)


def pose_of(transform):
    """The pose (4, 4) of a Transform, or of a Pose."""
    position = getattr(transform, "translation", None) or transform.position
    turn = getattr(transform, "rotation", None) or transform.orientation
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix()
    pose[:3, 3] = position.x, position.y, position.z
    return pose


def cloud_of(message):
    """A PointCloud2 as a structured array by its own fields."""
    kinds = {7: "<f4", 5: "<i4", 6: "<u4"}
    layout = np.dtype({
        "names": [f.name for f in message.fields],
        "formats": [kinds[f.datatype] for f in message.fields],
        "offsets": [f.offset for f in message.fields],
        "itemsize": message.point_step,
    })  # fmt: skip
    return np.frombuffer(message.data, layout)
