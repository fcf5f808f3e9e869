"""Write and read the output folder of a run; each file is replaced as a whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from torch import Tensor

from moonseg3r_core.errors import FrameRejected, OutputError
from moonseg3r_core.io.atomic import explain_write_errors, write_atomically
from moonseg3r_core.io.images import decode_file
from moonseg3r_core.io.ply import write_ply
from moonseg3r_core.io.text import read_json
from moonseg3r_core.io.tum import write_tum
from moonseg3r_core.report.instance_rows import DESCRIPTOR, Row, format_instances, parse_descriptors, parse_instance
from moonseg3r_core.report.summary import Summary
from moonseg3r_core.types import Instance, InstanceMap

SUMMARY = "summary.json"
FILES = (SUMMARY, "instances.json", "map.ply", "trajectory.tum", "report.html")
FRAMES = "frames"
MAX_ID = 65535
T = TypeVar("T")
_REQUIRED_KEYS = ("source", "frames", "stage_ms", "config")


class OutputFolder:
    """The output folder of a run. Call `claim` before any work; the writers replace files atomically.

    All methods raise OutputError with the path and the system's reason.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def claim(self) -> None:
        """Create the folder and test that it is writable. Refuses a file and a folder with other contents."""
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"-o must be a folder, got the file {self.path}; give another name.")
        with _explain_errors(self.path):
            if self.path.is_dir() and any(self.path.iterdir()) and not self.is_output():
                raise OutputError(
                    f"{self.path} is not empty and not an earlier result of `moonseg3r run`; give a new folder or empty it."
                )
            self.path.mkdir(parents=True, exist_ok=True)
            trial = self.path / f".trial-{os.getpid()}"
            trial.write_bytes(b"")
            trial.unlink()

    def is_output(self) -> bool:
        """True for the result of an earlier run, complete or not, by the keys of its summary."""
        try:
            summary = read_json((self.path / SUMMARY).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(summary, dict) and all(key in summary for key in _REQUIRED_KEYS)

    def clear(self) -> None:
        """Write the summary of a run that has begun, then remove the files of an earlier run, and no others.

        The summary comes first: on a full disk an earlier result stays, and the folder can be claimed again at any time.
        """
        begun = dict.fromkeys(_REQUIRED_KEYS) | {"verdict": "the run has not ended, or was killed"}
        self._write_text(SUMMARY, json.dumps(begun, indent=2))
        with _explain_errors(self.path):
            for path in [self.path / name for name in FILES if name != SUMMARY] + self._list_frame_files():
                path.unlink(missing_ok=True)
            (self.path / FRAMES).mkdir(exist_ok=True)

    def write_frame(self, index: int, ids: np.ndarray) -> None:
        """Write `frames/<index>.png`: ids (H, W) as uint16. Raises OutputError for an id above 65535."""
        if (highest := int(ids.max(initial=0))) > MAX_ID:
            raise OutputError(
                f"frames/{index}.png holds ids up to {MAX_ID}, got {highest}; use larger masks (--set masks.min_area=...) or fewer frames."
            )
        _, png = cv2.imencode(".png", ids.astype(np.uint16), [cv2.IMWRITE_PNG_COMPRESSION, 3])
        self._write_bytes(f"{FRAMES}/{index}.png", png.tobytes())

    def read_frame(self, index: int) -> np.ndarray:
        """Read the ids (H, W) uint16 of a frame."""
        path = self.path / FRAMES / f"{index}.png"
        try:
            ids = decode_file(path.read_bytes(), cv2.IMREAD_UNCHANGED)
        except (OSError, FrameRejected):
            ids = None
        if ids is None or ids.dtype != np.uint16 or ids.ndim != 2:
            raise OutputError(f"{path} must be a uint16 image of ids; write it again with `moonseg3r run`.")
        return ids

    def list_frames(self) -> Iterator[int]:
        """Yield the indices of the frames written so far, ascending."""
        yield from sorted(int(path.stem) for path in self._list_frame_files())

    def relabel(self, final_ids: Mapping[int, int]) -> None:
        """Rewrite the frames that hold merged ids. `final_ids`: merged id -> surviving id."""
        table = np.arange(MAX_ID + 1, dtype=np.uint16)  # the surviving id of each id
        for old in (id for id in final_ids if id <= MAX_ID):
            table[old] = final_ids[old]
        for index in self.list_frames() if final_ids else ():
            ids = self.read_frame(index)
            if not np.array_equal(ids, table[ids]):
                self.write_frame(index, table[ids])

    def write_map(self, map: InstanceMap) -> None:
        """Write `map.ply` and `instances.json`."""
        with self._replace("map.ply") as temporary:
            write_ply(temporary, map)
        self._write_text("instances.json", format_instances(map))

    def write_trajectory(self, stamps: Sequence[float], poses: Sequence[Tensor]) -> None:
        """Write `trajectory.tum`, world_from_camera."""
        with self._replace("trajectory.tum") as temporary:
            write_tum(temporary, stamps, poses)

    def write_summary(self, summary: Summary) -> None:
        """Write `summary.json`."""
        self._write_text(SUMMARY, json.dumps(summary.to_dict(), indent=2))

    def write_report(self, html: str) -> None:
        """Write `report.html`."""
        self._write_text("report.html", html)

    def read_summary(self) -> dict[str, Any]:
        """Read `summary.json`."""
        if not self.is_output():
            raise OutputError(
                f"{self.path} must be a folder that `moonseg3r run -o` wrote, got no summary.json of its."
            )
        return read_json((self.path / SUMMARY).read_text(encoding="utf-8"))

    def read_instances(self) -> tuple[Instance, ...]:
        """Read `instances.json`."""
        return self._read_rows(lambda rows: tuple(parse_instance(row) for row in rows))

    def read_descriptors(self) -> dict[int, np.ndarray]:
        """Read the descriptors of `instances.json` by id: (D,) float64 of unit length."""
        if self._read_rows(lambda rows: any(DESCRIPTOR not in row for row in rows)):
            raise OutputError(
                f"{self.path / 'instances.json'} must give each instance's descriptor, got a file of an older version without; run again."
            )
        return self._read_rows(parse_descriptors)

    def _read_rows(self, parse: Callable[[list[Row]], T]) -> T:
        """Read the rows of `instances.json` and return `parse(rows)`."""
        path = self.path / "instances.json"
        try:
            return parse(read_json(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise OutputError(
                f"{self.path} must be a folder that `moonseg3r run -o` wrote, got no instances.json there."
            ) from error
        except (OSError, ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
            raise OutputError(f"cannot read {path}: {error}; run again.") from error

    def _list_frame_files(self) -> list[Path]:
        folder = self.path / FRAMES
        return [p for p in folder.glob("*.png") if p.stem.isdecimal()] if folder.is_dir() else []

    def _write_text(self, name: str, text: str) -> None:
        self._write_bytes(name, text.encode("utf-8"))

    def _write_bytes(self, name: str, content: bytes) -> None:
        with self._replace(name) as temporary:
            temporary.write_bytes(content)

    @contextmanager
    def _replace(self, name: str) -> Iterator[Path]:
        """Give a temporary path that takes the file's place; no file waits for the disk."""
        with _explain_errors(self.path / name), write_atomically(self.path / name, sync=False) as part:
            yield part


def _explain_errors(path: Path) -> AbstractContextManager[None]:
    return explain_write_errors(path, "choose a folder that can be written with -o")
