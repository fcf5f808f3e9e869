"""The lifecycle node: it connects inputs, worker and outputs. mapper.py has the work on a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from moonseg3r_core import ConfigError, FrameMessages, InputError, check_config, fixed_changes
from moonseg3r_ros.diagnostics.diagnose import UNTRAINED
from moonseg3r_ros.diagnostics.frame_statistics import FrameStatistics
from moonseg3r_ros.diagnostics.publisher import DiagnosticsPublisher
from moonseg3r_ros.diagnostics.throttled_warnings import ThrottledWarnings
from moonseg3r_ros.inputs import Inputs
from moonseg3r_ros.interface import STEADY
from moonseg3r_ros.mapper import Mapper, free_gpu
from moonseg3r_ros.outputs import Outputs
from moonseg3r_ros.parameters import NodeParameters, ParameterStore
from moonseg3r_ros.services import Services
from moonseg3r_ros.state import NodeState
from moonseg3r_ros.worker import Worker

T = TypeVar("T")
STEP_TIMEOUT_S = 1.0  # at the end of the node


class MoonSeg3RNode(LifecycleNode):
    """A camera's topics in; TF, a labelled map and instances out.

    configure loads the models; activate subscribes; deactivate unsubscribes, frees the GPU and keeps the map; cleanup
    forgets it. Keyword arguments are those of rclpy's LifecycleNode. Raises ConfigError for unusable parameters.
    """

    def __init__(self, node_name: str = "moonseg3r", **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self._state = NodeState(
            parameters=ParameterStore(self, self._check_change, self._apply_change),
            warnings=ThrottledWarnings(self.get_logger().warning),
            statistics=FrameStatistics(),
        )
        Services(self, self._state, self._submit)
        settings = self._state.parameters.settings
        self._diagnostics = DiagnosticsPublisher(self, self._state, settings.diagnostics_period)
        if settings.autostart:
            group = MutuallyExclusiveCallbackGroup()  # services answer while the models load
            self._start_timer = self.create_timer(0.0, self._autostart, callback_group=group, clock=STEADY)

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._run_transition("configure", self._configure, "inactive")

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._run_transition("activate", self._activate, "active")

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._run_transition("deactivate", self._deactivate, "inactive")

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._run_transition("clean up", self._clean_up, "unconfigured")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._run_transition("shut down", self._clean_up, "finalized")

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._clean_up()
        self._state.lifecycle = "unconfigured"  # the fault stays, for diagnostics
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Stop all work and destroy the node."""
        self._clean_up()
        super().destroy_node()

    def _run_transition(self, name: str, work: Callable[[], None], lifecycle: str) -> TransitionCallbackReturn:
        try:
            work()
        except InputError as error:
            self._state.fault = str(error)
            self.get_logger().error(f"cannot {name}: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self._state.fault = f"{type(error).__name__}: {error}"
            self.get_logger().error(f"cannot {name}: {self._state.fault}")
            return TransitionCallbackReturn.ERROR
        self._state.fault, self._state.lifecycle = "", lifecycle
        return TransitionCallbackReturn.SUCCESS

    def _autostart(self) -> None:
        self.destroy_timer(self._start_timer)
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def _configure(self) -> None:
        state = self._state
        if state.is_untrained:
            self.get_logger().warning(f"{UNTRAINED}; poses, points and instances are nonsense, for tests and timing")
        state.outputs = Outputs(self, state.parameters, state.warnings)
        try:
            state.mapper = Mapper(state.parameters, state.outputs, state.statistics, state.warnings)
        except BaseException:
            self._clean_up()
            raise
        self.get_logger().info(f"configured; settings resolved: {state.mapper.resolved or 'none'}")
        state.worker = Worker(state.mapper.process, state.mapper.on_idle, self._report_failure)

    def _activate(self) -> None:
        state = self._state
        assert state.outputs
        transforms = state.outputs.transforms
        transforms.set_corrections(())  # the last frame of the former activity may have come after its end
        state.inputs = Inputs(
            self,
            state.parameters,
            state.warnings,
            transforms,
            self._deliver,
            state.statistics.record_left_out,
            self._handle_jump,
        )

    def _deactivate(self) -> None:
        self._unsubscribe()
        if self._state.worker and self._state.mapper:
            self._state.worker.clear()
            self._submit(self._state.mapper.unload)

    def _clean_up(self) -> None:
        self._unsubscribe()
        state = self._state
        if state.worker and not state.worker.stop(STEP_TIMEOUT_S):
            self.get_logger().warning(f"a step takes longer than {STEP_TIMEOUT_S:g} s; not waiting for its end")
        if state.outputs:
            state.outputs.close()
        state.worker = state.mapper = state.outputs = None
        free_gpu()

    def _unsubscribe(self) -> None:
        if self._state.inputs:
            self._state.inputs.close()
        if self._state.outputs:
            self._state.outputs.transforms.set_corrections(())
        self._state.inputs = None

    # Frames

    def _deliver(self, messages: FrameMessages) -> None:
        """Give the worker a complete image, in place of one that still waits."""
        state = self._state
        state.statistics.record_received()
        worker, inputs = state.worker, state.inputs
        if state.paused or not worker or not inputs:
            return
        if worker.put(inputs.make_frame(messages)):
            state.statistics.record_dropped()

    def _handle_jump(self, seconds: float) -> None:
        """Reset or hold the map when stamps went back: a bag that loops, a simulation that starts over."""
        state = self._state
        is_held = state.parameters.settings.time_jump == "hold"
        action = "held" if is_held else "reset"
        state.warnings.warn("time jump", f"stamps jumped back by {seconds:.1f} s; the map is {action} (time_jump)")
        if state.worker and state.mapper:
            state.worker.clear()
            if not is_held:
                self._submit(state.mapper.reset)

    def _submit(self, job: Callable[[], T]) -> Future[T]:
        """Run a job on the worker's thread; an error is logged too."""
        assert self._state.worker
        future = self._state.worker.call(job)
        future.add_done_callback(self._report_job)
        return future

    def _report_job(self, future: Future[Any]) -> None:
        if not future.cancelled() and (error := future.exception()):
            text = f"the map and the settings in use stay as they were: {error}"
            self._state.warnings.warn(f"job {error}", text)

    def _report_failure(self, error: Exception) -> None:
        """Report an unforeseen error of a frame; the next frame is processed."""
        text = f"{type(error).__name__}: {error}"
        self._state.statistics.record_rejected(text)
        self._state.warnings.warn(f"failed {type(error).__name__}", f"a step failed: {text}")

    # Parameters

    def _check_change(self, before: NodeParameters, after: NodeParameters) -> None:
        """Raise ConfigError for a change that is not possible now. Never waits for a step."""
        if self._state.inputs:
            reason = "can change only while the node is inactive; deactivate it first"
            _refuse(fixed_changes(before.settings, after.settings), reason)
        if self._state.mapper:
            reason = "is part of the map that is being made; clean the node up first"
            _refuse(fixed_changes(before.config, after.config), reason)
            moved = ["map_origin"] if before.settings.map_origin != after.settings.map_origin else []
            _refuse(moved, "says where the map that is being made lies; clean the node up first")
        try:  # what no segmenter can be built with, as far as that is quick to know
            check_config(after.config)
        except InputError as error:
            raise ConfigError(str(error)) from error

    def _apply_change(self, before: NodeParameters, after: NodeParameters) -> None:
        if self._state.mapper:
            self._submit(partial(self._state.mapper.apply, after))


def _refuse(names: Iterable[str], reason: str) -> None:
    if words := ", ".join(names):
        raise ConfigError(f"{words} {reason}.")
