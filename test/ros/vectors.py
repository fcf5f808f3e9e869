"""A pose, and vectors of messages as tuples."""

import numpy as np

# A quarter turn about z, then 10 m along x.
TURNED = np.array([[0.0, -1.0, 0.0, 10.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


def xyz(v):
    return v.x, v.y, v.z
