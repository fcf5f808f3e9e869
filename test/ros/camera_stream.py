"""A camera that sends numbered frames to the node, and the poses that the node answers."""

import pathlib

from billboards import frame
from geometry_msgs.msg import PoseStamped
from graph import Camera, stamp_of

SLOW = pathlib.Path(__file__).parent / "slow_node.py"
START = 5_000_000_000
PERIOD = 100_000_000
SECOND = 10**9


def view(t):
    return frame(t, (0.03 * (t % 10) - 0.2, 0.01 * (t % 10), 0.0))[0]


class Stream:
    """A camera that numbers its frames, and the poses that come back."""

    def __init__(self, graph, period=PERIOD, **camera):
        self.graph, self.camera, self.period = graph, Camera(graph, **camera), period
        self.poses = graph.listen(PoseStamped, "/moonseg3r/pose")
        self.next = 0

    def send(self, count=1, shown=None):
        """The next frames, of the next views or of one."""
        for _ in range(count):
            self.camera.send(view(self.next if shown is None else shown), START + self.next * self.period)
            self.next += 1
        return START + (self.next - 1) * self.period

    def through(self, count=1):
        """Frames that come out, each before the next is sent."""
        for _ in range(count):
            sent = self.send()
            self.graph.until(lambda sent=sent: sent in self.stamps, f"frame {self.next - 1} comes out")

    @property
    def stamps(self):
        return [stamp_of(pose.header) for pose in self.poses]
