"""Measure the purity of recalled context: the share of a cell's recalled queries that are of the object visible there.

    python tools/context_purity.py --rooms 500000 500001 500002 --set reconstruction.kind=rgbd memory.index.merge_distance=0.3

Clips have 16 frames of held-out procedural rooms with simulated masks. It also prints the share of cells that recall
anything, and the share of masks of known objects whose object is recalled.
"""

from __future__ import annotations

import argparse

import torch

from moonseg3r_core.config import load_config
from moonseg3r_core.settings import parse_set
from moonseg3r_core.training.queries.clips import QueryBatch, make_batch, make_query_clip
from moonseg3r_core.training.queries.frozen_models import FrozenModels
from moonseg3r_core.training.queries.scenes import RoomScene


def main() -> None:
    """Print the mean shares of the clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", nargs="+", type=int, default=[500000, 500001, 500002], help="seeds of rooms")
    parser.add_argument("--frames", type=int, default=16, help="frames of each clip")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings")
    args = parser.parse_args()
    models = FrozenModels(load_config(overrides=parse_set(args.set)), torch.device("cpu"))
    clips = [make_query_clip(RoomScene(seed).read_window(0, args.frames, 1), models) for seed in args.rooms]
    rows = torch.tensor([compute_purity(make_batch([clip])) for clip in clips if clip is not None])
    words = ("of the object seen there", "of cells recall anything", "of masks seen before recall their object")
    print("   ".join(f"{100 * share:.1f} % {word}" for share, word in zip(rows.mean(0).tolist(), words, strict=True)))


def compute_purity(batch: QueryBatch) -> tuple[float, float, float]:
    """Compute the three shares of one clip."""
    owners, shares, context = batch.owners[0].long(), batch.shares[0], batch.context[0]
    most, mask = shares.max(1)
    visible = owners.gather(1, mask)
    counted = (most > 0.5) & (visible > 0) & (batch.seen[0] > 0.25)
    same = (context * (owners.flatten() == visible[..., None])).sum(-1) / context.sum(-1).clamp(min=1e-6)
    recalled = [
        bool(((owners.flatten() == owner) & batch.known[0, t]).any())
        for t, row in enumerate(owners)
        for owner in row[row > 0]
        if (owners[:t] == owner).any()
    ]
    return float(same[counted].mean()), float(batch.seen[0, 1:].mean()), sum(recalled) / max(len(recalled), 1)


if __name__ == "__main__":
    main()
