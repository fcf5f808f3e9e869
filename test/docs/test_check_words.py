"""tools/check_words.py finds replaced words, and leaves them where they are meant."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
check = runpy.run_path(str(ROOT / "tools" / "check_words.py"))["check"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("moonseg3r_core/build.py", "A stage's\ntenant."),
        ("moonseg3r_core/fusion/match.py", "the room"),
        ("docs/ros.md", "The porch."),
        ("moonseg3r_ros/node.py", "class Voice:"),
        ("moonseg3r_core/fusion/votes.py", "newest (decision 12)"),
        ("moonseg3r_core/cli/bench.py", "How long each room of the pipeline takes"),
    ],
)
def test_a_replaced_word_is_found(name, text):
    (find,) = check(name, text)
    assert find.startswith(f"{name}:{text.count(chr(10)) + 1}: ")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("moonseg3r_core/synthetic/layout.py", "a house with a hall, furnished"),
        ("moonseg3r_core/cli/demo.py", "a furnished room"),
        ("moonseg3r_core/run.py", "a rendered room"),
        ("docs/benchmarks.md", "three path-traced rooms"),
        ("moonseg3r_core/fusion/votes.py", "newest (docs/decisions.md, 12)"),
    ],
)
def test_a_word_in_its_place_is_left(name, text):
    assert list(check(name, text)) == []
