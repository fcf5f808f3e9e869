"""`moonseg3r train reconstruction|depth|masks|queries`: train a net, or go on with its training."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from moonseg3r_core.cli.common import say_warnings

if TYPE_CHECKING:
    from moonseg3r_core.training.common.recipe import BaseRecipe

_DESCRIPTION = """\
Train a small CUT3R on procedural rooms that are rendered as they are needed; nothing is downloaded or stored. OUT gets
weights.safetensors (the mean of the latest weights, for reconstruction.nano.weights), last.ckpt, steps.csv and heldout.csv.
The same command goes on from OUT's last checkpoint. For several GPUs: torchrun --nproc-per-node N -m moonseg3r_core.cli train ..."""

_DEPTH = """\
Train the multi-view depth net on procedural rooms that are rendered as they are needed, with the errors that poses and
earlier depth have. Nothing is downloaded or stored. OUT gets weights.safetensors (the mean of the latest weights, for
reconstruction.multi_view.weights), last.ckpt, steps.csv and heldout.csv. The same command goes on from OUT's last
checkpoint. One process, on one device; rooms are rendered on the same device."""

_MASKS = """\
Train the small mask net on procedural rooms that are rendered as they are needed; nothing is downloaded or stored. OUT
gets weights.safetensors (the mean of the latest weights, for masks.nano.weights), last.ckpt, steps.csv and heldout.csv.
The same command goes on from OUT's last checkpoint. One process, on one device."""

_QUERIES = """\
Train the queries of one stack of frozen models (the recipe's `stack`) on their masks, without labels (paper 3.3, 3.4).
DATA: recordings as `moonseg3r run` takes them (known layouts, videos, folders of images, bags, synthetic:SEED),
folders of such, or the word `rooms`. That word stands for as many procedural rooms as the recipe's `scenes` says.
OUT gets weights.safetensors (the mean of the latest weights, for refinement.learned.weights), pictures/epoch_N.png,
last.ckpt, steps.csv and heldout.csv. The same command goes on from OUT's last checkpoint.
For several GPUs: torchrun --nproc-per-node N -m moonseg3r_core.cli train queries ..."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("train", description="Train the nets that ship with the package.")
    actions = parser.add_subparsers(title="nets", metavar="NET", required=True, dest="net")
    net = actions.add_parser("reconstruction", help="a small CUT3R", description=_DESCRIPTION)
    _add_common(net, "config/train_nano.yaml")
    net.add_argument("--start", metavar="FILE", help="begin with these weights, of the recipe's sizes")
    net.add_argument("--workers", type=int, default=1, metavar="N", help="processes that render rooms (1); 0: this one")
    net.add_argument("--compile", action="store_true", help="compile the net: faster after some minutes; needs g++")
    net.set_defaults(run=run_reconstruction)
    net = actions.add_parser("depth", help="depth from several views", description=_DEPTH)
    _add_common(net, "config/train_depth.yaml")
    net.add_argument("--start", metavar="FILE", help="begin with these weights, of the recipe's sizes")
    net.set_defaults(run=run_depth)
    net = actions.add_parser("masks", help="a small mask net", description=_MASKS)
    _add_common(net, "config/train_masks.yaml")
    net.add_argument("--start", metavar="FILE", help="begin with these weights, of the recipe's widths")
    net.set_defaults(run=run_masks)
    net = actions.add_parser("queries", help="the 3D queries of a stack of models", description=_QUERIES)
    net.add_argument("data", metavar="DATA", nargs="+", help="recordings, folders of such, or: rooms")
    net.add_argument(
        "--config", metavar="RECIPE", required=True, help="a YAML file such as config/train_paper.yaml", dest="recipe"
    )
    net.add_argument("--cache", metavar="FOLDER", help="folder that keeps the outputs of the frozen models")
    _add_run(net)
    net.set_defaults(run=run_queries)


def _add_common(net: argparse.ArgumentParser, recipe: str) -> None:
    net.add_argument("recipe", metavar="RECIPE", help=f"a YAML file such as {recipe}")
    _add_run(net)


def _add_run(net: argparse.ArgumentParser) -> None:
    net.add_argument("-o", "--out", metavar="OUT", required=True, help="folder of the run")
    net.add_argument("--seed", type=int, metavar="N", help="0 to 999 (the recipe's)")
    net.add_argument("--minutes", type=float, default=math.inf, metavar="N", help="stop after N minutes; go on later")
    net.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where (auto)")
    net.add_argument(
        "--precision", choices=("auto", "bf16-mixed", "32-true"), default="auto",
        help="bf16-mixed where the machine multiplies it fast (auto)",
    )  # fmt: skip


def run_reconstruction(args: argparse.Namespace) -> int:
    from moonseg3r_core.training.reconstruction.recipe import ReconstructionRecipe
    from moonseg3r_core.training.reconstruction.train import train_reconstruction

    start = Path(args.start) if args.start else None
    options = {"workers": args.workers, "compile": args.compile, "start": start}
    return _train(args, ReconstructionRecipe, partial(train_reconstruction, **options))


def run_depth(args: argparse.Namespace) -> int:
    from moonseg3r_core.training.depth.recipe import DepthRecipe
    from moonseg3r_core.training.depth.train import train_depth

    return _train(args, DepthRecipe, partial(train_depth, start=Path(args.start) if args.start else None))


def run_masks(args: argparse.Namespace) -> int:
    from moonseg3r_core.training.masks.recipe import MaskRecipe
    from moonseg3r_core.training.masks.train import train_masks

    return _train(args, MaskRecipe, partial(train_masks, start=Path(args.start) if args.start else None))


def run_queries(args: argparse.Namespace) -> int:
    from moonseg3r_core.training.queries.recipe import QueryRecipe
    from moonseg3r_core.training.queries.train import train_queries

    cache = Path(args.cache) if args.cache else None
    return _train(args, QueryRecipe, partial(train_queries, data=args.data, cache=cache))


def _train(args: argparse.Namespace, kind: type[BaseRecipe], train: Callable[..., Path]) -> int:
    from moonseg3r_core.training.common.recipe import read_recipe

    say_warnings()
    recipe = read_recipe(kind, Path(args.recipe), {} if args.seed is None else {"seed": args.seed})
    until = 60 * args.minutes
    weights = train(recipe, folder=Path(args.out), precision=args.precision, device=args.device, until=until)
    print(f"Weights: {weights}")
    return 0
