"""Score a reconstruction on recordings with depth and poses; make a table and a JSON file."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path

from tqdm import tqdm

from moonseg3r_core.benchmarks.table import Row, Table, describe_machine
from moonseg3r_core.build import hash_weights, make_stage
from moonseg3r_core.config import Config
from moonseg3r_core.errors import SourceError
from moonseg3r_core.evaluation.reconstruction_comparison import Comparison
from moonseg3r_core.evaluation.reconstruction_scores import ReconstructionScores, average_scores, compare
from moonseg3r_core.io.atomic import explain_write_errors
from moonseg3r_core.resolve import required_inputs, resolve
from moonseg3r_core.settings import overlay
from moonseg3r_core.sources import Topics, open_source
from moonseg3r_core.sources.layouts import find_layout
from moonseg3r_core.sources.names import make_natural_key


def compare_all(
    specs: Sequence[str], config: Config, max_frames: int | None = None, quiet: bool = False,
    shown: Collection[str] = ("intrinsics",), topics: Topics | None = None,
) -> dict[str, Comparison]:  # fmt: skip
    """Run the configured reconstruction on every sequence and compare it with the truth, by the sequence's name.

    specs: ScanNet exports, folders of them, or other recordings with depth, intrinsics and poses; `max_frames` of each
    at most; `topics` are for bags. The reconstruction gets its required inputs and those in `shown`.
    Raises SourceError without truth.
    """
    sources = [
        open_source(path, max_frames=max_frames, topics=topics, input=config.input)
        for spec in specs
        for path in find_sequences(spec)
    ]
    for source in sources:
        if source.lacks:
            raise SourceError(
                f"{source.name} must bring depth, intrinsics and poses to compare with, got no "
                f"{' and no '.join(source.lacks)}; give a ScanNet export with all of them, or synthetic:SEED."
            )
    config = resolve(config)
    reconstruction, inputs = make_stage("reconstruction", config), {*required_inputs(config), *shown}
    compared = {}
    for source in sources:
        frames = tqdm(source, desc=Path(source.name).name, total=source.length, unit="frame", disable=quiet)
        compared[source.name] = compare(reconstruction, (frame.to(config.device) for frame in frames), inputs)
    return compared


def find_sequences(spec: str) -> list[str]:
    """Find the recordings of known layouts in the folder `spec`; `spec` itself when it is one or has none."""
    if not Path(spec).is_dir() or find_layout(Path(spec)):
        return [spec]
    found = [folder for folder in Path(spec).iterdir() if folder.is_dir() and find_layout(folder)]
    return [str(folder) for folder in sorted(found, key=lambda folder: make_natural_key(folder.name))] or [spec]


def make_table(scores: Mapping[str, ReconstructionScores], config: Config) -> Table:
    """Make a table with a row for each sequence, and the mean of several."""
    rows = _make_rows(scores, _make_row)
    title = (
        f"reconstruction.kind={config.reconstruction.kind}: depth after one scale per sequence, camera and cloud after "
        "similarity alignment; constant: best constant depth; still: a camera that never moves; accuracy and "
        "completeness: median / mean"
    )
    return Table(title, rows, 3)


def make_view_table(scores: Mapping[str, ReconstructionScores]) -> Table:
    """Make a table of what holds between views, with the rows of `make_table`."""
    title = (
        "Frames lost, and ATE of the others as given out and as corrected at the end; pairs of views about 0.1 x depth "
        "apart: medians of rotation and translation errors, and disagreement of the depths of one surface"
    )
    return Table(title, _make_rows(scores, _make_view_row), 3)


def write_rows(file: Path, scores: Mapping[str, ReconstructionScores], config: Config) -> None:
    """Write all scores as JSON, null for none. Raises OutputError when the file cannot be written."""
    rows = {"sequences": [{"sequence": name, **_convert_scores(one)} for name, one in scores.items()]}
    mean = {"mean": _convert_scores(average_scores(list(scores.values())))}
    made = {
        "reconstruction": asdict(config.reconstruction),
        "weights": hash_weights(resolve(overlay(config, {"masks.kind": "regions"}))),  # no masks are needed
        "machine": describe_machine(),
    }
    write(file, json.dumps(made | rows | mean, indent=2).encode())


def write(file: Path, data: bytes) -> None:
    """Write a file. Raises OutputError when it cannot be written."""
    with explain_write_errors(file):
        file.write_bytes(data)


def _make_rows(
    scores: Mapping[str, ReconstructionScores], make_row: Callable[[str, ReconstructionScores], Row]
) -> list[Row]:
    rows = [make_row(Path(name).name, one) for name, one in scores.items()]
    return rows if len(rows) == 1 else [*rows, make_row("mean", average_scores(list(scores.values())))]


def _make_row(name: str, s: ReconstructionScores) -> Row:
    return {
        "sequence": name,
        "frames": f"{s.frames:g}", "held": f"{s.held:.3g}", "rejected": f"{s.rejected:.3g}",
        "coverage %": f"{100 * s.coverage:.1f}", "abs-rel": s.abs_rel, "constant": s.constant, "δ<1.25": s.delta,
        "ATE m": s.ate, "ATE %": f"{100 * s.ate_share:.1f}", "still m": s.still_ate,
        "RPE m": s.rpe, "RPE %": f"{100 * s.rpe_share:.0f}", "RPE °": f"{s.rpe_degrees:.2f}",
        "accuracy m": f"{s.accuracy:.3f} / {s.accuracy_mean:.3f}",
        "completeness m": f"{s.completeness:.3f} / {s.completeness_mean:.3f}",
        "F 5 cm": s.f_score, "fps": f"{1e3 / s.ms:.1f}",
    }  # fmt: skip


def _make_view_row(name: str, s: ReconstructionScores) -> Row:
    return {
        "sequence": name,
        "lost %": f"{100 * s.lost:.1f}", "ATE %": f"{100 * s.tracked_ate_share:.2f}",
        "corrected ATE %": f"{100 * s.closed_ate_share:.2f}", "median error": s.median_error, "pairs": f"{s.pairs:.0f}",
        "pair °": f"{s.pair_degrees:.2f}", "pair %": f"{100 * s.pair_shift:.1f}",
        "disagreement %": f"{100 * s.disagreement:.1f}", "mean ms": f"{s.ms_mean:.0f}",
    }  # fmt: skip


def _convert_scores(scores: ReconstructionScores) -> dict[str, float | None]:
    """Convert scores to numbers of JSON, null for none."""
    shares = ("ate_share", "rpe_share", "lost", "tracked_ate_share", "closed_ate_share")
    values = asdict(scores) | {name: getattr(scores, name) for name in shares}
    return {name: value if isfinite(value) else None for name, value in values.items()}
