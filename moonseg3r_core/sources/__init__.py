"""Read recordings as streams of frames: videos, folders of images and of known layouts, rosbag2, rendered rooms."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from moonseg3r_core.errors import SourceError
from moonseg3r_core.sources.config import DEFAULT, InputConfig
from moonseg3r_core.sources.requested_topics import Topics

if TYPE_CHECKING:  # torch takes seconds to import, and reading the bytes of a bag does not need it
    from moonseg3r_core.sources.source import Recording

__all__ = ["InputConfig", "Topics", "open_source"]

COMPRESSED_SUFFIXES = (".zst", ".zstd")
ARCHIVE_SUFFIXES = (".zip", ".r3d", ".tar", ".tgz", ".gz", ".xz", ".bz2", ".7z", ".rar")
TEXT_SUFFIXES = (".json", ".txt", ".csv", ".yaml")


def open_source(
    spec: str, *, stride: int = 1, max_frames: int | None = None, topics: Topics | None = None,
    input: InputConfig = DEFAULT,
) -> Recording:  # fmt: skip
    """Open a recording: a video file, a folder of images or of a known layout (`sources.layouts`: ScanNet, TUM RGB-D,
    Replica ...), a rosbag2 folder or .mcap or .db3 file, or `synthetic:SEED[:FRAMES]`.

    Selects every `stride`-th frame, `max_frames` at most; `topics` are for bags, `input` says what the numbers mean.
    Frames are read while iterating.
    Raises SourceError for a recording that is missing, empty or of an unknown kind, and for a stride below 1.
    """
    if spec.startswith("synthetic:"):
        from moonseg3r_core.sources.synthetic import SyntheticSource

        return SyntheticSource(spec, stride, max_frames, input)
    if not spec.strip():
        raise SourceError("the source has no name; give a video, a folder, a bag, or synthetic:SEED.")
    path = Path(spec)
    with suppress(RuntimeError):  # a name that begins with ~ and is no user's
        path = path.expanduser()
    try:
        return _open_path(path, stride, max_frames, topics, input)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}; check its permissions.") from error


def _open_path(path: Path, stride: int, max_frames: int | None, topics: Topics | None, input: InputConfig) -> Recording:
    from moonseg3r_core.sources.bag import BagSource
    from moonseg3r_core.sources.bag_reader import is_bag
    from moonseg3r_core.sources.files import IMAGE_SUFFIXES
    from moonseg3r_core.sources.images import ImagesSource
    from moonseg3r_core.sources.layouts import find_layout
    from moonseg3r_core.sources.layouts.recording import FolderRecording
    from moonseg3r_core.sources.video import VideoSource

    if not path.exists():
        raise SourceError(f"{path} does not exist; give a video, a folder, a bag, or synthetic:SEED.")
    if not (path.is_file() or path.is_dir()):  # opening a pipe would block
        raise SourceError(f"{path} is neither a file nor a folder; give a video, a folder, a bag, or synthetic:SEED.")
    if is_bag(path):
        return BagSource(path, stride, max_frames, topics, input)
    if path.is_dir():
        layout = find_layout(path)
        return (
            FolderRecording(layout, path, stride, max_frames, input)
            if layout
            else ImagesSource(path, stride, max_frames, input)
        )
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        raise SourceError(f"{path} is a single image; give the folder that holds it.")
    if suffix in COMPRESSED_SUFFIXES:
        raise SourceError(f"{path} is a compressed file; give the bag folder that holds it and metadata.yaml.")
    if suffix in ARCHIVE_SUFFIXES:
        raise SourceError(f"{path} is an archive; unpack it and give the folder that it holds.")
    if suffix == ".sens":
        raise SourceError(
            f"{path} is a .sens file of ScanNet; export color, depth, poses and intrinsics by its SensReader."
        )
    if suffix in TEXT_SUFFIXES and find_layout(path.parent):
        raise SourceError(f"{path} is a file of a recording; give its folder {path.parent}.")
    if suffix == ".bag":
        raise SourceError(f"{path} is a ROS 1 bag; convert it with `rosbags-convert --src IN.bag --dst OUT`.")
    return VideoSource(path, stride, max_frames, input)
