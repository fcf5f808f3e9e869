"""`moonseg3r run SOURCE -o OUT`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from moonseg3r_core.cli.common import (
    RAW,
    add_config_options,
    add_topic_options,
    parse_positive,
    parse_topics,
    read_config,
    say_warnings,
)

if TYPE_CHECKING:
    from moonseg3r_core.config import Config
    from moonseg3r_core.report import OutputFolder, Summary
    from moonseg3r_core.sources.source import Recording

_DESCRIPTION = """\
Segment a recording online and write OUT: summary.json, instances.json, map.ply, trajectory.tum,
frames/N.png (uint16 instance ids) and report.html, which opens in any browser.

SOURCE is a video, a folder of images, a folder of a known layout, a rosbag2 (folder, .mcap or .db3), or
synthetic:SEED for a rendered room. Layouts: a ScanNet export (color/ depth/ pose/ intrinsic/ [masks/]), TUM RGB-D,
Replica, 7-Scenes, EuRoC, KITTI, COLMAP, transforms.json and more (docs/recordings.md)."""
_EPILOG = """\
An earlier result in OUT is replaced; a folder that holds anything else is left alone.
Ctrl-C or SIGTERM ends the run after the frame at hand: what was done is written, complete, and the exit status is 130.
Exit status: 0 done, 2 bad usage or input (also: no frame could be used), 130 interrupted."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("run", description=_DESCRIPTION, epilog=_EPILOG, **RAW)
    parser.add_argument("source", metavar="SOURCE", help="the recording")
    parser.add_argument("-o", "--out", metavar="OUT", required=True, help="folder for the results")
    add_config_options(parser)
    parser.add_argument("--stride", type=parse_positive, default=1, metavar="N", help="take every N-th frame (1)")
    parser.add_argument("--max-frames", type=parse_positive, metavar="N", help="take N frames at most (all)")
    add_topic_options(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run_command)


def run_command(args: argparse.Namespace) -> int:
    from moonseg3r_core.cli import INTERRUPTED
    from moonseg3r_core.errors import SourceError
    from moonseg3r_core.report import OutputFolder
    from moonseg3r_core.resolve import usage_hint
    from moonseg3r_core.sources import open_source

    say_warnings()
    config = read_config(args)
    topics = parse_topics(args.topic, args.robot)
    source = open_source(args.source, stride=args.stride, max_frames=args.max_frames, topics=topics, input=config.input)
    out = OutputFolder(args.out)
    summary = segment(source, config, out, quiet=args.quiet)
    print_outcome(summary, out, usage_hint(config, source.name, source.lacks))
    if summary.interrupted:
        return INTERRUPTED
    if not summary.frames:
        raise SourceError(summary.verdict)
    return 0


def segment(source: Recording, config: Config, out: OutputFolder, *, quiet: bool = False) -> Summary:
    """Build the segmenter for config and source, and run it over the source into `out`."""
    from moonseg3r_core.build import build_segmenter, check_config, hash_weights
    from moonseg3r_core.resolve import RecordingFacts, check_recording, resolve
    from moonseg3r_core.run import run

    resolved = resolve(config, RecordingFacts(source.masks_folder))
    check_recording(resolved, source.name, source.lacks, source.absent)
    check_config(resolved)
    out.claim()
    segmenter = build_segmenter(resolved)
    return run(source, segmenter, config, out, weights=hash_weights(resolved), quiet=quiet)


def print_outcome(summary: Summary, out: OutputFolder, hint: str = "") -> None:
    """Print the result in one line, and notices on stderr, input that cannot be right last."""
    from moonseg3r_core.report.summary import IMPLAUSIBLE

    is_implausible = summary.verdict.startswith(IMPLAUSIBLE)
    notices = [
        _describe_counts("skipped", summary.skipped if summary.frames else {}),
        _describe_counts("brought no points", summary.held),
        summary.untrained,
        "interrupted; what was done is written" if summary.interrupted else "",
        summary.verdict if summary.frames and not summary.instances and not is_implausible else "",
    ]
    for notice in filter(None, notices):
        print(f"moonseg3r: {notice}", file=sys.stderr)
    if summary.frames:
        rate = f"{summary.instances} instances from {summary.frames} frames at {summary.fps:.1f} frames/s"
        print(f"{rate}: {out.path / 'report.html'}", flush=True)
    for notice in filter(None, (hint, summary.verdict if is_implausible else "")):
        print(f"moonseg3r: {notice}", file=sys.stderr)


def _describe_counts(what: str, counts: Mapping[str, int]) -> str:
    reasons = "; ".join(f"{reason} ({count}x)" for reason, count in counts.items())
    return f"{sum(counts.values())} frames {what}: {reasons}" if counts else ""
