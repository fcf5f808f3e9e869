"""The node with masks that take STEP seconds, or until the file RELEASE exists, and that load LOAD seconds: a stand-in for
a heavy model. With BUSY it is in torch's C++ meanwhile, as a model is.
"""

import os
import sys
import time
from pathlib import Path

import torch

import moonseg3r_ros.mapper as mapper
from moonseg3r_ros.main import main


class Slow:
    """A mask model that waits before it works."""

    def __init__(self, model):
        self.model = model

    def __call__(self, frame, geometry):
        print("at work", flush=True)
        end, square = time.monotonic() + float(os.environ.get("STEP", "inf")), torch.rand(300, 300)
        while time.monotonic() < end and not Path(os.environ.get("RELEASE", "/nowhere/at/all")).exists():
            square @ square if "BUSY" in os.environ else time.sleep(0.01)
        return self.model(frame, geometry)


def build_slow(config, build=mapper.build_segmenter):
    print("loading", flush=True)
    time.sleep(float(os.environ.get("LOAD", "0")))
    segmenter = build(config)
    segmenter.replace_stages(masks=Slow(segmenter.stages.masks))
    return segmenter


mapper.build_segmenter = build_slow
sys.exit(main())
