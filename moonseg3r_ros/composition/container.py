"""`moonseg3r_container` runs several Python nodes in one process, and loads and unloads them meanwhile.

It has the services of C++ containers, so `ros2 component` and launch_ros's LoadComposableNodes work on it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from moonseg3r_core import exit_on_signals, interrupt_once

BAD_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM, then return 0; return 2 for bad usage, after one line on standard error."""
    exit_on_signals()
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    from rclpy.utilities import remove_ros_args

    from moonseg3r_ros.composition.manager import serve

    arguments = list(sys.argv if argv is None else argv)
    if unknown := remove_ros_args(arguments)[1:]:
        usage = "moonseg3r_container [--ros-args -r __node:=NAME -r __ns:=/NAMESPACE]"
        print(f"moonseg3r_container: error: unknown arguments: {' '.join(unknown)}; usage: {usage}", file=sys.stderr)
        return BAD_USAGE
    try:
        interrupt_once()
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        serve()
    except KeyboardInterrupt:
        pass
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
