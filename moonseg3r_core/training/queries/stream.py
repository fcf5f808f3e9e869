"""Batches of clips for the training of queries, computed by the frozen models or read from a cache."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from moonseg3r_core.build import hash_weights
from moonseg3r_core.config import Config
from moonseg3r_core.errors import InputError
from moonseg3r_core.io.safetensors import save_tensors
from moonseg3r_core.resolve import resolve
from moonseg3r_core.training.common.checkpoint import make_folder
from moonseg3r_core.training.data.clips import mix_seeds
from moonseg3r_core.training.queries.clips import QueryBatch, QueryClip, cut_masks, make_batch, make_query_clip
from moonseg3r_core.training.queries.frozen_models import FrozenModels
from moonseg3r_core.training.queries.recipe import QueryRecipe
from moonseg3r_core.training.queries.scenes import Scene

_VERSION = 1  # of the content of a clip and its computation
_LOG = logging.getLogger("moonseg3r")


class ClipCache:
    """Computes the clips of scenes; with a folder, each once.

    The name of a file depends on the path of the scene, the window, and the settings and weights of the models, but not
    on the content of a recording. Raises OutputError for a folder that cannot be written.
    """

    def __init__(self, recipe: QueryRecipe, device: torch.device, folder: Path | None = None) -> None:
        self.recipe, self.device, self.folder = recipe, device, folder
        self._models, self._facts = FrozenModels(recipe.config, device), _describe_models(resolve(recipe.config))
        if folder:
            make_folder(folder, "--cache")

    def __call__(self, scene: Scene, window: int, frames: int) -> QueryClip | None:
        """Get the clip of a scene's window; None, and a warning, for less than two usable frames."""
        file = self._locate_file(scene, window, frames)
        if file and (cached := _read(file)):
            return cached
        view = scene.read_window(window, frames, self.recipe.stride)
        clip = make_query_clip(view, self._models)
        if clip is None:
            _LOG.warning("%s: window %d has less than two usable frames; it is left out.", scene.name, window)
        elif file:
            _write(file, clip)
        return clip

    def _locate_file(self, scene: Scene, window: int, frames: int) -> Path | None:
        if not self.folder:
            return None
        path = Path(scene.name)
        place = str(path.resolve()) if path.exists() else scene.name
        key = json.dumps([place, window, frames, self.recipe.stride, self._facts])
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"


class QueryStream:
    """Batches number `first`, first + 1, ... of a recipe: each depends on the seed, its number and the rank.

    An epoch takes one window of every scene, in an order of its own.
    """

    def __init__(
        self, recipe: QueryRecipe, scenes: Sequence[Scene], cache: ClipCache, first: int = 0, rank: int = 0
    ) -> None:
        self.recipe, self.scenes, self.cache, self.number, self.rank = recipe, scenes, cache, first, rank

    def __iter__(self) -> Iterator[QueryBatch]:
        while self.number < self.recipe.steps:
            yield self._make_batch(self.number).to(self.cache.device)
            self.number += 1

    def _make_batch(self, number: int) -> QueryBatch:
        recipe, (epoch, step) = self.recipe, divmod(number, self.recipe.epoch_steps)
        order = torch.randperm(len(self.scenes), generator=torch.Generator().manual_seed(1000 * epoch + recipe.seed))
        start = (step * recipe.processes + self.rank) * recipe.batch
        turn = order[
            torch.arange(start, start + recipe.batch) % len(order)
        ].tolist()  # an epoch's last batch is full too
        found = [self.cache(self.scenes[n], epoch % recipe.windows, recipe.frames) for n in turn]
        clips = [clip for clip in found if clip is not None]
        if not clips:
            names = ", ".join(self.scenes[n].name for n in turn)
            raise InputError(
                f"scenes must have windows of two usable frames or more, got none in {names}; leave them out."
            )
        generator = torch.Generator().manual_seed(mix_seeds(recipe.seed, number, self.rank))
        batch = make_batch(clips, [cut_masks(clip, recipe.cut, generator) for clip in clips])
        recalls = torch.rand(batch.known.shape[:2], generator=generator) >= recipe.forget
        return batch._replace(known=batch.known & recalls[..., None])


def _describe_models(config: Config) -> str:
    """Describe the frozen models and everything else that a clip depends on."""
    sections = {name: asdict(getattr(config, name)) for name in ("reconstruction", "masks", "features", "memory")}
    lift = {name: getattr(config.fusion, name) for name in ("boxes", "min_points")}
    return json.dumps([sections, lift, hash_weights(config), _VERSION], sort_keys=True)


def _read(file: Path) -> QueryClip | None:
    """Read the clip of a file; None for a missing or damaged file."""
    if not file.exists():
        return None
    try:
        return QueryClip(**safetensors.torch.load_file(file))
    except (SafetensorError, OSError, TypeError) as error:
        _LOG.warning("%s is damaged (%s); it is computed again.", file, error)
        return None


def _write(file: Path, clip: QueryClip) -> None:
    mark = f".{os.getpid()}"  # runs side by side may share a cache
    save_tensors(file, vars(clip), advice="make room there, or leave --cache out", mark=mark)
