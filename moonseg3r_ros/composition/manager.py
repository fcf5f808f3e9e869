"""The container's own node: it loads, lists and unloads nodes, each with its own thread."""

from __future__ import annotations

import os
from dataclasses import dataclass

from composition_interfaces.srv import ListNodes, LoadNode, UnloadNode
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.node import Node

from moonseg3r_core import exit_after
from moonseg3r_ros.composition.components import ComponentError, build_component, destroy, find_component
from moonseg3r_ros.spinning import SpinThread, spin
from moonseg3r_ros.worker import is_any_at_work

REQUEST_TIMEOUT_S = 0.2  # for a request at work when a signal comes
SHUTDOWN_TIMEOUT_S = 1.5  # for all nodes after that
NODE_SHUTDOWN_TIMEOUT_S = 0.5  # for each node's callback at work, and again for its transition
UNLOAD_TIMEOUT_S = 30.0  # the same for an unloaded node


@dataclass(frozen=True)
class Component:
    """A node with the thread for its callbacks, so that no node waits for another's."""

    node: Node
    thread: SpinThread

    @classmethod
    def serve(cls, node: Node) -> Component:
        """Start the thread of a node."""
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        return cls(node, SpinThread(executor))

    @property
    def name(self) -> str:
        return self.node.get_fully_qualified_name()

    def end(self, timeout: float) -> None:
        """Destroy the node after its callback at work, or after `timeout` seconds."""
        executor = self.thread.executor
        if not self.thread.end(timeout):
            self.node.get_logger().warning(f"a callback takes longer than {timeout:g} s; not waiting for its end")
        executor.remove_node(self.node)
        destroy(self.node, timeout)
        executor.shutdown(0.0)


class ComponentContainer(Node):
    """Loads, lists and unloads nodes by services in `executor`. Ids count from 1 and are never given again."""

    def __init__(self, executor: Executor, node_name: str = "ComponentManager") -> None:
        super().__init__(node_name)
        self.components: dict[int, Component] = {}
        self._last_id = 0
        for kind, name, answer in (
            (LoadNode, "load_node", self._load),
            (UnloadNode, "unload_node", self._unload),
            (ListNodes, "list_nodes", self._list),
        ):
            self.create_service(kind, f"~/_container/{name}", answer)
        executor.add_node(self)

    def destroy_node(self) -> None:
        """Unload all nodes and destroy the container."""
        for component in self.components.values():
            component.thread.request_end()
        while self.components:
            self._remove(next(iter(self.components)), NODE_SHUTDOWN_TIMEOUT_S)
        super().destroy_node()

    def _load(self, request: LoadNode.Request, response: LoadNode.Response) -> LoadNode.Response:
        try:
            kind = find_component(request.package_name, request.plugin_name)
            node = build_component(kind, request, self.get_logger().warning)
            response.full_node_name = self._add(node)
        except ComponentError as error:
            response.error_message = str(error)
            self.get_logger().error(f"cannot load {request.plugin_name}: {error}")
        else:
            response.success, response.unique_id = True, self._last_id
            self.get_logger().info(f"loaded {request.plugin_name} as {response.full_node_name}, id {self._last_id}")
        return response

    def _unload(self, request: UnloadNode.Request, response: UnloadNode.Response) -> UnloadNode.Response:
        if request.unique_id not in self.components:
            there = ", ".join(map(str, self.components)) or "none"
            response.error_message = f"no node has the id {request.unique_id}; ids here: {there}"
            return response
        self.get_logger().info(f"unloading {self.components[request.unique_id].name}")
        self._remove(request.unique_id, UNLOAD_TIMEOUT_S)
        response.success = True
        return response

    def _list(self, request: ListNodes.Request, response: ListNodes.Response) -> ListNodes.Response:
        response.unique_ids = list(self.components)
        response.full_node_names = [component.name for component in self.components.values()]
        return response

    def _add(self, node: Node) -> str:
        name = node.get_fully_qualified_name()
        for id, other in self.components.items():
            if other.name == name:
                destroy(node)
                raise ComponentError(f"a node named {name} is loaded already, id {id}; give another name or namespace")
        self._last_id += 1
        self.components[self._last_id] = Component.serve(node)
        return name

    def _remove(self, id: int, timeout: float) -> None:
        self.components.pop(id).end(timeout)


def serve() -> None:
    """Serve the container and its nodes until a signal comes."""
    executor = SingleThreadedExecutor()
    container = ComponentContainer(executor)
    idle = spin(executor, REQUEST_TIMEOUT_S)
    exit_after(SHUTDOWN_TIMEOUT_S)
    container.destroy_node()
    if not idle or is_any_at_work():
        os._exit(0)  # do not wait for a constructor or a step at work
    executor.shutdown()
