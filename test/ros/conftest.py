"""A ROS graph of its own for every test that asks for one."""

import contextlib
import fcntl
import os
import tempfile
from itertools import count
from pathlib import Path

import pytest

PROFILE = Path(__file__).parents[2] / "config" / "fastdds_shared_memory.xml"
DOMAINS = 99  # domain ids 1 to 99: their ports lie below those that Linux gives to other programs
ELSEWHERE = ("ROS_DISCOVERY_SERVER", "ROS_LOCALHOST_ONLY", "ROS_STATIC_PEERS")
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


@pytest.fixture
def domain(tmp_path, monkeypatch):
    """The domain id of a graph that only this test's processes see; what ROS writes goes to the test's folder."""
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    settings = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_HOME": str(tmp_path / "ros")}
    if PROFILE.exists():
        settings |= {"FASTDDS_DEFAULT_PROFILES_FILE": str(PROFILE), "FASTRTPS_DEFAULT_PROFILES_FILE": str(PROFILE)}
    for name in (*ELSEWHERE, "ROS_LOG_DIR"):
        monkeypatch.delenv(name, raising=False)
    with own_domain() as (own, lock):
        for name, value in (settings | {"ROS_DOMAIN_ID": str(own), "DOMAIN_LOCK": str(lock)}).items():
            monkeypatch.setenv(name, value)
        yield own


@pytest.fixture
def graph(domain, tmp_path):
    """A `graph.Graph` in the test's domain; at the test's end its programs are ended."""
    from graph import Graph

    graph = Graph(tmp_path)
    yield graph
    graph.close()
