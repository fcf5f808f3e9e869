"""`moonseg3r evaluate OUT GROUND_TRUTH`."""

from __future__ import annotations

import argparse
import json

from moonseg3r_core.cli.common import RAW

_DESCRIPTION = """\
Score the result of a run (OUT) against ground truth: a ScanNet export with gt.npz (points, instance_ids and, where
known, structure_ids), or that gt.npz. Class-agnostic AP, AP50 and AP25 as ScanNet's evaluator defines them, with and
without structure, with all scores equal and with the instances' own. Several scenes: --scene OUT GROUND_TRUTH for
each; they are pooled, and the mean of the scenes stands beside it."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("evaluate", description=_DESCRIPTION, **RAW)
    parser.add_argument("out", metavar="OUT", nargs="?", help="folder that `moonseg3r run -o` wrote")
    parser.add_argument(
        "ground_truth",
        metavar="GROUND_TRUTH",
        nargs="?",
        help="ScanNet export, or recording of another known layout, with gt.npz",
    )
    parser.add_argument(
        "--scene", metavar=("OUT", "GROUND_TRUTH"), nargs=2, action="append", default=[], help="one more pair"
    )
    parser.add_argument(
        "--protocol", default="project",
        help="project (default): the id images, carried by the recording's own depth and poses; "
        "nearest: the map itself, aligned by its trajectory",
    )  # fmt: skip
    parser.add_argument(
        "--distance", type=float, default=0.05, metavar="METRES",
        help="how far a frame's depth (project) or a map point (nearest) may be from a point that takes its id (0.05)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run_evaluate)


def run_evaluate(args: argparse.Namespace) -> int:
    from moonseg3r_core.errors import InputError
    from moonseg3r_core.evaluation.evaluate import evaluate_scenes

    if (args.out is None) != (args.ground_truth is None) or not (args.out or args.scene):
        raise InputError("evaluate expects OUT and GROUND_TRUTH, or --scene OUT GROUND_TRUTH for each scene.")
    first = [(args.out, args.ground_truth)] if args.out else []
    report = evaluate_scenes([*first, *args.scene], args.protocol, args.distance)
    print(json.dumps(report.to_dict(), indent=2) if args.json else report)
    return 0
