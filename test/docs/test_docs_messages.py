"""Every message in docs/troubleshooting.md and docs/ros_operations.md is one that the code holds: `…` stands for what is put in."""

import argparse
import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (`[^|]*`) \| (.*) \|$", re.MULTILINE)
CODE = [*ROOT.glob("moonseg3r_*/**/*.py"), *ROOT.glob("launch/*.py"), Path(argparse.__file__)]
TABLES = {"troubleshooting.md": 4, "ros_operations.md": 2}


def messages(*names):
    """The code spans in the first column of tables of `what it says` in these pages."""
    texts = "\n\n".join(map(page, names))
    tables = re.findall(r"^\| what it says .*?(?=\n\n|\Z)", texts, re.MULTILINE | re.DOTALL)
    return [span for table in tables for row in ROW.findall(table) for span in re.findall(r"`([^`]+)`", row[0])]


def page(name):
    return (ROOT / "docs" / name).read_text()


@pytest.fixture(scope="module")
def templates():
    """All text of the code, with `…` where a value or a constant's name stands."""
    nodes = (node for path in CODE for node in ast.walk(ast.parse(path.read_text())))
    return "\n".join(filter(None, map(template, nodes)))


def template(node):
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        return re.sub("%s|…+", "…", "".join(parts))
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.replace("%s", "…")
    return ""


@pytest.mark.parametrize("message", messages(*TABLES))
def test_the_code_says_it(templates, message):
    assert message in templates


@pytest.mark.parametrize("name", TABLES)
def test_every_table_was_read(name):
    assert page(name).count("| what it says |") == TABLES[name]
    assert len(messages(name)) > 10
    rows = re.findall(r"^\| what it says .*?(?=\n\n|\Z)", page(name), re.MULTILINE | re.DOTALL)
    assert sum(table.count("\n| `") for table in rows) == sum(table.count("\n|") - 1 for table in rows)


def test_a_message_that_nobody_says_is_found(templates):
    assert "the lens is dirty, wipe it" not in templates
