"""A file is whole or not there."""

import os

import pytest

from moonseg3r_core.io.atomic import write_atomically


def write(path, text):
    with write_atomically(path) as part:
        part.touch()
        part.write_text(text)


def test_what_was_there_stays_until_the_new_file_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("former")
    with write_atomically(path) as part:
        part.write_text("new")
        assert path.read_text() == "former"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["pathlib.Path.write_text", "os.fsync", "os.replace"])
def test_what_fails_leaves_the_former(tmp_path, monkeypatch, place):
    def ending(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    path.write_text("former")
    with monkeypatch.context() as patch:
        patch.setattr(place, ending)
        with pytest.raises(OSError, match="No space"):
            write(path, "new")
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_written_over(tmp_path):
    (tmp_path / ".file.part").write_text("half of one, and longer than the new one")
    with write_atomically(tmp_path / "file") as part:
        part.write_text("new")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "new"


def test_two_at_the_same_time_do_not_mix(tmp_path):
    path = tmp_path / "file"
    with write_atomically(path, ".1") as one, write_atomically(path, ".2") as two:
        one.write_text("one")
        two.write_text("two")
    assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["file"]
