"""`moonseg3r_container`: several Python nodes in one process, loaded, listed and unloaded while it runs.

It serves what C++ containers serve, so `ros2 component` and launch_ros's LoadComposableNodes work on it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import rclpy
from composition_interfaces.srv import ListNodes, LoadNode, UnloadNode
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.executors import Executor, MultiThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from moonseg3r_ros.components import ComponentError, build_component, destroy, find_component
from moonseg3r_ros.signals import end_within, interrupt_once, spin

BAD_USAGE = 2
PATIENCE = 1.7  # seconds that the end waits for callbacks at work
HURRY = 0.5  # seconds that each node's transition at work has at the end
THREADS = max(4, os.cpu_count() or 1)


class ComponentContainer(Node):
    """Loads nodes into `executor` and takes them out; ids are given once, from 1 on."""

    def __init__(self, executor: Executor, node_name: str = "ComponentManager") -> None:
        super().__init__(node_name)
        self.nodes: dict[int, Node] = {}
        self._last_id = 0
        self._executor = executor
        group = MutuallyExclusiveCallbackGroup()
        for kind, name, answer in (
            (LoadNode, "load_node", self._load),
            (UnloadNode, "unload_node", self._unload),
            (ListNodes, "list_nodes", self._list),
        ):
            self.create_service(kind, f"~/_container/{name}", answer, callback_group=group)
        executor.add_node(self)

    def destroy_node(self) -> None:
        """Unload all and take the container down."""
        while self.nodes:
            self._remove(next(iter(self.nodes)), HURRY)
        self._executor.remove_node(self)
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
        if request.unique_id not in self.nodes:
            there = ", ".join(map(str, self.nodes)) or "none"
            response.error_message = f"no node has the id {request.unique_id}; ids here: {there}"
            return response
        self.get_logger().info(f"unloading {self._remove(request.unique_id)}")
        response.success = True
        return response

    def _list(self, request: ListNodes.Request, response: ListNodes.Response) -> ListNodes.Response:
        response.unique_ids = list(self.nodes)
        response.full_node_names = [node.get_fully_qualified_name() for node in self.nodes.values()]
        return response

    def _add(self, node: Node) -> str:
        name = node.get_fully_qualified_name()
        for id, other in self.nodes.items():
            if other.get_fully_qualified_name() == name:
                destroy(node)
                raise ComponentError(f"a node named {name} is loaded already, id {id}; give another name or namespace")
        self._last_id += 1
        self.nodes[self._last_id] = node
        self._executor.add_node(node)
        return name

    def _remove(self, id: int, *patience: float) -> str:
        node = self.nodes.pop(id)
        name = node.get_fully_qualified_name()
        self._executor.remove_node(node)
        destroy(node, *patience)
        return name


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM, then exit with status 0; 2 for bad usage, said in one line."""
    arguments = list(sys.argv if argv is None else argv)
    if unknown := remove_ros_args(arguments)[1:]:
        usage = "moonseg3r_container [--ros-args -r __node:=NAME -r __ns:=/NAMESPACE]"
        print(f"moonseg3r_container: error: unknown arguments: {' '.join(unknown)}; usage: {usage}", file=sys.stderr)
        return BAD_USAGE
    try:
        interrupt_once()
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        serve()
    except KeyboardInterrupt:
        pass
    finally:
        rclpy.try_shutdown()
    return 0


def serve() -> None:
    """The container and its nodes, until a signal comes."""
    executor = MultiThreadedExecutor(THREADS)
    container = ComponentContainer(executor)
    spin(executor)
    end_within(PATIENCE)
    container.destroy_node()
    executor.shutdown()


if __name__ == "__main__":
    sys.exit(main())
