"""What the node, its services and its diagnostics share."""

from __future__ import annotations

from dataclasses import dataclass

from moonseg3r_ros.diagnostics.frame_statistics import FrameStatistics
from moonseg3r_ros.diagnostics.throttled_warnings import ThrottledWarnings
from moonseg3r_ros.inputs import Inputs, QueuedFrame
from moonseg3r_ros.mapper import Mapper
from moonseg3r_ros.outputs import Outputs
from moonseg3r_ros.parameters import ParameterStore
from moonseg3r_ros.worker import Worker


@dataclass
class NodeState:
    """The node's state and its parts.

    lifecycle: the state's name; fault: the error of the last failed transition; inputs exist while the node is active,
    outputs, mapper and worker while it is configured.
    """

    parameters: ParameterStore
    warnings: ThrottledWarnings
    statistics: FrameStatistics
    lifecycle: str = "unconfigured"
    fault: str = ""
    paused: bool = False
    inputs: Inputs | None = None
    outputs: Outputs | None = None
    mapper: Mapper | None = None
    worker: Worker[QueuedFrame] | None = None

    @property
    def is_untrained(self) -> bool:
        """True when the reconstruction's net has random weights."""
        section = self.parameters.config.reconstruction
        return section.random and section.net is not None
