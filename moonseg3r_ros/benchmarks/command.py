"""`moonseg3r bench ros` measures the running node over loopback. Only the processes that it starts import ROS."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from moonseg3r_core import (
    Frame,
    InputError,
    MoonSeg3RError,
    Parser,
    SyntheticSequence,
    Table,
    describe_machine,
    find_config,
    open_source,
    write_bag,
)

RATE_HZ = 30.0  # of the bag
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
TITLES = {
    "latency": "latency beyond the core's step",
    "idle": "CPU of a node that has nothing to do",
    "parameters": "parameters answered while frames come faster than they are taken",
    "arrival": "raw images at 30 Hz, best effort: what arrives",
}


def main(argv: Sequence[str]) -> int:
    """Print the tables; return 0. Raises InputError without ROS, or for a recording that cannot be used."""
    given = build_parser().parse_args(argv)
    if find_spec("rclpy") is None:
        raise InputError("`bench ros` needs ROS 2, and there is no rclpy; source ROS's setup.bash first.")
    print(f"{date.today()}: {describe_machine()}\n")
    with TemporaryDirectory() as scratch:
        bag = f"{scratch}/bag.mcap"
        count = write_bag(read_frames(given.source, given.frames), bag, color="raw")
        for case in given.only:
            rows = list(measure_case(case, bag, count, given))
            print(
                Table(f"{TITLES[case]} ({count} frames of {given.source or 'a rendered room'})", rows, 1),
                end="\n\n",
                flush=True,
            )
    return 0


def build_parser() -> Parser:
    """Build the parser of the options."""
    parser = Parser(prog="moonseg3r bench ros", description="Measure the running node over loopback.")
    add = parser.add_argument
    add("--source", metavar="SOURCE", help="a recording, as for `moonseg3r run` (default: a rendered room)")
    add("--frames", type=int, default=160, metavar="N", help="frames at most (160)")
    add("--only", nargs="+", choices=TITLES, default=list(TITLES), metavar="CASE", help=f"of {', '.join(TITLES)}")
    add("--hz", type=float, default=2.0, metavar="HZ", help="frames a second for latency; the node must keep up (2)")
    add("--voxel", type=float, default=0.01, metavar="M", help="map.voxel, in metres, of the large map (0.01)")
    add("--seconds", type=float, default=20.0, metavar="S", help="how long the idle node's CPU is measured (20)")
    add("--times", type=int, default=100, metavar="N", help="how often a parameter is read and set (100)")
    return parser


def read_frames(source: str | None, count: int) -> Iterator[Frame]:
    """Read the first frames of a recording, or of a rendered room at 640x480, with stamps at RATE_HZ."""
    frames = open_source(source) if source else SyntheticSequence(7, frames=count, height=480, width=640)
    for i, frame in enumerate(islice(frames, count)):
        yield replace(frame, stamp=i / RATE_HZ)


def measure_case(case: str, bag: str, count: int, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure the rows of one table."""
    profile = find_config("fastdds_shared_memory.xml", Path(__file__))
    if case == "arrival":
        for name, path in {"shared memory": profile, "Fast DDS's own": None}.items():
            yield from ({"profile": name, **row} for row in run_case(path, case, bag, count))
    else:
        numbers = {"latency": (given.hz / RATE_HZ, given.voxel), "idle": (given.seconds,), "parameters": (given.times,)}
        yield from run_case(profile, case, bag, *numbers[case])


def run_case(path: Path | None, *words: Any) -> list[dict[str, Any]]:
    """Run one case in its own process, because Fast DDS reads its profile once. Raises MoonSeg3RError."""
    environment = {name: value for name, value in os.environ.items() if name not in PROFILE_VARIABLES}
    environment |= {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"} | (
        dict.fromkeys(PROFILE_VARIABLES, str(path)) if path else {}
    )
    program = [sys.executable, "-m", "moonseg3r_ros.benchmarks.cases", *map(str, words)]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MoonSeg3RError(f"bench ros {words[0]}: {(done.stderr.strip() or 'no output').splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])
