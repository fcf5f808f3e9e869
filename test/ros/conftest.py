"""A ROS graph of its own for every test that asks for one."""

import fcntl
from contextlib import suppress
from pathlib import Path

import pytest
from domains import own_domain

PROFILE = Path(__file__).parents[2] / "config" / "fastdds_shared_memory.xml"
SHARED = Path("/dev/shm")
ELSEWHERE = ("ROS_DISCOVERY_SERVER", "ROS_LOCALHOST_ONLY", "ROS_STATIC_PEERS")


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
        remove_shared_memory(own)


@pytest.fixture
def graph(domain, tmp_path):
    """A `graph.Graph` in the test's domain; at the test's end its programs are ended."""
    from graph import Graph

    graph = Graph(tmp_path)
    yield graph
    graph.close()


def remove_shared_memory(domain):
    """Remove the ports of a domain, and what programs left that were killed or ended by os._exit: 35 MB each."""
    first = 7400 + 250 * domain  # RTPS, 9.6.1: the ports of a domain
    for port in range(first, first + 250):
        for file in SHARED.glob(f"*fastrtps_port{port}*"):
            file.unlink(missing_ok=True)
    for lock in SHARED.glob("fastrtps_*_el"):
        with suppress(OSError), lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a living owner holds it
            lock.with_name(lock.name.removesuffix("_el")).unlink(missing_ok=True)
            lock.unlink(missing_ok=True)
