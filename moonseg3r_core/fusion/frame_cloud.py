"""One frame as a labelled cloud, for viewers."""

from __future__ import annotations

import math

from moonseg3r_core.ops.grids import resample_to_grid
from moonseg3r_core.types import Frame, FrameResult, InstanceMap


def make_frame_cloud(frame: Frame, result: FrameResult, most: int) -> InstanceMap:
    """Make a cloud of at most `most` points of a processed frame, evenly over its pixels, on the CPU.

    Confidence is the reconstruction's own. The list of instances is empty.
    """
    geometry = result.geometry
    step = max(1, math.ceil(math.sqrt(geometry.grid.height * geometry.grid.width / most)))
    valid = geometry.valid[::step, ::step]
    images = (
        geometry.points,
        resample_to_grid(frame.image.to(geometry.device), geometry),
        resample_to_grid(result.instance_ids, geometry),
        geometry.confidence,
    )
    points, colors, ids, confidence = (image[::step, ::step][valid].cpu() for image in images)
    return InstanceMap(points, colors, ids, confidence)
