"""Measure the time of the memory's rasterizer and of updates of its key index map."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from moonseg3r_core.benchmarks.table import Row, Table
from moonseg3r_core.memory.index_map import QueryIndexMap
from moonseg3r_core.memory.rasterizer import rasterize


def main(repeats: int = 21) -> int:
    """Print both tables."""
    print(measure_rasterizer(repeats=repeats))
    print()
    print(measure_updates(repeats=repeats))
    return 0


def measure_rasterizer(
    points: int = 10_000, height: int = 384, width: int = 512, repeats: int = 21, device: str = "cpu"
) -> Table:
    """Measure the rasterizer for several radii; `memory`: half of 0.3 m at each point's depth, at most 12 px."""
    cloud, k = _make_cloud(points, height, width)
    radii: dict[str, Tensor | float] = {str(r): float(r) for r in (1, 3, 5, 8, 12)}
    radii["memory"] = (k[0, 0] * 0.15 / cloud[:, 2]).clamp(max=12.0).to(device)
    cloud, k = cloud.to(device), k.to(device)

    def run(radius: Tensor | float) -> int:
        return int(rasterize(cloud, k, height, width, radius).index.max())  # the read waits for the device

    rows: list[Row] = []
    for name, radius in radii.items():
        median, best = measure_ms(partial(partial, run, radius), repeats)
        rows.append({"radius_px": name, "median_ms": median, "best_ms": best})
    where = f"{points} points at {width}x{height}, {device}, {torch.get_num_threads()} threads"
    return Table(f"rasterizer: {where}", rows)


def measure_updates(new_keys: int = 500, stored: Sequence[int] = (1_000, 10_000, 100_000), repeats: int = 21) -> Table:
    """Measure updates of key index maps by the number of stored keys: of new maps without a limit, and of a full map."""
    rows: list[Row] = []
    for update in ("paper", "grid"):
        base = 0.0
        for keys, limit in [*((keys, 0) for keys in stored), (stored[-1], stored[-1])]:
            median, best = measure_ms(_make_updates(update, keys, new_keys, limit), repeats)
            base = base or median
            rows.append({
                "update": update, "stored": keys, "limit": limit or "none", "median_ms": median, "best_ms": best,
                "ratio": median / base,
            })  # fmt: skip
    return Table(f"update of the key index map with {new_keys} new keys", rows)


def _make_updates(update: str, stored: int, new_keys: int, limit: int) -> Callable[[], Callable[[], None]]:
    """Make a function that prepares an update of `stored` keys on a floor, 20 a square metre, by a view of 3 x 3 m.

    With a limit every update is of the same map.
    """
    generator = np.random.default_rng(0)
    side = (stored / 20) ** 0.5
    floor = generator.uniform(0, side, (stored, 3)) * (1, 1, 0)
    sizes = {"free": 0, "seen": stored, "offsets": stored + 1, "members": 0}
    state = {
        "slots": torch.arange(stored),
        "positions": torch.from_numpy(floor.astype(np.float32)),
        **{name: torch.zeros(size, dtype=torch.int64) for name, size in sizes.items()},
    }

    def make_index() -> QueryIndexMap:
        index = QueryIndexMap(0.3, update, queries_per_key=32, max_keys=limit)
        index.load_state_dict(state)
        return index

    full = make_index()

    def prepare() -> Callable[[], None]:
        index = full if limit else make_index()
        corner = generator.uniform(0, side - 3, 3) * (1, 1, 0)
        seen = (corner + generator.uniform(0, 3, (new_keys, 3)) * (1, 1, 0.02)).astype(np.float32)
        return partial(index.update, seen, generator.integers(0, 10, new_keys))

    return prepare


def _make_cloud(points: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Make camera points (N, 3) 0.7 to 5.7 m deep, spread evenly over the image, and the intrinsics."""
    generator = torch.Generator().manual_seed(0)
    k = torch.tensor([[420.0, 0, (width - 1) / 2], [0, 420.0, (height - 1) / 2], [0, 0, 1]])
    u, v, z = torch.rand(3, points, generator=generator)
    z = 0.7 + 5 * z
    return torch.stack(((u * width - k[0, 2]) / 420 * z, (v * height - k[1, 2]) / 420 * z, z), dim=1), k


def measure_ms(prepare: Callable[[], Callable[[], object]], repeats: int) -> tuple[float, float]:
    """Measure the median and best time of `repeats` runs after three for warm-up, without their preparation."""
    times = []
    for _ in range(repeats + 3):
        run = prepare()
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[3:]), min(times[3:])
