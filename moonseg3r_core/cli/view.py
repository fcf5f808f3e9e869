"""`moonseg3r view OUT`: show the labelled cloud and the camera path in Open3D."""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from moonseg3r_core.errors import MissingDependency
from moonseg3r_core.runtime.interrupt import kill_on_sigterm

if TYPE_CHECKING:
    from torch import Tensor

    from moonseg3r_core.types import InstanceMap

INSTALL = 'python -m pip install "open3d>=0.18"'
_PATH_COLOR = (0.9, 0.1, 0.1)


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "view", description=f"Show a result's map and the camera's path in 3D. Needs Open3D: {INSTALL}"
    )
    parser.add_argument("out", metavar="OUT", help="folder that `moonseg3r run` wrote")
    parser.add_argument(
        "--color", choices=("instance", "photo"), default="instance", help="what the points are coloured by (instance)"
    )
    parser.add_argument("--all", action="store_true", help="also points without an instance")
    parser.set_defaults(run=run_view)


def run_view(args: argparse.Namespace) -> int:
    from moonseg3r_core.io.ply import read_ply
    from moonseg3r_core.io.tum import read_tum
    from moonseg3r_core.report import OutputFolder

    out = OutputFolder(args.out)
    summary = out.read_summary()
    map, (_, poses) = read_ply(out.path / "map.ply"), read_tum(out.path / "trajectory.tum")
    open3d = import_open3d()
    shapes = [make_cloud(open3d, map, args.color, args.all), *make_camera_path(open3d, poses)]
    kill_on_sigterm()
    open3d.visualization.draw_geometries(shapes, f"MoonSeg3R: {summary['source']}", **compute_first_view(map, poses))
    return 0


def compute_first_view(map: InstanceMap, poses: Tensor) -> dict[str, Any]:
    """Compute the initial view: from the direction of the first camera to the middle of the map."""
    if not len(poses) or not len(map):
        return {}
    _, down, ahead = poses[0, :3, :3].T.tolist()
    center = map.points.double().median(dim=0).values.tolist()
    return {"lookat": center, "up": [-value for value in down], "front": [-value for value in ahead], "zoom": 0.5}


def import_open3d() -> ModuleType:
    """Import Open3D. Raises MissingDependency with the command that installs it."""
    try:
        return importlib.import_module("open3d")
    except ImportError as error:
        fault = f"`moonseg3r view` expects Open3D, which is not here ({error})"
        raise MissingDependency(f"{fault}; run {INSTALL}") from error


def make_cloud(open3d: Any, map: InstanceMap, color: str, all: bool) -> Any:
    """Make the point cloud of the map, coloured by instance or by the recording."""
    from moonseg3r_core.report.palette import compute_colors

    ids = map.instance_ids.numpy()
    keep = (ids > 0) | all
    rgb = compute_colors(ids[keep]) if color == "instance" else map.colors.numpy()[keep]
    points = open3d.geometry.PointCloud()
    points.points = open3d.utility.Vector3dVector(map.points.numpy()[keep].astype("float64"))
    points.colors = open3d.utility.Vector3dVector(rgb / 255.0)
    return points


def make_camera_path(open3d: Any, poses: Tensor) -> list[Any]:
    """Make the lines between camera positions, and axes at the first; empty without poses."""
    if not len(poses):
        return []
    positions = poses[:, :3, 3].numpy()
    path = open3d.geometry.LineSet()
    path.points = open3d.utility.Vector3dVector(positions)
    path.lines = open3d.utility.Vector2iVector([[k, k + 1] for k in range(len(positions) - 1)])
    path.paint_uniform_color(_PATH_COLOR)
    return [path, open3d.geometry.TriangleMesh.create_coordinate_frame(size=0.2).transform(poses[0].numpy())]
