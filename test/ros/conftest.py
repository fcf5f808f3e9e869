"""A ROS graph of its own for every test that asks for one."""

import os
from itertools import count
from pathlib import Path

import pytest

PROFILE = Path(__file__).parents[2] / "config" / "fastdds_shared_memory.xml"
DOMAINS = 99  # domain ids 1 to 99: their ports lie below those that Linux gives to other programs
ELSEWHERE = ("ROS_DISCOVERY_SERVER", "ROS_LOCALHOST_ONLY", "ROS_STATIC_PEERS")
_tests = count()


def next_domain():
    """A domain id that no test before had and no other worker of pytest-xdist takes."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = DOMAINS // workers
    return 1 + worker * share + next(_tests) % share


@pytest.fixture
def domain(tmp_path, monkeypatch):
    """The domain id of a graph that only this test's processes see; what ROS writes goes to the test's folder."""
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    own = str(next_domain())
    settings = {"ROS_DOMAIN_ID": own, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_HOME": str(tmp_path / "ros")}
    if PROFILE.exists():
        settings |= {"FASTDDS_DEFAULT_PROFILES_FILE": str(PROFILE), "FASTRTPS_DEFAULT_PROFILES_FILE": str(PROFILE)}
    for name in (*ELSEWHERE, "ROS_LOG_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return int(own)


@pytest.fixture
def graph(domain, tmp_path):
    """A `graph.Graph` in the test's domain; at the test's end its programs are ended."""
    from graph import Graph

    graph = Graph(tmp_path)
    yield graph
    graph.close()
