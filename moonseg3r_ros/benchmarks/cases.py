"""The node's benchmarks, each in a process of its own: `CASE BAG NUMBER ...` prints its rows as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger

from moonseg3r_core import MoonSeg3RError
from moonseg3r_ros.benchmarks.rig import NODE, TOPICS, Rig
from moonseg3r_ros.interface import OUTPUTS, QOS

Row = dict[str, Any]
LARGE = 300_000  # points
KEY = "map.min_observations"  # of those that the worker takes over between two frames


def latency(bag: str, rate: float, voxel: float) -> list[Row]:
    """Milliseconds beyond the core's step; `voxel` is the edge with which the map grows large, metres."""
    with Rig(bag) as rig:
        rows = [_latency("nobody listens", rig, rate)]
    with Rig(bag) as rig:
        rows.append(_latency("every topic heard", rig, rate, Times(rig)))
    with Rig(bag, **{"map_rate": 100.0, "map.voxel": voxel}) as rig:
        return [*rows, _latency("and a large map with each frame", rig, rate, Times(rig), LARGE)]


def idle(bag: str, seconds: float) -> list[Row]:
    """CPU of a node that has nothing to do."""
    with Rig(bag) as rig:
        rows = [{"input": "none", "% of a core": rig.busy(seconds)}]
        rig.client(Trigger, "pause")(Trigger.Request())
        rig.replay(1.0, "--loop")
        rig.until(lambda: rig.count("received"), "images come")
        return [*rows, {"input": "30 images/s, paused", "% of a core": rig.busy(seconds)}]


def parameters(bag: str, times: float) -> list[Row]:
    """Milliseconds until a parameter is answered while more frames come than the node can take."""
    values = [[Parameter(KEY, value=2 + i % 2).to_parameter_msg()] for i in range(round(times))]
    with Rig(bag) as rig:
        get, put = rig.client(GetParameters, "get_parameters"), rig.client(SetParameters, "set_parameters")
        rig.replay(1.0, "--loop")
        rig.until(lambda: rig.count("dropped"), "the node has enough to do")
        answers = {
            "get": [get(GetParameters.Request(names=[KEY])) for _ in values],
            "set": [put(SetParameters.Request(parameters=one)) for one in values],
        }
    return [
        {"parameter": verb, "times": len(ms), "median ms": float(np.median(ms)), "worst ms": max(ms)}
        for verb, ms in answers.items()
    ]


def arrival(bag: str, sent: float) -> list[Row]:
    """Which share of 30 raw images a second arrives with best effort; `sent` are all that the bag holds."""
    heard: list[bytes] = []
    with Rig(bag) as rig:
        rig.observer.create_subscription(Image, TOPICS["image"], heard.append, qos_profile_sensor_data, raw=True)
        rig.play(1.0)
        taken = int(rig.values[TOPICS["image"]].split()[-2])
    return [{"images": round(sent), "at a listener %": 100 * len(heard) / sent, "at the node %": 100 * taken / sent}]


class Times:
    """Listens to every topic; when a frame was sent and when its pose came, in nanoseconds by the frame's stamp."""

    def __init__(self, rig: Rig) -> None:
        self.sent: dict[int, int] = {}
        self.came: dict[int, int] = {}
        listen = rig.observer.create_subscription
        for topic in OUTPUTS.values():
            if topic.message is not None:
                listen(topic.message, topic.name.replace("~", NODE), lambda _: None, QOS[topic.qos], raw=True)
        listen(PoseStamped, f"{NODE}/pose", self._came, 10)
        listen(CameraInfo, TOPICS["camera_info"], self._sent, 10)  # goes out before depth and image

    def beyond(self, frames: Sequence[Row]) -> list[float]:
        """Milliseconds from the one to the other, less the step, of the frames of which it heard both: the first may have
        gone out before it was found.
        """
        heard = [frame for frame in frames if frame["stamp"] in self.came.keys() & self.sent.keys()]
        return [(self.came[f["stamp"]] - self.sent[f["stamp"]]) / 1e6 - f["step"] for f in heard]

    def _sent(self, message: Any, info: dict[str, int]) -> None:
        self.sent[_nanoseconds(message)] = info["source_timestamp"]

    def _came(self, message: Any, info: dict[str, int]) -> None:
        self.came[_nanoseconds(message)] = info["received_timestamp"]


def _latency(case: str, rig: Rig, rate: float, times: Times | None = None, least: int = 0) -> Row:
    """One row: of all frames after which the map had at least so many points."""
    rig.play(rate)
    frames = [frame for frame in _frames(rig) if frame.get("points", 0) >= least]
    if not frames:
        raise MoonSeg3RError(f"the map must grow to {least} points, got {rig.values['map points']}; lower --voxel.")
    maps = [frame for frame in frames if "map" in frame]
    return {
        "case": case, "frames": len(frames), "dropped": rig.count("dropped"),
        "points": round(np.median([frame["points"] for frame in maps])),
        "step ms": float(np.median([frame["step"] for frame in frames])),
        **_spread("latency", [frame["beyond"] for frame in frames]),
        **_spread("with cloud", [frame["beyond"] + frame["cloud"] for frame in maps]),
        **_spread("with all", [frame["beyond"] + frame["map"] for frame in maps]),
        **_spread("from outside", times.beyond(frames) if times else []),
    }  # fmt: skip


def _frames(rig: Rig) -> list[Row]:
    """What the node wrote of each frame, and of the map that it published after it, if it did."""
    frames: list[Row] = []
    for row in rig.log():
        if "stamp" in row:
            frames.append(row)
        elif frames:
            frames[-1] = frames[-1] | row
    return frames


def _spread(name: str, ms: Sequence[float]) -> Row:
    middle, most = (float(q) for q in np.percentile(ms, (50, 90))) if ms else ("", "")
    return {f"{name} ms": middle, f"{name} 90 %": most}


def _nanoseconds(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


if __name__ == "__main__":
    case, path, *numbers = sys.argv[1:]
    cases: dict[str, Callable[..., list[Row]]] = {
        "latency": latency,
        "idle": idle,
        "parameters": parameters,
        "arrival": arrival,
    }
    print(json.dumps(cases[case](path, *map(float, numbers))))
