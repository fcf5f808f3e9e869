"""Components for the container's tests, each with a constructor of its own kind."""

import os
import time
from pathlib import Path

from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.node import Node
from std_msgs.msg import String


def talk(node):
    """Let a node say its parameter `text` on `words`, over and over."""
    node.declare_parameter("text", "nothing")
    publisher = node.create_publisher(String, "words", 10)
    node.create_timer(0.05, lambda: publisher.publish(String(data=node.get_parameter("text").value)))


class Plain(Node):
    def __init__(self):
        super().__init__("plain")
        talk(self)


class Keywords(Node):
    def __init__(self, **kwargs):
        super().__init__("keywords", **kwargs)
        talk(self)


class Opinionated(Node):
    """Says of its own what a request says too."""

    def __init__(self):
        super().__init__(
            "opinionated", namespace="/own", cli_args=["--ros-args", "-r", "__node:=mine", "-p", "text:=mine"]
        )
        talk(self)


class Living(LifecycleNode):
    def __init__(self):
        super().__init__("living")
        talk(self)

    def on_shutdown(self, state):
        print("shut down while", state.label, flush=True)
        return TransitionCallbackReturn.SUCCESS


class Slow(LifecycleNode):
    """Configures itself, which takes a while."""

    def __init__(self):
        super().__init__("slow")
        self.start = self.create_timer(0.0, self.begin)

    def begin(self):
        self.destroy_timer(self.start)
        self.trigger_configure()

    def on_configure(self, state):
        print("configuring", flush=True)
        time.sleep(1.0)
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state):
        print("shut down while", state.label, flush=True)
        return TransitionCallbackReturn.SUCCESS


class Mother(Node):
    """Has nodes beside itself: one before it is there, one after, of its own class."""

    def __init__(self, child=False):
        if not child:
            self.helper = Node("helper")
        super().__init__("child" if child else "mother")
        talk(self)
        if not child:
            self.child = Mother(child=True)


class Chatty(Node):
    def __init__(self):
        super().__init__("chatty")
        self.get_logger().debug("a detail of the constructor")


class Failing(Node):
    def __init__(self):
        super().__init__("failing")
        raise RuntimeError("no camera,\nno fun")


class Leaving(Node):
    def __init__(self):
        raise SystemExit(3)


class Fragile(Node):
    """Its callbacks raise."""

    def __init__(self):
        super().__init__("fragile")
        self.create_timer(0.05, self.fail)

    def fail(self):
        raise ValueError("a callback failed")


class Stuck(Node):
    """Takes longer to build than anybody waits."""

    def __init__(self):
        print("building", flush=True)
        time.sleep(60)


class Needing(Node):
    def __init__(self, camera):
        super().__init__("needing")


not_a_node = {"a": "dictionary"}


class Busy(Node):
    """Its callback is at work until the file that RELEASE names is there."""

    def __init__(self):
        super().__init__("busy")
        self.create_timer(0.01, self.work)

    def work(self):
        print("at work", flush=True)
        while not Path(os.environ["RELEASE"]).exists():
            time.sleep(0.01)
