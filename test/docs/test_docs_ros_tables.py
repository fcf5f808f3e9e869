"""The tables of the documentation are those of the code."""

import runpy
from operator import itemgetter
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from moonseg3r_core import Config, list_settings
from moonseg3r_ros.interface import INPUTS, OUTPUTS, SERVICES
from moonseg3r_ros.settings import NodeSettings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "ros_reference.md"
BEGIN, END, main, write_table, write_tables = itemgetter("BEGIN", "END", "main", "write_table", "write_tables")(
    runpy.run_path(str(ROOT / "tools" / "ros_tables.py"))
)


def test_docs_hold_the_tables_as_they_are():
    held = DOCS.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert held.strip() == write_tables().strip(), "run: python tools/ros_tables.py docs/ros_reference.md"


def test_every_topic_service_and_setting_has_its_row():
    text = write_tables()
    settings = [key.name for key in (*list_settings(NodeSettings()), *list_settings(Config()))]
    assert all(f"| `{name}` |" in text for name in (*INPUTS, *OUTPUTS, *SERVICES, *settings))


def test_a_table_of_two_rows():
    assert write_table(("a", "b"), [("1", "x|y"), ("2", "z")]) == "| a | b |\n| --- | --- |\n| 1 | x\\|y |\n| 2 | z |\n"


def test_a_file_without_the_markers_is_left_alone(tmp_path, capsys):
    file = tmp_path / "notes.md"
    file.write_text("no tables here")
    assert main([str(file)]) == 1
    assert file.read_text() == "no tables here"
    assert "notes.md must hold" in capsys.readouterr().err


def test_writing_twice_changes_nothing(tmp_path):
    file = tmp_path / "notes.md"
    file.write_text(f"before\n{BEGIN}\nstale rows\n{END}\nafter\n")
    assert main([str(file)]) == 0
    once = file.read_text()
    assert once.startswith("before\n")
    assert once.endswith(f"{END}\nafter\n")
    assert "stale rows" not in once
    assert main([str(file)]) == 0
    assert file.read_text() == once
