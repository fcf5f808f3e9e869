"""Furnished rooms, rendered with exact depth, pose and ids, for tests, the demo, benchmarks and training."""

from moonseg3r_core.synthetic.camera_path import walk
from moonseg3r_core.synthetic.degrade import DepthNoise, ImageNoise, MaskNoise
from moonseg3r_core.synthetic.export import write_scannet
from moonseg3r_core.synthetic.renderer import Renderer
from moonseg3r_core.synthetic.scene import Scene, furnish
from moonseg3r_core.synthetic.sequence import SyntheticSequence
from moonseg3r_core.synthetic.truth import CloudAccumulator, GroundTruth

__all__ = [
    "CloudAccumulator", "DepthNoise", "GroundTruth", "ImageNoise", "MaskNoise", "Renderer", "Scene", "SyntheticSequence",
    "furnish", "walk", "write_scannet",
]  # fmt: skip
