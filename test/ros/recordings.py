"""Small bags for the replay: images and words, static transforms, and a type that nobody has installed."""

from geometry_msgs.msg import TransformStamped
from graph import time_of
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from tf2_msgs.msg import TFMessage

SECOND = 10**9
START = 1_700_000_000_123_456_789  # no multiple of what a float of seconds can hold
STEP = 50_000_000
ALL = QoSProfile(depth=1000)
BEST_EFFORT = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)
TYPES = get_typestore(Stores.ROS2_HUMBLE)
FOREVER = QosTime(0, 0)
THING = b"\x00\x01\x00\x00\x05\x00\x00\x00"  # of a type that nobody has installed


def offer(reliability, durability):
    """The QoS of a publisher as a recorder notes it; a depth of 0, for discovery does not tell it."""
    kept, lives = QosHistory.UNKNOWN, QosLiveliness.AUTOMATIC
    return Qos(kept, 0, QosReliability[reliability], QosDurability[durability], FOREVER, FOREVER, lives, FOREVER, False)


OFFERED = {
    "/image": [offer("BEST_EFFORT", "VOLATILE")],
    "/words": [offer("RELIABLE", "VOLATILE"), offer("BEST_EFFORT", "TRANSIENT_LOCAL")],
}


def image(n):
    stamp = time_of(START + n * STEP)
    return Image(
        header=Header(stamp=stamp, frame_id="camera"), height=1, width=2, encoding="mono8", step=2, data=[n, 0]
    )


def edge(parent, child, x=0.0):
    found = TransformStamped(header=Header(frame_id=parent), child_frame_id=child)
    found.transform.translation.x = x
    return TFMessage(transforms=[found])


def recording(count=20):
    """(topic, ns, message): an image and a word every 50 ms, and two static transforms, one of which is told anew."""
    found = [("/tf_static", START, edge("map", "odom")), ("/tf_static", START, edge("base", "camera", 1.0))]
    for n in range(count):
        found += [("/image", START + n * STEP, image(n)), ("/words", START + n * STEP, String(data=f"word {n}"))]
    return [*found, ("/tf_static", START + (count - 1) * STEP, edge("base", "camera", 2.0))]


def write_bag(folder, messages, storage=StoragePlugin.MCAP):
    """A bag folder of (topic, ns, message or THING)."""
    with Writer(folder, version=9, storage_plugin=storage) as writer:
        connections = {}
        for topic, stamp, message in messages:
            if topic not in connections:
                connections[topic] = add_topic(writer, topic, message)
            writer.write(connections[topic], stamp, message if message is THING else serialize_message(message))
    return folder


def add_topic(writer, topic, message):
    if message is THING:
        return writer.add_connection(topic, "nowhere_msgs/msg/Thing", msgdef="int32 x\n", rihs01="RIHS01_00")
    kind = f"{type(message).__module__.partition('.')[0]}/msg/{type(message).__name__}"
    return writer.add_connection(topic, kind, typestore=TYPES, offered_qos_profiles=OFFERED.get(topic, []))


def tick(message):
    """The stamp of a Clock, ns."""
    return message.clock.sec * SECOND + message.clock.nanosec
