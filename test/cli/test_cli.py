"""The command: a run to its end, cut short, on bad input; and the small commands."""

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml
from outputs import export, is_whole
from walks import EXACTLY

from moonseg3r_core import cli
from moonseg3r_core.cli.common import parse_topics
from moonseg3r_core.cli.demo import RUNS
from moonseg3r_core.config import Config
from moonseg3r_core.errors import FrameRejected, InputError, MissingDependency, SourceError
from moonseg3r_core.io.ply import read_ply
from moonseg3r_core.report import OutputFolder, RunLog
from moonseg3r_core.report.palette import compute_colors
from moonseg3r_core.run import read_ahead, run
from moonseg3r_core.types import Assignment, Frame, FrameResult, Geometry, Instance, InstanceMap, PixelGrid

HEIGHT, WIDTH = 48, 64


class FakeSource:
    """Grey frames 10, 11, ... of which `at` may be something to raise."""

    name, kind, lacks, masks_folder = "a/recording", "fake", (), None
    depth_scale, axes, camera_frame = 0.0, "optical", ""

    def __init__(self, length=6, at=None):
        self.length = length
        self.rejected = Counter()
        self.at = at or {}

    def __iter__(self):
        for index in range(10, 10 + self.length):
            if index in self.at:
                raise self.at[index]
            yield Frame(index, index / 10, torch.full((HEIGHT, WIDTH, 3), 90, dtype=torch.uint8))


class FakeSegmenter:
    """Two instances side by side; from the 4th frame on the right one goes by 3, which turns out to be 2."""

    def __init__(self, reject=None, valid=True, masks=True, at_step=None):
        self.final_ids = {}
        self.steps = 0
        self.reject, self.valid, self.masks = reject or {}, valid, masks
        self.at_step = at_step or (lambda step: None)

    def step(self, frame):
        if frame.index in self.reject:
            raise FrameRejected(*self.reject[frame.index])
        self.steps += 1
        self.at_step(self.steps)
        right = 2 if self.steps < 4 else 3
        self.final_ids = {3: 2} if right == 3 else {}
        ids = torch.zeros(HEIGHT, WIDTH, dtype=torch.int32)
        given = torch.tensor([1, right] if self.masks else [], dtype=torch.int64)
        if self.masks:
            ids[8:40, 4:30], ids[8:40, 34:60] = 1, right
        geometry = Geometry(
            torch.zeros(HEIGHT, WIDTH, 3), torch.full((HEIGHT, WIDTH), float(self.valid)), torch.ones(HEIGHT, WIDTH),
            torch.eye(4, dtype=torch.float64), torch.eye(3), PixelGrid(HEIGHT, WIDTH),
        )  # fmt: skip
        assignment = Assignment(given, given > 9, torch.zeros(len(given)))
        return FrameResult(
            frame.index, frame.stamp, ids, geometry, assignment, {"masks": 2.0, "lift": float(self.steps)}
        )

    def snapshot(self):
        if not (self.steps and self.masks):
            return InstanceMap.empty()
        points = torch.tensor([[0.0, 0, 1], [1, 0, 1]]).repeat_interleave(30, 0) + torch.rand(60, 3) / 10
        ids = torch.tensor([1, 2], dtype=torch.int32).repeat_interleave(30)
        instances = tuple(
            Instance(id, 30, (0.0, 0.0, 1.0), (0.0, 0.0, 1.0), (0.1, 0.1, 1.1), 0.5, 10, 15, self.steps)
            for id in (1, 2)
        )
        return InstanceMap(points, torch.full((60, 3), 80, dtype=torch.uint8), ids, torch.ones(60), instances)


def run_fakes(folder, source=None, segmenter=None):
    out = OutputFolder(folder)
    out.claim()
    return run(source or FakeSource(), segmenter or FakeSegmenter(), Config(), out, quiet=True)


def test_out_holds_exactly_what_is_listed_and_final_ids(tmp_path):
    summary = run_fakes(tmp_path)
    is_whole(tmp_path, list(range(10, 16)))
    assert (summary.frames, summary.instances, summary.verdict, summary.interrupted) == (6, 2, "ok", False)
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written["stage_ms"] == {"masks": 2.0, "lift": 3.5}
    assert [written[name]["masks"]["kind"] for name in ("requested", "config")] == ["auto", "nano"]
    assert written["peak_memory_mib"] > 10
    for index in range(10, 16):
        ids = OutputFolder(tmp_path).read_frame(index)
        assert (ids[20, 10], ids[20, 40], ids[0, 0]) == (1, 2, 0)


def test_a_rejected_frame_is_left_out_counted_and_said_once_per_reason(tmp_path, caplog):
    source = FakeSource()
    source.rejected["image is truncated"] = 2
    reject = {11: ("no depth", "add depth/11.png"), 13: ("no depth", "add depth/13.png"), 14: ("bad pose",)}
    summary = run_fakes(tmp_path, source, FakeSegmenter(reject=reject))
    is_whole(tmp_path, [10, 12, 15])
    assert summary.skipped == {"no depth": 2, "bad pose": 1, "image is truncated": 2}
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("frame 11 skipped: no depth: add depth/11.png")
    assert second.startswith("frame 14 skipped: bad pose")
    assert "image is truncated" in (tmp_path / "report.html").read_text()


def test_a_stage_that_rests_in_most_frames_has_the_median_of_its_work():
    frames = [{"masks": 30.0, "store": 2.0}, {"store": 4.0}, {"store": 6.0}]
    assert RunLog(stage_ms=frames).compute_stage_medians() == {"masks": 30.0, "store": 4.0}


def test_frames_without_depth_are_counted(tmp_path):
    assert "6 without depth" in run_fakes(tmp_path, segmenter=FakeSegmenter(valid=False, masks=False)).verdict


def test_ctrl_c_in_the_source_leaves_a_whole_result(tmp_path):
    summary = run_fakes(tmp_path, FakeSource(at={13: KeyboardInterrupt()}))
    is_whole(tmp_path, [10, 11, 12])
    assert summary.interrupted
    assert OutputFolder(tmp_path).read_summary()["interrupted"] is True


def test_ctrl_c_during_a_step_waits_for_its_end(tmp_path):
    segmenter = FakeSegmenter(at_step=lambda step: signal.raise_signal(signal.SIGINT) if step == 2 else None)
    assert run_fakes(tmp_path, segmenter=segmenter).interrupted
    is_whole(tmp_path, [10, 11])


def test_ctrl_c_before_the_first_frame_leaves_a_readable_result(tmp_path):
    summary = run_fakes(tmp_path, FakeSource(at={10: KeyboardInterrupt()}))
    is_whole(tmp_path, [])
    assert summary.interrupted


@pytest.mark.parametrize("error", [SourceError("the bag ends early"), RuntimeError("a bug")])
def test_an_error_in_the_middle_keeps_what_was_done(tmp_path, error):
    with pytest.raises(type(error), match=str(error)):
        run_fakes(tmp_path, FakeSource(at={13: error}))
    is_whole(tmp_path, [10, 11, 12])
    assert str(error) in OutputFolder(tmp_path).read_summary()["error"]


def test_a_kill_leaves_a_folder_that_the_next_run_may_replace(tmp_path):
    out = OutputFolder(tmp_path)
    out.claim()
    out.clear()
    out.write_frame(0, np.zeros((2, 2), int))
    out.claim()
    assert "killed" in out.read_summary()["verdict"]


def test_reading_ahead_changes_neither_order_nor_end():
    assert list(read_ahead(range(5))) == [0, 1, 2, 3, 4]
    assert list(read_ahead([])) == []


def test_the_next_item_is_read_while_one_is_worked_on():
    second_read = threading.Event()

    def items():
        yield 1
        second_read.set()
        yield 2

    for item in read_ahead(items()):
        assert second_read.wait(timeout=10), item


def test_a_source_is_closed_in_the_thread_that_read_it():
    threads = []

    def items():
        try:
            threads.append(threading.get_ident())
            yield from range(9)
        finally:
            threads.append(threading.get_ident())

    for _ in (ahead := read_ahead(items())):
        break
    ahead.close()
    assert len(threads) == 2
    assert threads[0] == threads[1] != threading.get_ident()


def run_exactly(scene, out, *options):
    return cli.main(["run", str(scene), "-o", str(out), "--quiet", *options, *EXACTLY])


def test_run_on_a_recording_with_masks(tmp_path, capsys):
    scene, out = export(tmp_path / "scene"), tmp_path / "out"
    assert run_exactly(scene, out, "--set", "device=cpu") == 0
    assert "4 instances from 4 frames" in capsys.readouterr().out
    summary = is_whole(out, [0, 1, 2, 3])
    assert summary["masks_kind"] == "precomputed"
    assert set(summary["stage_ms"]) >= {"reconstruction", "masks", "features", "memory", "refinement", "match"}
    pairs = set()
    for n in range(4):
        labels = cv2.imread(str(scene / f"masks/{n}.png"), cv2.IMREAD_UNCHANGED)
        ids = OutputFolder(out).read_frame(n)
        pairs |= {(k, int(np.bincount(ids[labels == k]).argmax())) for k in range(1, 5)}
    assert len(pairs) == len({id for _, id in pairs} - {0}) == 4  # each board has one id in all frames


def test_stride_and_max_frames_and_a_second_run_into_the_same_folder(tmp_path):
    scene, out = export(tmp_path / "scene"), tmp_path / "out"
    assert run_exactly(scene, out) == 0
    assert run_exactly(scene, out, "--stride", "2", "--max-frames", "1") == 0
    is_whole(out, [0])


def test_help_is_light():
    code = (
        "import sys, moonseg3r_core.cli as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print(sorted({'torch', 'cv2', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"
    assert all(f"\n    {name}" in out for name in cli.COMMANDS)


def test_a_reader_that_goes_away_is_no_error():
    child = subprocess.Popen(
        [sys.executable, "-m", "moonseg3r_core.cli", "config", "show"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait(timeout=60) == 1


def test_config_show_is_a_config_file_with_help(tmp_path, capsys):
    assert cli.main(["config", "show", "--set", "masks.kind=regions", "map.voxel=0.05"]) == 0
    shown = capsys.readouterr().out
    loaded = yaml.safe_load(shown)
    assert (loaded["masks"]["kind"], loaded["map"]["voxel"]) == ("regions", 0.05)
    assert "# edge of a map voxel, metres" in shown
    file = tmp_path / "config.yaml"
    file.write_text(shown)
    assert cli.main(["config", "check", "--config", str(file)]) == 0
    said = capsys.readouterr().out
    assert "2 of them not at their default" in said
    assert "map.voxel: 0.05" in said


def test_topics_are_read():
    assert parse_topics([]) is None
    assert parse_topics(["color=/a", "world=map"]).color == "/a"
    assert parse_topics([], "r1").robot == "r1"
    with pytest.raises(InputError, match="NAME=TOPIC"):
        parse_topics(["color"])


def test_view_without_open3d_gives_the_command_that_installs_it(tmp_path, monkeypatch, capsys):
    from moonseg3r_core.cli.view import import_open3d

    run_fakes(tmp_path)
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(MissingDependency, match="pip install"):
        import_open3d()
    assert cli.main(["view", str(tmp_path)]) == 2
    assert 'python -m pip install "open3d>=0.18"' in capsys.readouterr().err


@pytest.mark.usefixtures("stand_in")
def test_the_demo_renders_segments_scores_and_reports(tmp_path, capsys):
    out = tmp_path / "demo"
    earlier = [out / "scene" / "color" / "9.jpg", out / "rgbd" / "notes.txt"]
    for file in (out / ".moonseg3r-demo", *earlier):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert cli.main(["demo", "-o", str(out), "--frames", "2", "--quiet"]) == 0
    assert not any(file.exists() for file in earlier)  # an earlier demo is replaced
    shown = capsys.readouterr().out
    for way, kind, masks in zip(RUNS, ("nano", "nano", "rgbd"), ("nano", "precomputed", "nano"), strict=True):
        assert way.words in shown
        assert str(out / way.folder / "report.html") in shown
        summary = OutputFolder(out / way.folder).read_summary()
        assert (summary["frames"], summary["masks_kind"]) == (2, masks)
        assert summary["config"]["reconstruction"]["kind"] == kind
    assert summary["instances"] > 5


def test_the_demo_touches_no_folder_of_other_things(tmp_path, capsys):
    (tmp_path / "scene").mkdir()
    (tmp_path / "scene" / "mine.txt").write_text("mine")
    assert cli.main(["demo", "-o", str(tmp_path), "--frames", "2", "--quiet"]) == 2
    assert "not empty" in capsys.readouterr().err
    assert (tmp_path / "scene" / "mine.txt").read_text() == "mine"


class FakeShape:
    """Takes what Open3D's shapes take, and keeps it."""

    def paint_uniform_color(self, color):
        self.color = color

    def transform(self, pose):
        self.pose = pose
        return self


def fake_open3d(shown):
    keep = SimpleNamespace(Vector3dVector=np.asarray, Vector2iVector=np.asarray)
    axes = SimpleNamespace(create_coordinate_frame=lambda size: FakeShape())
    shapes = SimpleNamespace(PointCloud=FakeShape, LineSet=FakeShape, TriangleMesh=axes)
    window = SimpleNamespace(draw_geometries=lambda *args, **view: shown.append((args, view)))
    return SimpleNamespace(geometry=shapes, utility=keep, visualization=window)


def test_view_shows_the_labelled_points_in_the_report_s_colours_and_the_path(tmp_path, monkeypatch):
    run_fakes(tmp_path)
    shown = []
    monkeypatch.setitem(sys.modules, "open3d", fake_open3d(shown))
    assert cli.main(["view", str(tmp_path)]) == 0
    (((cloud, path, _), title), view) = shown[0]
    assert title == "MoonSeg3R: a/recording"
    assert np.allclose(cloud.colors, compute_colors(read_ply(tmp_path / "map.ply").instance_ids.numpy()) / 255)
    assert (len(cloud.points), len(path.points), path.lines.tolist()[-1]) == (60, 6, [4, 5])
    assert (view["up"], view["front"]) == ([0, -1, 0], [0, 0, -1])
