"""Whether the context recalled is the right one: of what a cell recalls, the share that is of the object seen there.

    python tools/context_purity.py --rooms 500000 500001 500002 --set reconstruction.kind=rgbd memory.index.merge_distance=0.3

Clips of 16 frames in held-out procedural rooms, masks as a mask model's. Also the share of the cells that recall anything, and of masks
of an object seen before that have a query of it recalled.
"""

from __future__ import annotations

import argparse

import torch

from moonseg3r_core.config import load_config, parse_set
from moonseg3r_core.training.queries.clips import QueryBatch, make_batch, make_query_clip
from moonseg3r_core.training.queries.frozen_models import FrozenModels
from moonseg3r_core.training.queries.scenes import RoomScene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", nargs="+", type=int, default=[500000, 500001, 500002], help="seeds of rooms")
    parser.add_argument("--frames", type=int, default=16, help="frames of each clip")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings")
    args = parser.parse_args()
    models = FrozenModels(load_config(overrides=parse_set(args.set)), torch.device("cpu"))
    clips = [make_query_clip(RoomScene(seed).read_window(0, args.frames, 1), models) for seed in args.rooms]
    rows = torch.tensor([purity(make_batch([clip])) for clip in clips if clip is not None])
    words = ("of the object seen there", "of cells recall anything", "of masks seen before recall their object")
    print("   ".join(f"{100 * share:.1f} % {word}" for share, word in zip(rows.mean(0).tolist(), words, strict=True)))


def purity(batch: QueryBatch) -> tuple[float, float, float]:
    """The three shares of one clip."""
    owners, shares, context = batch.owners[0].long(), batch.shares[0], batch.context[0]
    most, mask = shares.max(1)
    seen_there = owners.gather(1, mask)
    counted = (most > 0.5) & (seen_there > 0) & (batch.seen[0] > 0.25)
    same = (context * (owners.flatten() == seen_there[..., None])).sum(-1) / context.sum(-1).clamp(min=1e-6)
    recalled = [
        bool(((owners.flatten() == owner) & batch.known[0, t]).any())
        for t, row in enumerate(owners)
        for owner in row[row > 0]
        if (owners[:t] == owner).any()
    ]
    return float(same[counted].mean()), float(batch.seen[0, 1:].mean()), sum(recalled) / max(len(recalled), 1)


if __name__ == "__main__":
    main()
