"""Walks past the billboards, with given masks."""

import torch
from billboards import frame, proposals

from moonseg3r_core.build import build_segmenter
from moonseg3r_core.config import load_config

PATH = [(0.03 * t - 0.2, 0.01 * t, 0.0) for t in range(10)]
EAGER = {"fusion.consensus_views": 1, "fusion.consensus_rate": 0.3}  # halves join at the first whole

EXACT = {"reconstruction.kind": "rgbd", "device": "cpu"}  # the frames' own depth and poses: what comes out can be known
EXACTLY = ["--set", "reconstruction.kind=rgbd"]  # the same for a command


def configured(**settings):
    """Load the configuration of walks on exact geometry."""
    return load_config(overrides=EXACT | {"masks.kind": "regions"} | settings)


class GivenMasks:
    """Masks by frame number, from ids."""

    def __init__(self):
        self.ids = {}

    def __call__(self, frame, geometry):
        return proposals(self.ids[frame.index])


def make_segmenter(**settings):
    """A segmenter and its mask stage, which gives the masks that a test sets."""
    segmenter = build_segmenter(configured(**settings))
    given = GivenMasks()
    segmenter.replace_stages(masks=given)
    return segmenter, given


def walk(segmenter, given, path=PATH, change=lambda t, ids: ids, start=0, world=None):
    """Segment a walk; return its results with the true ids."""
    walked = []
    for t, camera in enumerate(path, start):
        image, ids = frame(t, camera, world=world)
        given.ids[t] = change(t, ids)
        walked.append((segmenter.step(image), ids))
    return walked


def split(t, ids):
    """Split board 1 in two halves on frames 0, 3, 6 ..."""
    if t % 3:
        return ids
    columns = torch.arange(ids.shape[1])[None].expand_as(ids)
    middle = int(columns[ids == 1].float().median())
    return torch.where((ids == 1) & (columns > middle), 9, ids)
