"""A graph of its own for every test: also beside programs that a killed test has left behind."""

import fcntl
import subprocess
import sys

from domains import LOCKS, own_domain


def is_free(number):
    with (LOCKS / f"moonseg3r-ros-domain-{number}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_a_domain_is_taken_as_long_as_a_program_lives_in_it():
    with own_domain() as (number, lock):
        assert not is_free(number)
        left = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock])
    assert not is_free(number)
    left.communicate(b"\n", timeout=60)
    assert is_free(number)
