"""The benchmark of loops prints a row with loops and one without for each room."""

from moonseg3r_core.cli import main


def test_a_short_walk_has_a_row_with_loops_and_one_without(capsys):
    assert main(["bench", "loops", "500400", "--frames", "3", "--quiet", "--set", "masks.kind=regions"]) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| 500400")]
    assert [row[2].strip() for row in rows] == ["closed", "left"]
