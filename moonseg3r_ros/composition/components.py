"""Find Python components through entry points, and build them with a request's name, remappings and parameters.

A package registers a node in its setup.py: `entry_points={"rclpy_components": ["package::Class = module:Class"]}`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

from composition_interfaces.srv import LoadNode
from rclpy.logging import LoggingSeverity, get_logger
from rclpy.node import Node
from rclpy.parameter import Parameter

GROUP = "rclpy_components"
PRIMARY = ("unconfigured", "inactive", "active", "finalized")  # a lifecycle node's states between transitions
POLL_S = 0.02
# Names in a request's extra_arguments: those of C++ containers, and the switches of rclpy's Node.
EXTRAS = {
    "forward_global_arguments": "use_global_arguments",
    "enable_rosout": "enable_rosout",
    "enable_logger_service": "enable_logger_service",
    "start_parameter_services": "start_parameter_services",
    "allow_undeclared_parameters": "allow_undeclared_parameters",
    "automatically_declare_parameters_from_overrides": "automatically_declare_parameters_from_overrides",
}
IGNORED_EXTRAS = {"use_intra_process_comms"}  # launch files for C++ containers set it; Python nodes have none


class ComponentError(Exception):
    """A component cannot be loaded; the message is the service's answer."""


def find_component(package: str, plugin: str) -> type[Node]:
    """Find the node class registered as `plugin`, `package::Class` or `Class`. Raises ComponentError."""
    points = list_components()
    name = plugin if "::" in plugin else f"{package}::{plugin}"
    if name not in points:
        known = ", ".join(sorted(n for n in points if n.startswith(f"{package}::")))
        raise ComponentError(
            f"package '{package}' registers no component '{name}' in the entry points '{GROUP}'; "
            f"{f'it has: {known}' if known else 'is it installed and its workspace sourced?'}"
        )
    try:
        kind = points[name].load()
    except Exception as error:  # a module's own code may raise anything
        raise ComponentError(f"{points[name].value} cannot be imported: {format_error(error)}") from error
    if not (isinstance(kind, type) and issubclass(kind, Node)):
        raise ComponentError(f"{points[name].value} must be a subclass of rclpy.node.Node, got {kind!r}")
    return kind


def list_components() -> dict[str, metadata.EntryPoint]:
    """List all components by name, from all distributions. Of equal names the first counts."""
    found: dict[str, metadata.EntryPoint] = {}
    for distribution in metadata.distributions():
        for point in distribution.entry_points:
            if point.group == GROUP:
                found.setdefault(point.name, point)
    return found


def build_component(kind: type[Node], request: LoadNode.Request, warn: Callable[[str], object]) -> Node:
    """Build a node, as the request says, of a class whose constructor needs no arguments.

    Name, namespace, remappings, parameters, log level and extra arguments reach `rclpy.node.Node`, also when the class
    does not pass keyword arguments on. Raises ComponentError for a wrong request, and for a constructor that fails,
    after its nodes are destroyed.
    """
    level = parse_severity(request.log_level)
    with replace_arguments(kind, parse_request(request, warn), level) as nodes:
        try:
            return kind()
        except (Exception, SystemExit) as error:  # a component's own code may raise anything
            for node in nodes:
                destroy(node)
            raise ComponentError(f"{kind.__module__}:{kind.__qualname__}() failed: {format_error(error)}") from error


def parse_request(request: LoadNode.Request, warn: Callable[[str], object]) -> dict[str, Any]:
    """Parse a request into keyword arguments of rclpy's Node. Raises ComponentError."""
    rules = list(request.remap_rules)
    rules += [f"__node:={request.node_name}"] if request.node_name else []
    rules += [f"__ns:={request.node_namespace}"] if request.node_namespace else []
    options: dict[str, Any] = {
        "cli_args": ["--ros-args", *(word for rule in rules for word in ("-r", rule))],
        "parameter_overrides": [Parameter.from_parameter_msg(parameter) for parameter in request.parameters],
        "use_global_arguments": False,
    }
    for parameter in map(Parameter.from_parameter_msg, request.extra_arguments):
        if parameter.name in EXTRAS and not isinstance(parameter.value, bool):
            raise ComponentError(f"extra argument '{parameter.name}' must be true or false, got {parameter.value!r}")
        if parameter.name in EXTRAS:
            options[EXTRAS[parameter.name]] = parameter.value
        elif parameter.name not in IGNORED_EXTRAS:
            warn(f"extra argument '{parameter.name}' is unknown and ignored; known: {', '.join(sorted(EXTRAS))}")
    return options


_constructing = threading.Lock()


@contextmanager
def replace_arguments(kind: type[Node], options: dict[str, Any], level: LoggingSeverity) -> Iterator[list[Node]]:
    """Add these options to those of the first node of class `kind`; yield a list that will hold this node.

    rclpy has no other way to reach a constructor without arguments. Only one node is built at a time.
    """
    constructor = Node.__init__
    nodes: list[Node] = []

    def initialize(self: Node, *positional: Any, **own: Any) -> None:
        if nodes or not isinstance(self, kind):
            return constructor(self, *positional, **own)
        constructor(self, *positional, **merge_arguments(own, options))
        nodes.append(self)
        if level:
            self.get_logger().set_level(level)

    with _constructing:
        Node.__init__ = initialize
        try:
            yield nodes
        finally:
            Node.__init__ = constructor


def merge_arguments(own: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Merge keyword arguments; an option replaces a node's own. Of remappings the first counts, else the last."""
    words = [*options["cli_args"], *(own.get("cli_args") or ())]
    overrides = [*(own.get("parameter_overrides") or ()), *options["parameter_overrides"]]
    return own | options | {"cli_args": words, "parameter_overrides": overrides}


def destroy(node: Node, timeout: float = 30.0) -> None:
    """Destroy a node in any state. A lifecycle node is shut down first, after a transition at work (models that load)
    or `timeout` seconds.
    """
    machine = getattr(node, "_state_machine", None)  # of rclpy's lifecycle nodes
    try:
        if machine:
            shut_down(node, machine, timeout)
        node.destroy_node()
    except Exception as error:  # a component's own code, perhaps on a node that is half built
        get_logger("components").error(f"{type(node).__name__} fails to shut down: {format_error(error)}")
        Node.destroy_node(node)
    if machine:
        machine.destroy_when_not_in_use()  # rclpy omits this, and the node would stay in the graph


def shut_down(node: Node, machine: Any, timeout: float) -> None:
    """Make the shutdown transition of a lifecycle node, unless it is finalized."""
    end = time.monotonic() + timeout
    while machine.current_state[1] not in PRIMARY and time.monotonic() < end:
        time.sleep(POLL_S)
    if machine.current_state[1] != "finalized":
        node.trigger_shutdown()


def parse_severity(level: int) -> LoggingSeverity:
    """Parse a level of rcl_interfaces/Log; 0 keeps the level. Raises ComponentError."""
    try:
        return LoggingSeverity(level)
    except ValueError:
        levels = ", ".join(f"{severity.value} {severity.name.lower()}" for severity in LoggingSeverity)
        raise ComponentError(f"log_level must be one of {levels}, got {level}") from None


def format_error(error: BaseException) -> str:
    """Format an exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
