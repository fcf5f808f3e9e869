"""A scene that can be drawn on paper: upright rectangles before a wall, with exact depth and ids."""

import numpy as np
import torch

from moonseg3r_core.types import Frame, MaskProposals

HEIGHT, WIDTH, FOCAL = 60, 80, 60.0
K = torch.tensor([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
# x0, x1, y0, y1, z in metres, color; id = row + 1; the last is the wall
BOARDS = [
    (-0.9, -0.4, -0.4, 0.3, 1.8, (220, 40, 40)),
    (-0.2, 0.3, -0.2, 0.5, 1.6, (40, 200, 60)),
    (0.5, 1.1, -0.5, 0.4, 2.0, (50, 70, 230)),
    (-9.0, 9.0, -9.0, 9.0, 2.5, (200, 200, 190)),
]


def frame(index, camera=(0.0, 0.0, 0.0), boards=BOARDS, world=None):
    """Render the frame and its exact ids (H, W) int32 of a camera at `camera` along z.

    `world` (4, 4) moves the whole scene, camera included.
    """
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    x, y = (u - float(K[0, 2])) / FOCAL, (v - float(K[1, 2])) / FOCAL
    depth, ids = np.full((HEIGHT, WIDTH), np.inf), np.zeros((HEIGHT, WIDTH), np.int32)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for row, (x0, x1, y0, y1, z, color) in enumerate(boards):
        d = z - camera[2]
        px, py = camera[0] + x * d, camera[1] + y * d
        hit = (px >= x0) & (px <= x1) & (py >= y0) & (py <= y1) & (d < depth)
        depth[hit], ids[hit], image[hit] = d, row + 1, color
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, 3] = torch.tensor(camera)
    if world is not None:
        pose = world @ pose
    depth = torch.from_numpy(np.where(np.isfinite(depth), depth, 0).astype(np.float32))
    return Frame(index, index / 10, torch.from_numpy(image), depth, K.clone(), pose), torch.from_numpy(ids)


def proposals(ids):
    """Make one mask per id, largest first."""
    names, areas = ids[ids > 0].unique(return_counts=True)
    names = names[areas.argsort(descending=True, stable=True)].tolist()
    masks = torch.stack([ids == i for i in names]) if names else torch.zeros(0, *ids.shape, dtype=torch.bool)
    return MaskProposals(masks, torch.ones(len(names)))
