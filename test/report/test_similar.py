"""`moonseg3r similar`: the look-alikes of an instance, and one line for what cannot be asked."""

import json

import pytest

from moonseg3r_core import cli

# By id, in a plane: 1 looks right, 3 nearly so, 4 up, 9 left; 6 was retired.
LOOKS = {1: [1.0, 0.0], 3: [0.8, 0.6], 4: [0.0, 1.0], 6: None, 9: [-1.0, 0.0]}


def row(id, look):
    place = {name: [id / 2, 0.0, -1.0] for name in ("centroid", "box_min", "box_max")}
    seen = {"score": 0.5, "first_frame": 0, "last_frame": 9, "observations": id + 1}
    return {"id": id, "points": 100 * id, **place, **seen, "descriptor": look}


@pytest.fixture
def out(tmp_path):
    write(tmp_path, [row(id, look) for id, look in LOOKS.items()])
    return tmp_path


def write(folder, rows):
    (folder / "instances.json").write_text(rows if isinstance(rows, str) else json.dumps(rows))


def similar(*arguments):
    return cli.main(["similar", *map(str, arguments)])


def test_the_most_alike_come_first_and_the_retired_not_at_all(out, capsys):
    assert similar(out, 1) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["id", "similarity", "centroid", "points", "observations"],
        ["3", "0.800", "1.50", "0.00", "-1.00", "300", "4"],
        ["4", "0.000", "2.00", "0.00", "-1.00", "400", "5"],
        ["9", "-1.000", "4.50", "0.00", "-1.00", "900", "10"],
    ]


def test_json_says_the_same(out, capsys):
    assert similar(out, 4, "--top", 1, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "id": 4,
        "similar": [{"id": 3, "similarity": 0.6, "centroid": [1.5, 0.0, -1.0], "points": 300, "observations": 4}],
    }


def test_lengths_mean_nothing_and_equals_come_by_id(tmp_path, capsys):
    write(tmp_path, [row(5, [0.0, 2.0]), row(2, [3.0, 0.0]), row(1, [1.0, 1.0])])
    assert similar(tmp_path, 1, "--json") == 0
    found = json.loads(capsys.readouterr().out)["similar"]
    assert [(one["id"], one["similarity"]) for one in found] == [(2, 0.7071), (5, 0.7071)]


def test_ten_are_listed_unless_asked_otherwise(tmp_path, capsys):
    write(tmp_path, [row(id, [1.0, id / 10]) for id in range(1, 15)])
    for options, count in (((), 10), (("--top", 12), 12), (("--top", 99), 13)):
        assert similar(tmp_path, 1, *options) == 0
        assert len(capsys.readouterr().out.splitlines()) == 1 + count


def test_one_alone_is_like_nothing(tmp_path, capsys):
    write(tmp_path, [row(1, [1.0, 0.0])])
    assert similar(tmp_path, 1) == 0
    assert capsys.readouterr().out.split() == ["id", "similarity", "centroid", "points", "observations"]


@pytest.mark.parametrize(
    ("id", "words"),
    [
        (5, "(ids 1 to 9), got 5, which is not there or was joined to another; the nearest: 4 and 6."),
        (70000, "the nearest: 9."),
        (6, "instance 6 of {out} must have a descriptor, got none"),
    ],
)
def test_an_id_that_cannot_be_compared_is_one_line(out, capsys, id, words):
    assert similar(out, id) == 2
    said = capsys.readouterr().err
    assert words.format(out=out) in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("arguments", [("one",), (0,), (-3,), (1.5,), (1, "--top", 0), (1, "--top", "all"), ()])
def test_bad_usage_is_one_line(out, capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        similar(out, *arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [{n: v for n, v in row(1, None).items() if n != "descriptor"}],
            "must give each instance's descriptor, got a file of an older version without; run again.",
        ),
        ([], "got 1 where there is none"),
        ("[{", "cannot read"),
        ([{"id": 1, "descriptor": [1.0]}], "cannot read"),
        ([row(1, [1.0, 0.0]), row(2, [1.0])], "of one length"),
        ([row(1, [1.0, 0.0]), row(2, [0.0, 0.0])], "not all zero"),
        ([row(1, [1.0, 0.0]), row(2, [float("nan"), 0.0])], "finite"),
        ([row(1, [1.0]), row(2, [1.0]) | {"id": None}], "id must be a number, got None"),
        ([row(1, [1.0]), row(2, [1.0]) | {"centroid": [1.0, 2.0]}], "centroid must be three numbers"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path, capsys, rows, words):
    write(tmp_path, rows)
    assert similar(tmp_path, 1) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_folder_of_other_things_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        assert similar(place, 1) == 2
        assert capsys.readouterr().err == (
            f"moonseg3r: error: {place} must be a folder that `moonseg3r run -o` wrote, got no instances.json there.\n"
        )
