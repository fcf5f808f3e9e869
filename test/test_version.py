"""The packages, the command and the newest entry of the changelog are of one version."""

import re
import xml.etree.ElementTree as ElementTree
from datetime import date
from pathlib import Path

import moonseg3r_core

ROOT = Path(__file__).resolve().parents[1]


def test_one_version_everywhere():
    packages = [ElementTree.parse(ROOT / path).findtext("version") for path in ("package.xml", "msg/package.xml")]
    (setup,) = re.findall(r'^ +version="(.+)",$', (ROOT / "setup.py").read_text(), re.MULTILINE)
    assert {*packages, setup, newest()[0]} == {moonseg3r_core.__version__}


def test_the_newest_entry_of_the_changelog_has_a_date():
    assert date.fromisoformat(newest()[1])


def newest():
    """Version and date of the changelog's first entry."""
    return re.findall(r"^## \[(.+)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
