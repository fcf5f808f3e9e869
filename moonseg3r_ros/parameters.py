"""The core's configuration and the node's settings as ROS parameters: declared, described, checked by the core."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from moonseg3r_core import Config, ConfigError, Key, list_settings, load_config, overlay
from moonseg3r_ros.settings import NodeSettings

READ_ONLY = ("config_file", "diagnostics_period")  # read once, at the start


@dataclass(frozen=True)
class Values:
    """All parameters of the node at one moment."""

    config: Config
    settings: NodeSettings

    def every(self) -> list[Key]:
        """Every parameter, the node's own first."""
        return [*list_settings(self.settings), *list_settings(self.config)]

    def with_changes(self, changes: dict[str, Any]) -> Values:
        """These with some values changed. Raises ConfigError for one that the core does not take."""
        own = {key.name for key in list_settings(self.settings)}
        ours, theirs = ({n: v for n, v in changes.items() if (n in own) == mine} for mine in (True, False))
        return Values(overlay(self.config, theirs, "parameter"), overlay(self.settings, ours, "parameter"))


class Parameters:
    """Declares all parameters of a node, and hands on every change that passes.

    `adopt(before, after)` takes a change or raises ConfigError, whose text is the reason of the refusal.
    A name given at the start that is no parameter's is named in the log: files of parameters may be shared among nodes.
    Raises ConfigError when a value given at the start cannot be used.
    """

    def __init__(self, node: Node, adopt: Callable[[Values, Values], None]) -> None:
        self._adopt = adopt
        own = {key.name: _declare(node, key) for key in list_settings(NodeSettings())}
        file = own["config_file"]
        defaults = Values(load_config(*([file] if file else [])), NodeSettings())
        self.values = defaults.with_changes(own | {k.name: _declare(node, k) for k in list_settings(defaults.config)})
        self._names = {key.name for key in self.values.every()}
        for name in _unknown(node):
            near = difflib.get_close_matches(name, self._names, n=1, cutoff=0.0)[0]
            node.get_logger().warning(f"parameter '{name}' is unknown and does nothing; did you mean '{near}'?")
        node.add_on_set_parameters_callback(self._on_set)

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        changes = {p.name: p.value for p in parameters if p.name in self._names}
        if not changes:
            return SetParametersResult(successful=True)
        try:
            after = self.values.with_changes(changes)
            self._adopt(self.values, after)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.values = after
        return SetParametersResult(successful=True)


def descriptor_of(key: Key) -> ParameterDescriptor:
    """Description, range and choices of one setting."""
    descriptor = ParameterDescriptor(name=key.name, description=key.help, read_only=key.name in READ_ONLY)
    if key.choices:
        descriptor.additional_constraints = f"one of {', '.join(key.choices)}"
    if key.low is None and key.high is None:
        return descriptor
    if key.type is int:
        low, high = _bounds(key, 1 - (1 << 63), (1 << 63) - 1)
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    else:
        low, high = _bounds(key, -sys.float_info.max, sys.float_info.max)
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    return descriptor


def _bounds(key: Key, least: float, most: float) -> tuple[float, float]:
    return least if key.low is None else key.low, most if key.high is None else key.high


def _unknown(node: Node) -> list[str]:
    """What was given at the start and nobody declared; QoS is declared as topics are subscribed."""
    given = node._parameter_overrides  # rclpy has no public name for them
    return [name for name in given if not node.has_parameter(name) and not name.startswith("qos_overrides.")]


def _declare(node: Node, key: Key) -> Any:
    return node.declare_parameter(key.name, key.value, descriptor_of(key)).value
