"""The reconstruction bench: a perfect answer scores nothing lost, and each fault shows where it was made."""

import json
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from billboards import K, frame
from scipy.spatial.transform import Rotation
from walks import EXACT, EXACTLY

from moonseg3r_core.benchmarks import reconstruction as bench_reconstruction
from moonseg3r_core.benchmarks.reconstruction import (
    compare_all,
    find_sequences,
    make_table,
    make_view_table,
    write_rows,
)
from moonseg3r_core.cli import main
from moonseg3r_core.config import load_config
from moonseg3r_core.errors import FrameRejected, InputError, SourceError
from moonseg3r_core.evaluation.metrics.reconstruction import compute_f_score
from moonseg3r_core.evaluation.reconstruction_comparison import thin_pixels
from moonseg3r_core.evaluation.reconstruction_scores import average_scores, compare, compute_scores
from moonseg3r_core.geometry import transform, unproject
from moonseg3r_core.types import Corrections, Geometry, Held, PixelGrid

PATH = [(0.1 * t - 0.4, 0.02 * t * t - 0.2, 0.05 * (t % 3)) for t in range(8)]
FRAMES = [frame(t, camera)[0] for t, camera in enumerate(PATH)]
WORLD = torch.eye(4, dtype=torch.float64)
WORLD[:3, :3] = torch.from_numpy(Rotation.from_rotvec([0.3, -1.0, 0.5]).as_matrix())
WORLD[:3, 3] = torch.tensor([5.0, -2, 1])
CUT3R = {
    "reconstruction.kind": "cut3r", "reconstruction.random": True, "reconstruction.cut3r.model": "cut3r-tiny",
    "reconstruction.cut3r.min_confidence": 1.0, "device": "cpu",
}  # fmt: skip


class Knowing:
    """Answers from the truth by frame number, in a world and unit of its own, with a fault where one is asked for."""

    def __init__(self, unit=1.0, world=None, fault=lambda index, geometry: geometry, rows=1):
        self.unit, self.fault, self.rows, self.resets, self.saw = unit, fault, rows, 0, []
        self.world = torch.eye(4, dtype=torch.float64) if world is None else world

    def reset(self):
        self.resets += 1

    def __call__(self, frame):
        self.saw.append(frame)
        true = FRAMES[frame.index]
        pose = true.world_from_camera.clone()
        pose[:3, 3] *= self.unit
        pose = self.world @ pose
        points = transform(unproject(true.depth, K) * self.unit, pose)[:: self.rows]
        height, width = points.shape[:2]
        depth = self.unit * true.depth[:: self.rows]
        grid = PixelGrid(height, width, scale_v=float(self.rows))
        return self.fault(frame.index, Geometry(points, torch.ones(height, width), depth, pose, K.clone(), grid))


def score_sequence(reconstruction, frames, inputs=()):
    return compute_scores(compare(reconstruction, frames, inputs))


def faulty(*frames, change):
    """`change` of the geometry in these frames alone."""
    return lambda index, geometry: change(geometry) if index in frames else geometry


def perfect(scores):
    """Of a wall on the border of voxels (2 cm) rounding may keep other points: mean distances alone are not quite zero."""
    lost = [scores.abs_rel, scores.ate, scores.rpe, scores.rpe_degrees, scores.accuracy, scores.completeness]
    assert lost == pytest.approx([0.0] * 6, abs=1e-5)
    assert [scores.accuracy_mean, scores.completeness_mean] == pytest.approx([0.0, 0.0], abs=4e-3)
    return (scores.delta, scores.f_score) == (1, 1)


def test_the_truth_in_another_world_and_unit_is_perfect():
    reconstruction = Knowing(unit=0.25, world=WORLD)
    scores = score_sequence(reconstruction, FRAMES)
    assert perfect(scores)
    assert scores.depth_scale == pytest.approx(4)
    assert (scores.frames, scores.held, scores.rejected, scores.coverage) == (8, 0, 0, 1)
    assert scores.ms > 0
    assert scores.ms_mean > 0
    assert (scores.pairs, scores.lost) == (5, 0)
    between = [scores.pair_degrees, scores.pair_shift, scores.disagreement, scores.median_error]
    assert between == pytest.approx([0] * 4, abs=1e-5)
    assert reconstruction.resets == 1


def test_a_coarser_grid_is_compared_at_its_own_pixels():
    assert score_sequence(Knowing(rows=3), FRAMES).abs_rel == pytest.approx(0, abs=1e-6)


def test_baselines_are_those_of_the_scene():
    scores = score_sequence(Knowing(), FRAMES)
    centres = np.array(PATH)
    assert scores.still_ate == pytest.approx(math.sqrt(((centres - centres.mean(0)) ** 2).sum(1).mean()))
    assert scores.path == pytest.approx(np.linalg.norm(np.diff(centres, axis=0), axis=1).sum())
    depths = np.concatenate([f.depth.numpy().ravel() for f in FRAMES])
    tried = [np.mean(np.abs(c - depths) / depths) for c in np.linspace(1.4, 2.6, 241)]
    assert 0 < scores.constant <= min(tried) + 1e-7
    assert scores.constant == pytest.approx(min(tried), abs=1e-3)


def test_depth_that_breathes_is_a_fault_of_depth_and_cloud_and_not_of_the_path():
    """Two of eight frames a fifth too deep: one scale cannot mend them."""

    def deeper(geometry):
        pose = geometry.world_from_camera
        return replace(geometry, points=1.2 * (geometry.points - pose[:3, 3].float()) + pose[:3, 3].float())

    scores = score_sequence(Knowing(fault=faulty(2, 5, change=deeper)), FRAMES)
    assert scores.abs_rel == pytest.approx(0.05, abs=1e-6)
    assert scores.delta == 1
    assert scores.ate == pytest.approx(0, abs=1e-12)
    assert scores.accuracy_mean > 0.02
    assert scores.f_score < 1


def test_a_pose_that_slips_with_its_points_is_a_fault_of_path_and_cloud_and_not_of_depth():
    def slipped(geometry):
        pose, step = geometry.world_from_camera.clone(), torch.tensor([0.0, 0.3, 0.0])
        pose[:3, 3] += step
        return replace(geometry, points=geometry.points + step, world_from_camera=pose)

    comparison = compare(Knowing(fault=faulty(3, change=slipped)), FRAMES)
    scores = compute_scores(comparison)
    assert scores.abs_rel == pytest.approx(0, abs=1e-6)
    assert 0.05 < scores.ate < 0.3
    assert scores.rpe > 0.1
    assert scores.rpe_degrees == pytest.approx(0, abs=1e-6)
    assert scores.accuracy_mean > 0.01
    assert scores.f_score == compute_f_score(*comparison.distances, 0.05) < 1


def test_pixels_without_a_point_cost_coverage_and_nothing_else():
    def half(geometry):
        confidence = geometry.confidence.clone()
        confidence[:, : confidence.shape[1] // 2] = 0
        return replace(
            geometry, confidence=confidence, points=torch.where(confidence[..., None] > 0, geometry.points, 99)
        )

    scores = score_sequence(Knowing(fault=faulty(*range(8), change=half)), FRAMES)
    assert scores.coverage == 0.5
    assert (scores.abs_rel, scores.accuracy_mean) == pytest.approx((0, 0), abs=1e-4)
    assert scores.completeness_mean > 0.02


def test_held_frames_are_counted_and_their_stand_in_pose_is_scored():
    first = FRAMES[3].world_from_camera

    def hold(geometry):
        nothing = torch.zeros_like(geometry.confidence)
        return replace(
            geometry, confidence=nothing, depth=nothing, world_from_camera=first.clone(), held=Held("blurred")
        )

    scores = score_sequence(Knowing(fault=faulty(4, 5, change=hold)), FRAMES)
    assert (scores.held, scores.rejected, scores.coverage) == (2, 0, 0.75)
    assert scores.abs_rel == pytest.approx(0, abs=1e-6)
    assert scores.ate > 0.02
    assert (scores.lost, scores.tracked_ate) == (0.25, pytest.approx(0, abs=1e-12))


def test_corrections_of_key_views_move_the_path_and_the_cloud_at_the_end():
    """Frames 3 to 5 hang on a key view that is 0.3 m astray in a unit of its own; the last frame brings the correction."""
    astray = torch.eye(4, dtype=torch.float64) * 1.2
    astray[:, 3] = torch.tensor([0, 0.3, 0, 1])

    def drift(index, geometry):
        if index in (3, 4, 5):
            pose, scale = astray @ geometry.world_from_camera, 1.2
            pose[:3, :3] /= scale
            geometry = replace(
                geometry, points=transform(geometry.points, astray), world_from_camera=pose, anchor=2,
                depth=scale * geometry.depth,
            )  # fmt: skip
        if index == 7:
            correction = Corrections(torch.tensor([2, 9]), torch.stack([torch.linalg.inv(astray), astray]))
            geometry = replace(geometry, anchor=9, corrections=correction)
        return geometry

    comparison = compare(Knowing(fault=drift), FRAMES)
    scores = compute_scores(comparison)
    assert scores.tracked_ate == scores.ate > 0.05
    assert scores.closed_ate == pytest.approx(0, abs=1e-12)
    assert scores.accuracy_mean == pytest.approx(0, abs=4e-3)
    assert torch.allclose(comparison.corrected[4], FRAMES[4].world_from_camera)


def test_rejected_frames_are_counted_and_their_truth_stays_to_be_found():
    def reject(geometry):
        raise FrameRejected("too dark")

    scores = score_sequence(Knowing(fault=faulty(0, 1, change=reject)), FRAMES)
    assert (scores.frames, scores.rejected, scores.coverage) == (8, 2, 0.75)
    assert scores.ate == pytest.approx(0, abs=1e-12)
    nothing = score_sequence(Knowing(fault=faulty(*range(8), change=reject)), FRAMES)
    assert (nothing.rejected, nothing.coverage) == (8, 0)
    assert all(math.isnan(x) for x in (nothing.abs_rel, nothing.ate, nothing.accuracy, nothing.ms))


def test_color_alone_is_shown_unless_more_is_needed():
    blind, given = Knowing(), Knowing()
    score_sequence(blind, FRAMES)
    score_sequence(given, FRAMES, ("poses",))
    assert all(f.depth is None and f.intrinsics is None and f.world_from_camera is None for f in blind.saw)
    assert all(f.depth is None and f.world_from_camera is not None for f in given.saw)


@pytest.mark.parametrize("pose", [None, torch.full((4, 4), -math.inf, dtype=torch.float64)])
def test_a_frame_without_truth_is_shown_and_not_scored(pose):
    frames = [replace(FRAMES[0], world_from_camera=pose), *FRAMES[1:]]
    reconstruction = Knowing()
    assert score_sequence(reconstruction, frames).frames == 7
    assert len(reconstruction.saw) == 8
    with pytest.raises(InputError, match="got none that does"):
        score_sequence(Knowing(), frames[:1])


def test_two_positions_or_a_straight_path_leave_scores_open():
    two = score_sequence(Knowing(), FRAMES[:2])
    assert (two.frames, two.coverage, two.abs_rel) == (2, 1, pytest.approx(0, abs=1e-6))
    assert all(math.isnan(x) for x in (two.ate, two.rpe, two.path, two.ate_share, two.accuracy, two.f_score))
    straight = [replace(f, world_from_camera=FRAMES[0].world_from_camera) for f in FRAMES]
    open_roll = score_sequence(Knowing(), straight)
    assert math.isnan(open_roll.accuracy)


def test_large_frames_are_thinned_evenly():
    assert thin_pixels(torch.zeros(96, 128)).shape == (96, 128)
    assert thin_pixels(torch.zeros(384, 512)).shape == (96, 128)
    assert thin_pixels(torch.arange(480 * 640).view(480, 640))[1, 1] == 7 * 640 + 7


def test_rgbd_is_the_truth_of_every_kind_of_source(rooms):
    compared = compare_all([str(rooms), "synthetic:3:4"], load_config(overrides=EXACT), quiet=True)
    assert [name.rpartition("/")[2] for name in compared] == ["room_1", "room_2", "synthetic:3:4"]
    for comparison in compared.values():
        assert perfect(compute_scores(comparison))


def test_an_untrained_net_is_far_from_it_and_worse_than_a_guess(rooms, tmp_path):
    config = load_config(overrides=CUT3R)
    compared = compare_all([str(rooms / "room_1")], config, quiet=True)
    scores = {name: compute_scores(comparison) for name, comparison in compared.items()}
    (one,) = scores.values()
    assert one.abs_rel > one.constant > 0.05
    assert one.still_ate >= one.ate > 0.2 * one.still_ate  # no scale is worse than the scale 0
    write_rows(tmp_path / "rows.json", scores, config)
    assert json.loads((tmp_path / "rows.json").read_text())["weights"] == {"cut3r-tiny": "UNTRAINED"}


@pytest.mark.parametrize(("given", "seen"), [([], True), (["--uncalibrated"], False)])
def test_intrinsics_are_shown_unless_they_are_to_be_hidden(given, seen, monkeypatch, capsys):
    """A reconstruction that notes what it is shown, and knows nothing."""
    shown = []

    class Nothing:
        def reset(self):
            pass

        def __call__(self, frame):
            shown.append((frame.intrinsics is not None, frame.depth is not None, frame.world_from_camera is not None))
            raise FrameRejected("nothing is known")

    monkeypatch.setattr(bench_reconstruction, "make_stage", lambda stage, config: Nothing())
    assert main(["bench", "reconstruction", "synthetic:3:3", "--quiet", *given]) == 0
    assert shown == [(seen, False, False)] * 3


def test_the_table_has_a_mean_where_there_are_several():
    one = score_sequence(Knowing(), FRAMES)
    two = score_sequence(Knowing(unit=3), FRAMES[:6])
    mean = average_scores([one, two])
    assert (mean.frames, mean.path) == (7, pytest.approx((one.path + two.path) / 2))
    table = make_table({"a": one, "b": two}, load_config(overrides=EXACT))
    assert [row["sequence"] for row in table.rows] == ["a", "b", "mean"]
    assert [table.rows[2][name] for name in ("frames", "ATE %", "fps")] == ["7", "0.0", f"{1e3 / mean.ms:.1f}"]
    known = replace(one, ate=0.1, path=2.0, rpe=0.03, still_rpe=0.1, coverage=0.75, ms=40.0)
    (row,) = make_table({"folder/a": known}, load_config(overrides=EXACT)).rows  # shares of the path, the true step
    shown = [row[name] for name in ("sequence", "ATE %", "RPE %", "coverage %", "fps")]
    assert shown == ["a", "5.0", "30", "75.0", "25.0"]
    lost = replace(known, held=1, rejected=1, tracked_ate=0.05, closed_ate=0.02, disagreement=0.04, ms_mean=50.0)
    rows = make_view_table({"folder/a": lost, "b": replace(lost, held=3)}).rows
    assert [row["lost %"] for row in rows] == ["25.0", "50.0", "37.5"]
    shown = [rows[0][name] for name in ("ATE %", "corrected ATE %", "disagreement %", "mean ms")]
    assert shown == ["2.50", "1.00", "4.0", "50"]


def test_from_the_command_line(rooms, tmp_path, capsys):
    rows, plot = tmp_path / "rows.json", tmp_path / "plot.png"
    command = ["bench", "reconstruction", str(rooms), "--max-frames", "4", "--quiet", *EXACTLY]
    assert main([*command, "--json", str(rows), "--plot", str(plot)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    names = ["room_1", "room_2", "mean"]
    assert [line.split("|")[1].strip() for line in lines[2:5] + lines[7:]] == names + names
    assert [line.split("|")[2].strip() for line in lines[2:5]] == ["4", "4", "4"]
    held = json.loads(rows.read_text())
    assert [row["sequence"] for row in held["sequences"]] == [str(rooms / name) for name in ("room_1", "room_2")]
    assert held["mean"]["abs_rel"] == pytest.approx(0, abs=1e-6)
    assert held["reconstruction"]["kind"] == "rgbd"
    picture = cv2.imread(str(plot))
    assert picture.shape[0] > 600
    assert (picture < 250).any()


def test_what_is_open_is_null_in_the_file_and_left_out_of_the_plot(tmp_path, capsys):
    rows, plot = tmp_path / "rows.json", tmp_path / "plot.png"
    command = ["bench", "reconstruction", "synthetic:3:2", "--quiet", "--json", str(rows), "--plot", str(plot)]
    assert main([*command, *EXACTLY]) == 0
    assert json.loads(rows.read_text())["sequences"][0]["ate"] is None
    assert "nan" in capsys.readouterr().out
    assert plot.stat().st_size > 0


def test_a_recording_without_truth_is_one_line(rooms, tmp_path):
    (tmp_path / "color").mkdir()
    cv2.imwrite(str(tmp_path / "color" / "0.png"), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(SourceError, match="got no depth and no intrinsics and no poses; give"):
        compare_all([str(tmp_path)], load_config(overrides=EXACT), quiet=True)
    assert find_sequences(str(rooms / "room_1")) == [str(rooms / "room_1")]
    assert find_sequences("synthetic:3") == ["synthetic:3"]


def test_a_file_that_cannot_be_written_is_said_before_the_run(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["bench", "reconstruction", "synthetic:3", "--json", str(tmp_path / "none" / "rows.json")])
    assert exit.value.code == 2
    assert "file in a folder that exists" in capsys.readouterr().err
