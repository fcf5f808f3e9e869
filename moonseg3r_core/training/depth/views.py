"""Views of procedural rooms with their other views, and the errors that poses and earlier depth have on a robot."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from moonseg3r_core.synthetic import Renderer
from moonseg3r_core.synthetic.sequence import make_intrinsics
from moonseg3r_core.training.data.augment import augment
from moonseg3r_core.training.data.clips import FIRST_SEED, Clip, mix_seeds
from moonseg3r_core.training.data.clutter import add_clutter
from moonseg3r_core.training.data.strewn_rooms import make_strewn_room
from moonseg3r_core.training.depth.recipe import DepthRecipe, DepthStage

_MAX_BASELINE, _MAX_TURN = 0.45, math.radians(35)  # of a source: in the view's median depth; of the view's direction
_ROTATION_NOISE = (math.radians(0.02), math.radians(0.7))  # of relative poses, drawn evenly on a log scale
_SHIFT_NOISE, _SCALE_NOISE = 0.2, 0.06  # of relative translations, as shares of the baseline
_FITTED = 0.8  # share of items whose poses are fitted to landmarks
_LANDMARKS, _MIN_LANDMARKS, _MIN_LANDMARK_DEPTH = 150, 12, 0.05  # how many, at least, and how near, in typical depth
_LANDMARK_NOISE, _LANDMARK_PX = 0.08, 0.4  # of the log of their depth, and of where they are seen
_TYPICAL_NOISE = 0.15  # of the log of the typical depth that a view is normalized by
_FIRST_NOISE, _MAX_LAYER_NOISE = (0.05, 0.5), 0.3  # of the log of a first depth
_FIRST_RANGE = (0.5, 1.2)  # of the logs of a first depth over that of the truth: a net avoids what is far
_NO_FIRST, _BLURRED = 0.35, 0.25  # shares of items without a first depth, and of images that motion blurs


@dataclass(frozen=True)
class ViewBatch:
    """An item is a view and its S sources.

    images (B, 1 + S, 3, H, W) in [-1, 1]; depth (B, H, W) of the view in the typical depth, 0 = unknown; poses
    (B, 1 + S, 4, 4) as the tracker would have them, view_from_camera in the typical depth; intrinsics (B, 3, 3);
    used (B, S) bool: sources that exist; first (B, H/2, W/2): log of a first depth, NaN where there is none.
    """

    images: Tensor
    depth: Tensor
    poses: Tensor
    intrinsics: Tensor
    used: Tensor
    first: Tensor

    def to(self, device: torch.device) -> ViewBatch:
        """Copy to a device."""
        return ViewBatch(*(part.to(device, non_blocking=True) for part in vars(self).values()))


def make_depth_clip(seed: int, frames: int, height: int, width: int, device: torch.device | str = "cpu") -> Clip:
    """Render the clip of a seed: room, things strewn over it, clutter, path and horizontal field of view (45 to 90 degrees)."""
    rng = np.random.default_rng((seed, 31))
    scene, poses = make_strewn_room(seed, frames, rng)
    scene = add_clutter(scene, poses[:, :3, 3], rng)
    intrinsics = make_intrinsics(height, width, float(rng.uniform(45, 90)))
    renderer = Renderer(scene, torch.device(device))
    drawn = [renderer(intrinsics, pose, height, width)[:2] for pose in torch.from_numpy(poses).float()]
    images, depths = (torch.stack(parts) for parts in zip(*drawn, strict=True))
    return Clip(images, depths.half(), torch.from_numpy(poses).float(), intrinsics)


class ViewStream:
    """Batches number `first`, first + 1, ... of a recipe. A batch depends on the seed and its number alone."""

    def __init__(self, recipe: DepthRecipe, device: torch.device, first: int = 0) -> None:
        self.recipe, self.device, self.number = recipe, device, first
        self._entered = count_entered_clips(recipe, first)
        clips = range(self._entered - recipe.rooms, self._entered)
        self._pool = deque((self._make_clip(number) for number in clips), maxlen=recipe.rooms)

    def __iter__(self) -> Iterator[ViewBatch]:
        while self.number < self.recipe.steps:
            while self._entered < count_entered_clips(self.recipe, self.number):
                self._pool.append(self._make_clip(self._entered))
                self._entered += 1
            generator = torch.Generator().manual_seed(mix_seeds(self.recipe.seed, self.number, 3))
            stage = self.recipe.find_stage(self.number)
            chosen = torch.randperm(len(self._pool), generator=generator)[: stage.batch].tolist()
            clips = [self._pool[index] for index in chosen]
            yield make_batch(clips, stage, self.recipe.sources, generator).to(self.device)
            self.number += 1

    def _make_clip(self, number: int) -> Clip:
        recipe = self.recipe
        seed = FIRST_SEED * (1 + recipe.seed) + number
        clip = make_depth_clip(seed, recipe.clip, recipe.height, recipe.width, self.device)
        return Clip(clip.images.cpu(), clip.depth.cpu(), clip.poses, clip.intrinsics)


def count_entered_clips(recipe: DepthRecipe, step: int) -> int:
    """Count the clips that enter the pool before a step, so that every frame gets its visits."""
    views, left = 0, step
    for stage in recipe.stages:
        views += min(left, stage.steps) * stage.batch
        left -= min(left, stage.steps)
    return recipe.rooms + int(views / (recipe.clip * recipe.visits))


def make_batch(clips: list[Clip], stage: DepthStage, sources: int, generator: torch.Generator) -> ViewBatch:
    """Make a batch of one item a clip, of views at random; half of them are mirrored."""
    items = []
    for clip in clips:
        rng = np.random.default_rng(int(torch.randint(1 << 31, (1,), generator=generator)))
        item = _make_item(clip, int(rng.integers(len(clip.poses))), stage, sources, rng)
        items.append(_mirror(*item) if rng.random() < 0.5 else item)
    return _join_items(items, generator)


def make_views(
    clip: Clip, views: Sequence[int], stage: DepthStage, sources: int, generator: torch.Generator
) -> tuple[ViewBatch, Tensor]:
    """Make a batch of some views of a clip, and their typical depths (B,) in metres."""
    rng = np.random.default_rng(int(torch.randint(1 << 31, (1,), generator=generator)))
    batch = _join_items([_make_item(clip, view, stage, sources, rng) for view in views], generator)
    true = torch.stack([clip.depth[view].float().median() for view in views])
    return batch, true / batch.depth.flatten(1).median(1).values


def _join_items(items: list[tuple[Tensor, ...]], generator: torch.Generator) -> ViewBatch:
    images, depth, poses, intrinsics, used, first = (torch.stack(parts) for parts in zip(*items, strict=True))
    own = len(items) // 2  # in half of the items every image is changed in its own way, in the others all alike
    changed = [augment(images[own:], generator)]
    if own:
        alone = augment(images[:own].flatten(0, 1)[:, None], generator)
        changed.insert(0, alone.reshape(own, *images.shape[1:2], 3, *images.shape[2:4]))
    return ViewBatch(torch.cat(changed), depth, poses, intrinsics, used, first)


def _make_item(clip: Clip, view: int, stage: DepthStage, sources: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
    chosen, used = choose_views(clip, view, sources, rng)
    typical = float(clip.depth[chosen[0]].float().median()) * math.exp(_TYPICAL_NOISE * rng.normal())
    images, depth = _resize(clip, chosen, stage, rng)
    depth = depth / typical
    relative = torch.linalg.inv(clip.poses[chosen[0]].double()) @ clip.poses[chosen].double()
    relative[:, :3, 3] /= typical
    factor = torch.tensor((stage.width / clip.images.shape[2], stage.height / clip.images.shape[1]))
    intrinsics = clip.intrinsics.clone()
    intrinsics[:2] *= factor[:, None]
    intrinsics[:2, 2] += (factor - 1) / 2
    poses = add_pose_noise(relative.float(), depth, intrinsics, rng)
    first = make_first_depth(depth, rng)
    return images, depth, poses, intrinsics, torch.from_numpy(used), first


def _mirror(
    images: Tensor, depth: Tensor, poses: Tensor, intrinsics: Tensor, used: Tensor, first: Tensor
) -> tuple[Tensor, ...]:
    """Mirror an item; the principal point lies in the middle, so that it is one of a mirrored room."""
    flip = torch.diag(torch.tensor((-1.0, 1.0, 1.0, 1.0)))
    return images.flip(2), depth.flip(1), flip @ poses @ flip, intrinsics, used, first.flip(1)


def choose_views(clip: Clip, view: int, sources: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Choose a view's sources: their frames after its own, (1 + S,), and which of the sources (S,) exist, bool."""
    frames = len(clip.poses)
    median = float(clip.depth[view].float().median())
    shift = (clip.poses[:, :3, 3] - clip.poses[view, :3, 3]).norm(dim=1).numpy() / median
    turn = np.arccos((clip.poses[:, :3, 2] @ clip.poses[view, :3, 2]).numpy().clip(-1, 1))
    near = np.flatnonzero((shift < _MAX_BASELINE) & (turn < _MAX_TURN) & (np.arange(frames) != view))
    weights = np.exp(-(np.abs(np.log((shift[near] + 0.01) / 0.1))))  # a baseline of 0.1 is the best
    count = min(len(near), int(rng.choice(range(sources + 1), p=_weigh_counts(sources))))
    picked = rng.choice(near, count, replace=False, p=weights / weights.sum()) if count else np.zeros(0, int)
    rest = np.full(sources - count, view)
    return np.r_[view, picked, rest].astype(int), np.arange(sources) < count


def _weigh_counts(sources: int) -> np.ndarray:
    """Weigh how many sources a view has: most views have all, few have none."""
    weights = np.ones(sources + 1)
    weights[0], weights[-1] = 0.5, 2.0 * sources
    return weights / weights.sum()


def add_pose_noise(relative: Tensor, depth: Tensor, intrinsics: Tensor, rng: np.random.Generator) -> Tensor:
    """Add a tracker's errors to poses (V, 4, 4) relative to the first: of each view, and of the scale of all.

    A tracker's poses fit the landmarks that it sees, whose depth is wrong: so do most of these. depth (H, W) of the first
    view, 0 = unknown; intrinsics (3, 3).
    """
    angle = math.exp(rng.uniform(*np.log(_ROTATION_NOISE)))
    share = rng.uniform(0, _SHIFT_NOISE) * (rng.random() < 0.8)
    scale = math.exp(_SCALE_NOISE * rng.normal())
    landmarks = _sample_landmarks(depth, intrinsics, rng) if rng.random() < _FITTED else None
    noisy = relative.clone()
    for pose in noisy[1:]:
        true = pose.clone()
        turn = torch.from_numpy(cv2.Rodrigues(rng.normal(0, angle / math.sqrt(3), 3))[0]).float()
        baseline = float(pose[:3, 3].norm())
        pose[:3, :3] = turn @ pose[:3, :3]
        pose[:3, 3] += baseline * share / math.sqrt(3) * torch.from_numpy(rng.normal(size=3)).float()
        if landmarks is not None:
            pose.copy_(_fit_pose(pose, true, landmarks, intrinsics, rng))
        pose[:3, 3] *= scale
    return noisy


def _sample_landmarks(depth: Tensor, intrinsics: Tensor, rng: np.random.Generator) -> np.ndarray:
    """Sample points (n, 3) of a view with depth (H, W), 0 = unknown."""
    known = np.argwhere(depth.numpy() > 0)
    rows, columns = known[rng.integers(len(known), size=_LANDMARKS)].T if len(known) else np.zeros((2, 0), int)
    pixels = np.column_stack((columns, rows, np.ones(len(rows))))
    return pixels @ np.linalg.inv(intrinsics.double().numpy()).T * depth.double().numpy()[rows, columns, None]


def _fit_pose(
    pose: Tensor, true: Tensor, landmarks: np.ndarray, intrinsics: Tensor, rng: np.random.Generator
) -> Tensor:
    """Fit the pose (4, 4) of another view to landmarks (n, 3) of wrong depth where the true pose shows them."""
    k, seen = intrinsics.double().numpy(), np.linalg.inv(true.double().numpy())
    shown = landmarks @ seen[:3, :3].T + seen[:3, 3]
    front = shown[:, 2] > _MIN_LANDMARK_DEPTH
    if front.sum() < _MIN_LANDMARKS:
        return pose
    projected = (shown @ k.T)[front]
    pixels = projected[:, :2] / projected[:, 2:] + rng.normal(0, _LANDMARK_PX, (int(front.sum()), 2))
    wrong = landmarks[front] * np.exp(rng.normal(0, _LANDMARK_NOISE, (len(pixels), 1)))
    start = np.linalg.inv(pose.double().numpy())
    turn, shift = cv2.solvePnPRefineLM(wrong, pixels, k, None, cv2.Rodrigues(start[:3, :3])[0], start[:3, 3:].copy())
    fitted = np.eye(4)
    fitted[:3, :3], fitted[:3, 3] = cv2.Rodrigues(turn)[0], shift[:, 0]
    return torch.from_numpy(np.linalg.inv(fitted)).to(pose)


def make_first_depth(depth: Tensor, rng: np.random.Generator) -> Tensor:
    """Make the log of a first depth (H/2, W/2) as a net gives it: a wrong range, smooth errors, layers that are too near
    or too far, blurred contours; NaN for none.
    """
    half = F.avg_pool2d(depth[None, None], 2)[0, 0]
    if rng.random() < _NO_FIRST:
        return torch.full_like(half, torch.nan)
    log = half.clamp(min=1e-3).log()
    middle = log.median()
    log = middle + (log - middle) * rng.uniform(*_FIRST_RANGE)
    edges = np.sort(rng.normal(float(middle), 0.5, int(rng.integers(4))))
    layers = torch.bucketize(log, torch.from_numpy(edges).float())
    log = log + torch.from_numpy(rng.normal(0, rng.uniform(0, _MAX_LAYER_NOISE), len(edges) + 1)).float()[layers]
    blur = int(rng.choice([1, 2, 4, 8]))
    if blur > 1:
        small = F.avg_pool2d(log[None, None], blur, ceil_mode=True)
        log = F.interpolate(small, log.shape, mode="bilinear", align_corners=False)[0, 0]
    return log + sample_field(log.shape, rng.uniform(*_FIRST_NOISE), rng)


def sample_field(size: tuple[int, ...], strength: float, rng: np.random.Generator) -> Tensor:
    """Sample smooth noise (h, w) of three scales, `strength` its standard deviation."""
    field = torch.zeros(*size)
    for cells in (2, 4, 9):
        noise = torch.from_numpy(rng.normal(size=(1, 1, cells, cells + 1))).float()
        field += F.interpolate(noise, tuple(size), mode="bicubic", align_corners=False)[0, 0]
    return strength / math.sqrt(3) * field


def _resize(clip: Clip, chosen: np.ndarray, stage: DepthStage, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Resize images (V, H, W, 3) uint8 of chosen frames and depth (H, W) of the first; motion blurs some."""
    size = stage.width, stage.height
    images = [cv2.resize(clip.images[i].numpy(), size, interpolation=cv2.INTER_AREA) for i in chosen]
    images = [_blur(image, rng) if rng.random() < _BLURRED else image for image in images]
    depth = cv2.resize(clip.depth[chosen[0]].float().numpy(), size, interpolation=cv2.INTER_NEAREST_EXACT)
    return torch.from_numpy(np.stack(images)), torch.from_numpy(depth)


def _blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur an image along a line of random direction, and compress it."""
    length = rng.uniform(1, 0.03 * image.shape[1])
    side = 2 * int(length / 2) + 3
    kernel = np.zeros((side, side), np.float32)
    angle, middle = rng.uniform(0, math.pi), side // 2
    for t in np.linspace(-length / 2, length / 2, 4 * side):
        kernel[round(middle + t * math.sin(angle)), round(middle + t * math.cos(angle))] += 1
    blurred = cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
    packed = cv2.imencode(".jpg", blurred, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))))[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))
