"""The lifecycle node: it wires inputs, worker and outputs, and answers. What it does with a frame stands in mapper.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from moonseg3r_core import (
    Config,
    ConfigError,
    FrameMessages,
    InputError,
    check_masks,
    fixed_changes,
    required_inputs,
    resolve_config,
)
from moonseg3r_ros.diagnostics.diagnose import UNTRAINED
from moonseg3r_ros.diagnostics.frame_statistics import Ledger
from moonseg3r_ros.diagnostics.publisher import Reporter
from moonseg3r_ros.diagnostics.throttled_warnings import Voice
from moonseg3r_ros.inputs import Inputs, Needs
from moonseg3r_ros.interface import STEADY
from moonseg3r_ros.mapper import Item, Mapper, free_gpu
from moonseg3r_ros.outputs import Outputs
from moonseg3r_ros.parameters import Parameters, Values
from moonseg3r_ros.services import Services
from moonseg3r_ros.worker import Worker

T = TypeVar("T")
PATIENCE = 1.0  # seconds that the end of the node waits for a step


class MoonSeg3RNode(LifecycleNode):
    """A camera's topics in; TF, a labelled map and instances out.

    configure loads the models, activate subscribes, deactivate lets camera and GPU go and keeps the map, cleanup forgets
    it. Keyword arguments are those of rclpy's LifecycleNode. Raises ConfigError for parameters that cannot be used.
    """

    def __init__(self, node_name: str = "moonseg3r", **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self.voice = Voice(self.get_logger().warning)
        self.ledger = Ledger()
        self.parameters = Parameters(self, self._adopt)
        self.inputs: Inputs | None = None
        self.outputs: Outputs | None = None
        self.mapper: Mapper | None = None
        self.worker: Worker[Item] | None = None
        self.paused = False
        self.fault, self.state = "", "unconfigured"
        Services(self)
        self.reporter = Reporter(self, self.values.settings.diagnostics_period)
        if self.values.settings.autostart:
            alone = MutuallyExclusiveCallbackGroup()  # loading models takes its time; services answer meanwhile
            self._start = self.create_timer(0.0, self._autostart, callback_group=alone, clock=STEADY)

    @property
    def values(self) -> Values:
        """The parameters as they are."""
        return self.parameters.values

    @property
    def needs(self) -> Needs:
        """What the chosen reconstruction takes beside images."""
        wanted = required_inputs(self.values.config)
        return Needs(depth="depth" in wanted, info="intrinsics" in wanted, pose="poses" in wanted)

    @property
    def untrained(self) -> bool:
        """True when the reconstruction's net is one of random numbers."""
        section = self.values.config.reconstruction
        return section.random and section.net is not None

    def feeds_of_needs(self) -> dict[str, str]:
        """What is taken beside the image -> the topic of the table that brings it."""
        settings, wanted = self.values.settings, self.needs
        depth = "depth" if settings.depth_transport == "raw" else "depth/compressedDepth"
        pose = "/tf" if settings.pose_source == "tf" else "odom"
        feeds = {
            "camera_info": (wanted.info, "camera_info"),
            "depth": (wanted.depth, depth),
            "pose": (wanted.pose, pose),
        }
        return {need: topic for need, (asked, topic) in feeds.items() if asked}

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("configure", self._configure, "inactive")

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("activate", self._activate, "active")

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("deactivate", self._deactivate, "inactive")

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("clean up", self._clean_up, "unconfigured")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("shut down", self._clean_up, "finalized")

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._clean_up()
        self.state = "unconfigured"  # the fault stays, for diagnostics
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Stop what runs and take the node down."""
        self._clean_up()
        super().destroy_node()

    def _transition(self, name: str, work: Callable[[], None], state: str) -> TransitionCallbackReturn:
        """Go over to a state, or say why not."""
        try:
            work()
        except InputError as error:
            self.fault = str(error)
            self.get_logger().error(f"cannot {name}: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self.fault = f"{type(error).__name__}: {error}"
            self.get_logger().error(f"cannot {name}: {self.fault}")
            return TransitionCallbackReturn.ERROR
        self.fault, self.state = "", state
        return TransitionCallbackReturn.SUCCESS

    def _autostart(self) -> None:
        self.destroy_timer(self._start)
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def _configure(self) -> None:
        if self.untrained:
            self.get_logger().warning(f"{UNTRAINED}; poses, points and instances are nonsense, for tests and timing")
        self.outputs = Outputs(self, self.values, self.voice)
        try:
            self.mapper = Mapper(self.values, self.outputs, self.ledger, self.voice)
        except BaseException:
            self._clean_up()
            raise
        self.worker = Worker(self.mapper.take, self.mapper.idle, self._failed)

    def _activate(self) -> None:
        self.inputs = Inputs(self, self.values.settings, self.needs, self.voice, self._deliver, self._jumped)

    def _deactivate(self) -> None:
        self._unsubscribe()
        if self.worker and self.mapper:
            self.worker.clear()
            self.ask(self.mapper.park)

    def _clean_up(self) -> None:
        self._unsubscribe()
        if self.worker and not self.worker.stop(PATIENCE):
            self.get_logger().warning(f"a step takes longer than {PATIENCE:g} s; not waiting for its end")
        if self.outputs:
            self.outputs.close()
        self.worker = self.mapper = self.outputs = None
        free_gpu()

    def _unsubscribe(self) -> None:
        if self.inputs:
            self.inputs.close()
        self.inputs = None

    # Frames

    def _deliver(self, parts: FrameMessages) -> None:
        """An image is whole: into the box, in the place of one that still waits there."""
        self.ledger.receive()
        worker, inputs = self.worker, self.inputs
        if self.paused or not worker or not inputs:
            return
        if worker.put(Item(parts, inputs.assembler.world or "", *inputs.anchor.of(parts), perf_counter())):
            self.ledger.drop()

    def _jumped(self, seconds: float) -> None:
        """Stamps went back: a bag that loops, a simulation that starts over."""
        hold = self.values.settings.time_jump == "hold"
        self.voice.say(
            "time jump", f"stamps jumped back by {seconds:.1f} s; the map is {'held' if hold else 'reset'} (time_jump)"
        )
        if self.worker and self.mapper:
            self.worker.clear()
            if not hold:
                self.ask(self.mapper.reset)

    def ask(self, job: Callable[[], T]) -> Future[T]:
        """Have a job done on the worker's thread; what goes wrong is said too."""
        assert self.worker
        future = self.worker.call(job)
        future.add_done_callback(self._asked)
        return future

    def _asked(self, future: Future[Any]) -> None:
        if not future.cancelled() and (error := future.exception()):
            self.voice.say(f"job {error}", f"the map and the settings in use stay as they were: {error}")

    def _failed(self, error: Exception) -> None:
        """A frame ended in an error that nobody foresaw: said, and on with the next."""
        self.ledger.reject(f"{type(error).__name__}: {error}")
        self.voice.say(f"failed {type(error).__name__}", f"a step failed: {type(error).__name__}: {error}")

    # Parameters

    def _adopt(self, before: Values, after: Values) -> None:
        """Take other parameters, or raise ConfigError with the reason. Never waits for a step."""
        if self.inputs:
            _refuse(
                fixed_changes(before.settings, after.settings),
                "can change only while the node is inactive; deactivate it first",
            )
        if self.mapper:
            _refuse(
                fixed_changes(before.config, after.config),
                "is part of the map that is being made; clean the node up first",
            )
            _refuse(
                ["map_origin"] if before.settings.map_origin != after.settings.map_origin else [],
                "says where the map that is being made lies; clean the node up first",
            )
        _check(after.config)
        if self.inputs:
            self.inputs.settings = after.settings
        if self.mapper:
            self.ask(partial(self.mapper.adopt, after))


def _refuse(names: Iterable[str], reason: str) -> None:
    if words := ", ".join(names):
        raise ConfigError(f"{words} {reason}.")


def _check(config: Config) -> None:
    """Raises ConfigError for settings that no segmenter can be built with, as far as that is quick to know."""
    try:
        check_masks(resolve_config(config))
    except InputError as error:
        raise ConfigError(str(error)) from error
