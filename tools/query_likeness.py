"""Measure the similarity of queries of different instances: medians and deciles of the cosines of all pairs.

python tools/query_likeness.py SOURCE [--max-frames N] [--set KEY=VALUE ...]
"""

from __future__ import annotations

import argparse

import torch

from moonseg3r_core.build import build_segmenter
from moonseg3r_core.config import load_config
from moonseg3r_core.geometry import cosine_similarity
from moonseg3r_core.runtime.state import sub_state
from moonseg3r_core.settings import parse_set
from moonseg3r_core.sources import open_source


def main() -> None:
    """Print the cosines of all pairs of instances, of queries and of state tokens, after a recording."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a recording, as for `moonseg3r run`")
    parser.add_argument("--max-frames", type=int, help="the first N frames (all)")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings")
    args = parser.parse_args()
    source = open_source(args.source, max_frames=args.max_frames)
    config = load_config(overrides=parse_set(args.set))
    segmenter = build_segmenter(config, masks_folder=source.masks_folder)
    for frame in source:
        segmenter.step(frame)
    instances = sub_state(segmenter.state_dict(), "store.instances")
    for name in ("features", "state_tokens") if "state_tokens" in instances else ("features",):
        values = instances[name]
        apart = ~torch.eye(len(values), dtype=torch.bool)
        low, middle, high = cosine_similarity(values, values)[apart].quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
        print(f"{name}: median {middle:.2f}, deciles {low:.2f} and {high:.2f}, {len(values)} instances")


if __name__ == "__main__":
    main()
