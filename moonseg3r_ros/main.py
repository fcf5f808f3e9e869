"""`moonseg3r_node`: the node in a process of its own."""

from __future__ import annotations

import sys

import rclpy
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from moonseg3r_core import InputError
from moonseg3r_ros.signals import end_within, interrupt_once, spin

ENDING = 1.5  # seconds that a step at work is waited for at the end


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 ended by a signal or shutdown; 2 parameters that cannot be used, one line on standard error."""
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    interrupt_once()
    try:
        from moonseg3r_ros.node import MoonSeg3RNode  # torch takes seconds, and a signal may come meanwhile

        node = MoonSeg3RNode()
    except KeyboardInterrupt:
        rclpy.try_shutdown()
        return 0
    except (InputError, InvalidParameterTypeException, InvalidParameterValueException) as error:
        print(f"moonseg3r_node: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    executor = SingleThreadedExecutor()  # the multi-threaded one keeps a core busy while callbacks wait for a thread
    executor.add_node(node)
    spin(executor)
    end_within(ENDING)
    node.destroy_node()
    executor.shutdown(timeout_sec=ENDING)
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
