"""CUT3R (Wang et al., 2025) from RGB alone: world points, poses, and the features and attention that MoonSeg3R reads.

Written from the published data flow and checked against the original's outputs; the net (`model.py`) keeps no state, the
room (`reconstruction.py`) does.
"""
