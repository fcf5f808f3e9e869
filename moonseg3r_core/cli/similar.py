"""`moonseg3r similar OUT ID`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from moonseg3r_core.cli.common import RAW, parse_positive

if TYPE_CHECKING:
    from moonseg3r_core.report.similar import SimilarInstance

_DESCRIPTION = """\
List the instances of a result (OUT) that look most like one of them: by the cosine of their descriptors in
OUT/instances.json, best first. All are compared, also those that report.html leaves out for being seen seldom."""
_COLUMNS = ("centroid", "points", "observations")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("similar", description=_DESCRIPTION, **RAW)
    parser.add_argument("out", metavar="OUT", help="folder that `moonseg3r run -o` wrote")
    parser.add_argument("id", metavar="ID", type=parse_positive, help="the instance that the others are compared with")
    parser.add_argument("--top", metavar="N", type=parse_positive, default=10, help="how many to list (10)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run_similar)


def run_similar(args: argparse.Namespace) -> int:
    from moonseg3r_core.report import OutputFolder
    from moonseg3r_core.report.similar import find_similar

    found = find_similar(OutputFolder(args.out), args.id, args.top)
    print(format_json(args.id, found) if args.json else format_table(found))
    return 0


def format_json(id: int, found: Sequence[SimilarInstance]) -> str:
    """Format the given id and a row for each similar instance as JSON."""
    rows = [
        {"id": i.id, "similarity": round(similarity, 4)} | {name: getattr(i, name) for name in _COLUMNS}
        for i, similarity in found
    ]
    return json.dumps({"id": id, "similar": rows}, indent=2)


def format_table(found: Sequence[SimilarInstance]) -> str:
    """Format a line for each under a header; the header alone where there is nothing to compare."""
    rows: list[tuple[object, ...]] = [("id", "similarity", *_COLUMNS)]
    for instance, similarity in found:
        centroid = " ".join(f"{value:.2f}" for value in instance.centroid)
        rows.append((instance.id, f"{similarity:.3f}", centroid, instance.points, instance.observations))
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:>{n}}" for cell, n in zip(row, widths, strict=True)) for row in rows)
