"""What others hold stays: options, settings and defaults, keys of files, topics, services, parameters."""

import json
from importlib.util import find_spec

import contract
import pytest

PROMISED = json.loads(contract.PROMISED.read_text())


@pytest.mark.parametrize("part", contract.READERS)
def test_what_was_promised_is_still_there(part):
    if part == "node" and not (find_spec("rclpy") and find_spec("diagnostic_msgs")):
        pytest.skip("ROS 2 is not installed")
    found = json.loads(json.dumps(contract.READERS[part]()))
    assert list(contract.find_broken(PROMISED[part], found)) == []


def test_every_part_is_promised():
    assert PROMISED.keys() == contract.READERS.keys()


@pytest.mark.parametrize(
    ("promised", "found", "broken"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": 1}, {"a": 2}, ["/a was 1, is 2"]),
        ({"a": {"b": 0}}, {"a": {}}, ["/a/b is gone"]),
        ({"a": ["x", "y"]}, {"a": ["y", "z"]}, ["/a: x is gone"]),
    ],
)
def test_a_broken_promise_is_told(promised, found, broken):
    assert list(contract.find_broken(promised, found)) == broken
