"""The node with masks that take as long as the environment's STEP says, and that load as long as LOAD says, seconds: a
heavy model's place-holder in tests. With BUSY it is in torch's C++ meanwhile, as a model is.
"""

import os
import sys
import time

import torch

import moonseg3r_ros.mapper as mapper
from moonseg3r_ros.main import main


class Slow:
    """A mask model that sleeps before it works."""

    def __init__(self, model):
        self.model = model

    def __call__(self, frame, geometry):
        (compute if "BUSY" in os.environ else time.sleep)(float(os.environ["STEP"]))
        return self.model(frame, geometry)


def compute(seconds):
    end, square = time.monotonic() + seconds, torch.rand(300, 300)
    while time.monotonic() < end:
        square @ square


def build_slow(config, build=mapper.build_segmenter):
    print("loading", flush=True)
    time.sleep(float(os.environ.get("LOAD", "0")))
    segmenter = build(config)
    segmenter.replace_stages(masks=Slow(segmenter.stages.masks))
    return segmenter


mapper.build_segmenter = build_slow
sys.exit(main())
