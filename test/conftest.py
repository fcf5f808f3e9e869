"""For all tests."""

import os
import signal
from pathlib import Path

import pytest

# What a shell starts in the background ignores SIGINT, and so do all programs that it starts; tests of Ctrl-C need it.
# Programs that tests start import the helpers too.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, (str(Path(__file__).parent / "helpers"), os.environ.get("PYTHONPATH")))
)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A small file of random numbers in the place of the weights that come with the package."""
    from nano_file import write_nano

    from moonseg3r_core.weights.embedded import EMBEDDED

    monkeypatch.setitem(EMBEDDED, "nano", write_nano(tmp_path / "stand-in" / "nano.safetensors"))
    return EMBEDDED["nano"]


@pytest.fixture
def one_thread():
    """Torch computes in one thread, so that sums are equal from run to run."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
