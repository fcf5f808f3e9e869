"""Score fusion settings on held-out procedural rooms, to choose the defaults of a reconstruction.

    python tools/choose_fusion.py --rooms 500100 500104 --set masks.kind=precomputed -- fusion.match_threshold=1.5,fusion.parts=new ...

Each variant has a line: AP, AP50 (as of `moonseg3r evaluate`) and instances of each room, then the means. The rooms have
held-out seeds of training, which no test uses.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from moonseg3r_core.cli.run import segment
from moonseg3r_core.config import load_config
from moonseg3r_core.evaluation.evaluate import evaluate
from moonseg3r_core.report import OutputFolder
from moonseg3r_core.settings import parse_set
from moonseg3r_core.sources import open_source
from moonseg3r_core.synthetic import SyntheticSequence, write_scannet


def main() -> None:
    """Print the scores of each variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", nargs="+", type=int, default=[500100, 500104], help="seeds of held-out rooms")
    parser.add_argument("--frames", type=int, default=64, help="frames of each room")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of every variant")
    parser.add_argument("variants", nargs="+", help="KEY=VALUE,KEY=VALUE of each; 'default' for none")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.rooms:
            write_scannet(Path(folder) / str(seed), SyntheticSequence(seed, args.frames))
        for number, variant in enumerate(args.variants):
            own = [] if variant == "default" else variant.split(",")
            config = load_config(overrides=parse_set([*args.set, *own]))
            rows = []
            for seed in args.rooms:
                room, out = Path(folder) / str(seed), Path(folder) / f"out_{number}_{seed}"
                summary = segment(open_source(str(room)), config, OutputFolder(out), quiet=True)
                pooled = evaluate(out, room).get_row(structure=False).pooled
                rows.append((pooled.ap, pooled.ap50, summary.instances))
            scores = "   ".join(f"{ap:.3f} {ap50:.3f} {count:4d}" for ap, ap50, count in rows)
            mean, mean50 = (sum(row[i] for row in rows) / len(rows) for i in (0, 1))
            print(f"{variant:70s} {scores}   mean {mean:.3f} {mean50:.3f}", flush=True)


if __name__ == "__main__":
    main()
