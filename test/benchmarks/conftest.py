"""For the tests of benchmarks."""

import pytest

from moonseg3r_core.synthetic import SyntheticSequence, write_scannet


@pytest.fixture(scope="session")
def rooms(tmp_path_factory):
    """A folder of two small rooms with noisy masks."""
    folder = tmp_path_factory.mktemp("rooms")
    for seed in (1, 2):
        write_scannet(folder / f"room_{seed}", SyntheticSequence(seed, frames=6, height=60, width=80))
    return folder
