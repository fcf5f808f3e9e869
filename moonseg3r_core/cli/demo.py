"""`moonseg3r demo`: segment a rendered room and score the result against the ground truth."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moonseg3r_core.cli.common import say_warnings

if TYPE_CHECKING:
    from moonseg3r_core.evaluation.ap_report import Report
    from moonseg3r_core.report import Summary

_DESCRIPTION = """\
Render a furnished room and segment it from its color images alone, with the net that comes with the package. One run
takes masks that another small net finds, one takes the room's own masks with the noise of a mask model. A third run
takes exact depth and poses, for comparison. Each is scored against the truth and reported. No network, no GPU."""
_MARK = ".moonseg3r-demo"


@dataclass(frozen=True)
class Run:
    """One way to segment the room: output folder, description, settings."""

    folder: str
    words: str
    settings: Mapping[str, Any]


RUNS = (
    Run("nano", "color alone", {"reconstruction.kind": "nano", "masks.kind": "nano"}),
    Run("nano-masks", "color and noisy masks", {"reconstruction.kind": "nano", "masks.kind": "precomputed"}),
    Run("rgbd", "color, depth and poses", {"reconstruction.kind": "rgbd", "masks.kind": "nano"}),
)


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("demo", description=_DESCRIPTION)
    parser.add_argument("-o", "--out", metavar="OUT", default="out/demo", help="folder for room and results (out/demo)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="which room (0)")
    parser.add_argument("--frames", type=int, default=80, metavar="N", help="frames of the walk through it (80)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.set_defaults(run=run_demo)


def run_demo(args: argparse.Namespace) -> int:
    from moonseg3r_core.cli import INTERRUPTED

    say_warnings()
    out = Path(args.out)
    scene = render(claim(out) / "scene", args.seed, args.frames, args.quiet)
    rows = []
    for number, run in enumerate(RUNS, start=2):
        _print_progress(f"{number}/{len(RUNS) + 1} segmenting {run.words}")
        summary, report = segment_and_score(scene, out / run.folder, run.settings, args.quiet)
        if summary.interrupted:
            return INTERRUPTED
        rows.append(_format_row(run.words, summary, report, compute_camera_error(scene, out / run.folder)))
    print(f"{'':<26}{'AP':>7}{'AP50':>7}{'AP25':>7}{'camera m':>10}{'instances':>11}{'frames/s':>10}")
    print("\n".join(rows))
    print("AP: class-agnostic, protocol project, equal scores, without structure (floor, walls, ceiling)")
    print("camera: RMS distance of its path from the true one after similarity alignment")
    print("Open in a browser: " + "  ".join(str(out / run.folder / "report.html") for run in RUNS))
    return 0


def claim(out: Path) -> Path:
    """Claim the folder and remove an earlier demo. Raises OutputError for a folder with other contents."""
    from moonseg3r_core.io.atomic import explain_write_errors
    from moonseg3r_core.report import OutputFolder

    if (out / _MARK).exists():
        for name in ("scene", *(run.folder for run in RUNS)):
            shutil.rmtree(out / name, ignore_errors=True)
    else:
        OutputFolder(out).claim()
    with explain_write_errors(out, "choose another folder with -o"):
        (out / _MARK).write_bytes(b"")
    return out


def render(folder: Path, seed: int, frames: int, quiet: bool) -> Path:
    """Render the room of a seed as a ScanNet export with noisy masks and ground truth."""
    from tqdm import tqdm

    from moonseg3r_core.synthetic import SyntheticSequence, write_scannet

    _print_progress(f"1/{len(RUNS) + 1} rendering {frames} frames of a room")
    sequence = SyntheticSequence(seed, frames)
    with tqdm(total=frames, unit="frame", disable=quiet, mininterval=0.1 if sys.stderr.isatty() else 10) as bar:
        return write_scannet(folder, sequence, progress=lambda done, _: bar.update(done - bar.n))


def segment_and_score(scene: Path, out: Path, settings: Mapping[str, Any], quiet: bool) -> tuple[Summary, Report]:
    """Segment the room once and score the result."""
    from moonseg3r_core.cli.run import segment
    from moonseg3r_core.config import load_config
    from moonseg3r_core.evaluation.evaluate import evaluate
    from moonseg3r_core.report import OutputFolder
    from moonseg3r_core.sources import open_source

    config = load_config(overrides=settings)
    summary = segment(open_source(str(scene)), config, OutputFolder(out), quiet=quiet)
    return summary, evaluate(out, scene)


def compute_camera_error(scene: Path, out: Path) -> float:
    """Compute the absolute trajectory error in metres after similarity alignment."""
    import numpy as np
    import torch

    from moonseg3r_core.evaluation.metrics.reconstruction import align_poses, compute_ate
    from moonseg3r_core.io.tum import read_tum
    from moonseg3r_core.report import OutputFolder

    numbers = OutputFolder(out).list_frames()
    true = torch.from_numpy(np.stack([np.loadtxt(scene / "pose" / f"{number}.txt") for number in numbers]))
    return compute_ate(align_poses(read_tum(out / "trajectory.tum")[1], true), true)


def _format_row(words: str, summary: Summary, report: Report, error: float) -> str:
    scores = report.get_row(structure=False).pooled
    aps = "".join(f"{ap:>7.3f}" for ap in (scores.ap, scores.ap50, scores.ap25))
    return f"{words:<26}{aps}{error:>10.3f}{summary.instances:>11}{summary.fps:>10.1f}"


def _print_progress(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
