"""The files of a run that others read: trajectory.tum and map.ply, and the quaternions in them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moonseg3r_core.errors import OutputError
from moonseg3r_core.geometry import quaternion_from_rotation, rotation_from_quaternion
from moonseg3r_core.io.ply import read_ply, write_ply
from moonseg3r_core.io.tum import read_tum, write_tum
from moonseg3r_core.types import InstanceMap


def quarter_turn_about_z():
    return torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)


def test_quarter_turn_about_z_is_the_known_quaternion():
    half = math.sqrt(0.5)
    expected = torch.tensor([0, 0, half, half], dtype=torch.float64)
    torch.testing.assert_close(quaternion_from_rotation(quarter_turn_about_z()), expected)
    torch.testing.assert_close(rotation_from_quaternion(expected), quarter_turn_about_z())


@pytest.mark.parametrize("axis", range(3))
def test_half_turns_have_no_w(axis):
    signs = -torch.ones(3, dtype=torch.float64)
    signs[axis] = 1
    quaternion = quaternion_from_rotation(torch.diag(signs))
    assert quaternion.abs().tolist() == [float(k == axis) for k in range(4)]


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: sum(c * c for c in q) > 0.01))
def test_quaternions_survive_the_way_there_and_back(values):
    quaternion = torch.tensor(values, dtype=torch.float64)
    rotation = rotation_from_quaternion(quaternion)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(rotation_from_quaternion(quaternion_from_rotation(rotation)), rotation)


def test_a_batch_of_rotations_equals_its_members():
    batch = rotation_from_quaternion(torch.randn(5, 4, dtype=torch.float64, generator=torch.manual_seed(0)))
    single = torch.stack([quaternion_from_rotation(rotation) for rotation in batch])
    torch.testing.assert_close(quaternion_from_rotation(batch), single)


def test_a_trajectory_survives_the_file(tmp_path):
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3], pose[:3, 3] = quarter_turn_about_z(), torch.tensor([1.5, -2.0, 0.25])
    write_tum(tmp_path / "t.tum", [1700000000.125, 1700000001.0], [pose, torch.eye(4, dtype=torch.float64)])
    stamps, poses = read_tum(tmp_path / "t.tum")
    assert stamps.tolist() == [1700000000.125, 1700000001.0]
    torch.testing.assert_close(poses[0], pose, atol=1e-8, rtol=0)
    torch.testing.assert_close(poses[1], torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize("line", ["1 2 3", "0 0 0 0 0 0 0 x", "0 nan 0 0 0 0 0 1", "0 1 2 3 0 0 0 0"])
def test_a_bad_trajectory_line_is_named(tmp_path, line):
    (tmp_path / "t.tum").write_text(f"# head\n0 0 0 0 0 0 0 1\n{line}\n")
    with pytest.raises(OutputError, match="line 3: expected `stamp tx ty tz"):
        read_tum(tmp_path / "t.tum")


def two_points():
    return InstanceMap(
        torch.tensor([[0.0, 1, 2], [3, 4, 5.5]]),
        torch.tensor([[1, 2, 3], [255, 0, 9]], dtype=torch.uint8),
        torch.tensor([7, 0], dtype=torch.int32),
        torch.tensor([0.5, 1.0]),
    )


def test_a_map_survives_the_file(tmp_path):
    write_ply(tmp_path / "map.ply", two_points())
    back = read_ply(tmp_path / "map.ply")
    for name in ("points", "colors", "instance_ids", "confidence"):
        assert torch.equal(getattr(back, name), getattr(two_points(), name)), name


def test_the_header_is_what_other_programs_expect(tmp_path):
    write_ply(tmp_path / "map.ply", two_points())
    data = (tmp_path / "map.ply").read_bytes()
    header = data[: data.index(b"end_header\n") + 11].decode()
    assert header.splitlines()[:3] == ["ply", "format binary_little_endian 1.0", "element vertex 2"]
    assert "property int instance_id" in header
    assert len(data) == len(header) + 2 * 23


def test_an_empty_map_survives_the_file(tmp_path):
    write_ply(tmp_path / "map.ply", InstanceMap.empty())
    assert len(read_ply(tmp_path / "map.ply")) == 0


def malformed(data):
    return {
        "no PLY header": b"nothing",
        "another PLY format": data.replace(b"binary_little_endian", b"ascii"),
        "no property instance_id": data.replace(b"instance_id", b"label_of_it"),
        "45 of the 46 bytes": data[:-1],
        "no `element vertex` first": data.replace(b"element vertex 2", b"element vertex x"),
    }


@pytest.mark.parametrize("fault", list(malformed(b"")))
def test_a_malformed_map_is_one_line(tmp_path, fault):
    write_ply(tmp_path / "map.ply", two_points())
    (tmp_path / "map.ply").write_bytes(malformed((tmp_path / "map.ply").read_bytes())[fault])
    with pytest.raises(OutputError, match="must be a binary little endian PLY") as caught:
        read_ply(tmp_path / "map.ply")
    assert fault in str(caught.value)
