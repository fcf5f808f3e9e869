"""Options and output that several commands share."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from moonseg3r_core.config import Config, load_config
from moonseg3r_core.settings import parse_set

if TYPE_CHECKING:
    from moonseg3r_core.sources import Topics

RAW: dict[str, Any] = {
    "formatter_class": argparse.RawDescriptionHelpFormatter
}  # lines of a description stay as they are


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add `--config FILE` (may be repeated) and `--set`."""
    help = "YAML file over the defaults; may be repeated, later files win"
    parser.add_argument("--config", metavar="FILE", action="append", default=[], help=help)
    add_set_option(parser)


def add_set_option(parser: argparse.ArgumentParser) -> None:
    """Add `--set key=value ...`."""
    parser.add_argument(
        "--set", metavar="KEY=VALUE", dest="settings", action="extend", nargs="+", default=[],
        help="single settings over the files; last on the line: --set masks.kind=regions map.voxel=0.03",
    )  # fmt: skip


def add_topic_options(parser: argparse.ArgumentParser) -> None:
    """Add `--topic NAME=TOPIC ...` and `--robot NAME`, for bags."""
    parser.add_argument(
        "--topic", metavar="NAME=TOPIC", action="extend", nargs="+", default=[],
        help="which topics of a bag to read: color, depth, camera_info, depth_camera_info, pose, path (that SLAM corrects),"
        " tf, tf_static; world= names the fixed frame (chosen by what the topics hold)",
    )  # fmt: skip
    parser.add_argument("--robot", metavar="NAME", help="namespace of the robot whose topics of a bag to read")


def parse_topics(items: list[str], robot: str | None = None) -> Topics | None:
    """Parse `["color=/camera/image_raw"]` to Topics, None where nothing is asked. Raises InputError for an unknown name."""
    from moonseg3r_core.errors import InputError
    from moonseg3r_core.sources import Topics

    known = [field.name for field in fields(Topics)]
    pairs = [item.partition("=") for item in items]
    for name, _, topic in pairs:
        if name not in known or not topic:
            raise InputError(f"--topic expects NAME=TOPIC with one of {', '.join(known)}, got '{name}={topic}'.")
    asked = {name: topic for name, _, topic in pairs} | ({"robot": robot} if robot else {})
    return Topics(**asked) if asked else None


def read_config(args: argparse.Namespace, defaults: Mapping[str, Any] | None = None) -> Config:
    """Read the configuration of the options, over the `defaults` of the command. Raises ConfigError."""
    return load_config(*args.config, overrides=parse_set(args.settings), defaults=defaults)


def parse_positive(text: str) -> int:
    """Parse a whole number >= 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number >= 1, got '{text}'")
    return int(text)


def say_warnings() -> None:
    """Show the package's warnings as `moonseg3r: ...` on stderr, above a progress bar."""
    logger = logging.getLogger("moonseg3r")
    if not logger.handlers:
        logger.addHandler(_AboveTheBar())
        logger.propagate = False


class _AboveTheBar(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(f"moonseg3r: {record.getMessage()}", file=sys.stderr)
