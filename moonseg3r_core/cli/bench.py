"""`moonseg3r bench`: the benchmarks of this package, and those of the entry points `moonseg3r.bench`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from moonseg3r_core.cli.common import (
    add_config_options,
    add_set_option,
    add_topic_options,
    parse_positive,
    parse_topics,
    read_config,
    say_warnings,
)

HELD_OUT = (500_300, 500_301, 500_302, 500_303)  # rooms that no training or choice of settings has used
MEASURED = {"reconstruction.kind": "rgbd"}  # exact geometry without a net: the other stages are measured
_GIVEN = "Depth and poses are the recording's own unless --set reconstruction.kind names another source of them."


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("bench", description="Measure accuracy and speed; each prints Markdown tables.")
    actions = parser.add_subparsers(title="benchmarks", metavar="BENCHMARK", required=True, dest="benchmark")
    add_accuracy(actions)
    add_ablation(actions)
    add_queries(actions)
    add_reconstruction(actions)
    add_loops(actions)
    add_speed_and_memory(actions)
    for plugin in entry_points(group="moonseg3r.bench"):
        add_plugin(actions, plugin)


def add_plugin(actions: argparse._SubParsersAction, plugin: EntryPoint) -> None:
    """Add a benchmark of another package, imported when it runs: `main(arguments) -> status`."""
    # With a prefix that cannot be typed, options are arguments too; the benchmark has its own --help.
    help = f"what {plugin.module.partition('.')[0]} measures"
    parser = actions.add_parser(plugin.name, help=help, prefix_chars="\0", add_help=False)
    parser.add_argument("arguments", nargs="*")
    parser.set_defaults(run=lambda args: plugin.load()(args.arguments))


def _add(
    actions: argparse._SubParsersAction, run: Callable[[argparse.Namespace], int], help: str, description: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(run.__name__.removeprefix("run_"), help=help, description=description)
    parser.set_defaults(run=run)
    return parser


def _add_recordings(parser: argparse.ArgumentParser, nargs: str, help: str) -> None:
    parser.add_argument("recordings", metavar="FOLDER", nargs=nargs, help=help)


def _add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def add_accuracy(actions: argparse._SubParsersAction) -> None:
    parser = _add(
        actions, run_accuracy, "AP of every fusion on recordings with ground truth",
        f"Fuse the same masks in different ways and score each: protocol project, equal scores. {_GIVEN}",
    )  # fmt: skip
    help = "recordings with depth and poses (ScanNet exports or other known layouts) and gt.npz, or folders of such (their mean); none: two rendered rooms"
    _add_recordings(parser, "*", help)
    help = "those that the recordings bring, those of `regions`, or both (both); own: the whole line with the masks of the configuration"
    parser.add_argument("--masks", choices=("given", "regions", "both", "own"), default="both", help=help)
    _add_quiet(parser)
    add_config_options(parser)


def run_accuracy(args: argparse.Namespace) -> int:
    from tempfile import TemporaryDirectory

    from moonseg3r_core.benchmarks.accuracy import measure_accuracy, render_rooms

    say_warnings()
    config = read_config(args, MEASURED)
    kinds = ("given", "regions") if args.masks == "both" else (args.masks,)
    with TemporaryDirectory() as scratch:
        paths = args.recordings or [render_rooms(scratch)]
        _print_head()
        for masks in kinds:
            for table in measure_accuracy(paths, masks, config, args.quiet):
                print(table, end="\n\n", flush=True)
    return 0


def add_ablation(actions: argparse._SubParsersAction) -> None:
    parser = _add(
        actions, run_ablation, "what each part of the method adds (paper Table 2): trains and scores it",
        "Train the queries of each row on procedural rooms, for several seeds, and score the paper's fusion with them on the "
        "given masks of recordings. Runs are kept in RUNS and not made again.",
    )  # fmt: skip
    help = "ScanNet exports with masks/ and gt.npz, or folders of such; none: held-out rendered rooms"
    _add_recordings(parser, "*", help)
    help = "recipes, as of `moonseg3r train queries`"
    parser.add_argument("--config", metavar="RECIPE", nargs="+", required=True, dest="recipes", help=help)
    parser.add_argument("--runs", metavar="RUNS", required=True, help="folder of the trainings and of their clips")
    parser.add_argument("--seeds", type=parse_positive, default=3, metavar="N", help="trainings of each row (3)")
    parser.add_argument("--epochs", type=parse_positive, metavar="N", help="epochs of each training (the recipe's)")
    parser.add_argument("--plot", type=parse_new_file, metavar="FILE", help="draw it as PNG")
    _add_quiet(parser)
    add_set_option(parser)


def run_ablation(args: argparse.Namespace) -> int:
    from dataclasses import replace
    from tempfile import TemporaryDirectory

    from moonseg3r_core.benchmarks.ablation import make_trainer, measure_ablation, plot_ablation
    from moonseg3r_core.benchmarks.accuracy import render_rooms
    from moonseg3r_core.benchmarks.reconstruction import write
    from moonseg3r_core.settings import parse_set
    from moonseg3r_core.training.common.recipe import read_recipe
    from moonseg3r_core.training.queries.recipe import QueryRecipe

    say_warnings()
    settings, train = parse_set(args.settings), make_trainer(Path(args.runs))
    changed = {"epochs": args.epochs} if args.epochs else {}
    recipes = [replace(read_recipe(QueryRecipe, Path(file)), **changed) for file in args.recipes]
    with TemporaryDirectory() as scratch:
        paths = args.recordings or [render_rooms(scratch, HELD_OUT)]
        _print_head()
        scored = [measure_ablation(paths, recipe, args.seeds, train, settings, args.quiet) for recipe in recipes]
    for each in scored:
        print(each.make_table(), end="\n\n")
    if args.plot:
        write(args.plot, plot_ablation(scored))
    return 0


def add_queries(actions: argparse._SubParsersAction) -> None:
    parser = _add(
        actions, run_queries, "splits that the merge repairs, objects known again, and the refinement's cost",
        "What queries do, part by part. Splits are counted in FOLDER, without one in held-out rendered rooms; "
        f"objects known again always in these, on walks of 480 frames. {_GIVEN}",
    )  # fmt: skip
    _add_recordings(parser, "*", "exports with masks/, instance/ and gt.npz, or folders of such")
    _add_quiet(parser)
    add_config_options(parser)


def run_queries(args: argparse.Namespace) -> int:
    from tempfile import TemporaryDirectory

    from moonseg3r_core.benchmarks.accuracy import render_rooms
    from moonseg3r_core.benchmarks.queries import measure_cost, measure_repairs, measure_returns
    from moonseg3r_core.refinement.learned import QuerySizes

    say_warnings()
    config = read_config(args, MEASURED)
    with TemporaryDirectory() as scratch:
        _print_head()
        paths = args.recordings or [render_rooms(scratch, HELD_OUT)]
        print(measure_repairs(paths, config, args.quiet), end="\n\n", flush=True)
    print(measure_returns(HELD_OUT, config, quiet=args.quiet), end="\n\n", flush=True)
    for width in (128, 256):
        print(measure_cost(QuerySizes(160, 77, width=width, heads=width // 32)), end="\n\n")
    return 0


def add_loops(actions: argparse._SubParsersAction) -> None:
    parser = _add(
        actions, run_loops, "the camera's path, and ids of objects seen again, with and without loops",
        "Walk through rendered rooms and return, from color and intrinsics alone, with masks simulated from exact ones.",
    )  # fmt: skip
    parser.add_argument("seeds", metavar="SEED", type=int, nargs="*", help="rooms (held-out ones)")
    parser.add_argument("--frames", type=parse_positive, default=400, metavar="N", help="of each walk (400)")
    help = "frames out of view after which an object returns (60)"
    parser.add_argument("--away", type=parse_positive, default=60, metavar="N", help=help)
    _add_quiet(parser)
    add_config_options(parser)


def run_loops(args: argparse.Namespace) -> int:
    from moonseg3r_core.benchmarks.loops import measure_loops

    say_warnings()
    config = read_config(args)
    _print_head()
    print(measure_loops(args.seeds or HELD_OUT, config, args.frames, args.away, args.quiet), end="\n\n")
    return 0


def add_reconstruction(actions: argparse._SubParsersAction) -> None:
    parser = _add(
        actions, run_reconstruction, "depth, camera path and cloud against recordings with depth and poses",
        "Compare the configured reconstruction with what the recordings know. It sees images and, as in a run, their "
        "intrinsics; depth and poses if its settings need them.",
    )  # fmt: skip
    _add_recordings(parser, "+", "recordings with depth and poses, folders of such, or synthetic:SEED[:FRAMES]")
    help = "the first N frames of each (all)"
    parser.add_argument("--max-frames", "--window", type=parse_positive, metavar="N", help=help)
    parser.add_argument("--uncalibrated", action="store_true", help="hide the intrinsics: it estimates them")
    parser.add_argument("--json", type=parse_new_file, metavar="FILE", help="write all scores there too")
    help = "draw paths, depth errors and distances as PNG"
    parser.add_argument("--plot", type=parse_new_file, metavar="FILE", help=help)
    add_topic_options(parser)
    _add_quiet(parser)
    add_config_options(parser)


def parse_new_file(text: str) -> Path:
    """Parse a file in an existing folder, for argparse: checked before a long run."""
    if not Path(text).parent.is_dir() or Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"expected a file in a folder that exists, got '{text}'")
    return Path(text)


def run_reconstruction(args: argparse.Namespace) -> int:
    from moonseg3r_core.benchmarks.reconstruction import compare_all, make_table, make_view_table, write, write_rows
    from moonseg3r_core.evaluation.reconstruction_scores import compute_scores

    say_warnings()
    config = read_config(args)
    shown = () if args.uncalibrated else ("intrinsics",)
    topics = parse_topics(args.topic, args.robot)
    compared = compare_all(args.recordings, config, args.max_frames, args.quiet, shown, topics)
    scores = {name: compute_scores(comparison) for name, comparison in compared.items()}
    _print_head()
    print(make_table(scores, config), end="\n\n")
    print(make_view_table(scores))
    if args.json:
        write_rows(args.json, scores, config)
    if args.plot:
        from moonseg3r_core.benchmarks.reconstruction_plot import plot_comparison

        write(args.plot, plot_comparison(compared))
    return 0


def add_speed_and_memory(actions: argparse._SubParsersAction) -> None:
    parser = _add(
        actions, run_speed, "milliseconds per stage and frames/s of step on a recording",
        f"Milliseconds of each stage per frame, and frames/s of `step`. {_GIVEN}",
    )  # fmt: skip
    parser.add_argument("source", metavar="SOURCE", help="a recording, as for `moonseg3r run`")
    parser.add_argument("--max-frames", type=parse_positive, metavar="N", help="take N frames at most (all)")
    add_topic_options(parser)
    add_config_options(parser)
    _add(
        actions, run_memory, "the point rasteriser and the key index map, by size",
        "Milliseconds of the memory's two parts, the point rasteriser and the update of the key index map, by size.",
    )  # fmt: skip
    parser = _add(
        actions, run_endurance, "resident memory and time per frame along a synthetic loop",
        f"Walk the same loop through a rendered room again and again: memory and time must stay flat. {_GIVEN}",
    )  # fmt: skip
    parser.add_argument("--frames", type=parse_positive, default=2000, metavar="N", help="frames in all (2000)")
    add_config_options(parser)
    parser = _add(
        actions, run_cut3r, "the net's speed and memory, weights random; or a long run of a small one",
        "Seconds per frame and memory of CUT3R's net with random weights (none are needed); with --long, whether "
        "they stay flat.",
    )  # fmt: skip
    parser.add_argument(
        "--model", choices=("cut3r-512", "cut3r-224"), default="cut3r-512", help="which net (cut3r-512)"
    )
    parser.add_argument("--rounds", type=parse_positive, default=3, metavar="N", help="frames per case (3)")
    help = "N frames through the room with cut3r-tiny instead"
    parser.add_argument("--long", type=parse_positive, metavar="N", help=help)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")


def run_speed(args: argparse.Namespace) -> int:
    from moonseg3r_core.benchmarks.speed import measure_speed

    say_warnings()
    _print_head()
    topics = parse_topics(args.topic, args.robot)
    print(measure_speed(args.source, read_config(args, MEASURED), args.max_frames, topics))
    return 0


def run_memory(args: argparse.Namespace) -> int:
    from moonseg3r_core.benchmarks.memory import main

    _print_head()
    return main()


def run_endurance(args: argparse.Namespace) -> int:
    from moonseg3r_core.benchmarks.speed import measure_endurance

    _print_head()
    print(measure_endurance(read_config(args, MEASURED), args.frames))
    return 0


def run_cut3r(args: argparse.Namespace) -> int:
    from moonseg3r_core.benchmarks.cut3r import measure_long_run, measure_speed
    from moonseg3r_core.resolve import choose_device

    device = choose_device(args.device)
    _print_head()
    print(measure_long_run(args.long, device) if args.long else measure_speed(args.model, args.rounds, device))
    return 0


def _print_head() -> None:
    from datetime import date

    from moonseg3r_core.benchmarks.table import describe_machine

    print(f"{date.today()}: {describe_machine()}\n")
