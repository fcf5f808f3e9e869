"""The command `moonseg3r weights`: list, get, check and path."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from moonseg3r_core.cli.common import say_warnings
from moonseg3r_core.errors import InputError
from moonseg3r_core.weights.catalog import CATALOG, find_entry
from moonseg3r_core.weights.entry import Entry
from moonseg3r_core.weights.store import FOLDER, check, find, get_folder, get_place, get_store_folder, is_installed

_FOLDER_HELP = f"Weights are stored in ${FOLDER}, or else in moonseg3r/weights in the user's cache folder."


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("weights", description=f"Get pretrained weights and check them. {_FOLDER_HELP}")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    show = actions.add_parser("list", help="what there is, with size and licence",
                              description="List all weights that can be had: whether they are installed, their size, "
                                          "licence and use.")  # fmt: skip
    get = actions.add_parser("get", help="download or convert weights into the store",
                             description="Show their licence, then download weights, or take files that are here. They are stored "
                                         "when all of them are whole and as published. Nothing in them is run.")  # fmt: skip
    test = actions.add_parser("check", help="compare installed weights with their hashes",
                              description="Compute the sha256 of installed weights; exit status 2 where one is not as recorded.")  # fmt: skip
    where = actions.add_parser(
        "path", help="where weights are", description="Print the file or folder of a name, or the store's folder."
    )
    get.add_argument("name", metavar="NAME", help="which ones, as in `moonseg3r weights list`; cut3r means cut3r-512")
    get.add_argument(
        "--from", metavar="FILE|FOLDER", dest="source", type=Path,
        help="the published file, or a folder of the published files, if they are here already",
    )  # fmt: skip
    get.add_argument("--accept-licence", "--accept-license", dest="accept", action="store_true", help="don't ask")
    test.add_argument("names", metavar="NAME", nargs="*", help="which ones (all that are installed)")
    where.add_argument("name", metavar="NAME", nargs="?", help="which ones (none: the store)")
    for action, command in ((show, list_command), (get, get_command), (test, check_command), (where, path_command)):
        action.set_defaults(run=command)


def list_command(args: argparse.Namespace) -> int:
    header = ("name", "installed", "size", "licence", "commercial", "access", "for")
    rows = {entry.name: _make_row(entry) for entry in CATALOG.values()}
    widths = [max(map(len, column)) for column in zip(header, *rows.values(), strict=True)]
    _print_row(header, widths)
    for setting, entries in groupby(CATALOG.values(), key=lambda entry: entry.setting):
        print(f"\n{setting}")
        for entry in entries:
            _print_row(rows[entry.name], widths)
    print("\nnano, the default reconstruction, comes with the package (Apache-2.0) and needs none of these.")
    print("gated: the publisher gives it to those who accepted the licence on its page; `get` says how.")
    return 0


def _print_row(row: Sequence[str], widths: Sequence[int]) -> None:
    print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _make_row(entry: Entry) -> tuple[str, ...]:
    size = f"{entry.size / 1e9:.1f} GB" if entry.size >= 1e9 else f"{entry.size / 1e6:.0f} MB" if entry.size else "?"
    installed, commercial = ("yes" if fact else "no" for fact in (is_installed(entry), not entry.licence.noncommercial))
    access = "gated" if entry.gated else "open"
    return entry.name, installed, size, entry.licence.name, commercial, access, entry.purpose


def get_command(args: argparse.Namespace) -> int:
    from moonseg3r_core.weights.install import install

    entry = find_entry(args.name)
    if args.source is None and is_installed(entry):
        check(get_place(entry))
        print(f"{entry.name} is installed: {get_place(entry)}")
        return 0
    accept_licence(entry, args.accept)
    say_warnings()
    print(f"{entry.name} is installed: {install(entry, args.source)}")
    return 0


def accept_licence(entry: Entry, accepted: bool) -> None:
    """Show an entry's licence and ask for consent unless it was given. Raises InputError without it."""
    print(f"{entry.name}, published by {entry.publisher}, comes under {entry.licence}: {entry.licence.address}")
    if accepted:
        return
    if not sys.stdin.isatty():
        raise InputError(f"{entry.name} expects consent to its licence, got no terminal to ask; add --accept-licence.")
    try:
        answer = input("Do you accept it? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise InputError(f"{entry.name} expects consent to its licence, got none; nothing was installed.")


def check_command(args: argparse.Namespace) -> int:
    installed = [name for name, entry in CATALOG.items() if get_folder(entry).exists()]
    faults = list(filter(None, map(_find_fault, [find_entry(name).name for name in args.names] or installed)))
    if faults:
        raise InputError(" ".join(faults))
    if not args.names and not installed:
        print(f"no weights in {get_store_folder()}")
    return 0


def _find_fault(name: str) -> str:
    """Tell what is wrong with installed weights; print that they are in order otherwise."""
    try:
        print(f"{name}: ok, sha256 {check(find(name))}")
    except InputError as error:
        return str(error)
    return ""


def path_command(args: argparse.Namespace) -> int:
    print(find(args.name) if args.name else get_store_folder())
    return 0
