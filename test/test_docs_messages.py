"""Every message in docs/troubleshooting.md is one that the code holds: `…` stands for what is put in."""

import argparse
import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROW = re.compile(r"^\| (`[^|]*`) \| (.*) \|$", re.MULTILINE)
CODE = [*ROOT.glob("moonseg3r_core/**/*.py"), Path(argparse.__file__)]


def messages():
    """The code spans in the first column of tables of `what it says`."""
    tables = re.findall(r"^\| what it says .*?(?=\n\n|\Z)", page(), re.MULTILINE | re.DOTALL)
    return [span for table in tables for row in ROW.findall(table) for span in re.findall(r"`([^`]+)`", row[0])]


def page():
    return (ROOT / "docs" / "troubleshooting.md").read_text()


@pytest.fixture(scope="module")
def templates():
    """All text of the code, with `…` where a value or a constant's name stands."""
    nodes = (node for path in CODE for node in ast.walk(ast.parse(path.read_text())))
    return "\n".join(filter(None, map(template, nodes)))


def template(node):
    if isinstance(node, ast.JoinedStr):
        return re.sub("%s", "…", "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values))
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.replace("%s", "…")
    return ""


@pytest.mark.parametrize("message", messages())
def test_the_code_says_it(templates, message):
    assert message in templates


def test_every_table_was_read():
    assert len(messages()) > 25
    assert page().count("| what it says |") == 4


def test_a_message_that_nobody_says_is_found(templates):
    assert "the lens is dirty, wipe it" not in templates
