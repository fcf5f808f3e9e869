"""Files, settings and commands that the documents name are those of the code, and what the code cites is there."""

import re
from pathlib import Path

import pytest

from moonseg3r_core import Config, list_settings
from moonseg3r_core.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("moonseg3r_core/weights/*.md"))
    if path.name != "extending.md"
]  # it is run
FOLDERS = ("moonseg3r_core", "moonseg3r_ros", "test", "tools", "config", "launch", "docs", ".github", "msg")
FILES = [path.relative_to(ROOT) for folder in FOLDERS for path in ROOT.joinpath(folder).rglob("*.*")]
PATH = re.compile(r"[\w./-]+\.(?:py|yaml|yml|xml)\b|(?:moonseg3r_core|moonseg3r_ros|test|tools|config)/(?:\w+/)*")
ELSEWHERE = {"mask_predict.py", "recipe.yaml", "sensor.yaml"}  # MaskClustering's; a training's result; EuRoC's
KEYS = [key.name for key in list_settings(Config())]
KEY = re.compile(r"\b(?:reconstruction|masks|features|refinement|memory|fusion|map)(?:\.\w+)+")
CODE_SUFFIXES = {".py", ".yaml", ".xml", ".msg"}
NO_KEY = re.compile(r".*\.(?:py|md|ply|npz|safetensors|recall|remember)$")
SOURCES = [file for file in FILES if file.suffix in CODE_SUFFIXES and not {"docs", "check_words.py"} & {*file.parts}]
CODE = {word for file in SOURCES for word in re.findall(r"\w+", (ROOT / file).read_text())}
CODE |= {word for file in FILES for word in re.findall(r"\w+", file.name)}
FOREIGN = {"PIP_FLAGS", "tf2_tools", "view_frames"}  # the Makefile's, ROS's
CITATION = re.compile(r"docs/(decisions|cut3r_facts)\.md, (\d+)")


def find_unknown_paths(text):
    for name in PATH.findall(text):
        ends = (file.parts[-len(Path(name).parts) :] == Path(name).parts for file in FILES)
        if not (ROOT.joinpath(name).exists() or name in ELSEWHERE or name.startswith("/") or any(ends)):
            yield name


def find_unknown_names(text):
    """Names with an underscore or a hump in a code span, and names that a block of Python calls."""
    spans = re.sub(r"\w+=\S+|\S*/\S*", "", "\n".join(re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)))
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names = {*re.findall(r"\b(?:\w+_\w+|[A-Z]\w*[a-z][A-Z]\w*)\b", spans), *re.findall(r"\.(\w+)\(", "".join(blocks))}
    return sorted(names - CODE - FOREIGN)


def find_unknown_settings(text):
    for name in KEY.findall(text):
        pattern = re.compile(re.escape(name).replace("KIND", r"\w+") + r"(\.|$)")
        if not NO_KEY.match(name) and not any(pattern.match(key) for key in KEYS):
            yield name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_page_names_exists(page):
    text = re.sub(r"\]\([^)]*\)|^\| .* \| formerly(?:.*\n\|)*.*$", "]", page.read_text(), flags=re.MULTILINE)
    assert list(find_unknown_paths(text)) == []
    assert list(find_unknown_settings(text)) == []
    assert page.name == "CHANGELOG.md" or find_unknown_names(text) == []
    assert set(re.findall(r"^    (?:\S*/)?moonseg3r ([a-z]+) ", text, re.MULTILINE)) <= COMMANDS.keys()


def test_what_does_not_exist_is_found():
    assert list(find_unknown_paths("see `tools/gone.py`, `fusion/match.py`, `moonseg3r_core/ops/`")) == [
        "tools/gone.py"
    ]
    assert find_unknown_names("`StageSpec`, `OldStage`, `zap_it()`") == ["OldStage", "zap_it"]
    assert list(find_unknown_settings("`fusion.mach`, `map.ply`, `reconstruction.KIND.pose`")) == ["fusion.mach"]


def test_what_the_code_cites_is_there():
    files = [path for folder in FOLDERS[:4] for path in ROOT.joinpath(folder).rglob("*.py")]
    cited = {found for path in files for found in CITATION.findall(path.read_text())}
    held = {
        (name, number)
        for name in ("decisions", "cut3r_facts")
        for number in re.findall(r"^## (\d+)\.", (ROOT / "docs" / f"{name}.md").read_text(), re.MULTILINE)
    }
    assert cited <= held
