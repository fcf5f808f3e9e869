"""CUT3R (Wang et al., 2025): points, poses, features and state attention from RGB alone.

Written from the published data flow and checked against the original's outputs. The network (`net/`) is a function
without memory; the stage (`reconstruction.py`) keeps the state.
"""
