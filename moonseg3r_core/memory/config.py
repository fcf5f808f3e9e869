"""The configuration of the memory stage: its kinds, and the settings of each."""

from __future__ import annotations

from dataclasses import dataclass

from moonseg3r_core.settings import Kind, live, section, value

KINDS = {
    "index": Kind("moonseg3r_core.memory.memory:IndexMemory"),
    "none": Kind("moonseg3r_core.memory.memory:NoMemory"),
}


@dataclass(frozen=True)
class IndexMemoryConfig:
    cell: int = value(
        0, "pixels along a cell's edge; each cell gives one spatial key; 0: 40 cells from left to right", low=0
    )
    merge_distance: float = value(0.1, "keys nearer than this are merged (delta; paper: 0.3), metres", low=1e-3)
    update: str = live(
        "paper", "paper: as the supplement words it; grid: also one new key per cell", choices=("paper", "grid")
    )
    occlusion: str = live(
        "depth",
        "depth: keys behind what is seen now are hidden; nearest: only behind other keys",
        choices=("depth", "nearest"),
    )
    rasterizer: str = live("torch", "point rasteriser", choices=("torch", "pytorch3d"))
    max_radius: float = live(12.0, "cap of a key's radius in the index map, pixels", low=0.5)
    stride: int = live(4, "pixels along the edge of a sample of the index map; 1: every pixel by itself", low=1)
    max_recalled: int = live(512, "queries recalled at most, the most seen first", low=1)
    queries_per_key: int = live(32, "newest queries kept per key; 0: all", low=0)
    max_queries: int = live(16384, "queries kept in the bank, the newest; 0: all, as in the paper", low=0)
    max_keys: int = live(65536, "spatial keys kept, the newest seen; 0: all, as in the paper", low=0)


@dataclass(frozen=True)
class MemoryConfig:
    kind: str = value("index", "index: the query index memory; none: nothing is recalled", choices=tuple(KINDS))
    index: IndexMemoryConfig = section(IndexMemoryConfig)
