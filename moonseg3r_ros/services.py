"""The services of the node. An error is their answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import Trigger

from moonseg3r_core import InputError
from moonseg3r_ros.inputs import QueuedFrame
from moonseg3r_ros.interface import SERVICES
from moonseg3r_ros.mapper import Mapper
from moonseg3r_ros.state import NodeState
from moonseg3r_ros.worker import Worker

T = TypeVar("T")


class Services:
    """Serves as long as the node lives; `submit` runs a job on the worker's thread and logs its error.

    Services that wait for the worker have their own callback group and thread, so that nothing else waits for them.
    """

    def __init__(self, node: Node, state: NodeState, submit: Callable[[Callable[[], Any]], object]) -> None:
        self.node, self.state, self._submit = node, state, submit
        slow = MutuallyExclusiveCallbackGroup()
        quick = {"~/reset": self._reset, "~/pause": self._pause, "~/resume": self._resume}
        waiting = {"~/save_map": self._save_map, "~/load_map": self._load_map}
        for name in SERVICES:
            answer = (quick | waiting)[name]
            respond = make_response(answer)
            respond = self._run_in_thread(respond) if name in waiting else respond
            node.create_service(Trigger, name, respond, callback_group=slow if name in waiting else None)

    def _run_in_thread(self, respond: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Make a callback that awaits `respond` in another thread: the executor's thread answers others meanwhile."""

        async def await_response(request: Any, response: Any) -> Any:
            done = Future(executor=self.node.executor)
            Thread(target=lambda: done.set_result(respond(request, response)), daemon=True).start()
            return await done

        return await_response

    def _reset(self) -> str:
        worker, mapper = self._get_worker()
        worker.clear()
        self._submit(mapper.reset)
        return "the map is forgotten after the step under way"

    def _pause(self) -> str:
        self.state.paused = True
        if self.state.worker:
            self.state.worker.clear()
        return "paused; ~/resume goes on"

    def _resume(self) -> str:
        self.state.paused = False
        return "going on"

    def _save_map(self) -> str:
        worker, mapper = self._get_worker()
        path = self._get_map_file()
        return self._call_and_wait(worker, mapper, mapper.snapshot).save(path)

    def _load_map(self) -> str:
        worker, mapper = self._get_worker()
        path = self._get_map_file()
        return self._call_and_wait(worker, mapper, lambda: mapper.load(path))

    def _call_and_wait(self, worker: Worker[QueuedFrame], mapper: Mapper, job: Callable[[], T]) -> T:
        """Return the result of a job on the worker's thread; an inactive node unloads the models afterwards."""
        try:
            return worker.call(job).result()
        except CancelledError as error:
            raise InputError("the node was taken down before it could be done; try again.") from error
        finally:
            if self.state.worker is worker and not self.state.inputs:
                self._submit(mapper.unload)

    def _get_map_file(self) -> Path:
        name = self.state.parameters.settings.map_file
        if not name:
            raise InputError("map_file must name a file, got nothing; set the parameter map_file.")
        return Path(name).expanduser()

    def _get_worker(self) -> tuple[Worker[QueuedFrame], Mapper]:
        state = self.state
        if not state.worker or not state.mapper:
            raise InputError(f"the node must be configured first; {state.fault or 'ros2 lifecycle set NODE configure'}")
        return state.worker, state.mapper


def make_response(answer: Callable[[], str]) -> Callable[[Any, Any], Any]:
    """Make a Trigger callback that responds with the text of `answer`, or with the error that it raises."""

    def respond(_: Any, response: Any) -> Any:
        try:
            response.success, response.message = True, answer()
        except InputError as error:
            response.success, response.message = False, str(error)
        except Exception as error:  # a full disk, a broken model: the caller must know
            response.success, response.message = False, f"{type(error).__name__}: {error}"
        return response

    return respond
