"""The work of the worker's thread: frames into the segmenter, results to the publishers, and jobs between two frames."""

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
    Frame,
    FrameRejected,
    FrameResult,
    InstanceMap,
    OnlineSegmenter,
    RecordingFacts,
    TransformError,
    build_segmenter,
    convert_axes,
    decode_frame,
    describe_resolved,
    load_map,
    make_input_check,
    reconfigure,
    save_map,
)
from moonseg3r_ros.conversions.stamps import FrameStamps
from moonseg3r_ros.diagnostics.frame_statistics import FrameStatistics
from moonseg3r_ros.diagnostics.throttled_warnings import ThrottledWarnings
from moonseg3r_ros.frames.map_frame import MapFrame
from moonseg3r_ros.frames.robot_tree import CameraTransforms, get_camera_frame, use_optical_axes
from moonseg3r_ros.inputs import QueuedFrame
from moonseg3r_ros.outputs import LocalizedFrame, Outputs, PublishRate
from moonseg3r_ros.parameters import NodeParameters, ParameterStore

POSE_NOTE = "map_from_world"

IMPLAUSIBLE = "implausible input"  # diagnostics look for warnings of this name


@dataclass(frozen=True)
class MapSnapshot:
    """A map that no longer changes."""

    state: Mapping[str, Tensor]
    config: Config
    recording: RecordingFacts
    notes: Mapping[str, str]
    size: str

    def state_dict(self) -> Mapping[str, Tensor]:
        """Return what `save_map` writes."""
        return self.state

    def save(self, path: Path) -> str:
        """Write the map; return the file's name and the map's size. Raises InputError."""
        save_map(path, self, self.config, self.notes, self.recording)
        return f"{path}: {self.size}"


class Mapper:
    """The segmenter with its map. Every method runs on the worker's thread; the constructor loads the models.

    Raises InputError where the configuration cannot be built.
    """

    def __init__(
        self, parameters: ParameterStore, outputs: Outputs, statistics: FrameStatistics, warnings: ThrottledWarnings
    ) -> None:
        self.parameters, self.outputs, self.statistics, self.warnings = parameters, outputs, statistics, warnings
        self._config = parameters.config  # of the segmenter, which may refuse to be reconfigured
        self._recording = RecordingFacts()  # until the first frame
        self._segmenter: OnlineSegmenter | None = build_segmenter(self._config)
        self._unloaded: Mapping[str, Tensor] = {}
        self._map_frame = self._make_map_frame()
        self._rate, self._stamps, self._stamp_ns = PublishRate(), FrameStamps(), 0
        self._check = make_input_check(self._config)

    def process(self, queued: QueuedFrame) -> None:
        """Segment one frame and publish the result."""
        self.statistics.record_start()
        try:
            axes = self._config.input.camera_axes
            queued = replace(queued, transforms=use_optical_axes(queued.transforms, axes))
            self._follow(queued.transforms, queued.messages.stamp)
            self._add_path(queued)
            number = self._stamps.add(queued.stamp_ns)
            frame = decode_frame(replace(self._map_frame.move_pose(queued.messages), index=number), self._config.input)
            self._check_input(frame, get_camera_frame(queued.messages.image))
            start = perf_counter()
            result = self.segmenter.step(replace(frame, moves=self._map_frame.take_moves(queued.transforms)))
        except FrameRejected as why:
            self.statistics.record_rejected(str(why))
            self.warnings.warn("frame rejected", f"image left out: {why}")
            return
        step = perf_counter() - start
        self._recording = RecordingFacts(grid_width=result.geometry.grid.width)
        self.outputs.publish_frame(self._localize(queued, frame, result))
        if held := result.geometry.held:
            self.warnings.warn("held", f"an image adds nothing to the map, and the last good pose stands: {held}")
        else:
            self._stamp_ns = queued.stamp_ns
        if not held or len(result.geometry.corrections):
            self._rate.mark_changed()
        self.statistics.record_processed(result, step=step, latency=perf_counter() - queued.complete - step)

    def _check_input(self, frame: Frame, camera_frame: str) -> None:
        """Warn of numbers that cannot be, as long as they are used. Raises FrameRejected where they are surely wrong."""
        self._check.observe(frame, camera_frame)
        if self._check.findings:
            self.warnings.warn(IMPLAUSIBLE, self._check.summary)
        if refused := self._check.refused:
            raise FrameRejected(IMPLAUSIBLE, refused.text)

    def on_idle(self) -> float | None:
        """Publish the map when it is due; return the seconds until it is, None when nothing has changed."""
        if (wait := self._rate.compute_wait(self.parameters.settings.map_rate)) != 0:
            return wait
        self.publish_map()
        return None

    def publish_map(self) -> None:
        """Publish the map as it is."""
        start = perf_counter()
        scene = self.segmenter.snapshot()
        published = self._publish(scene, self.segmenter.final_ids)
        seconds = perf_counter() - start
        self._rate.mark_published(seconds)
        self.statistics.record_map(scene, published, seconds)

    def reset(self) -> None:
        """Forget the map; ids start from 1 again."""
        if self._segmenter is not None:
            self._segmenter.reset()
        self._unloaded, self._map_frame = {}, self._make_map_frame()
        self._stamps, self._stamp_ns = FrameStamps(), 0
        self.outputs.reset_path()
        self._publish(InstanceMap.empty(), {})
        self._rate.mark_published(0.0)
        self.statistics.record_map(InstanceMap.empty(), 0)

    def apply(self, after: NodeParameters) -> None:
        """Continue with changed parameters.

        Raises InputError, and continues with the former configuration, where the changed one cannot be built.
        """
        if self._segmenter is not None:
            self._rate.mark_changed()
            if after.config != self._config:
                reconfigure(self._segmenter, self._config, after.config, self._recording)
        if after.config.input != self._config.input:
            self._check = make_input_check(after.config)
        self._config = after.config

    def snapshot(self) -> MapSnapshot:
        """Return the map as it is now, for another thread to write."""
        self._publish_changes()
        pose = self._map_frame.from_world
        notes = {} if pose is None else {POSE_NOTE: " ".join(repr(number) for number in pose.ravel().tolist())}
        state = self._stamps.stamp_state(self._unloaded or self.segmenter.state_dict())
        return MapSnapshot(state, self._config, self._recording, notes, self.statistics.map_size)

    def load(self, path: Path) -> str:
        """Continue from a map; return the file's name and the map's size.

        Raises InputError, and keeps the current map, for a file that does not fit.
        """
        notes = load_map(path, self.segmenter, self._config)
        self._stamps = FrameStamps(self.segmenter.state_dict())
        self._map_frame = self._make_map_frame()
        self._map_frame.from_world = _parse_pose(notes.get(POSE_NOTE, ""))
        self.outputs.reset_path()
        self.publish_map()
        return f"{path}: {self.statistics.map_size}"

    def unload(self) -> None:
        """Keep the map and free the models and the GPU."""
        if self._segmenter is not None:
            self._publish_changes()
            self._unloaded, self._segmenter = self._segmenter.state_dict(), None
            free_gpu()

    @property
    def resolved(self) -> str:
        """The settings in use that were resolved to another value, as "name=value name=value"."""
        return describe_resolved(self._config, self._recording)

    @property
    def map_frame(self) -> str:
        """The frame of all that is published."""
        return self._map_frame.name

    @property
    def segmenter(self) -> OnlineSegmenter:
        """The segmenter, built again after `unload`."""
        if self._segmenter is None:
            segmenter = build_segmenter(self._config)
            if self._unloaded:
                segmenter.load_state_dict(self._unloaded)
            self._segmenter, self._unloaded = segmenter, {}
        return self._segmenter

    def _make_map_frame(self) -> MapFrame:
        name = self.outputs.node.get_fully_qualified_name().strip("/").replace("/", "_")
        settings = self.parameters.settings
        return MapFrame(settings, settings.own_frame or f"{name}_map")

    def _follow(self, transforms: CameraTransforms, stamp: float) -> None:
        """Follow the map frame of other nodes; where it moved under the robot, what is in the map moves with it."""
        if moved := self._map_frame.follow(transforms, stamp):
            is_reset = self.parameters.settings.map_jump == "reset"
            moves = (
                "what was placed since the last one follows" if moved.is_drift else "what is in the map moves with it"
            )
            action = "the map is reset" if is_reset else moves
            self.statistics.record_map_jump()
            self.warnings.warn(f"map moved: {moved.cause}", f"{moved}; {action} (map_jump)")
            if is_reset:
                self.reset()

    def _add_path(self, queued: QueuedFrame) -> None:
        try:
            self._map_frame.add_path(queued.path, queued.transforms)
        except TransformError as error:
            self.warnings.warn("corrected path", f"a corrected path is left out: {error}")

    def _localize(self, queued: QueuedFrame, frame: Frame, result: FrameResult) -> LocalizedFrame:
        map_frame, transforms, geometry = self._map_frame, queued.transforms, result.geometry
        before = map_frame.name
        pose = map_frame.place(transforms, geometry.world_from_camera.cpu().numpy(), bool(geometry.held))
        self._warn_about_frames(before, transforms)
        assert map_frame.from_world is not None
        optical_in_frame = convert_axes(np.eye(4), self._config.input.camera_axes)
        pose = pose @ np.linalg.inv(optical_in_frame)  # the camera's frame as TF has it
        return LocalizedFrame(
            frame, result, queued.stamp_ns, transforms.camera, map_frame.name, map_frame.from_world, pose,
            is_camera_free=transforms.root == transforms.camera and transforms.is_root_free,
            corrections=map_frame.list_corrections(transforms),
        )  # fmt: skip

    def _warn_about_frames(self, before: str, transforms: CameraTransforms) -> None:
        settings, after = self.parameters.settings, self._map_frame.name
        if after != before:
            owner = (
                f"other nodes publish '{settings.map_frame}'"
                if transforms.is_map_owned
                else "no other node publishes it any more"
            )
            self.warnings.warn(
                "frame", f"results are in frame '{after}' from here on, no longer in '{before}': {owner}"
            )
        if transforms.is_root_free and transforms.root_from_camera is None:
            missing = f"no transform leads from '{transforms.root}' to '{transforms.camera}' at the image's stamp"
            text = f"no TF is published: {after} -> {transforms.root} needs the camera in it; {missing}"
            self.warnings.warn("tf", text)
        if settings.map_origin == "first_camera" and transforms.world == settings.map_frame:
            text = f"poses are given in '{transforms.world}' itself, so map_origin=first_camera has no effect"
            self.warnings.warn("origin", text)

    def _publish_changes(self) -> None:
        if self._rate.compute_wait(self.parameters.settings.map_rate) is not None:
            self.publish_map()

    def _publish(self, scene: InstanceMap, merged: dict[int, int]) -> int:
        map_frame = self._map_frame
        pose = np.eye(4) if map_frame.from_world is None else map_frame.from_world
        return self.outputs.publish_map(scene, merged, map_frame.name, pose, self._stamp_ns, self._stamps, self._config)


def free_gpu() -> None:
    """Return unused memory to the GPU's driver."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _parse_pose(text: str) -> np.ndarray | None:
    numbers = [float(word) for word in text.split()]
    return np.array(numbers).reshape(4, 4) if len(numbers) == 16 else None
