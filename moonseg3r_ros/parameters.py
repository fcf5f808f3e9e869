"""The core's configuration and the node's settings as ROS parameters."""

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
class NodeParameters:
    """All parameters of the node at one moment."""

    config: Config
    settings: NodeSettings

    def list_keys(self) -> list[Key]:
        """List every parameter, the node's own first."""
        return [*list_settings(self.settings), *list_settings(self.config)]

    def apply(self, changes: dict[str, Any]) -> NodeParameters:
        """Return these with some values changed. Raises ConfigError for one that the core does not take."""
        own = {key.name for key in list_settings(self.settings)}
        ours, theirs = ({n: v for n, v in changes.items() if (n in own) == mine} for mine in (True, False))
        return NodeParameters(overlay(self.config, theirs, "parameter"), overlay(self.settings, ours, "parameter"))


OnChange = Callable[[NodeParameters, NodeParameters], None]


class ParameterStore:
    """Declares all parameters of a node and holds their values; the node's parts read them here.

    `check(before, after)` raises ConfigError for a change that the node cannot take now; `react(before, after)` follows
    a change. Unknown names given at the start are logged: files of parameters may be shared among nodes.
    Raises ConfigError when a value given at the start cannot be used.
    """

    def __init__(self, node: Node, check: OnChange, react: OnChange) -> None:
        self._check, self._react = check, react
        own = {key.name: _declare(node, key) for key in list_settings(NodeSettings())}
        file = own["config_file"]
        defaults = NodeParameters(load_config(*([file] if file else [])), NodeSettings())
        self.current = defaults.apply(own | {k.name: _declare(node, k) for k in list_settings(defaults.config)})
        self._names = {key.name for key in self.current.list_keys()}
        given = node._parameter_overrides  # rclpy has no public name; QoS is declared as topics are subscribed
        for name in (n for n in given if not (node.has_parameter(n) or n.startswith("qos_overrides."))):
            near = difflib.get_close_matches(name, self._names, n=1, cutoff=0.0)[0]
            node.get_logger().warning(f"parameter '{name}' is unknown and does nothing; did you mean '{near}'?")
        node.add_on_set_parameters_callback(self._set)

    @property
    def config(self) -> Config:
        """The core's configuration."""
        return self.current.config

    @property
    def settings(self) -> NodeSettings:
        """The node's own settings."""
        return self.current.settings

    def _set(self, parameters: list[Parameter]) -> SetParametersResult:
        changes = {p.name: p.value for p in parameters if p.name in self._names}
        if not changes:
            return SetParametersResult(successful=True)
        before = self.current
        try:
            after = before.apply(changes)
            self._check(before, after)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.current = after
        self._react(before, after)
        return SetParametersResult(successful=True)


def make_descriptor(key: Key) -> ParameterDescriptor:
    """Make description, range and choices of one setting."""
    descriptor = ParameterDescriptor(name=key.name, description=key.help, read_only=key.name in READ_ONLY)
    if key.choices:
        descriptor.additional_constraints = f"one of {', '.join(key.choices)}"
    if key.low is None and key.high is None:
        return descriptor
    if key.type is int:
        low, high = _get_bounds(key, 1 - (1 << 63), (1 << 63) - 1)
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    else:
        low, high = _get_bounds(key, -sys.float_info.max, sys.float_info.max)
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    return descriptor


def _get_bounds(key: Key, least: float, most: float) -> tuple[float, float]:
    return least if key.low is None else key.low, most if key.high is None else key.high


def _declare(node: Node, key: Key) -> Any:
    return node.declare_parameter(key.name, key.value, make_descriptor(key)).value
