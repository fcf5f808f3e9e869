"""Benchmarks of the memory: what a raster, an update and a recall cost, as tables of measured rows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.benchmarks.table import Row, Table
from moonseg3r_core.memory.index_map import QueryIndexMap
from moonseg3r_core.memory.rasterizer import rasterize


def main(repeats: int = 21) -> int:
    """Print both tables."""
    print(rasterizer_table(repeats=repeats))
    print()
    print(memory_table(repeats=repeats))
    return 0


def rasterizer_table(
    points: int = 10_000, height: int = 384, width: int = 512, repeats: int = 21, device: str = "cpu"
) -> Table:
    """Milliseconds of one raster for several radii; `memory`: half of 0.3 m at each point's depth, at most 12 px."""
    cloud, k = _cloud(points, height, width)
    radii: dict[str, Tensor | float] = {str(r): float(r) for r in (1, 3, 5, 8, 12)}
    radii["memory"] = (k[0, 0] * 0.15 / cloud[:, 2]).clamp(max=12.0).to(device)
    cloud, k = cloud.to(device), k.to(device)

    def run(radius: Tensor | float) -> int:
        return int(rasterize(cloud, k, height, width, radius).index.max())  # the read waits for the device

    rows: list[Row] = [
        {"radius_px": name, **_milliseconds(partial(partial, run, r), repeats)} for name, r in radii.items()
    ]
    where = f"{points} points at {width}x{height}, {device}, {torch.get_num_threads()} threads"
    return Table(f"rasterizer: {where}", rows)


def memory_table(new_keys: int = 500, stored: tuple[int, ...] = (1_000, 10_000, 100_000), repeats: int = 21) -> Table:
    """Milliseconds of one update of the key index map, by the keys stored before, each in a fresh map without a limit;
    and of one in a map that is full to its limit and stays so.
    """
    rows: list[Row] = []
    for update in ("paper", "grid"):
        base = 0.0
        for keys in stored:
            row = _milliseconds(_stored_map(update, keys, new_keys), repeats)
            base = base or row["median_ms"]
            rows.append({"update": update, "stored": keys, "limit": "none", **row, "ratio": row["median_ms"] / base})
        row = _milliseconds(_stored_map(update, stored[-1], new_keys, stored[-1]), repeats)
        rows.append(
            {"update": update, "stored": stored[-1], "limit": stored[-1], **row, "ratio": row["median_ms"] / base}
        )
    return Table(f"update of the key index map with {new_keys} new keys", rows)


def _stored_map(update: str, stored: int, new_keys: int, limit: int = 0) -> Callable[[], Callable[[], None]]:
    """Prepares one update: a map of `stored` keys on a floor, 20 per square metre, and a view of 3 x 3 m of it. With a
    limit the map is the same one every time.
    """
    generator = np.random.default_rng(0)
    side = (stored / 20) ** 0.5
    floor = generator.uniform(0, side, (stored, 3)) * (1, 1, 0)
    state = {
        "slots": torch.arange(stored),
        "free": torch.zeros(0, dtype=torch.int64),
        "positions": torch.from_numpy(floor.astype(np.float32)),
        "seen": torch.zeros(stored, dtype=torch.int64),
        "offsets": torch.zeros(stored + 1, dtype=torch.int64),
        "members": torch.zeros(0, dtype=torch.int64),
    }

    def fresh() -> QueryIndexMap:
        index = QueryIndexMap(0.3, update, queries_per_key=32, max_keys=limit)
        index.load_state_dict(state)
        return index

    full = fresh()

    def prepare() -> Callable[[], None]:
        index = full if limit else fresh()
        corner = generator.uniform(0, side - 3, 3) * (1, 1, 0)
        seen = (corner + generator.uniform(0, 3, (new_keys, 3)) * (1, 1, 0.02)).astype(np.float32)
        return partial(index.update, seen, generator.integers(0, 10, new_keys))

    return prepare


def _cloud(points: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Camera points (N, 3) 0.7 to 5.7 m deep, spread evenly over the image, and the intrinsics."""
    generator = torch.Generator().manual_seed(0)
    k = torch.tensor([[420.0, 0, (width - 1) / 2], [0, 420.0, (height - 1) / 2], [0, 0, 1]])
    u, v, z = torch.rand(3, points, generator=generator)
    z = 0.7 + 5 * z
    return torch.stack(((u * width - k[0, 2]) / 420 * z, (v * height - k[1, 2]) / 420 * z, z), dim=1), k


def _milliseconds(prepare: Callable[[], Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median and best time of `repeats` runs after three that warm up; what prepares a run is not counted."""
    times = []
    for _ in range(repeats + 3):
        run = prepare()
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    return {"median_ms": statistics.median(times[3:]), "best_ms": min(times[3:])}


if __name__ == "__main__":
    raise SystemExit(main())
