"""docs/cli.md is what the parsers say, and holds every command and option of theirs."""

import runpy
from pathlib import Path

import pytest

from moonseg3r_core import cli

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool():
    return runpy.run_path(str(ROOT / "tools" / "cli_page.py"))


def test_the_page_is_as_it_would_be_written(tool):
    assert (ROOT / "docs" / "cli.md").read_text() == tool["render_page"](), "run: python tools/cli_page.py docs/cli.md"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_and_every_argument_of_it_too(tool, name):
    for parser, short in tool["list_commands"](name):
        assert short, parser.prog
        assert parser.description, parser.prog
        assert [action.dest for action in parser._actions if not action.help] == [], parser.prog
        assert f"\n## {parser.prog}\n" in tool["render_page"]()
        assert all(f"{option}" in tool["render_section"](parser) for option in options(parser))


def options(parser):
    return [name for action in parser._actions for name in action.option_strings if name not in ("-h", "--help")]
