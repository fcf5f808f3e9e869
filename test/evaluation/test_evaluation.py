"""Scores that can be worked out on paper, the protocols on tiny scenes, and the golden cases of the public evaluators."""

import json
import math
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moonseg3r_core.benchmarks.baselines import assign_new_ids, assign_overlapping_ids, assign_true_ids
from moonseg3r_core.cli import main
from moonseg3r_core.errors import InputError
from moonseg3r_core.evaluation.evaluate import evaluate, evaluate_scenes
from moonseg3r_core.evaluation.ground_truth import View
from moonseg3r_core.evaluation.metrics.average_precision import (
    THRESHOLDS,
    average_precision,
    average_scenes,
    match_scene,
)
from moonseg3r_core.evaluation.metrics.objects import ObjectCounts, count_objects, sum_counts
from moonseg3r_core.evaluation.protocols.nearest import align_map, transfer_nearest_labels
from moonseg3r_core.evaluation.protocols.project import ProjectProtocol
from moonseg3r_core.io.ply import write_ply
from moonseg3r_core.io.tum import write_tum
from moonseg3r_core.types import InstanceMap

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"


def runs(*pairs):
    """`runs((1, 200), (0, 50))`: 200 points of id 1, then 50 of id 0."""
    return np.concatenate([np.full(count, value, dtype=np.int32) for value, count in pairs])


def score(gt, pred, scores=None):
    return average_precision([match_scene(gt, pred, scores)])


def test_a_perfect_prediction_scores_one():
    gt = runs((1, 200), (2, 100), (0, 300))
    result = score(gt, gt)
    assert (result.ap, result.ap50, result.ap25) == (1, 1, 1)


def test_nothing_predicted_scores_zero():
    assert score(runs((1, 200)), runs((0, 200))).ap25 == 0


def test_no_object_is_not_a_number():
    assert math.isnan(score(runs((1, 99)), runs((1, 99))).ap50)


def test_objects_and_the_instances_of_each_are_counted():
    gt = runs((1, 200), (2, 100), (3, 99), (0, 300))  # the third object is too small to count
    pred = runs((5, 150), (6, 50), (7, 30), (0, 70), (8, 99), (9, 300))
    counts = count_objects(gt, pred)
    assert counts == ObjectCounts(objects=2, found=(2, 1), instances=5, unmatched=1, inside=3)  # 6 is a piece of 1
    assert counts.per_object == 1.5
    assert sum_counts([counts, counts]) == ObjectCounts(objects=4, found=(4, 2), instances=10, unmatched=2, inside=6)


def test_what_is_listed_counts_even_without_a_point():
    gt, pred = runs((1, 200), (2, 100)), runs((5, 200), (6, 100))
    assert count_objects(gt, pred, {5, 77}) == ObjectCounts(objects=2, found=(1, 1), instances=2, unmatched=1, inside=1)
    assert count_objects(gt, pred, ()) == ObjectCounts(objects=2, found=(0, 0), instances=0, unmatched=0, inside=0)
    assert math.isnan(count_objects(0 * gt, pred).per_object)


def test_iou_on_the_threshold_is_no_match():
    gt = runs((1, 400))
    assert score(gt, runs((1, 200), (0, 200))).ap50 == 0
    assert score(gt, runs((1, 201), (0, 199))).ap50 == 1


def test_a_split_object_is_found_once_and_its_other_half_is_wrong():
    # Halves of IoU 0.6 and 0.4. At 0.50 the larger is the find, the smaller a false positive of the same score:
    # precision 1/2 at recall 1, and (recall 0, precision 1): 1/2 * 1/2 + 1 * 1/2.
    result = score(runs((1, 500)), runs((7, 300), (8, 200)))
    assert result.ap50 == pytest.approx(0.75)
    # At 0.25 both match; the second is the same false positive.
    assert result.ap25 == pytest.approx(0.75)


def test_of_two_matching_masks_the_best_score_stands_for_the_find():
    gt, pred = runs((1, 500)), runs((7, 300), (8, 200))
    # The find has 0.9 whichever mask brings it: precision 1 at recall 1 from the first rank on, 1/2 at the second.
    for scores in ({7: 0.9, 8: 0.1}, {7: 0.1, 8: 0.9}):
        assert score(gt, pred, scores).ap25 == pytest.approx(1.0)


def test_a_false_positive_costs_more_the_higher_it_scores():
    gt, pred = runs((1, 200), (2, 500)), runs((1, 200), (3, 200), (0, 300))
    # Find first: precision 1 at recall 1/2 at the higher score, 1/2 at the lower: (1/2 * 0 + 1 * 1/4 + 1 * 1/4).
    assert score(gt, pred, {1: 0.9, 3: 0.1}).ap50 == pytest.approx(0.5)
    # Wrong one first: recalls 1/2 and 0 with precisions 1/2 and 0: 1/2 * 1/4 + 0 * 1/4 + 1 * 0.
    assert score(gt, pred, {1: 0.1, 3: 0.9}).ap50 == pytest.approx(0.125)


@pytest.mark.parametrize(("points", "found"), [(99, 0), (100, 1)])
def test_masks_under_100_points_are_dropped(points, found):
    assert score(runs((1, 110)), runs((1, points), (0, 110 - points))).ap50 == found


@pytest.mark.parametrize(("points", "ap50"), [(99, 1.0), (100, 0.5)])
def test_objects_under_100_points_are_not_sought(points, ap50):
    assert score(runs((1, 200), (2, points)), runs((1, 200), (0, points))).ap50 == ap50


def test_a_mask_on_an_object_that_is_too_small_is_not_wrong():
    # 99 of its 102 points lie in the small object 2, which cannot be found; with 99 of 200 it is wrong.
    assert score(runs((1, 200), (2, 99)), runs((1, 197), (9, 3 + 99))).ap50 == 1
    assert score(runs((1, 500), (2, 99)), runs((1, 399), (9, 101 + 99))).ap50 == pytest.approx(0.75)


@pytest.mark.parametrize(("in_void", "ap50"), [(100, 0.75), (101, 1.0)])
def test_a_mask_is_ignored_when_more_than_the_threshold_of_it_is_void(in_void, ap50):
    gt = runs((1, 1000), (0, in_void))
    pred = runs((5, 200 - in_void), (1, 800 + in_void), (5, in_void))
    assert score(gt, pred).ap50 == pytest.approx(ap50)


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.permutations(range(1, 6)))
def test_the_names_of_ids_do_not_matter(seed, names):
    rng = np.random.default_rng(seed)
    gt, pred = rng.integers(0, 4, 30).repeat(50), rng.integers(0, 6, 30).repeat(50)
    scores = {k: float(rng.random()) for k in range(1, 6)}
    renamed = np.array([0, *names])[pred]
    again = score(gt, renamed, {names[k - 1]: value for k, value in scores.items()})
    for ours, other in zip(score(gt, pred, scores).per_threshold[:9], again.per_threshold[:9], strict=True):
        assert ours == pytest.approx(other, nan_ok=True)


def test_scenes_are_pooled_and_their_mean_is_another_number():
    whole = match_scene(runs((1, 200)), runs((1, 200)))
    half = match_scene(runs((1, 200), (2, 200), (3, 200)), runs((1, 200), (0, 400)))
    # Pooled: 2 of 4 found, none wrong: precision 1 at recall 1/2: 1/4 + 1/4. Each: 1 and 1/3.
    assert average_precision([whole, half]).ap50 == pytest.approx(1 / 2)
    assert average_scenes([whole, half]).ap50 == pytest.approx(2 / 3)


def test_labels_on_other_points_are_refused():
    with pytest.raises(ValueError, match="on the same points"):
        match_scene(runs((1, 3)), runs((1, 4)))


parity_ap = runpy.run_path(str(ROOT / "tools/parity_ap.py"))["main"]


@pytest.mark.skipif(not (SHARED / "parity/ap").is_dir(), reason="needs the shared golden cases")
def test_all_golden_cases_are_equal(capsys):
    assert parity_ap([str(SHARED / "parity/ap")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 13


def test_the_parity_tool_sees_a_difference(tmp_path):
    gt = runs((1, 200), (0, 100))
    case = {"gt": gt, "pred": gt, "pred_ids": np.array([1]), "scores": np.array([1.0]), "thresholds": THRESHOLDS}
    for ap25, status in ((1.0, 0), (0.9, 1)):
        np.savez(tmp_path / "case0.npz", ap_per_threshold=np.ones(10), ap=1.0, ap50=1.0, ap25=ap25, **case)
        assert parity_ap([str(tmp_path)]) == status
    (tmp_path / "case0.npz").unlink()
    assert parity_ap([str(tmp_path)]) == 2


# protocol project: a wall of 40 x 30 points 2 m ahead, one per pixel of a 40 x 30 camera

K = np.array([[40.0, 0, 19.5], [0, 40.0, 14.5], [0, 0, 1]])
EYE = np.eye(4)


def wall(z=2.0):
    """Points (1200, 3), one on each pixel's ray."""
    v, u = np.mgrid[0:30, 0:40]
    return np.stack(((u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, np.full(u.shape, z)), -1).reshape(-1, 3)


def flat(value, dtype=np.float32):
    return np.full((30, 40), value, dtype=dtype)


def halves(left=1, right=2):
    ids = flat(left, np.int32)
    ids[:, 20:] = right
    return ids


def test_a_frame_carries_its_ids_onto_the_points_it_sees():
    votes = ProjectProtocol(wall(), 0.05)
    votes.add(halves(), flat(2.0), K, EYE)
    assert np.array_equal(votes.compute_labels().reshape(30, 40), halves())


@pytest.mark.parametrize(("measured", "seen"), [(2.04, True), (1.96, True), (2.06, False), (1.94, False), (0.0, False)])
def test_a_point_is_seen_where_the_depth_agrees(measured, seen):
    votes = ProjectProtocol(wall(), 0.05)
    votes.add(flat(3, np.int32), flat(measured), K, EYE)
    assert (votes.compute_labels() == 3 * seen).all()


def test_the_most_votes_win_and_ties_go_to_the_newest():
    votes = ProjectProtocol(wall(), 0.05)
    for value in (5, 5, 4):
        votes.add(flat(value, np.int32), flat(2.0), K, EYE)
    assert (votes.compute_labels() == 5).all()
    votes.add(flat(4, np.int32), flat(2.0), K, EYE)
    assert (votes.compute_labels() == 4).all()
    votes.add(flat(0, np.int32), flat(2.0), K, EYE)
    assert (votes.compute_labels() == 4).all()


def test_a_point_behind_the_camera_or_never_seen_has_no_id():
    votes = ProjectProtocol(wall(-2.0), 0.05)
    assert (votes.compute_labels() == 0).all()
    votes.add(flat(1, np.int32), flat(2.0), K, EYE)
    assert (votes.compute_labels() == 0).all()


def test_votes_summed_up_on_the_way_are_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 4, (30, 40)) for _ in range(7)]
    late, early = ProjectProtocol(wall(), 0.05), ProjectProtocol(wall(), 0.05)
    for ids in frames:
        late.add(ids, flat(2.0), K, EYE)
    monkeypatch.setattr("moonseg3r_core.evaluation.protocols.project._MAX_PENDING", 1000)
    for ids in frames:
        early.add(ids, flat(2.0), K, EYE)
    assert np.array_equal(late.compute_labels(), early.compute_labels())


def test_world_and_camera_may_move_together():
    pose = np.eye(4)
    pose[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
    pose[:3, 3] = 3, -1, 7
    votes = ProjectProtocol(wall() @ pose[:3, :3].T + pose[:3, 3], 0.05)
    votes.add(torch.from_numpy(halves()), torch.from_numpy(flat(2.0)), torch.from_numpy(K), torch.from_numpy(pose))
    assert np.array_equal(votes.compute_labels().reshape(30, 40), halves())


def test_ids_of_another_size_than_the_depth_are_refused():
    with pytest.raises(ValueError, match="of one size"):
        ProjectProtocol(wall(), 0.05).add(np.ones((15, 20), np.int32), flat(2.0), K, EYE)


def test_a_scaled_and_turned_map_is_laid_over_the_truth():
    truth = wall()
    centres = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)

    def elsewhere(points):
        return 0.4 * points @ turn.T + torch.tensor([5.0, 6, 7], dtype=torch.float64)

    aligned = align_map(elsewhere(torch.from_numpy(truth)).numpy(), elsewhere(centres), centres)
    np.testing.assert_allclose(aligned, truth, atol=1e-9)
    labels = transfer_nearest_labels(truth, aligned, halves().reshape(-1), 0.05)
    assert np.array_equal(labels.reshape(30, 40), halves())


def test_only_map_points_within_the_distance_count():
    points = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    map_points, ids = np.array([[0.04, 0, 0], [1.06, 0, 0]]), np.array([7, 8], dtype=np.int32)
    assert transfer_nearest_labels(points, map_points, ids, 0.05).tolist() == [7, 0, 0]
    assert transfer_nearest_labels(points, map_points[:0], ids[:0], 0.05).tolist() == [0, 0, 0]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_path_on_one_line_cannot_align_a_map(count):
    line = torch.arange(count, dtype=torch.float64)[:, None] * torch.tensor([[1.0, 2, 3]])
    with pytest.raises(InputError, match="needs 3 or more common poses that do not lie on one line"):
        align_map(np.zeros((1, 3)), line, line)


# baselines: two frames of the wall, masks 1 and 2 with their names swapped in the second


def wall_views():
    return [View(halves(*names), flat(2.0), K, EYE) for names in ((1, 2), (2, 1))]


def test_without_fusion_every_mask_is_new():
    first, second = assign_new_ids(wall_views())
    assert np.array_equal(first, halves(1, 2))
    assert np.array_equal(second, halves(4, 3))


def test_true_ids_name_masks_by_the_truth_below_them():
    for ids in assign_true_ids(wall_views(), wall(), halves(8, 9).reshape(-1)):
        assert np.array_equal(ids, halves(8, 9))


def test_greedy_overlap_joins_masks_that_share_their_voxels():
    first, second = assign_overlapping_ids(wall_views())
    assert np.array_equal(first, halves(1, 2))
    assert np.array_equal(second, first)


def test_greedy_overlap_keeps_apart_what_shares_too_little():
    shifted = np.eye(4)
    shifted[0, 3] = 10.0
    first, second = assign_overlapping_ids([wall_views()[0], View(halves(), flat(2.0), K, shifted)])
    assert set(np.unique(first)) == {1, 2}
    assert set(np.unique(second)) == {3, 4}


@pytest.mark.parametrize(
    "fusion",
    [assign_new_ids, assign_overlapping_ids, lambda views: assign_true_ids(views, wall(), halves().reshape(-1))],
)
def test_frames_without_masks_or_depth_flow_through(fusion):
    nothing, blind = View(flat(0, np.int32), flat(2.0), K, EYE), View(halves(), flat(0.0), K, EYE)
    first, second, third = fusion([nothing, blind, wall_views()[0]])
    assert (first == 0).all()
    assert second.shape == third.shape == (30, 40)
    assert len(np.unique(third)) == 2


def poses(count):
    """Cameras near the origin that look ahead, not on one line."""
    for k in range(count):
        pose = np.eye(4)
        pose[:2, 3] = 0.05 * (k % 2), 0.05 * (k // 2)
        yield pose


def write_recording(folder, count=4, structure=(2,), **arrays):
    """A ScanNet export of the wall with gt.npz; the cameras step aside by whole pixels."""
    for name in ("color", "depth", "pose", "intrinsic"):
        (folder / name).mkdir(parents=True)
    for k, pose in enumerate(poses(count)):
        cv2.imwrite(str(folder / f"color/{k}.jpg"), np.zeros((30, 40, 3), np.uint8))
        cv2.imwrite(str(folder / f"depth/{k}.png"), flat(2000, np.uint16))
        np.savetxt(folder / f"pose/{k}.txt", pose)
    for name in ("color", "depth"):
        np.savetxt(folder / f"intrinsic/intrinsic_{name}.txt", K)
    truth = {"points": wall().astype(np.float32), "instance_ids": halves().reshape(-1), "structure_ids": structure}
    np.savez(folder / "gt.npz", **{**truth, **arrays})
    return folder


def write_output(folder, count=4, scale=1.0):
    """What a run that names the left half 11 and the right half 12 leaves behind; its world is `scale` times as large."""
    (folder / "frames").mkdir(parents=True)
    for k, pose in enumerate(poses(count)):
        ids = halves(11, 12)
        ids[:, : 20 - round(pose[0, 3] * 20)] = 11
        ids[:, 20 - round(pose[0, 3] * 20) :] = 12
        cv2.imwrite(str(folder / f"frames/{k}.png"), ids.astype(np.uint16))
    row = {"points": 600, "centroid": [0, 0, 2], "box_min": [0, 0, 2], "box_max": [0, 0, 2], "first_frame": 0}
    instances = [row | {"id": id, "score": id / 20, "last_frame": 3, "observations": 4} for id in (11, 12)]
    (folder / "instances.json").write_text(json.dumps(instances))
    moved = [torch.from_numpy(pose) for pose in poses(count)]
    for pose in moved:
        pose[:3, 3] *= scale
    write_tum(folder / "trajectory.tum", list(range(count)), moved)
    points = torch.from_numpy((scale * wall()).astype(np.float32))
    ids = torch.from_numpy(halves(11, 12).reshape(-1))
    colors = torch.zeros(1200, 3, dtype=torch.uint8)
    write_ply(folder / "map.ply", InstanceMap(points, colors, ids, torch.ones(1200)))
    return folder


@pytest.fixture
def recording(tmp_path):
    return write_recording(tmp_path / "recording")


@pytest.fixture
def output(tmp_path):
    return write_output(tmp_path / "out")


def test_a_right_result_scores_one_in_every_row(output, recording):
    report = evaluate(output, recording)
    assert [row.name for row in report.rows] == [
        "with structure, equal scores",
        "with structure, ranked scores",
        "without structure, equal scores",
        "without structure, ranked scores",
    ]
    assert all(row.pooled.ap == 1 for row in report.rows)
    assert report.scenes[0].frames == 4


def test_nearest_does_not_mind_the_scale_of_the_map(tmp_path, recording):
    report = evaluate(write_output(tmp_path / "out", scale=3.0), recording / "gt.npz", protocol="nearest")
    assert report.get_row().pooled.ap == 1


def test_structure_is_void_in_its_row(output, recording):
    np.savez(
        recording / "gt.npz", points=wall().astype(np.float32), instance_ids=halves().reshape(-1), structure_ids=[1]
    )
    for file in (output / "frames").iterdir():
        cv2.imwrite(str(file), np.where(halves() == 1, np.arange(40) // 5 + 1, 12).astype(np.uint16))
    report = evaluate(output, recording)
    assert report.get_row(structure=True).pooled.ap50 < 0.5
    assert report.get_row(structure=False).pooled.ap50 == 1


def test_truth_that_names_no_structure_has_no_such_rows(tmp_path, output):
    report = evaluate(output, write_recording(tmp_path / "plain", structure=()))
    assert len(report.rows) == 2
    with pytest.raises(KeyError):
        report.get_row(structure=False)


def test_depth_of_another_size_is_brought_to_the_images(output, recording):
    for file in (recording / "depth").iterdir():
        cv2.imwrite(str(file), np.full((60, 80), 2000, np.uint16))
    np.savetxt(recording / "intrinsic/intrinsic_depth.txt", [[80, 0, 39.5], [0, 80, 29.5], [0, 0, 1]])
    assert evaluate(output, recording).get_row().pooled.ap == 1


def test_frames_without_pose_or_depth_are_left_out_and_counted(output, recording):
    np.savetxt(recording / "pose/1.txt", np.full((4, 4), -np.inf))
    (recording / "depth/2.png").unlink()
    report = evaluate(output, recording)
    assert (report.scenes[0].frames, report.scenes[0].skipped) == (2, 2)
    assert "2 frames (2 without depth or pose)" in str(report)


def test_the_command_prints_a_table_of_several_scenes(tmp_path, output, recording, capsys):
    other = write_recording(tmp_path / "other")
    assert main(["evaluate", str(output), str(recording), "--scene", str(output), str(other)]) == 0
    printed = capsys.readouterr().out
    for words in ("recording", "other", "all scenes pooled", "mean of scenes", "1.000"):
        assert words in printed


def test_the_command_prints_json(output, recording, capsys):
    assert main(["evaluate", str(output), str(recording), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["protocol"] == "project"
    assert [(row["structure"], row["scores"]) for row in answer["rows"]] == [
        (True, "equal"), (True, "ranked"), (False, "equal"), (False, "ranked"),
    ]  # fmt: skip
    assert answer["rows"][0]["pooled"] == {"ap": 1.0, "ap50": 1.0, "ap25": 1.0}


def save_truth(recording, **arrays):
    """Write gt.npz; None leaves an array out."""
    arrays = {"points": wall(), "instance_ids": np.ones(1200, np.int32)} | arrays
    np.savez(recording / "gt.npz", **{name: values for name, values in arrays.items() if values is not None})


ONLY_LABELS = lambda o, r: ((r / "gt.npz").unlink(), (r / "labels").mkdir())  # noqa: E731
NAN_SCORES = lambda f: f.write_text(f.read_text().replace("0.55", "NaN"))  # noqa: E731
FAULTS = [  # what is done to the result and the recording; what the line must say
    (lambda o, r: [file.unlink() for file in (o / "frames").iterdir()], "must hold frames/N.png"),
    (lambda o, r: cv2.imwrite(str(o / "frames/0.png"), np.ones((15, 20), np.uint16)), "must be 40x30 like the recording's images, got 20x15"),
    (lambda o, r: (o / "frames/0.png").write_bytes(b""), "must be a uint16 image of ids"),
    (lambda o, r: [f.rename(f.with_stem(f"10{f.stem}")) for f in (o / "frames").iterdir()], "frames in common, got numbers 100 to 103 against 0 to 3"),
    (lambda o, r: (r / "gt.npz").unlink(), "ground truth must be a ScanNet-export folder with gt.npz"),
    (ONLY_LABELS, "with 2D labels only"),
    (lambda o, r: (r / "gt.npz").write_bytes(b"PK nothing"), "cannot read"),
    (lambda o, r: save_truth(r, instance_ids=np.zeros(1200, np.int32)), "must hold an object of 100 points"),
    (lambda o, r: save_truth(r, points=None), "must hold points (N, 3) and instance_ids (N,), got instance_ids"),
    (lambda o, r: save_truth(r, instance_ids=np.ones(7, np.int32)), "must hold float points"),
    (lambda o, r: save_truth(r, points=wall() * np.nan), "points must be finite"),
    (lambda o, r: (r / "pose").rename(r / "no_pose"), "got no poses"),
    (lambda o, r: [file.write_text("nan\n") for file in (r / "pose").iterdir()], "must give depth, intrinsics and a rigid pose"),
    (lambda o, r: (o / "instances.json").unlink(), "instances.json"),
    (lambda o, r: NAN_SCORES(o / "instances.json"), "must give finite scores"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "words"), FAULTS, ids=[words for _, words in FAULTS])
def test_bad_input_is_one_line_and_status_2(output, recording, capsys, damage, words):
    damage(output, recording)
    assert main(["evaluate", str(output), str(recording)]) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_map_without_its_trajectory_is_one_line(output, recording):
    write_tum(output / "trajectory.tum", [0.0], [torch.eye(4)])
    with pytest.raises(InputError, match="one pose per image of frames/, got 1 for 4"):
        evaluate(output, recording, protocol="nearest")
    (output / "map.ply").unlink()
    with pytest.raises(InputError, match="cannot read"):
        evaluate(output, recording, protocol="nearest")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expects OUT and GROUND_TRUTH"),
        (["out"], "expects OUT and GROUND_TRUTH"),
        (["out", "gt", "--protocol", "paper"], "protocol must be one of project, nearest, got 'paper'"),
        (["out", "gt", "--distance", "0"], "distance must be above 0"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(capsys, arguments, words):
    assert main(["evaluate", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.skipif(not (SHARED / "data/kitchen/gt.npz").is_file(), reason="needs the shared recordings")
def test_the_kitchens_hand_labels_find_most_of_its_objects(tmp_path):
    """The 11 hand-labelled frames, carried onto the cloud that was labelled from them."""
    (tmp_path / "frames").mkdir()
    (tmp_path / "instances.json").write_text("[]")
    for file in (SHARED / "data/kitchen/labels").glob("*.png"):
        labels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED).astype(np.uint16)
        labels[labels == 255] = 0
        cv2.imwrite(str(tmp_path / "frames" / file.name), labels)
    report = evaluate_scenes([(tmp_path, SHARED / "data/kitchen")])
    assert report.scenes[0].frames == 11
    assert report.get_row().pooled.ap25 > 0.5
