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
