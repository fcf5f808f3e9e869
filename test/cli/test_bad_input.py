"""What bad input gets, end to end: the exit status, one clear line, no traceback, and what was done on disk."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import billboards
import cv2
import numpy as np
import pytest
from outputs import FRAMES, export, is_whole, write_masks
from walks import EXACTLY

from moonseg3r_core import cli
from moonseg3r_core.report import OutputFolder
from moonseg3r_core.sources.write_bag import write_bag


def cut(file: Path, share: float = 0.5) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])


def moonseg3r(capsys, *words: object) -> tuple[int, str, str]:
    """The command in this process, a run on the recording's depth and poses: exit status, stdout, stderr."""
    capsys.readouterr()
    try:
        status = cli.main([str(word) for word in words] + (EXACTLY if "run" in words else []))
    except SystemExit as end:  # argparse
        status = end.code
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return status, shown.out, shown.err


def drop(*parts: str) -> Callable[[Path], None]:
    """The recording without these folders."""

    def damage(scene: Path) -> None:
        for part in parts:
            for file in (scene / part).iterdir():
                file.unlink()
            (scene / part).rmdir()

    return damage


def put(name: str, content: bytes | None = None) -> Callable[[Path], None]:
    """The recording with a file, or a folder where there is no content."""

    def damage(scene: Path) -> None:
        (scene / name).mkdir() if content is None else (scene / name).write_bytes(content)

    return damage


def nothing(scene: Path) -> None:
    """The recording as it is."""


REFUSED = {
    # what is done to the recording; the arguments; what the line must say
    "missing source": (nothing, "run {scene}/nowhere -o {out}", "does not exist; give a video"),
    "empty folder": (put("new"), "run {scene}/new -o {out}", "empty folder; give a folder of images"),
    "empty color": (lambda s: [f.unlink() for f in (s / "color").iterdir()], "run {scene} -o {out}", "holds no image; expected color/0.jpg"),
    "folder of folders": (nothing, "run {scene}/.. -o {out}", "holds no image; give {scene}/../scene instead"),
    "other files": (nothing, "run {scene}/pose -o {out}", "holds no image; expected .jpg"),
    "no poses": (drop("pose"), "run {scene} -o {out}", "expects depth, intrinsics, poses with every image, {scene} brings no poses; give"),
    "no depth": (drop("depth"), "run {scene} -o {out}", "brings no depth; give"),
    "no intrinsics": (drop("intrinsic"), "run {scene} -o {out}", "brings no intrinsics; give"),
    "images alone": (nothing, "run {scene}/color -o {out}", "brings no depth and no intrinsics and no poses; give a ScanNet export"),
    "broken intrinsics": (put("intrinsic/intrinsic_color.txt", b"fx fy"), "run {scene} -o {out}", "intrinsic_color.txt must hold 3 or 4 rows"),
    "no video": (put("a.mp4", b"no video" * 99), "run {scene}/a.mp4 -o {out}", "no video that OpenCV can open"),
    "no bag": (put("a.mcap", b"no bag" * 99), "run {scene}/a.mcap -o {out}", "cannot be read as a bag"),
    "one image": (nothing, "run {scene}/color/0.png -o {out}", "is a single image; give the folder"),
    "no seed": (nothing, "run synthetic:abc -o {out}", "expected synthetic:SEED"),
    "masks missing": (drop("masks"), "run {scene} -o {out} --set masks.kind=precomputed", "expects a folder of masks, but the recording brings none; set masks.precomputed.folder"),
    "masks elsewhere": (nothing, "run {scene} -o {out} --set masks.precomputed.folder={scene}/nowhere", "nowhere, found none; give"),
    "masks empty": (lambda s: [f.unlink() for f in (s / "masks").iterdir()], "run {scene} -o {out}", "must hold masks N.png"),
    "unknown key": (nothing, "run {scene} -o {out} --set masks.min_are=9", "unknown key 'masks.min_are'; did you mean 'masks.min_area'?"),
    "unknown kind": (nothing, "run {scene} -o {out} --set masks.kind=region", "cropformer, got 'region'; did you mean 'regions'?"),
    "bad value": (nothing, "run {scene} -o {out} --set map.voxel=tiny", "map.voxel must be a number >= 0.001, got 'tiny'"),
    "unknown key in file": (put("c.yaml", b"fusion: {merg: none}"), "run {scene} -o {out} --config {scene}/c.yaml", "c.yaml: unknown key 'fusion.merg'; did you mean 'fusion.merge'?"),
    "no YAML": (put("c.yaml", b"a: [b"), "run {scene} -o {out} --config {scene}/c.yaml", "is not valid YAML"),
    "no config file": (nothing, "run {scene} -o {out} --config {scene}/c.yaml", "cannot read "),
    "no value": (nothing, "run {scene} -o {out} --set masks.kind", "key=value"),
    "unknown topic": (nothing, "run {scene} -o {out} --topic colour=/x", "one of color"),
    "no such device": (nothing, "run {scene} -o {out} --set device=cuda:99", "use device=auto or cpu"),
    "device of another kind": (nothing, "run {scene} -o {out} --set device=mps", "device must be auto, cpu, cuda or cuda:N, got 'mps'"),
    "OUT is a file": (put("file", b""), "run {scene} -o {scene}/file", "must be a folder, got the file"),
    "OUT below a file": (put("file", b""), "run {scene} -o {scene}/file/out", "cannot write"),
    "OUT is in use": (nothing, "run {scene} -o {scene}", "is not empty and not an earlier result"),
    "no OUT": (nothing, "run {scene}", "required: -o/--out; see `moonseg3r run --help`"),
    "stride 0": (nothing, "run {scene} -o {out} --stride 0", "expected a whole number >= 1, got '0'"),
    "unknown command": (nothing, "conjure {scene}", "invalid choice: 'conjure'"),
    "no command": (nothing, "", "COMMAND"),
    "no SOURCE": (nothing, "run", "SOURCE, -o/--out"),
    "no result to score": (nothing, "evaluate {scene} {scene}", "got no {scene}/gt.npz; write gt.npz"),
    "no result to view": (nothing, "view {scene}", "must be a folder that `moonseg3r run -o` wrote"),
    "no result there": (nothing, "view {scene}/nowhere", "must be a folder that `moonseg3r run -o` wrote"),
    "demo in a full folder": (nothing, "demo -o {scene}", "is not empty"),
    "no room": (nothing, "synthetic render -o {out} --width 1", "a picture is 8 x 8 pixels or larger, got 1 x 240"),
    "room in a full folder": (nothing, "synthetic render -o {scene}", "must be a new or empty folder"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "words", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_in_one_line_and_nothing_is_touched(tmp_path, capsys, damage, words, said):
    scene, out = export(tmp_path / "scene"), tmp_path / "out"
    damage(scene)
    before = sorted(scene.rglob("*"))
    status, shown, errors = moonseg3r(capsys, *(word.format(scene=scene, out=out) for word in words.split()))
    assert status == 2
    assert said.format(scene=scene) in errors
    assert errors.startswith("moonseg3r")
    assert "error: " in errors
    assert errors.count("\n") == 1
    assert shown == ""
    assert sorted(scene.rglob("*")) == before
    assert not out.exists() or not any(out.iterdir())


def spoil(file: str, content: Callable[[Path], None], frames: tuple[int, ...]) -> Callable[[Path], None]:
    """`content` done to the file of some frames."""
    return lambda scene: [content(next(scene.glob(file.format(n)))) for n in frames] and None


def picture(values: np.ndarray) -> Callable[[Path], None]:
    return lambda file: cv2.imwrite(str(file), values) and None


SOME, ALL = (1, 2), tuple(range(FRAMES))
LEFT_OUT = {
    # the file, what is done to it; the reason by which frames are counted; what its first line says beside
    "truncated image": ("color/{}.*", cut, "unreadable image", "truncated or damaged"),
    "truncated depth": ("depth/{}.*", cut, "unreadable depth", "truncated or damaged"),
    "depth of another shape": ("depth/{}.*", picture(np.full((60, 60), 2000, np.uint16)), "depth of another shape", "depth of 60x60 does not have the shape of colour of 80x60; register"),
    "no pose": ("pose/{}.*", Path.unlink, "no pose", "add poses"),
    "no depth file": ("depth/{}.*", Path.unlink, "no depth", "add depth images"),
    "pose of words": ("pose/{}.*", lambda file: file.write_text("lost"), "unreadable pose", ".txt"),
    "lost pose": ("pose/{}.*", lambda file: np.savetxt(file, np.full((4, 4), -np.inf)), "unusable pose", "NaN or infinite"),
    "blank depth": ("depth/{}.*", picture(np.zeros((60, 80), np.uint16)), "no depth in range", "got none; check the depth's unit"),
    "masks of another shape": ("masks/{}.*", picture(np.ones((60, 60), np.uint16)), "masks of another shape", "must be 80 x 60 like the image, got 60 x 60"),
    "truncated masks": ("masks/{}.*", cut, "unreadable masks", "must be a readable PNG"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("frames", "file", "content", "reason", "detail"),
    [pytest.param(SOME, *row, id=f"{name}, some") for name, row in LEFT_OUT.items()]
    + [
        pytest.param(ALL, *LEFT_OUT[name], id=f"{name}, all")
        for name in ("truncated image", "lost pose", "blank depth")
    ],
)
def test_frames_that_cannot_be_used_are_left_out_counted_and_said_once(
    tmp_path, capsys, frames, file, content, reason, detail
):
    scene, out = export(tmp_path / "scene"), tmp_path / "out"
    spoil(file, content, frames)(scene)
    status, shown, errors = moonseg3r(capsys, "run", scene, "-o", out, "--quiet")
    lines = errors.splitlines()
    summary = is_whole(out, [n for n in ALL if n not in frames])
    assert summary["skipped"] == {reason: len(frames)}
    assert [f"{reason}: " in line and detail in line for line in lines if "said once" in line] == [True]
    if frames == SOME:
        assert (status, len(lines), "4 instances from 2 frames" in shown) == (0, 2, True)
        assert lines[1] == f"moonseg3r: 2 frames skipped: {reason} (2x)"
        return
    assert (status, len(lines), shown) == (2, 2, "")
    assert lines[1].startswith("moonseg3r: error: ")
    assert reason in lines[1]
    assert "no instance" in summary["verdict"]
    assert reason in (out / "report.html").read_text()


def test_masks_of_half_the_size_are_resized_and_said_once(tmp_path, capsys):
    scene = export(tmp_path / "scene")
    for n in ALL:
        write_masks(scene, n, billboards.frame(n, (0.02 * n, 0.0, 0.0))[1].numpy()[::2, ::2])
    status, shown, errors = moonseg3r(capsys, "run", scene, "-o", tmp_path / "out", "--quiet")
    assert (status, "4 instances from 4 frames" in shown) == (0, True)
    assert errors == "moonseg3r: masks are 40 x 30, images 80 x 60: resized (nearest).\n"


def test_a_frame_without_a_mask_file_goes_without_masks(tmp_path, capsys):
    scene = export(tmp_path / "scene")
    (scene / "masks/2.png").unlink()
    status, shown, errors = moonseg3r(capsys, "run", scene, "-o", tmp_path / "out", "--quiet")
    assert (status, "4 instances from 4 frames" in shown, errors.count("\n")) == (0, True, 1)
    assert "no masks for frame 2" in errors
    is_whole(tmp_path / "out", list(ALL))


@pytest.mark.parametrize(
    ("labels", "options", "said"),
    [
        (np.zeros((60, 80)), (), "no instance: 4 frames used, 4 whose masks are all void"),
        (np.eye(60, 80) * (np.arange(80) < 20), (), "masks.min_area"),
        (None, ("--max-frames", 1), "1 frame gave 4 candidates, each seen in fewer than 4 frames"),
    ],
)
def test_a_run_without_an_instance_says_why(tmp_path, capsys, labels, options, said):
    scene, out = export(tmp_path / "scene"), tmp_path / "out"
    for n in ALL:
        if labels is not None:
            write_masks(scene, n, labels)
    status, shown, errors = moonseg3r(capsys, "run", scene, "-o", out, "--quiet", *options)
    assert (status, errors.count("\n")) == (0, 1)
    assert said in errors
    assert "0 instances" in shown
    assert said in is_whole(out, [0] if options else list(ALL))["verdict"]


def test_a_truncated_bag_is_run_as_far_as_it_goes(tmp_path, capsys):
    bag, out = tmp_path / "walk.mcap", tmp_path / "out"
    write_bag((billboards.frame(n, (0.002 * n, 0.0, 0.0))[0] for n in range(50)), bag, "raw")
    cut(bag, 0.9)
    status, _, errors = moonseg3r(capsys, "run", bag, "-o", out, "--quiet", "--stride", 10)
    frames = list(OutputFolder(out).list_frames())
    assert (status, frames) == (0, list(range(0, 10 * len(frames), 10)))
    assert 2 < len(frames) <= 5
    assert is_whole(out, frames)["skipped"] == {"damaged bag": 1}
    assert sum("damaged bag: read as far as it goes" in line for line in errors.splitlines()) == 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A recording and the result of its run."""
    scene, out = export(tmp_path_factory.mktemp("earlier") / "scene"), tmp_path_factory.mktemp("result")
    assert cli.main(["run", str(scene), "-o", str(out), "--quiet", *EXACTLY]) == 0
    return scene, out


def test_a_refused_run_leaves_an_earlier_result_whole(tmp_path, capsys, finished):
    scene, out = finished[0], shutil.copytree(finished[1], tmp_path / "out")
    before = {file: file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}
    for words in ("{s}/color", "{s}/nowhere", "{s} --set masks.precomputed.folder={s}/pose", "{s} --set device=x"):
        assert moonseg3r(capsys, "run", *words.format(s=scene).split(), "-o", out)[0] == 2
    assert {file: file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()} == before


def test_a_disk_that_is_full_leaves_an_earlier_result_whole(tmp_path, capsys, monkeypatch, finished):
    scene, out = finished[0], shutil.copytree(finished[1], tmp_path / "out")
    write_bytes = Path.write_bytes

    def on_a_full_disk(path: Path, data: bytes) -> int:
        if not data:
            return write_bytes(path, data)
        write_bytes(path, data[:9])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", on_a_full_disk)
        status, _, errors = moonseg3r(capsys, "run", scene, "-o", out, "--quiet")
    assert (status, errors.count("\n"), "No space left" in errors) == (2, 1, True)
    is_whole(out, list(ALL))
    assert moonseg3r(capsys, "run", scene, "-o", out, "--quiet")[0] == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_one_line(tmp_path, capsys):
    scene = export(tmp_path / "scene")
    (tmp_path / "locked").mkdir(mode=0o555)
    status, _, errors = moonseg3r(capsys, "run", scene, "-o", tmp_path / "locked/out")
    assert (status, errors.count("\n"), "cannot write" in errors) == (2, 1, True)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_the_middle_leaves_a_complete_result(tmp_path, number):
    scene, out = export(tmp_path / "scene"), tmp_path / "out"
    for file in [file for name in ("color", "depth", "pose", "masks") for file in (scene / name).iterdir()]:
        for n in range(int(file.stem) + FRAMES, 1000, FRAMES):  # so long that it cannot end before
            file.with_stem(str(n)).symlink_to(file)
    child = subprocess.Popen(
        [sys.executable, "-m", "moonseg3r_core.cli", "run", str(scene), "-o", str(out), *EXACTLY],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    while child.poll() is None and len(list(out.glob("frames/*.png"))) < 3:
        time.sleep(0.02)
    child.send_signal(number)
    shown, errors = child.communicate(timeout=60)
    assert (child.returncode, "Traceback" in errors) == (130, False)
    assert "moonseg3r: interrupted; what was done is written" in errors
    frames = list(OutputFolder(out).list_frames())
    assert frames == list(range(len(frames)))
    assert 3 <= len(frames) < 1000
    summary = is_whole(out, frames)
    assert (summary["interrupted"], summary["instances"] > 0) == (True, True)
    assert f"from {len(frames)} frames" in shown
    assert len(json.loads((out / "instances.json").read_text())) >= summary["instances"]


def test_a_room_that_is_ended_while_it_is_rendered_leaves_an_empty_folder(tmp_path, capsys, monkeypatch):
    out, savetxt = tmp_path / "room", np.savetxt

    def interrupt_at_the_third_pose(file, *args, **options):
        savetxt(file, *args, **options)
        if len(list(out.glob("pose/*.txt"))) == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(np, "savetxt", interrupt_at_the_third_pose)
    words = ("synthetic", "render", "-o", out, "--frames", 9999, "--width", 32, "--height", 24)
    status, _, errors = moonseg3r(capsys, *words)
    assert (status, list(out.iterdir())) == (130, [])
    assert errors.endswith("moonseg3r: interrupted\n")


def test_a_second_ctrl_c_while_the_first_is_told_is_no_traceback():
    """And what comes while Python ends is not heard."""
    script = """
import signal, sys
from moonseg3r_core import cli
def main():
    signal.raise_signal(signal.SIGTERM)
cli.main = main
status = cli.command()
signal.raise_signal(signal.SIGINT)
signal.raise_signal(signal.SIGTERM)
sys.exit(status)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "")
