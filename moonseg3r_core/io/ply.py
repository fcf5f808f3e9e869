"""Reads and writes a labelled map as a binary PLY file: x y z, red green blue, instance_id, confidence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from moonseg3r_core.errors import OutputError
from moonseg3r_core.io.atomic import explain_write_errors
from moonseg3r_core.types import InstanceMap

VERTEX = np.dtype(
    [
        ("x", "<f4"), ("y", "<f4"), ("z", "<f4"),
        ("red", "u1"), ("green", "u1"), ("blue", "u1"),
        ("instance_id", "<i4"), ("confidence", "<f4"),
    ]
)  # fmt: skip
_NAMES = {"<f4": "float", "<i4": "int", "|u1": "uchar"}
_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "<i2", "int16": "<i2", "ushort": "<u2",
    "uint16": "<u2", "int": "<i4", "int32": "<i4", "uint": "<u4", "uint32": "<u4", "float": "<f4", "float32": "<f4",
    "double": "<f8", "float64": "<f8",
}  # fmt: skip
_HEADER_LIMIT = 65536


def write_ply(path: str | Path, map: InstanceMap) -> None:
    """Write a map as binary little endian PLY. Raises OutputError when the file cannot be written."""
    vertices = np.empty(len(map), VERTEX)
    for k, name in enumerate("xyz"):
        vertices[name] = map.points[:, k].cpu().numpy()
    for k, name in enumerate(("red", "green", "blue")):
        vertices[name] = map.colors[:, k].cpu().numpy()
    vertices["instance_id"] = map.instance_ids.cpu().numpy()
    vertices["confidence"] = map.confidence.cpu().numpy()
    properties = [f"property {_NAMES[VERTEX[name].str]} {name}" for name in VERTEX.names or ()]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(map)}", *properties, "end_header", ""]
    with explain_write_errors(path):
        Path(path).write_bytes("\n".join(header).encode() + vertices.tobytes())


def read_ply(path: str | Path) -> InstanceMap:
    """Read the map in a PLY file of `write_ply`, without its instances; other scalar properties are ignored.

    Raises OutputError for a file that is missing, of another layout, or cut short.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        advice = "give the map.ply that `moonseg3r run` wrote"
        raise OutputError(f"cannot read {path}: {error.strerror}; {advice}.") from error
    vertices = _parse_vertices(data, str(path))
    points = np.stack([vertices[name] for name in "xyz"], axis=-1).astype(np.float32)
    colors = np.stack([vertices[name] for name in ("red", "green", "blue")], axis=-1).astype(np.uint8)
    ids, confidence = vertices["instance_id"].astype(np.int32), vertices["confidence"].astype(np.float32)
    p, c, i, w = (torch.from_numpy(part) for part in (points, colors, ids, confidence))
    return InstanceMap(p, c, i, w)


def _parse_vertices(data: bytes, path: str) -> np.ndarray:
    """Parse a file's bytes to a structured array of vertices."""
    header, end, _ = data[:_HEADER_LIMIT].partition(b"end_header\n")
    lines = [line.split() for line in header.decode("ascii", errors="replace").splitlines()]
    if not end or lines[:1] != [["ply"]]:
        raise _make_error(path, "no PLY header")
    if ["format", "binary_little_endian", "1.0"] not in lines:
        raise _make_error(path, "another PLY format")
    count, dtype = _parse_layout(lines, path)
    missing = [name for name in VERTEX.names or () if name not in (dtype.names or ())]
    if missing:
        raise _make_error(path, f"no property {', '.join(missing)}")
    start = len(header) + len(end)
    if len(data) - start < count * dtype.itemsize:
        raise _make_error(path, f"{len(data) - start} of the {count * dtype.itemsize} bytes that {count} points take")
    return np.frombuffer(data, dtype, count, start)


def _parse_layout(lines: list[list[str]], path: str) -> tuple[int, np.dtype]:
    """Parse the number of vertices and the layout of one; they must be the first element."""
    elements = [k for k, line in enumerate(lines) if line[:1] == ["element"]]
    first = lines[elements[0]] if elements else []
    if len(first) != 3 or first[1] != "vertex" or not (first[2].isdigit() and len(first[2]) < 19):
        raise _make_error(path, "no `element vertex` first")
    end = elements[1] if len(elements) > 1 else len(lines)
    properties = [line for line in lines[elements[0] : end] if line[:1] == ["property"]]
    if not all(len(line) == 3 and line[1] in _TYPES for line in properties):
        raise _make_error(path, "a property that is no plain number")
    if len({line[2] for line in properties}) != len(properties):
        raise _make_error(path, "a property twice")
    return int(first[2]), np.dtype([(line[2], _TYPES[line[1]]) for line in properties])


def _make_error(path: str, found: str) -> OutputError:
    wanted = "a binary little endian PLY of vertices with " + " ".join(VERTEX.names or ())
    return OutputError(f"{path} must be {wanted}, got {found}; write it again with `moonseg3r run`.")
