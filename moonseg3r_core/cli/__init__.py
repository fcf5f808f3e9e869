"""The command `moonseg3r`: one module per subcommand, imported when it is used."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import moonseg3r_core
from moonseg3r_core.errors import MoonSeg3RError
from moonseg3r_core.runtime.interrupt import ignore_signals, raise_on_sigterm

# Idle threads of torch sleep instead of spinning. Spinning slows many small operations down tenfold or more
# where other programs, such as a robot's, use the cores too. It must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

COMMANDS = {
    "run": "segment a recording and write the map, the id images and a report",
    "demo": "the whole pipeline on a rendered room, scored against its truth; no network, no GPU",
    "evaluate": "score a result against ground truth",
    "similar": "list the instances of a result that look like one of them",
    "view": "show a result's map and the camera's path in 3D",
    "bench": "measure accuracy and speed",
    "train": "train the nets that ship with the package",
    "weights": "get pretrained weights and check them",
    "config": "show or check the configuration",
    "synthetic": "render furnished rooms with exact depth, pose and ids",
}
_EPILOG = """\
begin with:
  moonseg3r demo                       a rendered room: nothing to prepare
  moonseg3r run my_video.mp4 -o OUT    then open OUT/report.html
  moonseg3r COMMAND --help             what a command takes and does

Exit status: 0 done, 2 bad usage or input (one line says what), 130 interrupted."""
BAD_INPUT = 2
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Reports a usage error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: error: {message}; see `{self.prog} --help`.\n")


def command() -> int:
    """Run `main` as a process: SIGTERM ends it as Ctrl-C does, and later signals are ignored."""
    raise_on_sigterm()
    try:
        status = main()
    except KeyboardInterrupt:  # a second signal while the first was reported
        status = INTERRUPTED
    ignore_signals()
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0 done, 2 bad input, 130 interrupted, 1 stdout was closed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        args = build_parser(arguments).parse_args(arguments)
        status = args.run(args)
        sys.stdout.flush()
        return status
    except MoonSeg3RError as error:
        print(f"moonseg3r: error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("moonseg3r: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout has gone (`| head`). Python flushes stdout again at exit, so redirect it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # such as a name that is too long or a full disk
        what = f"{error.filename or 'the output'!s:.200}"
        print(f"moonseg3r: error: cannot use {what}: {error.strerror or error}; give another.", file=sys.stderr)
        return BAD_INPUT


def build_parser(arguments: Sequence[str]) -> Parser:
    """Build the parser with all commands; only the module of the given one is imported."""
    parser = Parser(
        prog="moonseg3r",
        description="Online zero-shot 3D instance segmentation from a camera stream.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {moonseg3r_core.__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    asked = next((word for word in arguments if not word.startswith("-")), None)
    for name, help in COMMANDS.items():
        if name == asked:
            importlib.import_module(f"moonseg3r_core.cli.{name}").add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=help)
    return parser
