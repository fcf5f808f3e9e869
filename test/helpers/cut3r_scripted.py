"""A net with CUT3R's interface and known answers: it has each frame's true camera and depth.

A frame's number is painted into the middle of its image. The net's world is the camera of the frame that its state
began with, in a unit of that frame's own (`units`), as CUT3R's is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch.nn.functional import avg_pool2d

from moonseg3r_core.geometry import invert, quaternion_from_rotation, transform, unproject
from moonseg3r_core.reconstruction.cut3r.net.model import Outputs, Tokens
from moonseg3r_core.reconstruction.cut3r.net.sizes import Cut3rSizes
from moonseg3r_core.reconstruction.cut3r.net.state import State
from moonseg3r_core.reconstruction.cut3r.reconstruction import Cut3rReconstruction
from moonseg3r_core.reconstruction.multi_view.depth import SingleViewDepth
from moonseg3r_core.types import Frame

FOCAL = 50.0
TEXTURE = torch.randint(30, 226, (600, 600, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


SETTINGS = {
    "points": "world", "pose": "model", "precision": "float32", "attention": None, "geometric": "modulation",
    "reset_every": 0, "key_translation": 0.02, "key_rotation": 2.0, "min_confidence": 1.5,
}  # fmt: skip


def make_reconstruction(net, **settings):
    """CUT3R's stage with a net, settings as of the published one where none are given."""
    return Cut3rReconstruction(net, **{"refinement": SingleViewDepth(), "loops": True, **SETTINGS, **settings})


def frame(number=0, height=48, width=64, **known):
    """A textured image, at 48 x 64 the net's own size, with its number in the middle."""
    image = TEXTURE.roll(number, 0)[:height, :width].clone()
    image[height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8] = number
    return Frame(number, number / 30, image, **known)


def camera(x=0.0, y=0.0, z=0.0, turn=0.0):
    """world_from_camera (4, 4) at a place, turned about the vertical by so many degrees."""
    pose = torch.eye(4, dtype=torch.float64)
    cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    pose[0, 0], pose[0, 2], pose[2, 0], pose[2, 2] = cosine, sine, -sine, cosine
    pose[:3, 3] = torch.tensor([x, y, z], dtype=torch.float64)
    return pose


def intrinsics(height=48, width=64):
    """The true camera's, as the original's demo assumes its principal point."""
    return torch.tensor([[FOCAL, 0, width // 2], [0, FOCAL, height // 2], [0, 0, 1.0]])


def depth_of(number, height=48, width=64):
    """Depth of frame `number`, metres: a wall at 2 m that is nearer on the right, and a little farther every frame."""
    return (2.0 + 0.01 * number - torch.arange(width) / width).expand(height, width).contiguous()


@dataclass
class ScriptedNet:
    """cameras: true poses by frame number; units: the net's units per metre by the number that a state began with;
    damage: a change of a frame's outputs and state, by its number.
    """

    cameras: list
    units: dict = field(default_factory=dict)
    damage: dict = field(default_factory=dict)
    sizes: Cut3rSizes = Cut3rSizes(enc_dim=4, dec_dim=3, state_size=4, memory_size=2, image_size=64)
    encoded: list = field(default_factory=list)
    requests: list = field(default_factory=list)

    def start(self, batch=1):
        return State(torch.zeros(batch, 4, 3), torch.zeros(batch, 2, 6), torch.ones(batch, dtype=torch.bool))

    def encode(self, image):
        height, width = image.shape[2:]
        number = round(float(image[0, 0, height // 2, width // 2] / 2 + 0.5) * 255)
        self.encoded.append(number)
        cells = avg_pool2d(image, 16)[0].flatten(1).T
        return Tokens(
            torch.cat((cells, torch.full_like(cells[:, :1], number)), dim=1)[None], (height // 16, width // 16)
        )

    def __call__(self, view, state, request):
        self.requests.append(request)
        number = int(view.features[0, 0, 3])
        began = number if bool(state.fresh) else int(state.tokens[0, 0, 0])
        outputs = self._outputs(view, number, began, request)
        tokens = state.tokens.clone()
        tokens[0, 0] = torch.tensor([began, float(state.tokens[0, 0, 1]) + 1, number])
        following = State(tokens, state.memory + 1, torch.zeros_like(state.fresh))
        return self.damage.get(number, lambda *both: both)(outputs, following)

    def _outputs(self, view, number, began, request):
        (h, w), unit = view.grid, self.units.get(began, 1.0)
        pose = invert(self.cameras[began]) @ self.cameras[number]
        pose[:3, 3] *= unit
        points = unproject(depth_of(number, 16 * h, 16 * w), intrinsics(16 * h, 16 * w)) * unit
        x, y, z, turn = quaternion_from_rotation(pose[:3, :3]).tolist()
        sure = torch.full((1, 16 * h, 16 * w), 3.0)
        return Outputs(
            points[None],
            sure,
            torch.tensor([[*pose[:3, 3].tolist(), turn, x, y, z]]),
            view.features[..., :3].unflatten(1, (h, w)),
            transform(points, pose)[None] if request.world else None,
            sure + 1 if request.world else None,
            view.features[..., :1].unflatten(1, (h, w)).permute(0, 3, 1, 2).repeat(1, 4, 1, 1)
            if request.attention
            else None,
        )


def unsure(outputs, state):
    """Damage: no confident point."""
    nothing = torch.ones_like(outputs.self_confidence)
    return replace(outputs, self_confidence=nothing, world_confidence=nothing), state


def broken_pose(outputs, state):
    """Damage: no pose."""
    return replace(outputs, pose=outputs.pose * torch.nan), state


def broken_points(outputs, state):
    """Damage: no point is finite."""
    return replace(outputs, self_points=outputs.self_points * torch.inf), state


def broken_state(outputs, state):
    """Damage: one number of the next state."""
    tokens = state.tokens.clone()
    tokens[0, 2, 1] = torch.nan
    return outputs, replace(state, tokens=tokens)
