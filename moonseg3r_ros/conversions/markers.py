"""Instances as RViz markers: a translucent box, its edges and a label, in the instance's color."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from geometry_msgs.msg import Point, Pose, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from moonseg3r_core import Instance, compute_colors
from moonseg3r_ros.conversions.buffers import copy_with
from moonseg3r_ros.conversions.poses import compute_box_size, make_box_poses

NAMESPACES = ("box", "outline", "label")
_BOX_ALPHA = 0.15
_LINE_WIDTH = 0.01  # metres
_LABEL_HEIGHT = 0.08  # metres
_MIN_SIDE = 0.001  # metres; RViz refuses a side of length 0
_WHITE = (1.0, 1.0, 1.0, 1.0)
_MARKER, _POSE = Marker(action=Marker.ADD), Pose()
_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
_EDGES = [(a, b) for a in range(8) for b in range(a) if (a ^ b).bit_count() == 1]  # corners that differ in one axis


class InstanceMarkers:
    """Makes marker messages, and deletes the markers of instances that no longer exist."""

    def __init__(self) -> None:
        self._published_ids: set[int] | None = None

    def update(self, header: Header, instances: Sequence[Instance], map_from_world: np.ndarray) -> MarkerArray:
        """Make the markers of all instances, and before them the deletions of former ones. The first message deletes all
        markers, because a former node may have left some.
        """
        ids = {instance.id for instance in instances}
        deletions = (
            [Marker(header=header, action=Marker.DELETEALL)]
            if self._published_ids is None
            else [
                Marker(header=header, ns=namespace, id=id, action=Marker.DELETE)
                for id in sorted(self._published_ids - ids)
                for namespace in NAMESPACES
            ]
        )
        self._published_ids = ids
        markers = _make_markers(header, instances, map_from_world)
        return MarkerArray(markers=[*deletions, *markers])


def _make_markers(header: Header, instances: Sequence[Instance], map_from_world: np.ndarray) -> Iterator[Marker]:
    """Make the box, outline and label of each instance."""
    sides = np.maximum(np.array([compute_box_size(i) for i in instances]).reshape(-1, 3), _MIN_SIDE)
    poses, corners = make_box_poses(instances, map_from_world), (_CORNERS * sides[:, None]).tolist()
    # The label stands above the highest corner, however the box is turned.
    above = sides @ np.abs(map_from_world[2, :3]) / 2 + _LABEL_HEIGHT
    tints = compute_colors(np.array([i.id for i in instances], dtype=np.int64)) / 255.0
    columns = zip(instances, poses, sides.tolist(), corners, above.tolist(), tints.tolist(), strict=True)
    for instance, pose, size, ends, up, rgb in columns:
        yield _make_marker(header, "box", instance.id, Marker.CUBE, pose, size, (*rgb, _BOX_ALPHA))
        outline = _make_marker(
            header, "outline", instance.id, Marker.LINE_LIST, pose, (_LINE_WIDTH, 0.0, 0.0), (*rgb, 1.0)
        )
        points = [Point(x=x, y=y, z=z) for x, y, z in ends]
        outline.points = [points[end] for edge in _EDGES for end in edge]
        yield outline
        middle = pose.position
        place = copy_with(_POSE, position=Point(x=middle.x, y=middle.y, z=middle.z + up))
        label = _make_marker(
            header, "label", instance.id, Marker.TEXT_VIEW_FACING, place, (0.0, 0.0, _LABEL_HEIGHT), _WHITE
        )
        label.text = f"{instance.id} ({instance.score:.2f})"
        yield label


def _make_marker(
    header: Header, namespace: str, id: int, type: int, pose: Pose, scale: Sequence[float], rgba: Sequence[float]
) -> Marker:
    (x, y, z), (r, g, b, a) = scale, rgba
    return copy_with(
        _MARKER, header=header, ns=namespace, id=id, type=type, pose=pose,
        scale=Vector3(x=x, y=y, z=z), color=ColorRGBA(r=r, g=g, b=b, a=a),
    )  # fmt: skip
