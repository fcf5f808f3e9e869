"""`moonseg3r_node`: the node in its own process."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from moonseg3r_core import exit_after, exit_on_signals, interrupt_once

if TYPE_CHECKING:
    from moonseg3r_ros.node import MoonSeg3RNode

USAGE = "moonseg3r_node --ros-args -r image:=/TOPIC -p PARAMETER:=VALUE; `moonseg3r config show` and docs/ros_reference.md list them"
SHUTDOWN_TIMEOUT_S = 1.5  # for callbacks at work at the end, and again for a step at work


def main(arguments: list[str] | None = None) -> int:
    """Run the node; return 0 when ended by a signal or shutdown, 2 for bad usage or parameters after one line on standard error."""
    exit_on_signals()  # torch takes seconds to import
    import rclpy
    from rclpy.utilities import remove_ros_args

    if others := remove_ros_args(sys.argv if arguments is None else arguments)[1:]:
        return print_usage(others)
    from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
    from rclpy.signals import SignalHandlerOptions

    from moonseg3r_core import InputError
    from moonseg3r_ros.node import MoonSeg3RNode

    try:
        interrupt_once()
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        serve(MoonSeg3RNode())
    except KeyboardInterrupt:
        pass
    except (InputError, InvalidParameterTypeException, InvalidParameterValueException) as error:
        print(f"moonseg3r_node: {error}", file=sys.stderr)
        return 2
    finally:
        rclpy.try_shutdown()
    return 0


def print_usage(arguments: Sequence[str]) -> int:
    """Print how to start the node, for --help or arguments that are not ROS's; return the exit status."""
    if {"-h", "--help"} & set(arguments):
        print(f"usage: {USAGE}")
        return 0
    print(f"moonseg3r_node: error: unknown arguments: {' '.join(arguments)}; usage: {USAGE}", file=sys.stderr)
    return 2


def serve(node: MoonSeg3RNode) -> None:
    """Run the node's callbacks until a signal comes."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    from moonseg3r_ros.spinning import spin
    from moonseg3r_ros.worker import is_any_at_work

    executor = SingleThreadedExecutor()  # the multi-threaded one keeps a core busy while callbacks wait for a thread
    executor.add_node(node)
    if not spin(executor, SHUTDOWN_TIMEOUT_S):
        os._exit(0)  # loading models is neither interrupted nor waited for
    exit_after(SHUTDOWN_TIMEOUT_S)
    node.destroy_node()
    executor.shutdown(timeout_sec=SHUTDOWN_TIMEOUT_S)
    if is_any_at_work():
        rclpy.try_shutdown()
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
