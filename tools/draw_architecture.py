"""The two pictures of docs/architecture.md, drawn from the code: who imports whom, and a frame's walk through the hall.

python tools/draw_architecture.py docs
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

CORE = Path(__file__).resolve().parents[1] / "moonseg3r_core"
PORCH = CORE.parent / "moonseg3r_ros"
TITLES = {
    "build": "build*.py, the door", "segmenter": "segmenter.py, the hall", "run": "run.py",
    "moonseg3r_ros": "moonseg3r_ros/, the porch",
}  # fmt: skip
ROOMS = ("features", "masks", "refinement", "reconstruction", "memory", "fusion")
COLUMNS = {
    "cli": 1, "training": 3, "evaluation": 3, "build": 5.5, "run": 1, "sources": 0, "segmenter": 8, "moonseg3r_ros": 7.75,
    "report": 1.5, "synthetic": 0, "weights": 3, **{room: 3 + i for i, room in enumerate(ROOMS)},
}  # fmt: skip
HUES = {
    "reconstruction": "#cfe0f3", "masks": "#f6dfc4", "features": "#f6dfc4", "memory": "#d9efd3", "refinement": "#ead9f2",
    "fusion": "#f5cfcf", "budget": "#e9e9e9",
}  # fmt: skip
FUSION = ("lift", "merge", "match", "store")  # fusion's tenants in the hall
INK, FAINT, LOOP = "#333333", "#8b97a3", "#b04a2f"
PNG: dict[str, Any] = {"dpi": 100, "pil_kwargs": {"optimize": True}, "metadata": {"Software": None}}

Graph = dict[str, set[str]]


def main(folder: Path) -> None:
    """Write both pictures."""
    graph = house()
    draw_house(reduced(graph), floors(graph)).savefig(folder / "architecture.png", **PNG)
    draw_walk(stations("step"), remembering()).savefig(folder / "walk.png", **PNG)


# --- who imports whom


def part(module: str) -> str:
    """The part of the house that a module belongs to: a folder, a file above the rooms, or the foundation."""
    package, *inner = module.split(".")
    if package == PORCH.name:
        return "moonseg3r_ros"
    name = inner[0] if inner else ""
    name = "build" if name.startswith("build") else name
    return name if name in TITLES or (name and (CORE / name).is_dir()) else "foundation"


def house() -> Graph:
    """The parts that each part imports."""
    graph: Graph = {}
    for path in [*CORE.rglob("*.py"), *PORCH.glob("*.py")]:
        here = part(".".join(path.relative_to(CORE.parent).with_suffix("").parts))
        graph.setdefault(here, set()).update(part(module) for module in imported(path))
    return {name: seen - {name} for name, seen in graph.items()}


def imported(path: Path) -> Iterator[str]:
    """The modules of the core that a file imports, at any depth, or names as `module:name`, to be imported when needed."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(CORE.name + "."))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(CORE.name + "."):
            yield node.module
        elif isinstance(node, ast.ImportFrom) and node.module == CORE.name:
            yield from (f"{CORE.name}.{alias.name}" for alias in node.names if (CORE / alias.name).is_dir())
        elif isinstance(node, ast.Constant) and re.fullmatch(rf"{CORE.name}\.[\w.]+:\w+", str(node.value)):
            yield str(node.value).partition(":")[0]


def reduced(graph: Graph) -> Graph:
    """Without the arrows that a longer way implies."""
    reach = {name: reached(graph, name) for name in graph}
    return {
        name: {to for to in seen if not any(to in reach[other] for other in seen - {to})}
        for name, seen in graph.items()
    }


def reached(graph: Graph, start: str) -> set[str]:
    """All that can be reached from a part."""
    seen: set[str] = set()
    rest = [start]
    while rest:
        new = graph.get(rest.pop(), set()) - seen
        seen |= new
        rest += new
    return seen


def floors(graph: Graph) -> dict[str, int]:
    """A floor for each part, above all that it imports; the porch, which sees public names alone, on top."""
    floor: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in floor:
            floor[name] = 1 + max((of(to) for to in graph.get(name, ())), default=-1)
        return floor[name]

    return {name: of(name) for name in graph} | {PORCH.name: max(map(of, graph))}


def draw_house(graph: Graph, floor: dict[str, int]) -> Figure:
    """Parts as boxes on their floors, the foundation as the ground, and an arrow from each to what it imports."""
    figure, axes = canvas(13, 7.0, (-0.6, 8.8), (-0.85, max(floor.values()) + 0.45))
    for name in graph.keys() - {"foundation"}:
        x, y = COLUMNS[name], floor[name]
        title = TITLES.get(name, f"{name}/")
        box(axes, x, y, title, HUES.get(name, "#ffffff"), 1.6 if "," in title else 0.94)
        for to in graph[name]:
            end = x if to == "foundation" else COLUMNS[to]
            arrow(axes, (x, y - 0.25), (end, floor[to] + 0.25))
    public = "sees the core's public names alone\n(moonseg3r_core/__init__.py)"
    axes.text(COLUMNS[PORCH.name], floor[PORCH.name] - 0.5, public, ha="center", va="center", color=FAINT)
    ground = sorted(path.name for path in CORE.glob("[!_]*.py") if part(f"{CORE.name}.{path.stem}") == "foundation")
    rows = ["the foundation", *wrap(" ".join(ground), 140)]
    box(axes, 4.1, -0.27, "\n".join(rows), "#eeeeee", 9.3, 1.0)
    return figure


# --- a frame's walk


@dataclass(frozen=True)
class Station:
    """One call of a room in the hall: the room, the method (empty: the room itself), what it takes and what it gives."""

    room: str
    method: str
    takes: tuple[str, ...]
    gives: str


def stations(method: str) -> list[Station]:
    """The calls of rooms in a method of the hall, in the order in which they are made."""
    (body,) = (node.body for node in ast.walk(hall()) if isinstance(node, ast.FunctionDef) and node.name == method)
    found: list[Station] = []
    for line in body:
        inside = line.test if isinstance(line, ast.If) else line
        gives = line.targets[0].id if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name) else ""
        found += calls(inside, gives)
    (result,) = (line.value for line in body if isinstance(line, ast.Return) and isinstance(line.value, ast.Call))
    return [*found, Station("FrameResult", "", tuple(sorted(names(result) & {s.gives for s in found})), "")]


def calls(node: ast.AST, gives: str) -> Iterator[Station]:
    """The calls of `room...` in a line, inner ones first; what an inner one gives goes by the line's own name."""
    for child in ast.iter_child_nodes(node):
        yield from calls(child, gives)
    if isinstance(node, ast.Call) and (path := ast.unparse(node.func)).startswith("room."):
        _, room, *method = path.split(".")
        takes = {gives if isinstance(given, ast.Call) else ast.unparse(given) for given in node.args}
        yield Station(room, ".".join(method), tuple(name.removeprefix("room.") for name in sorted(takes)), gives)


def hall() -> ast.Module:
    return ast.parse((CORE / "segmenter.py").read_text())


def names(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def remembering() -> list[str]:
    """The rooms that keep a state, as the hall lists them."""
    (method,) = (n for n in ast.walk(hall()) if isinstance(n, ast.FunctionDef) and n.name == "_remembering")
    rooms = next(n for n in ast.walk(method) if isinstance(n, ast.Tuple) and isinstance(n.elts[0], ast.Constant))
    return [str(ast.literal_eval(name)) for name in rooms.elts]


def draw_walk(walk: list[Station], remembered: list[str]) -> Figure:
    """Stations from left to right, a line for every value from where it is made to where it is last used, and what is
    remembered from one frame to the next.
    """
    rows = list(dict.fromkeys(name for s in walk for name in (*s.takes, s.gives) if name))
    figure, axes = canvas(15.5, 6.4, (-1.9, len(walk) - 0.4), (-len(rows) - 0.6, 3.2))
    for x, station in enumerate(walk):
        hue = HUES.get("fusion" if station.room in FUSION else station.room, "#ffffff")
        box(axes, x, 0.65, f"{station.room}\n{station.method}".strip(), hue, 0.98, 1.0, 9)
    for row, name in enumerate(rows, 1):
        made = [x for x, s in enumerate(walk) if s.gives == name]
        used = [x for x, s in enumerate(walk) if name in s.takes]
        begin = made[0] if made else -0.6
        axes.plot([begin, max(made + used)], [-row, -row], color=FAINT, lw=1.2, zorder=1)
        axes.text(begin - 0.14, -row, name, ha="right", va="center", color=INK)
        axes.scatter(used, [-row] * len(used), s=45, facecolors="white", edgecolors=INK, zorder=2)
        axes.scatter(made, [-row] * len(made), s=45, color=INK, zorder=3)
    for room in remembered:
        visits = [x for x, s in enumerate(walk) if s.room == room]
        loop(axes, visits[-1], visits[0])
    axes.text(-1.85, 2.9, "remembered until the next frame", ha="left", va="center", color=LOOP)
    axes.text(-1.85, -len(rows) - 0.35, "filled: made here, circle: used here", ha="left", va="center", color=FAINT)
    return figure


def loop(axes: Axes, start: float, end: float) -> None:
    """An arrow above the stations, from the last visit of a room back to its first."""
    start, end = (start + 0.2, end - 0.2) if start == end else (start, end)
    bend = f"arc3,rad={1.6 if start - end < 1 else 0.25}"
    style = {"arrowstyle": "-|>", "color": LOOP, "lw": 1.4, "connectionstyle": bend}
    axes.annotate("", (end, 1.18), (start, 1.18), arrowprops=style)


# --- pens


def canvas(width: float, height: float, across: tuple[float, float], up: tuple[float, float]) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.set(xlim=across, ylim=up)
    axes.axis("off")
    return figure, axes


def box(
    axes: Axes, x: float, y: float, text: str, color: str, width: float, height: float = 0.5, size: int = 10
) -> None:
    shape = FancyBboxPatch(
        (x - width / 2 + 0.04, y - height / 2 + 0.04), width - 0.08, height - 0.08,
        boxstyle="round,pad=0.04", facecolor=color, edgecolor=INK, lw=0.9, zorder=2,
    )  # fmt: skip
    axes.add_patch(shape)
    axes.text(x, y, text, ha="center", va="center", color=INK, size=size, zorder=3)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": FAINT, "lw": 1.1}, zorder=1)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
