"""`moonseg3r_replay BAG` publishes a rosbag2 with its own clock, without rosbag2."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from moonseg3r_core import exit_on_signals, interrupt_once

BAD_INPUT = 2
SUBSCRIBER_TIMEOUT_S = 5.0
LOCKSTEP_TIMEOUT_S = 10.0
EPILOG = """
/clock goes out 100 times a second and before each message whose time is new; nodes follow it with use_sim_time:=true.
Each topic has the QoS that the bag recorded, else reliable, keep last 10; one that no node takes for its QoS is changed
with --ros-args -p qos_overrides./TOPIC.publisher.reliability:=reliable. All static transforms go out at the start and
reach late subscribers too. Topics are renamed with --ros-args -r /from:=/to.
"""


class Parser(argparse.ArgumentParser):
    """An argument parser with one line for a mistake."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: error: {message}; see `{self.prog} --help`.\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Replay a bag; return 0, or 2 for bad usage or input after one line on standard error. A signal ends it with 0."""
    exit_on_signals()
    import rclpy
    from rclpy.node import Node
    from rclpy.signals import SignalHandlerOptions
    from rclpy.utilities import remove_ros_args

    from moonseg3r_core import InputError
    from moonseg3r_ros.replay.run import replay
    from moonseg3r_ros.topics import find_bag_topics

    arguments = list(sys.argv if argv is None else argv)
    given = build_parser().parse_args(remove_ros_args(arguments)[1:])
    try:
        if given.inputs:
            print("\n".join(f"{name}:={topic}" for name, topic in find_bag_topics(given.bag, given.robot).items()))
            return 0
        interrupt_once()
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        replay(Node("moonseg3r_replay", start_parameter_services=False), given)
    except InputError as error:
        print(f"moonseg3r_replay: error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        pass
    finally:
        rclpy.try_shutdown()
    return 0


def build_parser() -> Parser:
    """Build the parser of the options."""
    parser = Parser(
        prog="moonseg3r_replay", description="Publish a rosbag2 with its own clock, without rosbag2.", epilog=EPILOG
    )
    parser.add_argument("bag", metavar="BAG", type=Path, help="rosbag2 folder, .mcap or .db3 file")
    parser.add_argument(
        "--rate", type=parse_positive, default=1.0, metavar="R", help="times as fast as recorded (default 1)"
    )
    parser.add_argument("--loop", action="store_true", help="over and over; stamps and /clock jump back each time")
    parser.add_argument(
        "--start", type=parse_seconds, default=0.0, metavar="SECONDS", help="leave out the bag's first seconds"
    )
    parser.add_argument(
        "--duration", type=parse_positive, default=float("inf"), metavar="SECONDS", help="of the bag, at most"
    )
    parser.add_argument("--topics", nargs="+", metavar="TOPIC", help="these alone")
    parser.add_argument("--no-clock", action="store_true", help="publish no /clock but what the bag holds")
    parser.add_argument(
        "--wait", type=parse_seconds, nargs="?", default=SUBSCRIBER_TIMEOUT_S, const=float("inf"), metavar="SECONDS",
        help="start when an image topic (without any: a topic) has a subscriber, at the latest after so many seconds"
        f" (default {SUBSCRIBER_TIMEOUT_S:g}; --wait alone: however long it takes; 0: start at once)",
    )  # fmt: skip
    parser.add_argument(
        "--inputs", action="store_true", help="play nothing; say which topics the node is to read, as launch arguments"
    )
    parser.add_argument(
        "--robot",
        metavar="NAME",
        default="",
        help="with --inputs and --lockstep: namespace of the robot whose topics count",
    )
    parser.add_argument("--wait-for", metavar="NODE", help="/name of the node whose subscription counts for --wait")
    parser.add_argument(
        "--lockstep", metavar="NODE",
        help="publish an image only when this MoonSeg3R node, /name, has processed, rejected or dropped the one before;"
        " other messages go on a little meanwhile, so no image is dropped, whatever --rate says; counts as --wait-for too",
    )  # fmt: skip
    parser.add_argument(
        "--lockstep-timeout", type=parse_positive, default=LOCKSTEP_TIMEOUT_S, metavar="SECONDS",
        help="go on when an image has had no answer for so long (default 10), and wait half as long for the next one, until"
        " the node answers again",
    )  # fmt: skip
    return parser


def parse_positive(text: str) -> float:
    """Parse a number above 0."""
    number = parse_seconds(text)
    if number == 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got '{text}'")
    return number


def parse_seconds(text: str) -> float:
    """Parse a finite number >= 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of seconds >= 0, got '{text}'")
    return number


if __name__ == "__main__":
    sys.exit(main())
