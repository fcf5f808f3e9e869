"""The node's benchmarks, one a process: `CASE BAG NUMBER ...` prints the rows of a case as JSON."""

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
from moonseg3r_ros.conversions.times import read_time
from moonseg3r_ros.interface import OUTPUTS, QOS

Row = dict[str, Any]
LARGE_MAP = 300_000  # points
PARAMETER = "map.min_observations"  # the worker applies it between two frames


def measure_latency(bag: str, rate: float, voxel: float) -> list[Row]:
    """Measure milliseconds beyond the core's step. `voxel`, metres, makes the large map."""
    with Rig(bag) as rig:
        rows = [_measure_row("nobody listens", rig, rate)]
    with Rig(bag) as rig:
        rows.append(_measure_row("every topic heard", rig, rate, FrameTimes(rig)))
    with Rig(bag, **{"map_rate": 100.0, "map.voxel": voxel}) as rig:
        return [*rows, _measure_row("and a large map with each frame", rig, rate, FrameTimes(rig), LARGE_MAP)]


def measure_idle_cpu(bag: str, seconds: float) -> list[Row]:
    """Measure the CPU of a node without work."""
    with Rig(bag) as rig:
        rows = [{"input": "none", "% of a core": rig.measure_cpu(seconds)}]
        rig.make_client(Trigger, "pause")(Trigger.Request())
        rig.replay(1.0, "--loop")
        rig.wait_until(lambda: rig.count("received"), "images come")
        return [*rows, {"input": "30 images/s, paused", "% of a core": rig.measure_cpu(seconds)}]


def measure_parameter_calls(bag: str, times: float) -> list[Row]:
    """Measure milliseconds of a parameter call while the node has more frames than it can process."""
    values = [[Parameter(PARAMETER, value=2 + i % 2).to_parameter_msg()] for i in range(round(times))]
    with Rig(bag) as rig:
        get, put = rig.make_client(GetParameters, "get_parameters"), rig.make_client(SetParameters, "set_parameters")
        rig.replay(1.0, "--loop")
        rig.wait_until(lambda: rig.count("dropped"), "the node has enough to do")
        answers = {
            "get": [get(GetParameters.Request(names=[PARAMETER])) for _ in values],
            "set": [put(SetParameters.Request(parameters=one)) for one in values],
        }
    return [
        {"parameter": verb, "times": len(ms), "median ms": float(np.median(ms)), "worst ms": max(ms)}
        for verb, ms in answers.items()
    ]


def measure_arrival(bag: str, sent: float) -> list[Row]:
    """Measure the share of 30 raw images a second that arrives with best effort; the bag has `sent` images."""
    heard: list[bytes] = []
    with Rig(bag) as rig:
        rig.observer.create_subscription(Image, TOPICS["image"], heard.append, qos_profile_sensor_data, raw=True)
        rig.play(1.0)
        taken = int(rig.values[TOPICS["image"]].split()[-2])
    return [{"images": round(sent), "at a listener %": 100 * len(heard) / sent, "at the node %": 100 * taken / sent}]


class FrameTimes:
    """Subscribes to every topic, and records when each frame was sent and its pose arrived: stamp -> time, ns."""

    def __init__(self, rig: Rig) -> None:
        self.send_times: dict[int, int] = {}
        self.pose_times: dict[int, int] = {}
        listen = rig.observer.create_subscription
        for topic in OUTPUTS.values():
            if topic.message is not None:
                listen(topic.message, topic.name.replace("~", NODE), lambda _: None, QOS[topic.qos], raw=True)
        listen(PoseStamped, f"{NODE}/pose", self._record_pose, 10)
        listen(CameraInfo, TOPICS["camera_info"], self._record_sending, 10)  # goes out before depth and image

    def compute_latencies(self, frames: Sequence[Row]) -> list[float]:
        """Compute milliseconds from sending to pose, less the step. Frames without both times are left out."""
        heard = [frame for frame in frames if frame["stamp"] in self.pose_times.keys() & self.send_times.keys()]
        return [(self.pose_times[f["stamp"]] - self.send_times[f["stamp"]]) / 1e6 - f["step"] for f in heard]

    def _record_sending(self, message: Any, info: dict[str, int]) -> None:
        self.send_times[_read_stamp(message)] = info["source_timestamp"]

    def _record_pose(self, message: Any, info: dict[str, int]) -> None:
        self.pose_times[_read_stamp(message)] = info["received_timestamp"]


def _measure_row(case: str, rig: Rig, rate: float, times: FrameTimes | None = None, min_points: int = 0) -> Row:
    """Play the bag and make a row of the frames after which the map had at least `min_points` points."""
    rig.play(rate)
    frames = [frame for frame in _read_frames(rig) if frame.get("points", 0) >= min_points]
    if not frames:
        raise MoonSeg3RError(
            f"the map must grow to {min_points} points, got {rig.values['map points']}; lower --voxel."
        )
    maps = [frame for frame in frames if "map" in frame]
    return {
        "case": case, "frames": len(frames), "dropped": rig.count("dropped"),
        "points": round(np.median([frame["points"] for frame in maps])),
        "step ms": float(np.median([frame["step"] for frame in frames])),
        **_spread("latency", [frame["beyond"] for frame in frames]),
        **_spread("with cloud", [frame["beyond"] + frame["cloud"] for frame in maps]),
        **_spread("with all", [frame["beyond"] + frame["map"] for frame in maps]),
        **_spread("from outside", times.compute_latencies(frames) if times else []),
    }  # fmt: skip


def _read_frames(rig: Rig) -> list[Row]:
    """Read the log's entry of each frame, with that of the map published after it, if any."""
    frames: list[Row] = []
    for row in rig.read_log():
        if "stamp" in row:
            frames.append(row)
        elif frames:
            frames[-1] = frames[-1] | row
    return frames


def _spread(name: str, ms: Sequence[float]) -> Row:
    median, percentile = (float(q) for q in np.percentile(ms, (50, 90))) if ms else ("", "")
    return {f"{name} ms": median, f"{name} 90 %": percentile}


def _read_stamp(message: Any) -> int:
    return read_time(message.header.stamp)


if __name__ == "__main__":
    case, path, *numbers = sys.argv[1:]
    cases: dict[str, Callable[..., list[Row]]] = {
        "latency": measure_latency,
        "idle": measure_idle_cpu,
        "parameters": measure_parameter_calls,
        "arrival": measure_arrival,
    }
    print(json.dumps(cases[case](path, *map(float, numbers))))
