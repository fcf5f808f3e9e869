"""`moonseg3r synthetic render`: render a furnished room with exact depth, pose and ids as a ScanNet export."""

from __future__ import annotations

import argparse
import sys

from tqdm import tqdm


def add_parser(subparsers) -> None:  # type: ignore[no-untyped-def]
    """Add the subcommand `synthetic`."""
    parser = subparsers.add_parser(
        "synthetic", description="Render furnished rooms with exact depth, pose and ids, each from its seed."
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    render = actions.add_parser(
        "render",
        help="write a walk through the room of a seed as a ScanNet export with gt.npz",
        description="Write a walk through the room of a seed as a ScanNet export with gt.npz: what `run`, `evaluate` and "
        "`bench` take. The same seed gives the same room.",
    )
    render.add_argument("-o", "--output", required=True, metavar="FOLDER", help="a new or empty folder")
    render.add_argument("--seed", type=int, default=0, metavar="N", help="which room (0)")
    render.add_argument("--frames", type=int, default=120, metavar="N", help="length of the walk at 10 frames/s (120)")
    render.add_argument("--width", type=int, default=320, metavar="N", help="pixels (320)")
    render.add_argument("--height", type=int, default=240, metavar="N", help="pixels (240)")
    render.add_argument("--fov", type=float, default=70.0, metavar="DEGREES", help="horizontal field of view (70)")
    render.add_argument(
        "--noise", action="store_true", help="noise on color and depth as a hand-held RGB-D camera has it"
    )
    render.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (cpu)")
    render.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Render and write; 0 when done."""
    from moonseg3r_core.synthetic import DepthNoise, ImageNoise, SyntheticSequence, write_scannet

    sequence = SyntheticSequence(args.seed, args.frames, args.height, args.width, args.fov, args.device)
    depth_noise, image_noise = (DepthNoise(), ImageNoise()) if args.noise else (None, None)
    with tqdm(total=len(sequence), unit="frame", delay=0.5, mininterval=0.1 if sys.stderr.isatty() else 10) as bar:
        folder = write_scannet(
            args.output, sequence, depth_noise=depth_noise, image_noise=image_noise,
            progress=lambda done, _: bar.update(done - bar.n),
        )  # fmt: skip
    scene = sequence.scene
    objects = len(scene.names) - len(scene.structure_ids)
    print(f"{folder}: {len(sequence)} frames of a room with {objects} objects of {len(scene.kinds)} kinds")
    return 0
