"""Every arrow in the diagrams of docs/architecture.md is true in the code."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "moonseg3r_core"
FOUNDATION = {"types", "geometry", "errors", "stages", "settings", "ops", "io", "runtime"}
STAGES = {"reconstruction", "masks", "features", "refinement", "memory", "fusion"}
FRAME, IMPORTS = re.findall(r"```mermaid\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text(), re.DOTALL)
ARROW = re.compile(r"^ +(\w+)\S*?(?:\[[^\]]*\]|\([^)]*\)+)? (-->|-\.->)(?:\|(\w+)\|)? (\w+)", re.MULTILINE)


def read_arrows(diagram):
    """(from, kind, value, to) of every arrow, with a node's label in place of its name."""
    labels = dict(re.findall(r"(\w+)\[\"([^\"]+)\"\]", diagram))
    return [(labels.get(a, a), kind, value, labels.get(b, b)) for a, kind, value, b in ARROW.findall(diagram)]


def find_dataflow():
    """(from, value, to) of the calls of `OnlineSegmenter.step`; value is empty for a call inside another."""
    (step,) = (
        node
        for node in ast.walk(ast.parse((CORE / "segmenter.py").read_text()))
        if isinstance(node, ast.FunctionDef) and node.name == "step"
    )
    makers, found = {"frame": "frame"}, set()

    def visit(call):
        name = ast.unparse(call.func).removeprefix("stage.")
        for value in call.args:
            if isinstance(value, ast.Call):
                found.add((visit(value), "", name))
            elif isinstance(value, ast.Name):
                found.add((makers.get(value.id), "" if value.id == "frame" else value.id, name))
        return name

    for statement in step.body:
        if isinstance(statement, ast.Assign | ast.Expr) and isinstance(statement.value, ast.Call):
            name = visit(statement.value)
            if isinstance(statement, ast.Assign) and name != "frame.to":
                makers[statement.targets[0].id] = name
    return found


@pytest.mark.parametrize("arrow", read_arrows(FRAME), ids=lambda arrow: f"{arrow[0]}-{arrow[3]}")
def test_a_value_passes_between_these_calls(arrow):
    start, kind, value, end = arrow
    if kind == "-->":
        assert (start, value, end) in find_dataflow()
    else:  # what a stage keeps from one frame to the next
        assert start.partition(".")[0] == end.partition(".")[0]


def name_part(module):
    package, *inner = module.split(".")
    if package != "moonseg3r_core":
        return package
    if not inner:
        return "moonseg3r_core (public names)"
    return "foundation" if inner[0] in FOUNDATION else "stage folders" if inner[0] in STAGES else inner[0]


def find_imports():
    """(part, part) of every import between parts of the two packages."""
    for path in [*CORE.rglob("*.py"), *(ROOT / "moonseg3r_ros").rglob("*.py")]:
        here = name_part(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("moonseg3r_core"):
                yield here, name_part(node.module)


def test_every_part_imports_what_the_arrows_say():
    arrows = {(start, end) for start, _, _, end in read_arrows(IMPORTS)}
    assert len(arrows) == IMPORTS.count("-->")
    assert arrows - set(find_imports()) == set()


def test_every_arrow_is_read():
    assert len(read_arrows(FRAME)) == len(re.findall(r"-->|-\.->", FRAME))
