"""What the worker's thread does: frames into the segmenter, results to the publishers, and all that must not cut in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core import (
    Config,
    FrameMessages,
    FrameRejected,
    FrameResult,
    InstanceMap,
    OnlineSegmenter,
    build_segmenter,
    decode_frame,
    load_map,
    reconfigure,
    required_inputs,
    save_map,
)
from moonseg3r_ros.conversions.poses import compute_map_from_world
from moonseg3r_ros.diagnostics.frame_statistics import Ledger
from moonseg3r_ros.diagnostics.throttled_warnings import Voice
from moonseg3r_ros.map_frame import camera_of
from moonseg3r_ros.outputs import Outputs, Pace, Placed
from moonseg3r_ros.parameters import Values

POSE_NOTE = "map_from_world"


@dataclass(frozen=True)
class Item:
    """One image on its way to the worker: its parts, the frame of the given poses (or ""), the frame that TF places (or
    "") and that frame from the camera, and when the image was whole (perf_counter).
    """

    parts: FrameMessages
    world: str
    child: str
    child_from_camera: np.ndarray
    whole: float


@dataclass(frozen=True)
class Kept:
    """A map that no longer changes."""

    state: Mapping[str, Tensor]
    config: Config
    notes: Mapping[str, str]
    size: str

    def state_dict(self) -> Mapping[str, Tensor]:
        """What `save_map` writes."""
        return self.state

    def save(self, path: Path) -> str:
        """Write it; says what was written. Raises InputError."""
        save_map(path, self, self.config, self.notes)
        return f"{path}: {self.size}"


class Mapper:
    """The segmenter with its map. Every method runs on the worker's thread; the constructor loads the models.

    Raises InputError where the configuration cannot be built.
    """

    def __init__(self, values: Values, outputs: Outputs, ledger: Ledger, voice: Voice) -> None:
        self.values, self.outputs, self.ledger, self.voice = values, outputs, ledger, voice
        self._segmenter: OnlineSegmenter | None = build_segmenter(values.config)
        self._parked: Mapping[str, Tensor] = {}
        self._map_from_world: np.ndarray | None = None
        self._pace, self._newest = Pace(), 0

    def take(self, item: Item) -> None:
        """One frame, all the way."""
        self.ledger.begin()
        try:
            frame = decode_frame(item.parts)
            begun = perf_counter()
            result = self.segmenter.step(frame)
        except FrameRejected as why:
            self.ledger.reject(str(why))
            self.voice.say("frame rejected", f"image left out: {why}")
            return
        stepped = perf_counter()
        map_from_world = self._origin(result, item.world)
        self.outputs.frame(
            Placed(frame, result, map_from_world, camera_of(item.parts.image), item.child, item.child_from_camera)
        )
        if held := result.geometry.held:
            self.voice.say("held", f"an image adds nothing to the map, and the last good pose stands: {held}")
        else:
            self._newest = result.index
            self._pace.changed()
        self.ledger.took(result, step=stepped - begun, beyond=perf_counter() - item.whole - (stepped - begun))

    def idle(self) -> float | None:
        """Publish the map when it is due; the seconds until it is."""
        wait = self._pace.wait(self.values.settings.map_rate)
        if wait == 0:
            self.show()
            return None
        return wait

    def show(self) -> None:
        """Publish the map as it is."""
        begun = perf_counter()
        scene = self.segmenter.snapshot()
        published = self._publish(scene, self.segmenter.final_ids)
        seconds = perf_counter() - begun
        self._pace.done(seconds)
        self.ledger.mapped(scene, published, seconds)

    def reset(self) -> None:
        """Forget the map; ids start from 1 again."""
        if self._segmenter is not None:
            self._segmenter.reset()
        self._parked, self._map_from_world, self._newest = {}, None, 0
        self.outputs.forget_path()
        self._publish(InstanceMap.empty(), {})
        self._pace.done(0.0)
        self.ledger.mapped(InstanceMap.empty(), 0)

    def adopt(self, after: Values) -> None:
        """Go on with other settings. Raises InputError, and goes on with the former ones, where they cannot be built."""
        before = self.values.config
        self.values = self.outputs.values = replace(self.values, settings=after.settings)
        if self._segmenter is not None:
            if after.config != before:
                reconfigure(self._segmenter, before, after.config)
            self._pace.changed()
        self.values = self.outputs.values = after

    def kept(self) -> Kept:
        """The map as it is now, for another thread to write."""
        self._catch_up()
        place = self._map_from_world
        notes = {} if place is None else {POSE_NOTE: " ".join(repr(number) for number in place.ravel().tolist())}
        return Kept(self._parked or self.segmenter.state_dict(), self.values.config, notes, self.ledger.size)

    def load(self, path: Path) -> str:
        """Go on from a map; says what was read. Raises InputError, and keeps what is, for one that does not fit."""
        notes = load_map(path, self.segmenter, self.values.config)
        self._map_from_world = _pose_from(notes.get(POSE_NOTE, ""))
        self.outputs.forget_path()
        self.show()
        return f"{path}: {self.ledger.size}"

    def park(self) -> None:
        """Keep the map and let the models and the GPU go."""
        if self._segmenter is not None:
            self._catch_up()
            self._parked, self._segmenter = self._segmenter.state_dict(), None
            free_gpu()

    @property
    def segmenter(self) -> OnlineSegmenter:
        """The segmenter, built again where it was parked."""
        if self._segmenter is None:
            segmenter = build_segmenter(self.values.config)
            if self._parked:
                segmenter.load_state_dict(self._parked)
            self._segmenter, self._parked = segmenter, {}
        return self._segmenter

    def _catch_up(self) -> None:
        """Publish the map, if anything is new since the last time."""
        if self._pace.wait(self.values.settings.map_rate) is not None:
            self.show()

    def _publish(self, scene: InstanceMap, merged: dict[int, int]) -> int:
        place = np.eye(4) if self._map_from_world is None else self._map_from_world
        return self.outputs.map(scene, merged, place, self._newest)

    def _origin(self, result: FrameResult, world: str) -> np.ndarray:
        """map_from_world, which the first frame settles. A map that others publish stays where it is."""
        if self._map_from_world is None:
            asked, given = starts_at_camera(self.values), world == self.values.settings.map_frame
            if asked and given:
                self.voice.say(
                    "origin", f"poses are given in '{world}' itself, so map_origin=first_camera has no effect"
                )
            first = result.geometry.world_from_camera.cpu().numpy()
            self._map_from_world = compute_map_from_world(first) if asked and not given else np.eye(4)
        return self._map_from_world


def starts_at_camera(values: Values) -> bool:
    """True when `map` is laid out from the first camera, and is not the world in which poses are given."""
    origin = values.settings.map_origin
    given = "poses" in required_inputs(values.config)
    return origin == "first_camera" or (origin == "auto" and not given)


def free_gpu() -> None:
    """Give memory that nothing uses back to the driver."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _pose_from(text: str) -> np.ndarray | None:
    numbers = [float(word) for word in text.split()]
    return np.array(numbers).reshape(4, 4) if len(numbers) == 16 else None
