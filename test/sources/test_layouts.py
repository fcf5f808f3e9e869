"""Known layouts: each is recognised, and its frames have the values that were written."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from importlib.util import find_spec

import cv2
import layout_folders as made
import numpy as np
import pytest
import torch
from layout_folders import K, make_known

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources import InputConfig, open_source
from moonseg3r_core.sources.layouts.tum import MARKERS_FROM_CAMERA, ROS_FROM_BONN

# layout: writer, what no frame has, whether the folder tells times, intrinsics are resized by the video's size
LAYOUTS = {
    "scannet": (made.write_scannet, (), False),
    "tum": (made.write_tum, (), True),
    "replica": (made.write_replica, (), False),
    "bundlefusion": (made.write_bundlefusion, (), False),
    "euroc": (made.write_euroc, ("depth",), True),
    "kitti": (made.write_kitti, ("depth",), True),
    "nerfstudio": (made.write_nerfstudio, (), False),
    "record3d": (made.write_record3d, (), True),
    "polycam": (made.write_polycam, (), False),
    "colmap": (made.write_colmap, ("depth",), False),
    "bop": (made.write_bop, (), False),
}


def warnings_of(caplog, source):
    caplog.clear()
    with caplog.at_level(logging.WARNING, "moonseg3r"):
        frames = list(source)
    return frames, [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_layout_is_recognised_and_its_values_are_read(tmp_path, kind):
    write, lacks, has_times = LAYOUTS[kind]
    known = make_known()
    source = open_source(str(write(tmp_path / "place", known)))
    assert (source.kind, source.lacks, len(source)) == (kind, lacks, 3)
    stamps = known.stamps if has_times else np.arange(3) / 30
    for n, frame in enumerate(source):
        assert frame.index == n
        assert frame.stamp == pytest.approx(stamps[n], abs=1e-6)
        assert abs(int(frame.image[5, 5, 0]) - (10 * n + 10)) <= 3  # some are JPEG
        assert np.allclose(frame.intrinsics, K, atol=1e-5)
        assert np.allclose(frame.world_from_camera, known.poses[n], atol=1e-6)
        if "depth" not in lacks:
            assert np.allclose(frame.depth, known.depths[n], atol=6e-4)
            assert frame.depth[0, 0] == 0
    assert not source.rejected


def test_stray_scanner_reads_its_video(tmp_path):
    known = make_known()
    source = open_source(str(made.write_stray(tmp_path, known)), stride=2)
    assert (source.kind, source.lacks, len(source)) == ("stray", (), 2)
    for _ in range(2):  # the video is read again
        first, last = source
        assert (first.index, last.index, last.stamp) == (0, 2, pytest.approx(known.stamps[2]))
        assert abs(int(last.image[20, 20, 0]) - 30) <= 6
        assert last.size == (48, 64)
        assert np.allclose(last.intrinsics, [[60, 0, 31.5], [0, 60, 23.5], [0, 0, 1]])
        assert np.allclose(last.world_from_camera, known.poses[2], atol=1e-6)
        assert np.allclose(last.depth, np.kron(known.depths[2], np.ones((4, 4))), atol=6e-4)


class TestParts:
    """What of other sizes, counts and forms comes of each layout."""

    def test_frames_without_a_partner_are_left_out_counted_and_said_once(self, tmp_path, caplog):
        folder = made.write_tum(tmp_path, make_known(5))
        rows = (folder / "depth.txt").read_text().splitlines()
        (folder / "depth.txt").write_text("\n".join(rows[:3] + rows[4:]))  # without that of frame 2
        rows = (folder / "groundtruth.txt").read_text().splitlines()
        (folder / "groundtruth.txt").write_text("\n".join(rows[:-1]))  # without that of frame 4
        source = open_source(str(folder))
        frames, said = warnings_of(caplog, source)
        assert [frame.index for frame in frames] == [0, 1, 3]
        assert source.rejected == {"no depth image belongs to the image": 1, "no pose belongs to the image": 1}
        assert sum("100.200000.png; left out" in line for line in said) == 1

    @pytest.mark.parametrize("end", ["\r\n", "\n"])
    def test_tum_passes_comments_and_line_ends_of_windows(self, tmp_path, end):
        frames = list(open_source(str(made.write_tum(tmp_path, make_known(), end=end))))
        assert len(frames) == 3
        assert all(frame.depth is not None and frame.world_from_camera is not None for frame in frames)

    def test_tum_without_poses_or_lists_is_read_by_the_names_of_files(self, tmp_path):
        folder = made.write_tum(tmp_path, make_known())
        for name in ("rgb.txt", "depth.txt", "groundtruth.txt"):
            (folder / name).unlink()
        source = open_source(str(folder))
        assert source.lacks == ("poses",)
        assert [frame.stamp for frame in source] == pytest.approx([100.0, 100.1, 100.2])
        assert all(frame.depth is not None for frame in source)

    @pytest.mark.parametrize(
        ("name", "focal"),
        [("rgbd_dataset_freiburg1_xyz", 517.3), ("rgbd_dataset_freiburg3_office", 535.4), ("own", 525.0)],
    )
    def test_tum_knows_its_cameras_by_the_folders_name(self, tmp_path, caplog, name, focal):
        folder = made.write_tum(tmp_path / name, make_known(1), calibration=False)
        (frame,), said = warnings_of(caplog, open_source(str(folder)))
        assert float(frame.intrinsics[0, 0]) == pytest.approx(focal / 40)  # of 640 pixels 16 are left
        assert any("Kinect" in line for line in said) == (name == "own")

    def test_a_missing_image_is_left_out(self, tmp_path):
        folder = made.write_tum(tmp_path, make_known())
        (folder / "rgb" / "100.100000.png").unlink()
        (folder / "depth" / "100.204000.png").write_bytes(b"cut")
        source = open_source(str(folder))
        assert [frame.index for frame in source] == [0]
        assert source.rejected == {"unreadable image": 1, "unreadable depth": 1}

    @pytest.mark.parametrize("line", ["100.1", "soon rgb/1.png"])
    def test_a_broken_list_is_an_error_that_names_the_file(self, tmp_path, line):
        folder = made.write_tum(tmp_path, make_known())
        (folder / "rgb.txt").write_text(line)
        with pytest.raises(SourceError, match=r"rgb\.txt must hold a time and a file name"):
            open_source(str(folder))

    @pytest.mark.parametrize("text", ["1 2 3", "a 0 0 0 0 0 0 1"])
    def test_a_broken_trajectory_is_an_error_that_names_the_file(self, tmp_path, text):
        folder = made.write_tum(tmp_path, make_known())
        (folder / "groundtruth.txt").write_text(text)
        with pytest.raises(SourceError, match=r"groundtruth\.txt must hold 8 numbers in a line"):
            open_source(str(folder))

    def test_numbered_rgb_beside_depth_is_in_millimetres_with_open3ds_camera(self, tmp_path):
        folder = made.write_scannet(tmp_path, make_known())
        (folder / "color").rename(folder / "rgb")
        (folder / "pose").rename(folder / "poses")
        (folder / "intrinsic" / "intrinsic_color.txt").unlink()
        camera = {"width": 16, "height": 12, "intrinsic_matrix": K.T.ravel().tolist()}
        made.write_text(folder / "camera_intrinsic.json", json.dumps(camera))
        (_, second, _) = open_source(str(folder))
        assert np.allclose(second.depth, make_known().depths[1], atol=6e-4)
        assert np.allclose(second.intrinsics, K)
        assert np.allclose(second.world_from_camera, make_known().poses[1], atol=1e-6)

    def test_the_setting_overrules_the_unit_of_the_layout(self, tmp_path):
        folder = made.write_tum(tmp_path, make_known(), scale=1000.0)
        (frame, *_) = open_source(str(folder), input=InputConfig(depth_scale=1000.0))
        assert np.allclose(frame.depth, make_known().depths[0], atol=6e-4)

    def test_replica_is_known_by_its_results_too_and_without_its_camera(self, tmp_path, caplog):
        folder = made.write_replica(tmp_path / "office0", make_known())
        assert open_source(str(folder / "results")).kind == "replica"
        (tmp_path / "cam_params.json").unlink()
        frames, said = warnings_of(caplog, open_source(str(folder)))
        assert [frame.intrinsics for frame in frames] == [None] * 3
        assert np.allclose(frames[0].depth, make_known().depths[0], atol=6e-4)
        assert any("the intrinsics are not for images of 16x12" in line and "cam_params.json" in line for line in said)

    def test_replica_with_every_second_frame_takes_the_poses_by_number(self, tmp_path):
        known = make_known(5)
        folder = made.write_replica(tmp_path / "office0", known)
        for n in (1, 3):
            (folder / "results" / f"frame{n:06d}.jpg").unlink()
        frames = list(open_source(str(folder)))
        assert [frame.index for frame in frames] == [0, 2, 4]
        assert np.allclose(frames[1].world_from_camera, known.poses[2], atol=1e-6)

    def test_replica_with_fewer_poses_leaves_out_the_rest(self, tmp_path):
        folder = made.write_replica(tmp_path / "office0", make_known())
        rows = (folder / "traj.txt").read_text().splitlines()
        (folder / "traj.txt").write_text("\n".join(rows[:2]))
        source = open_source(str(folder))
        assert [frame.index for frame in source] == [0, 1]
        assert source.rejected == {"no pose belongs to the image": 1}

    def test_7_scenes_that_do_not_tell_keep_their_depth(self, tmp_path, caplog):
        known = make_known()
        source = open_source(str(made.write_seven_scenes(tmp_path, known)))
        frames, said = warnings_of(caplog, source)
        assert (source.kind, source.lacks) == ("7scenes", ())
        assert any("7-Scenes comes without a calibration" in line for line in said)
        assert np.allclose(frames[0].depth, known.depths[0], atol=6e-4)  # 65535 became 0
        assert float(frames[0].intrinsics[0, 0]) == pytest.approx(585 / 40)
        assert np.allclose(frames[2].world_from_camera, known.poses[2], atol=1e-9)

    @pytest.mark.parametrize("focal", [525.0, 585.0])
    def test_7_scenes_is_read_as_its_depth_images_agree(self, tmp_path, focal):
        """Depth of a camera of its own is brought to the color's rays; depth that is there already stays."""
        known = made.render_walk(focal)
        frames = list(open_source(str(made.write_seven_scenes(tmp_path, known))))
        assert float(frames[0].intrinsics[0, 0]) == pytest.approx(525 / 8)
        for u in (0, 10, 40, 79):  # the pixel of the depth camera on the same ray
            at = round((u - 39.5625) * focal / 525 + 39.5625)
            expected = known.depths[1][30, at] if 0 <= at < 80 else 0
            assert float(frames[1].depth[30, u]) == pytest.approx(expected, abs=6e-4)

    @pytest.mark.parametrize("by_markers", [False, True])
    def test_bonns_poses_are_the_cameras_or_its_markers_as_the_depth_images_agree(self, tmp_path, by_markers):
        known = made.render_walk(542.822841)
        placed = ROS_FROM_BONN @ MARKERS_FROM_CAMERA
        left, _, right = np.linalg.svd(placed[:3, :3])
        placed[:3, :3] = left @ right
        written = known.poses @ np.linalg.inv(placed) if by_markers else known.poses
        folder = made.write_tum(tmp_path / "rgbd_bonn_walk", replace(known, poses=written), calibration=False)
        frames = list(open_source(str(folder)))
        assert float(frames[0].intrinsics[0, 0]) == pytest.approx(542.822841 / 8)
        for frame, pose in zip(frames, known.poses, strict=True):
            assert np.allclose(frame.world_from_camera, pose, atol=1e-6)

    def test_7_scenes_with_projected_depth_takes_that_as_it_is(self, tmp_path):
        known = make_known()
        folder = made.write_seven_scenes(made.write_seven_scenes(tmp_path, known), known, part="depth.proj")
        frames = list(open_source(str(folder)))
        assert np.allclose(frames[0].depth, known.depths[0], atol=6e-4)  # 65535 became 0

    @pytest.mark.parametrize(
        "lines",
        [["15 15 7.5 5.5"], ["15 0 7.5", "0 15 5.5", "0 0 1"], ["15,0,7.5,0", "0,15,5.5,0", "0,0,1,0", "0,0,0,1"]],
    )
    def test_intrinsics_may_be_written_beside_or_above_the_frames(self, tmp_path, caplog, lines):
        folder = made.write_seven_scenes(tmp_path / "seq-01", make_known())
        made.write_text(tmp_path / "calibration.txt", "# of the color camera", *lines)
        frames, said = warnings_of(caplog, open_source(str(folder)))
        assert np.allclose(frames[0].intrinsics, K)
        assert np.allclose(frames[0].depth, make_known().depths[0], atol=6e-4)
        assert said == []
        made.write_text(tmp_path / "calibration.txt", "15 15")
        with pytest.raises(SourceError, match=r"calibration\.txt must hold fx fy cx cy"):
            open_source(str(folder))

    def test_an_infinite_pose_of_bundlefusion_leaves_its_frame_out(self, tmp_path):
        folder = made.write_bundlefusion(tmp_path, make_known())
        made.write_text(folder / "frame-000001.pose.txt", *["-inf -inf -inf -inf"] * 4)
        source = open_source(str(folder))
        assert [frame.index for frame in source] == [0, 2]
        assert source.rejected == {"no pose belongs to the image": 1}

    def test_depth_of_another_size_is_registered_by_both_cameras(self, tmp_path):
        folder = made.write_bundlefusion(tmp_path, make_known(1))
        small = np.arange(1, 6 * 8 + 1, dtype=np.uint16).reshape(6, 8) * 100
        cv2.imwrite(str(folder / "frame-000000.depth.png"), small)
        text = (folder / "info.txt").read_text().replace("m_depthWidth = 16", "m_depthWidth = 8")
        half = np.eye(4)
        half[:3, :3] = [[7.5, 0, 3.5], [0, 7.5, 2.5], [0, 0, 1]]
        lines = text.replace("m_depthHeight = 12", "m_depthHeight = 6").splitlines()
        lines = [f"m_calibrationDepthIntrinsic = {made.join(half)}" if "DepthIntr" in line else line for line in lines]
        made.write_text(folder / "info.txt", *lines)
        (frame,) = open_source(str(folder))
        assert frame.depth[0, 0] == pytest.approx(0.1)
        assert frame.depth[7, 10] == pytest.approx(small[3, 5] / 1000)  # on its ray, that of u = 4.75, v = 3.25

    @pytest.mark.parametrize("inner", ["", "mav0", "mav0/cam0"])
    def test_euroc_is_known_by_each_of_its_folders(self, tmp_path, inner):
        made.write_euroc(tmp_path, make_known())
        source = open_source(str(tmp_path / inner))
        assert source.kind == "euroc"
        assert np.allclose(next(iter(source)).world_from_camera, make_known().poses[0], atol=1e-6)

    def test_a_distorted_lens_is_said_and_a_fisheye_has_no_intrinsics(self, tmp_path, caplog):
        frames, said = warnings_of(caplog, open_source(str(made.write_euroc(tmp_path / "a", make_known()))))
        assert frames[0].intrinsics is not None
        assert any("lens distortion is ignored" in line for line in said)
        fisheye = made.write_euroc(tmp_path / "b", make_known(), "equidistant", "0.1, 0, 0, 0")
        frames, said = warnings_of(caplog, open_source(str(fisheye)))
        assert frames[0].intrinsics is None
        assert any("fisheye" in line for line in said)

    def test_16_bit_images_of_euroc_are_photographs(self, tmp_path):
        folder = made.write_euroc(tmp_path, make_known(1))
        (file,) = (folder / "mav0" / "cam0" / "data").iterdir()
        cv2.imwrite(str(file), np.full(made.SIZE, 100 * 257, np.uint16))
        (frame,) = open_source(str(folder))
        assert frame.image[3, 3].tolist() == [100, 100, 100]

    def test_kitti_without_poses_and_times(self, tmp_path):
        folder = made.write_kitti(tmp_path, make_known())
        (tmp_path / "poses" / "07.txt").unlink()
        (folder / "times.txt").unlink()
        source = open_source(str(folder))
        assert source.lacks == ("depth", "poses")
        assert [frame.stamp for frame in source] == pytest.approx([0, 0.1, 0.2])

    def test_kitti_of_other_counts_leaves_out_what_has_no_pose(self, tmp_path):
        folder = made.write_kitti(tmp_path, make_known())
        rows = (tmp_path / "poses" / "07.txt").read_text().splitlines()
        made.write_text(tmp_path / "poses" / "07.txt", *rows[:2])
        source = open_source(str(folder))
        assert [frame.index for frame in source] == [0, 1]
        assert source.rejected == {"no pose belongs to the image": 1}

    def test_nerfstudio_tells_its_depth_unit_and_frames_have_their_own_camera(self, tmp_path):
        folder = made.write_nerfstudio(tmp_path, make_known(), depth_unit_scale_factor=0.0005)
        scene = json.loads((folder / "transforms.json").read_text())
        scene["frames"][0] |= {"fl_x": 20.0, "cx": 8.0}  # it is the last by name
        (folder / "transforms.json").write_text(json.dumps(scene))
        frames = list(open_source(str(folder)))
        assert np.allclose(frames[0].depth, make_known().depths[0] / 2, atol=6e-4)
        assert frames[0].intrinsics[0].tolist() == [15.0, 0.0, 7.5]
        assert frames[2].intrinsics[0].tolist() == [20.0, 0.0, 8.0]

    def test_nerfs_synthetic_scenes_have_a_field_of_view_and_names_without_suffix(self, tmp_path):
        known = make_known(1)
        made.write_color(tmp_path / "train" / "r_0.png", known.colors[0])
        frame = {"file_path": "./train/r_0", "transform_matrix": (known.poses[0] @ made.OPENGL).tolist()}
        scene = {"camera_angle_x": 2 * np.arctan(8 / 15), "frames": [frame]}
        made.write_text(tmp_path / "transforms_train.json", json.dumps(scene))
        source = open_source(str(tmp_path))
        assert source.lacks == ("depth",)
        assert np.allclose(next(iter(source)).intrinsics, K, atol=1e-5)

    def test_axes_that_are_set_overrule_those_of_the_layout(self, tmp_path):
        folder = made.write_nerfstudio(tmp_path, make_known(1))
        (frame,) = open_source(str(folder), input=InputConfig(camera_axes="optical"))
        assert np.allclose(frame.world_from_camera, make_known().poses[0] @ made.OPENGL)

    @pytest.mark.parametrize("text", ["{", "[]", '{"frames": [{}]}', '{"frames": []}'])
    def test_a_broken_transforms_json_is_an_error_that_names_it(self, tmp_path, text):
        made.write_text(tmp_path / "transforms.json", text)
        with pytest.raises(SourceError, match=r"transforms\.json must"):
            open_source(str(tmp_path))

    def test_record3d_reads_plain_depth_and_says_what_it_cannot_read(self, tmp_path, caplog):
        folder = made.write_record3d(tmp_path, make_known())
        for n, file in enumerate(sorted((folder / "rgbd").glob("*.npy"))):
            file.unlink()
            file.with_suffix(".depth").write_bytes(make_known().depths[n].astype("<f4").tobytes())
        metadata = json.loads((folder / "metadata").read_text()) | {"dh": made.SIZE[0], "dw": made.SIZE[1]}
        (folder / "metadata").write_text(json.dumps(metadata))
        (_, second, _), said = warnings_of(caplog, open_source(str(folder)))
        assert np.allclose(second.depth, make_known().depths[1], atol=1e-6)
        assert said == []
        (folder / "rgbd" / "0.depth").write_bytes(b"bvx2 and so on")
        source = open_source(str(folder))
        if not find_spec("liblzfse"):
            assert source.lacks == ("depth",)
            assert any("LZFSE" in line for line in warnings_of(caplog, source)[1])
        (folder / "rgbd" / "0.depth").write_bytes(b"cut")
        source = open_source(str(folder))
        assert [frame.index for frame in source] == [1, 2]
        assert source.rejected == {"unreadable depth": 1}

    def test_depth_of_no_confidence_is_left_out(self, tmp_path):
        folder = made.write_stray(tmp_path, make_known(1))
        confidence = np.full(made.SIZE, 2, np.uint8)
        confidence[3, 4] = 0
        made.write_color(folder / "confidence" / "000000.png", confidence[..., None].repeat(3, axis=2))
        (frame,) = open_source(str(folder))
        assert frame.depth[12:16, 16:20].tolist() == [[0.0] * 4] * 4
        assert (frame.depth > 0).sum() == 48 * 64 - 2 * 16

    @pytest.mark.parametrize(
        ("model", "numbers", "distorted"),
        [
            ("SIMPLE_PINHOLE", "15 8 6", False),
            ("SIMPLE_RADIAL", "15 8 6 0.1", True),
            ("OPENCV", "15 15 8 6 0 0 0 0", False),
        ],
    )
    @pytest.mark.parametrize("features", ["", "1.5 2.5 -1"])
    def test_colmaps_cameras_and_empty_lines_of_features(self, tmp_path, caplog, model, numbers, distorted, features):
        folder = made.write_colmap(tmp_path, make_known(), model, numbers, features)
        frames, said = warnings_of(caplog, open_source(str(folder)))
        assert [frame.index for frame in frames] == [0, 1, 2]
        assert np.allclose(frames[1].intrinsics, K)
        assert np.allclose(frames[1].world_from_camera, make_known().poses[1], atol=1e-6)
        assert any("image_undistorter" in line for line in said) == distorted
        assert any("no unit" in line for line in said)

    def test_a_fisheye_of_colmap_has_no_intrinsics(self, tmp_path):
        folder = made.write_colmap(tmp_path, make_known(), "OPENCV_FISHEYE", "15 15 8 6 0.1 0 0 0")
        assert open_source(str(folder)).lacks == ("depth", "intrinsics")

    def test_a_binary_model_of_colmap_is_refused_with_the_command(self, tmp_path):
        for name in ("cameras.bin", "images.bin"):
            (tmp_path / "sparse" / "0").mkdir(parents=True, exist_ok=True)
            (tmp_path / "sparse" / "0" / name).write_bytes(b"")
        with pytest.raises(SourceError, match="colmap model_converter"):
            open_source(str(tmp_path))


class TestFoldersOfImages:
    """16-bit images of one channel are depth, never photographs."""

    def write(self, folder, prefix, bits):
        for n in range(3):
            if bits == 16:
                made.write_depth(folder / f"{prefix}{n}.png", make_known().depths[n], 1000)
            else:
                made.write_color(folder / f"{prefix}{n}.png", make_known().colors[n])

    def test_depth_beside_photographs_is_left_out_and_said(self, tmp_path, caplog):
        self.write(tmp_path, "b", 8)
        self.write(tmp_path, "a", 16)
        frames, said = warnings_of(caplog, open_source(str(tmp_path)))
        assert [int(frame.image[0, 0, 0]) for frame in frames] == [10, 20, 30]
        assert any("3 images of one channel and 16 bits are depth, left out" in line for line in said)

    @pytest.mark.parametrize("suffix", [".png", ".pgm", ".tif"])
    def test_a_folder_of_depth_alone_is_refused(self, tmp_path, suffix):
        cv2.imwrite(str(tmp_path / f"0{suffix}"), np.full(made.SIZE, 1000, np.uint16))
        with pytest.raises(SourceError, match="which are depth, and no photograph"):
            open_source(str(tmp_path))

    @pytest.mark.parametrize("suffix", [".png", ".pgm", ".tif", ".jpg"])
    def test_gray_images_of_8_bits_are_photographs(self, tmp_path, suffix):
        cv2.imwrite(str(tmp_path / f"0{suffix}"), np.full(made.SIZE, 100, np.uint8))
        assert len(open_source(str(tmp_path))) == 1

    def test_color_of_16_bits_is_a_photograph(self, tmp_path):
        cv2.imwrite(str(tmp_path / "0.png"), np.full((*made.SIZE, 3), 100 * 257, np.uint16))
        (frame,) = open_source(str(tmp_path))
        assert frame.image[0, 0].tolist() == [100] * 3

    def test_series_of_masks_and_labels_are_left_out_by_name(self, tmp_path, caplog):
        self.write(tmp_path, "rgb_", 8)
        self.write(tmp_path, "mask_", 8)
        frames, said = warnings_of(caplog, open_source(str(tmp_path)))
        assert len(frames) == 3
        assert any("mask_N.png (3x)" in line for line in said)

    def test_two_series_of_photographs_are_said(self, tmp_path, caplog):
        self.write(tmp_path, "left_", 8)
        self.write(tmp_path, "right_", 8)
        frames, said = warnings_of(caplog, open_source(str(tmp_path)))
        assert len(frames) == 6
        assert any("left_N.png, right_N.png" in line for line in said)

    def test_a_part_of_a_recording_names_the_whole(self, tmp_path, caplog):
        made.write_tum(tmp_path, make_known())
        _, said = warnings_of(caplog, open_source(str(tmp_path / "rgb")))
        assert any(f"it is a part of {tmp_path}; give that" in line for line in said)
        with pytest.raises(SourceError, match=f"give {tmp_path} instead"):
            open_source(str(tmp_path / "depth"))

    def test_a_folder_of_recordings_names_them(self, tmp_path):
        made.write_seven_scenes(tmp_path / "seq-01", make_known())
        with pytest.raises(SourceError, match=f"give {tmp_path / 'seq-01'} instead"):
            open_source(str(tmp_path))

    def test_a_folder_two_levels_above_and_a_file_within_are_led_to_the_recording(self, tmp_path):
        folder = made.write_kitti(tmp_path, make_known())
        with pytest.raises(SourceError, match=f"give {tmp_path / 'sequences/07'} instead"):
            open_source(str(tmp_path))
        with pytest.raises(SourceError, match=f"give its folder {folder}"):
            open_source(str(folder / "calib.txt"))

    def test_an_unknown_folder_is_described(self, tmp_path):
        made.write_text(tmp_path / "notes.md", "x")
        (tmp_path / "scan").mkdir()
        with pytest.raises(SourceError, match=r"it has notes\.md, scan/; docs/recordings\.md"):
            open_source(str(tmp_path))


def test_depth_files_of_floats_are_metres(tmp_path):
    from moonseg3r_core.sources.files import read_depth

    depth = np.array([[1.5, np.nan], [np.inf, 0.25]], np.float32)
    cv2.imwrite(str(tmp_path / "a.tif"), depth)
    np.save(tmp_path / "a.npy", depth)
    for name in ("a.tif", "a.npy"):
        assert torch.equal(read_depth(tmp_path / name), torch.tensor([[1.5, 0], [0, 0.25]]))
