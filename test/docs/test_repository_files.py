"""The files for contributors are valid and agree with the package."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SETUP = (ROOT / "setup.py").read_text()
FILES = [ROOT / "CITATION.cff", ROOT / ".pre-commit-config.yaml", *ROOT.glob(".github/**/*.yml")]


def read(name):
    return yaml.safe_load((ROOT / name).read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_file_is_yaml(path):
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_the_hooks_pin_the_versions_of_the_lint_extra():
    (extra,) = re.findall(r'"lint": \[(.*?)\]', SETUP)
    pinned = {item for hook in read(".pre-commit-config.yaml")["repos"][0]["hooks"] for item in hook.get("additional_dependencies", [])}  # fmt: skip
    assert {item for item in pinned if not item.startswith("tomli")} == {
        item for item in re.findall(r'"([^"]+)"', extra) if item.startswith(("ruff", "codespell"))
    }


def test_the_workflow_runs_what_a_developer_runs_on_every_supported_python():
    jobs = read(".github/workflows/ci.yml")["jobs"]
    assert [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step] == [
        "make lint",
        "make test",
    ]
    rows = jobs["test"]["strategy"]["matrix"]["include"]
    assert {row["python"] for row in rows} == {f"3.{minor}" for minor in range(10, 14)}
    assert {row["os"] for row in rows} == {"ubuntu-22.04", "ubuntu-24.04"}


def test_the_issue_templates_ask_something():
    for path in ROOT.glob(".github/ISSUE_TEMPLATE/*.yml"):
        template = yaml.safe_load(path.read_text())
        assert {"name", "description", "body"} <= template.keys()
        assert all(field["id"] and field["attributes"]["label"] for field in template["body"])


def test_the_citation_names_this_version_and_the_papers():
    citation = read("CITATION.cff")
    assert f'version="{citation["version"]}"' in SETUP
    assert f'license="{citation["license"]}"' in SETUP
    assert all(reference["title"] and reference["authors"] for reference in citation["references"])
