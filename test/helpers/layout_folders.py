"""Folders of known layouts, made of frames whose values are known: color, depth, intrinsics, poses, stamps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
SIZE = (12, 16)
K = np.array([[15.0, 0, 7.5], [0, 15.0, 5.5], [0, 0, 1]])


@dataclass(frozen=True)
class Known:
    """What is written: frames 0, 1, 2, a tenth of a second apart, the camera turned and moved in each."""

    stamps: np.ndarray
    colors: list[np.ndarray]  # (H, W, 3) uint8 RGB
    depths: list[np.ndarray]  # (H, W) metres, 0: none
    poses: np.ndarray  # (N, 4, 4) world_from_camera, OpenCV axes

    def __len__(self) -> int:
        return len(self.stamps)


def make_known(count: int = 3, start: float = 100.0) -> Known:
    """Frame n: red is 10 n + 10; depth is n + 1 metres and a ramp; one pixel has no depth."""
    poses = np.stack([np.eye(4) for _ in range(count)])
    poses[:, :3, :3] = Rotation.from_euler(
        "zyx", [(10 * n, 20 * n, 30.0) for n in range(count)], degrees=True
    ).as_matrix()
    poses[:, :3, 3] = [(0.1 * n, -0.2 * n, 0.3) for n in range(count)]
    colors = [np.full((*SIZE, 3), (10 * n + 10, 20, 30), np.uint8) for n in range(count)]
    ramp = np.linspace(0, 0.5, SIZE[0] * SIZE[1]).reshape(SIZE)
    depths = [n + 1 + ramp for n in range(count)]
    for depth in depths:
        depth[0, 0] = 0
    return Known(start + 0.1 * np.arange(count), colors, depths, poses)


def render_walk(focal: float, count: int = 8) -> Known:
    """A corner of a room, 60 x 80 pixels of a camera of this focal length at 480 x 640, that turns by 4 degrees a frame."""
    known = make_known(count)
    k = np.array([[focal / 8, 0, 39.5625], [0, focal / 8, 29.5625], [0, 0, 1]])
    v, u = np.mgrid[0:60, 0:80]
    rays = np.linalg.inv(k) @ np.stack((u.ravel(), v.ravel(), np.ones(u.size)))
    poses, depths = known.poses.copy(), []
    for n in range(count):
        poses[n, :3, :3] = Rotation.from_euler("yx", (4 * n, 3 * n), degrees=True).as_matrix()
        poses[n, :3, 3] = (0.05 * n, 0.02 * n, -0.03 * n)
        turned = poses[n, :3, :3] @ rays
        with np.errstate(divide="ignore"):
            walls = (np.array([[1.2], [0.9], [2.0]]) - poses[n, :3, 3:]) / turned  # planes x = 1.2, y = 0.9, z = 2
        depths.append(np.where(walls > 0, walls, np.inf).min(0).reshape(60, 80))
    colors = [np.full((60, 80, 3), 50, np.uint8) for _ in range(count)]
    return Known(known.stamps, colors, depths, poses)


def write_color(path: Path, color: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), color[..., ::-1])


def write_depth(path: Path, depth: np.ndarray, scale: float, no_depth: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    units = np.where(depth > 0, (depth * scale).round(), no_depth).astype(np.uint16)
    assert cv2.imwrite(str(path), units)


def write_text(path: Path, *lines: str, end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(end.join([*lines, ""]).encode())


def join(numbers) -> str:
    return " ".join(f"{value:.12g}" for value in np.asarray(numbers).ravel())


def split(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position, and quaternion x y z w."""
    return pose[:3, 3], Rotation.from_matrix(pose[:3, :3]).as_quat()


def write_tum(folder: Path, known: Known, scale: float = 5000.0, end: str = "\n", calibration: bool = True) -> Path:
    colors, depths, poses = (
        ["# color images"],
        ["# depth maps"],
        ["# ground truth", "", "# timestamp tx ty tz qx qy qz qw"],
    )
    for stamp, color, depth, pose in zip(known.stamps, known.colors, known.depths, known.poses, strict=True):
        rgb, near = f"rgb/{stamp:.6f}.png", f"depth/{stamp + 0.004:.6f}.png"
        write_color(folder / rgb, color)
        write_depth(folder / near, depth, scale)
        colors.append(f"{stamp:.6f} {rgb}")
        depths.append(f"{stamp + 0.004:.6f} {near}")
        position, quaternion = split(pose)
        poses.append(f"{stamp - 0.003:.4f} {join(position)} {join(quaternion)}")
    write_text(folder / "rgb.txt", *colors, end=end)
    write_text(folder / "depth.txt", *depths, end=end)
    write_text(folder / "groundtruth.txt", *poses, end=end)
    if calibration:
        write_text(folder / "calibration.txt", join((K[0, 0], K[1, 1], K[0, 2], K[1, 2])), end=end)
    return folder


def write_replica(folder: Path, known: Known) -> Path:
    for n, (color, depth) in enumerate(zip(known.colors, known.depths, strict=True)):
        write_color(folder / "results" / f"frame{n:06d}.jpg", color)
        write_depth(folder / "results" / f"depth{n:06d}.png", depth, 6553.5)
    write_text(folder / "traj.txt", *(join(pose) for pose in known.poses))
    camera = {"w": SIZE[1], "h": SIZE[0], "fx": 15.0, "fy": 15.0, "cx": 7.5, "cy": 5.5, "scale": 6553.5}
    write_text(folder.parent / "cam_params.json", json.dumps({"camera": camera}))
    return folder


def write_seven_scenes(folder: Path, known: Known, part: str = "depth", no_depth: int = 65535) -> Path:
    for n, (color, depth) in enumerate(zip(known.colors, known.depths, strict=True)):
        write_color(folder / f"frame-{n:06d}.color.png", color)
        write_depth(folder / f"frame-{n:06d}.{part}.png", depth, 1000, no_depth)
        write_text(
            folder / f"frame-{n:06d}.pose.txt", *("\t ".join(f"{x:.12e}" for x in row) for row in known.poses[n])
        )
    return folder


def write_bundlefusion(folder: Path, known: Known) -> Path:
    write_seven_scenes(folder, known, no_depth=0)
    k = np.eye(4)
    k[:3, :3] = K
    lines = [f"m_colorWidth = {SIZE[1]}", f"m_colorHeight = {SIZE[0]}", f"m_depthWidth = {SIZE[1]}",
             f"m_depthHeight = {SIZE[0]}", "m_depthShift = 1000"]  # fmt: skip
    lines += [f"m_calibration{part}Intrinsic = {join(k)} " for part in ("Color", "Depth")]
    lines += [f"m_calibration{part}Extrinsic = {join(np.eye(4))} " for part in ("Color", "Depth")]
    write_text(folder / "info.txt", *lines)
    return folder


BODY_FROM_CAMERA = np.array([[0.0, -1, 0, 0.05], [1, 0, 0, -0.02], [0, 0, 1, 0.01], [0, 0, 0, 1]])


def write_euroc(
    folder: Path, known: Known, model: str = "radial-tangential", coefficients: str = "-0.28, 0.07, 0, 0"
) -> Path:
    mav = folder / "mav0"
    images, truth = ["#timestamp [ns],filename"], ["#timestamp, p_RS_R_x [m], y, z, q_RS_w [], x, y, z"]
    for stamp, color, pose in zip(known.stamps, known.colors, known.poses, strict=True):
        ns = round(stamp * 1e9)
        write_color(mav / "cam0" / "data" / f"{ns}.png", color)
        images.append(f"{ns},{ns}.png")
        position, quaternion = split(pose @ np.linalg.inv(BODY_FROM_CAMERA))
        values = (*position, quaternion[3], *quaternion[:3], 0, 0, 0)
        truth.append(",".join([str(ns), *(f"{value:.12g}" for value in values)]))
    write_text(mav / "cam0" / "data.csv", *images, end="\r\n")
    write_text(mav / "state_groundtruth_estimate0" / "data.csv", *truth, end="\r\n")
    data = ", ".join(f"{value:g}" for value in BODY_FROM_CAMERA.ravel())
    write_text(
        mav / "cam0" / "sensor.yaml", "sensor_type: camera", "T_BS:", "  cols: 4", "  rows: 4", f"  data: [{data}]",
        f"resolution: [{SIZE[1]}, {SIZE[0]}]", "camera_model: pinhole", "intrinsics: [15, 15, 7.5, 5.5] #fu, fv, cu, cv",
        f"distortion_model: {model}", f"distortion_coefficients: [{coefficients}]",
    )  # fmt: skip
    return folder


def write_kitti(folder: Path, known: Known) -> Path:
    """sequences/07 with image_2, whose camera lies 0.06 m left of camera 0."""
    sequence = folder / "sequences" / "07"
    shift = np.eye(4)
    shift[0, 3] = -0.06
    rows = []
    for n, (color, pose) in enumerate(zip(known.colors, known.poses, strict=True)):
        write_color(sequence / "image_2" / f"{n:06d}.png", color)
        rows.append(join((pose @ np.linalg.inv(shift))[:3]))
    projection = np.hstack((K, K @ [[0.06], [0], [0]]))
    write_text(sequence / "calib.txt", *(f"P{n}: {join(projection)}" for n in range(4)), f"Tr: {join(np.eye(4)[:3])}")
    write_text(sequence / "times.txt", *(f"{stamp:e}" for stamp in known.stamps))
    write_text(folder / "poses" / "07.txt", *rows)
    return sequence


def write_nerfstudio(folder: Path, known: Known, **extra) -> Path:
    frames = []
    for n, (color, depth, pose) in enumerate(zip(known.colors, known.depths, known.poses, strict=True)):
        write_color(folder / "images" / f"frame_{n:05d}.png", color)
        write_depth(folder / "depth" / f"frame_{n:05d}.png", depth, 1000)
        frames.append({"file_path": f"images/frame_{n:05d}.png", "depth_file_path": f"depth/frame_{n:05d}.png",
                       "transform_matrix": (pose @ OPENGL).tolist()})  # fmt: skip
    camera = {"camera_model": "OPENCV", "fl_x": 15.0, "fl_y": 15.0, "cx": 7.5, "cy": 5.5, "w": SIZE[1], "h": SIZE[0]}
    write_text(folder / "transforms.json", json.dumps(camera | {"frames": frames[::-1]} | extra))
    return folder


def write_record3d(folder: Path, known: Known) -> Path:
    poses = []
    for n, (color, depth, pose) in enumerate(zip(known.colors, known.depths, known.poses, strict=True)):
        write_color(folder / "rgbd" / f"{n}.jpg", color)
        np.save(folder / "rgbd" / f"{n}.npy", depth.astype(np.float32))
        position, quaternion = split(pose @ OPENGL)
        poses.append([*quaternion, *position])
    metadata = {"K": K.T.ravel().tolist(), "w": SIZE[1], "h": SIZE[0], "fps": 30, "poses": poses,
                "frameTimestamps": known.stamps.tolist()}  # fmt: skip
    write_text(folder / "metadata", json.dumps(metadata))
    return folder


def write_polycam(folder: Path, known: Known) -> Path:
    for n, (color, depth, pose) in enumerate(zip(known.colors, known.depths, known.poses, strict=True)):
        place = folder / "keyframes"
        write_color(place / "images" / f"{10 + n}.jpg", color)
        write_depth(place / "depth" / f"{10 + n}.png", depth, 1000)
        matrix = {f"t_{r}{c}": (pose @ OPENGL)[r, c] for r in range(3) for c in range(4)}
        camera = {"fx": 15.0, "fy": 15.0, "cx": 7.5, "cy": 5.5, "width": SIZE[1], "height": SIZE[0]}
        write_text(place / "cameras" / f"{10 + n}.json", json.dumps(matrix | camera))
    return folder


def write_stray(folder: Path, known: Known) -> Path:
    """The video is lossless, so that its frames can be told."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["timestamp, frame, x, y, z, qx, qy, qz, qw"]
    writer = cv2.VideoWriter(str(folder / "rgb.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for n, (stamp, color, depth, pose) in enumerate(
        zip(known.stamps, known.colors, known.depths, known.poses, strict=True)
    ):
        writer.write(cv2.resize(color[..., ::-1], (64, 48), interpolation=cv2.INTER_NEAREST))
        write_depth(folder / "depth" / f"{n:06d}.png", depth, 1000)
        position, quaternion = split(pose)
        rows.append(", ".join([f"{stamp:.6f}", f"{n:06d}", *(f"{value:.12g}" for value in (*position, *quaternion))]))
    writer.release()
    (folder / "rgb.avi").rename(folder / "rgb.mp4")  # OpenCV looks at the contents
    write_text(folder / "odometry.csv", *rows)
    large = np.array([[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]])  # K at the size of the video
    write_text(folder / "camera_matrix.csv", *(", ".join(f"{value:g}" for value in row) for row in large))
    return folder


def write_colmap(
    folder: Path, known: Known, model: str = "PINHOLE", numbers: str = "15 15 8 6", features: str = "1.5 2.5 -1"
) -> Path:
    """Intrinsics with the center of the first pixel at 0.5; images listed backwards."""
    lines = [
        "# Image list with two lines of data per image:",
        "#   IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME",
    ]
    for n in reversed(range(len(known))):
        write_color(folder / "images" / f"shot {n}.png", known.colors[n])
        position, q = split(np.linalg.inv(known.poses[n]))
        lines += [f"{n + 5} {join((q[3], *q[:3]))} {join(position)} 1 shot {n}.png", features]
    write_text(folder / "sparse" / "0" / "cameras.txt", "# Camera list", f"1 {model} {SIZE[1]} {SIZE[0]} {numbers}")
    write_text(folder / "sparse" / "0" / "images.txt", *lines)
    return folder


def write_scannet(folder: Path, known: Known) -> Path:
    for n, (color, depth, pose) in enumerate(zip(known.colors, known.depths, known.poses, strict=True)):
        write_color(folder / "color" / f"{n}.png", color)
        write_depth(folder / "depth" / f"{n}.png", depth, 1000)
        write_text(folder / "pose" / f"{n}.txt", *(join(row) for row in pose))
    write_text(folder / "intrinsic" / "intrinsic_color.txt", *(join(row) for row in K))
    return folder


def write_bop(folder: Path, known: Known) -> Path:
    cameras = {}
    for n, (color, depth, pose) in enumerate(zip(known.colors, known.depths, known.poses, strict=True)):
        write_color(folder / "rgb" / f"{n:06d}.png", color)
        write_depth(folder / "depth" / f"{n:06d}.png", depth, 10000)
        inverse = np.linalg.inv(pose)
        cameras[str(n)] = {"cam_K": K.ravel().tolist(), "depth_scale": 0.1, "cam_R_w2c": inverse[:3, :3].ravel().tolist(),
                           "cam_t_w2c": (1000 * inverse[:3, 3]).tolist()}  # fmt: skip
    write_text(folder / "scene_camera.json", json.dumps(cameras))
    return folder
