"""For the tests of training: one thread, and clips of rooms that are rendered once."""

from functools import cache

import pytest

from moonseg3r_core.training.data import clips


@pytest.fixture(autouse=True, scope="session")
def rendered_once():
    """A clip depends on its seed alone, and all toy trainings take the same ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "make_clip", cache(clips.make_clip))
        yield


@pytest.fixture(autouse=True)
def use_one_thread(one_thread):
    """In every test of training."""
