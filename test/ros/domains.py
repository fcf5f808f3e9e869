"""ROS domains: one for each test, shared with nobody on the machine."""

import contextlib
import fcntl
import os
import tempfile
from itertools import count
from pathlib import Path

import pytest

DOMAINS = 99  # domain ids 1 to 99: their ports lie below those that Linux gives to other programs
LOCKS = Path(tempfile.gettempdir())
_turns = count(os.getpid())  # processes begin at different ids


@contextlib.contextmanager
def own_domain():
    """A domain id that no test of this process had before, and no other process on this machine has now; and the file
    descriptor that keeps it, also for a program that is handed it and outlives a test that was killed.
    """
    for _ in range(DOMAINS):
        number = 1 + next(_turns) % DOMAINS
        with (LOCKS / f"moonseg3r-ros-domain-{number}.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield number, lock.fileno()
            return
    pytest.fail(f"all ROS domains from 1 to {DOMAINS} are taken; remove {LOCKS}/moonseg3r-ros-domain-*.lock")
