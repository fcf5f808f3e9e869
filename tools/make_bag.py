"""Turn a recording with poses into a rosbag2: `python tools/make_bag.py FOLDER OUT.mcap`.

FOLDER is anything that `moonseg3r run` reads: a ScanNet export, `synthetic:7:60`, a video. OUT ends in .mcap or .db3, or
has no suffix for a bag folder. `ros2 bag play OUT` replays colour, depth, camera_info and /tf (map -> camera).
"""

from __future__ import annotations

import argparse
import sys

from moonseg3r_core.errors import InputError
from moonseg3r_core.sources import open_source
from moonseg3r_core.sources.write_bag import write_bag


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 written; 2 bad input or output, one line on standard error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", help="ScanNet export, folder of images, video, or synthetic:SEED[:FRAMES]")
    parser.add_argument("out", help="OUT.mcap, OUT.db3, or a folder")
    parser.add_argument("--color", choices=("jpeg", "png", "raw"), default="jpeg", help="how colour is stored")
    parser.add_argument("--stride", type=int, default=1, help="take every N-th frame")
    parser.add_argument("--max-frames", type=int, help="take N frames at most")
    given = parser.parse_args(arguments)
    try:
        source = open_source(given.source, stride=given.stride, max_frames=given.max_frames)
        count = write_bag(source, given.out, given.color)
    except InputError as error:
        print(f"make_bag: {error}", file=sys.stderr)
        return 2
    print(f"{given.out}: {count} frames, {sum(source.rejected.values())} left out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
