"""CUT3R as a function: an image and a state -> geometry, features, attention and the next state (paper eq 1).

Data flow and names as in the published model. Shapes: B batch, N = h * w tokens of 16 x 16 pixels, S state tokens,
M memory slots, Ce and C the encoder's and the decoder's width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moonseg3r_core.reconstruction.cut3r.net.attention import AttentionHook, NoHook, StateAttention
from moonseg3r_core.reconstruction.cut3r.net.blocks import (
    DecoderBlock,
    EncoderBlock,
    make_norm,
    make_token,
    repeat_blocks,
)
from moonseg3r_core.reconstruction.cut3r.net.decoder import decode
from moonseg3r_core.reconstruction.cut3r.net.heads import HEADS
from moonseg3r_core.reconstruction.cut3r.net.pose_memory import LocalMemory
from moonseg3r_core.reconstruction.cut3r.net.rope import Rotation, RoundedRotation, make_grid_positions, make_rotation
from moonseg3r_core.reconstruction.cut3r.net.sizes import PATCH, RAY_HEADS, Cut3rSizes
from moonseg3r_core.reconstruction.cut3r.net.state import Overwrite, State, StateUpdate


@dataclass(frozen=True)
class Tokens:
    """Encoder tokens of a view: features (B, N, Ce) on a grid (h, w). An image's and its rays' tokens are added."""

    features: Tensor
    grid: tuple[int, int]

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.features + other.features, self.grid)


@dataclass(frozen=True)
class OutputRequest:
    """The outputs computed beside pose, self points and features: the world head, colors, the state attention A."""

    world: bool = True
    colors: bool = False
    attention: StateAttention | None = None


@dataclass(frozen=True)
class Outputs:
    """A view's geometry, all float32: self_points (B, H, W, 3) in the camera's axes, world_points in the first frame's,
    with confidences (B, H, W) of 1 and more; pose (B, 7) tx ty tz qw qx qy qz, camera to world; features F3d
    (B, h, w, C); attention A (B, S, h, w); colors (B, H, W, 3) in (-1, 1). None for what was not requested.
    """

    self_points: Tensor
    self_confidence: Tensor
    pose: Tensor
    features: Tensor
    world_points: Tensor | None = None
    world_confidence: Tensor | None = None
    attention: Tensor | None = None
    colors: Tensor | None = None


@dataclass(frozen=True)
class DecodedView:
    """A view between decoder and heads.

    Its tokens; two decoder layers (B, N, C); the last one after its norm (B, 1 + N, C), the pose token first; and the
    state attention A (B, S, h, w) if requested.
    """

    tokens: Tokens
    layers: tuple[Tensor, Tensor]
    last: Tensor
    attention: Tensor | None = None


class PatchEmbed(nn.Module):
    """Pictures (B, channels, H, W) -> tokens (B, N, Ce), row by row."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, PATCH, stride=PATCH)

    def forward(self, picture: Tensor) -> Tensor:
        return self.proj(picture).flatten(2).transpose(1, 2)


class Cut3r(nn.Module):
    """The net, without memory of its own. Layers are named as in the official checkpoints.

    The rgb head and the ray encoder are optional. rope_fp16: round the image encoder's rotated queries and keys, as the
    original does on a GPU. update: the rule that updates state tokens.
    """

    def __init__(
        self, sizes: Cut3rSizes, *, rgb_head: bool = False, ray_encoder: bool = False, rope_fp16: bool = False,
        update: StateUpdate = Overwrite(),  # noqa: B008 (without state)
    ) -> None:  # fmt: skip
        super().__init__()
        self.sizes, self.update = sizes, update
        self.encoder_rotation = RoundedRotation if rope_fp16 else Rotation
        enc, dec = sizes.enc_dim, sizes.dec_dim
        self.patch_embed = PatchEmbed(3, enc)
        self.enc_blocks = repeat_blocks(lambda: EncoderBlock(enc, sizes.enc_heads), sizes.enc_depth)
        self.enc_norm = make_norm(enc)
        if ray_encoder:
            self.patch_embed_ray_map = PatchEmbed(6, enc)
            self.enc_blocks_ray_map = repeat_blocks(lambda: EncoderBlock(enc, RAY_HEADS), sizes.ray_depth)
            self.enc_norm_ray_map = make_norm(enc)
            self.masked_img_token = make_token(1, enc)  # in the checkpoint, but without use:
            self.masked_ray_map_token = make_token(1, enc)  # no view of a batch lacks image or rays
        self.register_tokens = nn.Embedding(sizes.state_size, enc)
        self.decoder_embed_state = nn.Linear(enc, dec)
        self.decoder_embed = nn.Linear(enc, dec)
        self.pose_token = make_token(1, 1, dec)
        self.pose_retriever = LocalMemory(sizes)
        self.dec_blocks = repeat_blocks(lambda: DecoderBlock(dec, sizes.dec_heads), sizes.dec_depth)
        self.dec_blocks_state = repeat_blocks(lambda: DecoderBlock(dec, sizes.state_heads), sizes.dec_depth)
        self.dec_norm, self.dec_norm_state = make_norm(dec), make_norm(dec)
        self.downstream_head = HEADS[sizes.head](sizes, rgb_head)
        # Tokens become channels-last pictures; convolutions with channels-last weights are faster on them.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def start(self, batch: int = 1) -> State:
        """Return the state before the first frame."""
        tokens, memory = self.decoder_embed_state(self.register_tokens.weight).float(), self.pose_retriever.mem
        fresh = torch.ones(batch, dtype=torch.bool, device=tokens.device)
        tokens = tokens.expand(batch, -1, -1)
        return State(tokens, memory.expand(batch, -1, -1), fresh, self.update.start_change(tokens))

    def encode(self, image: Tensor) -> Tokens:
        """Image (B, 3, H, W) in [-1, 1], sides multiples of 16 -> tokens."""
        grid = image.shape[2] // PATCH, image.shape[3] // PATCH
        width = self.sizes.enc_dim // self.sizes.enc_heads
        rope = make_rotation(make_grid_positions(*grid, image.device), width, self.encoder_rotation)
        x = self.patch_embed(image)
        for block in self.enc_blocks:
            x = block(x, rope)
        return Tokens(self.enc_norm(x), grid)

    def encode_rays(self, rays: Tensor) -> Tokens:
        """Rays (B, H, W, 6), origin and direction in the first frame's axes -> tokens, to be added to an image's.

        The directions include the translation, as in the training data (docs/cut3r_facts.md, 9).
        """
        grid = rays.shape[1] // PATCH, rays.shape[2] // PATCH
        rope = make_rotation(make_grid_positions(*grid, rays.device), self.sizes.enc_dim // RAY_HEADS)
        x = self.patch_embed_ray_map(rays.permute(0, 3, 1, 2))
        for block in self.enc_blocks_ray_map:
            x = block(x, rope)
        return Tokens(self.enc_norm_ray_map(x), grid)

    def forward(
        self, view: Tensor | Tokens, state: State, request: OutputRequest = OutputRequest()
    ) -> tuple[Outputs, State]:
        """Run one view, an image (B, 3, H, W) or its tokens. Returns outputs and the next state."""
        tokens = view if isinstance(view, Tokens) else self.encode(view)
        decoded, following = self.advance(tokens, state, request.attention)
        return self.read_out(decoded, request), following

    def advance(
        self, tokens: Tokens, state: State, attention: StateAttention | None = None
    ) -> tuple[DecodedView, State]:
        """Run the recurrent half: a view's tokens through the decoder. Returns the decoded view and the next state."""
        mean = tokens.features.mean(1, keepdim=True)
        expected = self.pose_retriever.read(mean, state.memory)  # the pose token; the learned one in a first frame
        pose_token = torch.where(state.fresh[:, None, None], self.pose_token.to(expected), expected)
        recorder = attention.make_recorder(self.sizes.dec_depth, self.sizes.state_heads) if attention else None
        hook = self.update.make_hook()
        layers, candidate = self._decode(tokens, pose_token, state, (recorder or NoHook(), hook))
        last = self.dec_norm(layers[-1])
        early, middle, _ = self.sizes.hooks
        seen = recorder.average_patches(*tokens.grid) if recorder else None
        updated, change = self.update(state, self.dec_norm_state(candidate).float(), hook)
        memory = self.pose_retriever.write(state.memory, mean, last[:, :1]).float()
        following = State(updated, memory, torch.zeros_like(state.fresh), change)
        return DecodedView(tokens, (layers[early][:, 1:], layers[middle][:, 1:]), last, seen), following

    def read_out(self, decoded: DecodedView, request: OutputRequest = OutputRequest()) -> Outputs:
        """Run the heads. They need no state, so that many views can go through them at once."""
        head, grid = self.downstream_head, decoded.tokens.grid
        pose_token, image = decoded.last[:, :1], decoded.last[:, 1:]
        levels = [decoded.tokens.features, *decoded.layers]
        rope = make_rotation(make_grid_positions(*grid, image.device), self.sizes.dec_dim // self.sizes.dec_heads)
        modulated = head.modulate(image, pose_token, rope)
        self_points, self_confidence = head.predict_self_points([*levels, image], grid)
        pose, features = head.predict_pose(pose_token), modulated.unflatten(1, grid).float()
        world, confidence = head.predict_world_points([*levels, modulated], grid) if request.world else (None, None)
        colors = head.predict_colors([*levels, image], grid) if request.colors else None
        return Outputs(self_points, self_confidence, pose, features, world, confidence, decoded.attention, colors)

    def _decode(
        self, tokens: Tokens, pose_token: Tensor, state: State, hooks: tuple[AttentionHook, ...]
    ) -> tuple[list[Tensor], Tensor]:
        """Decode image tokens, the pose token first at position (-1, -1), and state tokens."""
        image = torch.cat((pose_token, self.decoder_embed(tokens.features)), dim=1)
        patches = make_grid_positions(*tokens.grid, image.device)
        places = torch.cat((patches.new_full((1, 2), -1), patches))
        slots = make_state_positions(self.sizes, image.device)
        widths = self.sizes.dec_dim // self.sizes.dec_heads, self.sizes.dec_dim // self.sizes.state_heads
        image_ropes, state_ropes = (
            (make_rotation(places, width), None if slots is None else make_rotation(slots, width)) for width in widths
        )
        blocks = zip(self.dec_blocks, self.dec_blocks_state, strict=True)
        return decode(blocks, image, state.tokens, image_ropes, state_ropes, hooks)


def make_state_positions(sizes: Cut3rSizes, device: torch.device | str = "cpu") -> Tensor | None:
    """Make positions (S, 2) of the state tokens: a square with an even number of columns, the diagonal, or None."""
    if sizes.state_positions == "none":
        return None
    numbers, columns = torch.arange(sizes.state_size, device=device), math.isqrt(sizes.state_size)
    columns += columns % 2
    is_square = sizes.state_positions == "2d"
    return torch.stack((numbers // columns, numbers % columns) if is_square else (numbers, numbers), dim=-1)
