"""Python components: found through entry points, built with a request's name, remappings and parameters.

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
POLL = 0.02
# Of a request's extra_arguments: the names that C++ containers use, and those of rclpy's Node that are on or off.
EXTRAS = {
    "forward_global_arguments": "use_global_arguments",
    "enable_rosout": "enable_rosout",
    "enable_logger_service": "enable_logger_service",
    "start_parameter_services": "start_parameter_services",
    "allow_undeclared_parameters": "allow_undeclared_parameters",
    "automatically_declare_parameters_from_overrides": "automatically_declare_parameters_from_overrides",
}
WITHOUT_EFFECT = {"use_intra_process_comms"}  # launch files for C++ containers set it; Python nodes have none


class ComponentError(Exception):
    """Why a component cannot be loaded; the message is the service's answer."""


def find_component(package: str, plugin: str) -> type[Node]:
    """The node class registered as `plugin`, `package::Class` or `Class`. Raises ComponentError."""
    points = registered()
    name = plugin if "::" in plugin else f"{package}::{plugin}"
    if name not in points:
        known = ", ".join(sorted(n for n in points if n.startswith(f"{package}::")))
        raise ComponentError(
            f"package '{package}' registers no component '{name}' in the entry points '{GROUP}'; "
            f"{f'it has: {known}' if known else 'is it installed and its workspace sourced?'}"
        )
    try:
        kind = points[name].load()
    except Exception as error:  # whatever a module's own code raises
        raise ComponentError(f"{points[name].value} cannot be imported: {described(error)}") from error
    if not (isinstance(kind, type) and issubclass(kind, Node)):
        raise ComponentError(f"{points[name].value} must be a subclass of rclpy.node.Node, got {kind!r}")
    return kind


def registered() -> dict[str, metadata.EntryPoint]:
    """All components by name. Each of several distributions with one name counts; of equal names the first does."""
    found: dict[str, metadata.EntryPoint] = {}
    for distribution in metadata.distributions():
        for point in distribution.entry_points:
            if point.group == GROUP:
                found.setdefault(point.name, point)
    return found


def build_component(kind: type[Node], request: LoadNode.Request, warn: Callable[[str], object]) -> Node:
    """A node of a class whose constructor needs no arguments, as the request wants it.

    Name, namespace, remappings, parameters, log level and extra arguments reach `rclpy.node.Node` whether or not the
    class hands keyword arguments on. Raises ComponentError for a request that makes no sense and a constructor that
    fails; what it had built by then is destroyed.
    """
    level = severity(request.log_level)
    with node_arguments(kind, node_options(request, warn), level) as begun:
        try:
            return kind()
        except (Exception, SystemExit) as error:  # whatever a component's own code raises
            for node in begun:
                destroy(node)
            raise ComponentError(f"{kind.__module__}:{kind.__qualname__}() failed: {described(error)}") from error


def node_options(request: LoadNode.Request, warn: Callable[[str], object]) -> dict[str, Any]:
    """What a request says, as keyword arguments of rclpy's Node. Raises ComponentError."""
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
        elif parameter.name not in WITHOUT_EFFECT:
            warn(f"extra argument '{parameter.name}' is unknown and ignored; known: {', '.join(sorted(EXTRAS))}")
    return options


_constructing = threading.Lock()


@contextmanager
def node_arguments(kind: type[Node], options: dict[str, Any], level: LoggingSeverity) -> Iterator[list[Node]]:
    """While open, the first node of class `kind` is built with these options over its own; yields it once it is begun.

    rclpy offers no other way to reach a constructor that takes no arguments. Only one is built at a time.
    """
    constructor = Node.__init__
    begun: list[Node] = []

    def with_options(self: Node, *positional: Any, **own: Any) -> None:
        if begun or not isinstance(self, kind):
            return constructor(self, *positional, **own)
        constructor(self, *positional, **combined(own, options))
        begun.append(self)
        if level:
            self.get_logger().set_level(level)

    with _constructing:
        Node.__init__ = with_options
        try:
            yield begun
        finally:
            Node.__init__ = constructor


def combined(own: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of both; where both say something the option holds: of remappings the first, else the last."""
    words = [*options["cli_args"], *(own.get("cli_args") or ())]
    overrides = [*(own.get("parameter_overrides") or ()), *options["parameter_overrides"]]
    return own | options | {"cli_args": words, "parameter_overrides": overrides}


def destroy(node: Node, patience: float = 30.0) -> None:
    """Take a node down, whatever state it is in. A lifecycle node goes through its shutdown first; a transition at work
    (models that load) is waited for, `patience` seconds at most.
    """
    machine = getattr(node, "_state_machine", None)  # of rclpy's lifecycle nodes
    try:
        if machine:
            shut_down(node, machine, patience)
        node.destroy_node()
    except Exception as error:  # a component's own code, perhaps on a node that is half built
        get_logger("components").error(f"{type(node).__name__} fails to shut down: {described(error)}")
        Node.destroy_node(node)
    if machine:
        machine.destroy_when_not_in_use()  # rclpy forgets it, and it keeps the node in the graph


def shut_down(node: Node, machine: Any, patience: float) -> None:
    """The shutdown transition of a lifecycle node that is not finalized yet."""
    end = time.monotonic() + patience
    while machine.current_state[1] not in PRIMARY and time.monotonic() < end:
        time.sleep(POLL)
    if machine.current_state[1] != "finalized":
        node.trigger_shutdown()


def severity(level: int) -> LoggingSeverity:
    """A level of rcl_interfaces/Log; 0: as it is. Raises ComponentError."""
    try:
        return LoggingSeverity(level)
    except ValueError:
        levels = ", ".join(f"{severity.value} {severity.name.lower()}" for severity in LoggingSeverity)
        raise ComponentError(f"log_level must be one of {levels}, got {level}") from None


def described(error: BaseException) -> str:
    """An exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
