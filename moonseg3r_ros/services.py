"""The services of the node. What goes wrong is their answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.task import Future
from std_srvs.srv import Trigger

from moonseg3r_core import InputError
from moonseg3r_ros.interface import SERVICES
from moonseg3r_ros.mapper import Item, Mapper
from moonseg3r_ros.worker import Worker

if TYPE_CHECKING:
    from moonseg3r_ros.node import MoonSeg3RNode

T = TypeVar("T")


class Services:
    """Serves as long as the node lives. Those that wait for the worker have a callback group and a thread of their own,
    so that nothing else waits for them.
    """

    def __init__(self, node: MoonSeg3RNode) -> None:
        self.node = node
        slow = MutuallyExclusiveCallbackGroup()
        quick = {"~/reset": self._reset, "~/pause": self._pause, "~/resume": self._resume}
        waiting = {"~/save_map": self._save_map, "~/load_map": self._load_map}
        for name in SERVICES:
            answer = (quick | waiting)[name]
            respond = self._elsewhere(_responding(answer)) if name in waiting else _responding(answer)
            node.create_service(Trigger, name, respond, callback_group=slow if name in waiting else None)

    def _elsewhere(self, respond: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """The same in a thread of its own, awaited: the executor's thread answers others meanwhile."""

        async def responded(request: Any, response: Any) -> Any:
            done = Future(executor=self.node.executor)
            Thread(target=lambda: done.set_result(respond(request, response)), daemon=True).start()
            return await done

        return responded

    def _reset(self) -> str:
        worker, mapper = self._configured()
        worker.clear()
        self.node.ask(mapper.reset)
        return "the map is forgotten after the step under way"

    def _pause(self) -> str:
        self.node.paused = True
        if self.node.worker:
            self.node.worker.clear()
        return "paused; ~/resume goes on"

    def _resume(self) -> str:
        self.node.paused = False
        return "going on"

    def _save_map(self) -> str:
        worker, mapper = self._configured()
        path = self._map_file()
        return self._waited(worker, mapper, mapper.kept).save(path)

    def _load_map(self) -> str:
        worker, mapper = self._configured()
        path = self._map_file()
        return self._waited(worker, mapper, lambda: mapper.load(path))

    def _waited(self, worker: Worker[Item], mapper: Mapper, job: Callable[[], T]) -> T:
        """What a job on the worker's thread returns; an inactive node lets the models go again afterwards."""
        try:
            return worker.call(job).result()
        except CancelledError as error:
            raise InputError("the node was taken down before it could be done; try again.") from error
        finally:
            if not self.node.inputs:
                self.node.ask(mapper.park)

    def _map_file(self) -> Path:
        name = self.node.values.settings.map_file
        if not name:
            raise InputError("map_file must name a file, got nothing; set the parameter map_file.")
        return Path(name).expanduser()

    def _configured(self) -> tuple[Worker[Item], Mapper]:
        node = self.node
        if not node.worker or not node.mapper:
            raise InputError(f"the node must be configured first; {node.fault or 'ros2 lifecycle set NODE configure'}")
        return node.worker, node.mapper


def _responding(answer: Callable[[], str]) -> Callable[[Any, Any], Any]:
    """A Trigger service of what `answer` says, or of the error that it raises."""

    def respond(_: Any, response: Any) -> Any:
        try:
            response.success, response.message = True, answer()
        except InputError as error:
            response.success, response.message = False, str(error)
        except Exception as error:  # a full disk, a broken model: the caller must know
            response.success, response.message = False, f"{type(error).__name__}: {error}"
        return response

    return respond
