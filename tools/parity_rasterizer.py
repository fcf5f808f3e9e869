"""Compare the rasteriser with golden cases: `python tools/parity_rasterizer.py FOLDER [--rasterizer torch|plain|pytorch3d]`.

FOLDER holds cases.json ({"case0": {"radius_px": 1.5}, ...}) and, per case, NAME.safetensors with points_camera (N, 3),
K (3, 3), idx (H, W) and zbuf (H, W). Exit status: 0 all equal, 1 a difference, 2 a folder that cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from torch import Tensor

from moonseg3r_core.errors import InputError, MissingDependency
from moonseg3r_core.memory.pytorch3d_rasterizer import make_rasterizer
from moonseg3r_core.memory.rasterizer import Rasterizer, rasterize_plain

TOLERANCE = 1e-6  # of zbuf, metres; idx must be equal
TENSORS = ("points_camera", "K", "idx", "zbuf")


def main(argv: list[str] | None = None) -> int:
    """Compare all cases and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rasterizer", choices=("torch", "plain", "pytorch3d"), default="torch")
    args = parser.parse_args(argv)
    try:
        rasterizer = rasterize_plain if args.rasterizer == "plain" else make_rasterizer(args.rasterizer)
        radii = read_radii(args.folder)
        print(f"{'case':<12}{'points':>8}{'size':>12}{'radius':>8}{'idx off':>9}{'zbuf off':>10}{'ms':>9}  result")
        equal = [compare(name, read_case(args.folder, name), radius, rasterizer) for name, radius in radii.items()]
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if all(equal) else 1


def compare(name: str, case: dict[str, Tensor], radius: float, rasterizer: Rasterizer) -> bool:
    """Rasterise one case, print its row, and tell whether it is equal."""
    height, width = case["idx"].shape
    start = time.perf_counter()
    raster = rasterizer(case["points_camera"], case["K"], height, width, radius)
    milliseconds = 1000 * (time.perf_counter() - start)
    wrong = int((raster.index != case["idx"]).sum())
    off = float((raster.depth - case["zbuf"]).abs().max()) if raster.depth.numel() else 0.0
    equal = wrong == 0 and off <= TOLERANCE
    size = f"{width}x{height}"
    print(
        f"{name:<12}{len(case['points_camera']):>8}{size:>12}{radius:>8g}{wrong:>9}{off:>10.1e}{milliseconds:>9.1f}"
        f"  {'equal' if equal else 'DIFFERENT'}"
    )
    return equal


def read_radii(folder: Path) -> dict[str, float]:
    """Read the radius in pixels of each case. Raises InputError where cases.json is missing, empty or no such table."""
    file = folder / "cases.json"
    try:
        radii = {name: float(case["radius_px"]) for name, case in json.loads(file.read_text()).items()}
    except OSError as error:
        raise InputError(f"expected {file}, got: {error.strerror}; give the folder that holds cases.json.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f'{file} must hold {{"case0": {{"radius_px": 1.5}}, ...}}, got: {error!r}.') from error
    if not radii:
        raise InputError(f"{file} must name at least one case, got none.")
    return radii


def read_case(folder: Path, name: str) -> dict[str, Tensor]:
    """Read the four tensors of a case. Raises InputError where the file is missing or lacks one."""
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingDependency(
            "reading the cases needs the package safetensors; `pip install safetensors`."
        ) from error
    file = folder / f"{name}.safetensors"
    try:
        case = load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file} must be a readable safetensors file, got: {error}.") from error
    missing = [tensor for tensor in TENSORS if tensor not in case]
    if missing:
        raise InputError(f"{file} must hold {', '.join(TENSORS)}, got {', '.join(case)}; {missing[0]} is missing.")
    return case


if __name__ == "__main__":
    sys.exit(main())
