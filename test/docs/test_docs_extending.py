"""What docs/extending.md shows is run as it stands: its blocks in turn, its edits on a copy of the package."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "extending.md").read_text()
FILE = re.compile(r"# (moonseg3r_core/\S+\.py)\n")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def edit(folder, diff):
    """Every hunk's lines in ' ' and '-' stand in its file once, and become those in ' ' and '+'."""
    for part in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
        name, *hunks = part.split("\n@@\n")
        file = folder / name
        for lines in (hunk.splitlines() for hunk in hunks):
            old, new = ("".join(line[1:] + "\n" for line in lines if not line.startswith(sign)) for sign in "+-")
            assert file.read_text().count(old) == 1, f"bring docs/extending.md up to {name}, which should hold\n{old}"
            file.write_text(file.read_text().replace(old, new))


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The folder that the blocks were run in, and what they printed as AP50 by name."""
    folder, said = tmp_path_factory.mktemp("extending"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        names = {"print": said.__setitem__}
        for block in blocks("python"):
            exec(compile(block, "docs/extending.md", "exec"), names)
    return folder, said


def test_every_block_runs_and_maps_the_scene(shown):
    _, said = shown
    names = ["default", "greatest overlap", "nearness", "colors", "mean color", "a wall"]
    assert list(said) == names
    assert all(0 <= said[name] <= 1 for name in names)
    assert min(said[name] for name in ("default", "greatest overlap", "nearness", "mean color")) > 0


@pytest.fixture(scope="module")
def package(shown):
    """The folder with a copy of the package, in which the files and edits that the page shows are made."""
    folder, _ = shown
    shutil.copytree(ROOT / "moonseg3r_core", folder / "moonseg3r_core")
    for block in blocks("python"):
        if named := FILE.match(block):
            (folder / named[1]).write_text(block)
    for diff in blocks("diff"):
        edit(folder, diff)
    return folder


def in_copy(folder, *arguments):
    return subprocess.run([sys.executable, "-m", *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_a_kind_of_masks_is_one_module_and_three_lines():
    (diff,) = (diff for diff in blocks("diff") if "masks/config.py" in diff)
    changed = [line for line in diff.splitlines() if line[0] in "+-" and not line.startswith("---")]
    assert [line[0] for line in changed] == ["+"] * 3
    assert len([block for block in blocks("python") if "# moonseg3r_core/masks/" in block]) == 1


def test_the_kinds_of_its_own_run_from_the_command(package):
    (line,) = re.findall(r"^    moonseg3r (run .*)$", TEXT, re.MULTILINE)
    ran = in_copy(package, "moonseg3r_core.cli", *shlex.split(line), "device=cpu")
    assert ran.returncode == 0, ran.stderr
    config = json.loads((package / "out-kind" / "summary.json").read_text())["config"]
    assert (config["masks"]["kind"], config["masks"]["colors"]["levels"]) == ("colors", 4)
    assert config["fusion"]["match"] == "greatest"
