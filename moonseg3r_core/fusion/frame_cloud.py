"""What one frame adds to the map, as a labelled cloud of its own: for viewers, not for fusion."""

from __future__ import annotations

import math

from moonseg3r_core.ops.grids import resample_to_grid
from moonseg3r_core.types import Frame, FrameResult, InstanceMap


def frame_cloud(frame: Frame, result: FrameResult, most: int) -> InstanceMap:
    """The points of a frame that `step` took, at a step over the pixels that gives at most `most` of them, on the CPU.

    Confidence is the reconstruction's own. Instances are not described.
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
