"""Compare our CUT3R net with your clone of the original: `python tools/compare_cut3r.py CLONE [--frames 3] [--threads 2]`.

Both get the same random weights and frames, one after the other, each in a process of its own. Prints CPU seconds per frame,
their ratio, peak memory and the worst differences. CLONE is a folder cloned from the original's repository; the packages that
it imports (einops, transformers, accelerate, scipy ...) must be importable, for instance by PYTHONPATH. Nothing of it is
copied or changed; its rotary positions, which need a GPU, are replaced by ours while it runs.
Exit status: 0 measured, 1 the outputs differ, 2 a clone that cannot be run.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import types
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from moonseg3r_core.errors import InputError
from moonseg3r_core.reconstruction.cut3r.net.attention import StateAttention
from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r, OutputRequest
from moonseg3r_core.reconstruction.cut3r.net.rope import Rotation, make_rotation
from moonseg3r_core.reconstruction.cut3r.net.sizes import SIZES, Cut3rSizes

TOLERANCE = 1e-3  # of a difference, as a share of the output's largest value
Frames = list[Tensor]
Results = dict[str, Tensor]  # name: all frames' outputs, stacked
Run = Callable[[Frames], Results]


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    try:
        if args.side:
            measure(args)
            return 0
        with tempfile.TemporaryDirectory() as folder:
            measured = {side: run_in_process(side, argv, Path(folder)) for side in args.rows}
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print_costs(measured)
    return 0 if print_differences(measured) else 1


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", metavar="CLONE", type=Path)
    parser.add_argument("--model", choices=("cut3r-512", "cut3r-224"), default="cut3r-512")
    parser.add_argument("--size", default="512x384", help="width x height, multiples of 16")
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--rows", nargs="+", choices=list(SIDES), default=list(SIDES),
        help="what is run (all): ours with all outputs, lean: no colors but A, carried: neither the world head",
    )  # fmt: skip
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)  # this process is a row's own
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


# ---- one row, in a process of its own ----------------------------------------------------------------------------------


def run_in_process(side: str, argv: list[str] | None, folder: Path) -> dict:
    """Measure a row in a fresh process. Raises InputError where that process fails, after it has printed why."""
    out = folder / f"{side}.pt"
    given = sys.argv[1:] if argv is None else argv
    command = [sys.executable, "-W", "ignore::FutureWarning", __file__, *given, "--side", side, "--out", str(out)]
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
        raise InputError(f"expected {side} to run through, got a failure; mend what stands above.")
    return torch.load(out)


def measure(args: argparse.Namespace) -> None:
    """Build, fill and run one row's net, and save its figures."""
    torch.set_num_threads(args.threads)
    run = SIDES[args.side](SIZES[args.model], args.clone)
    built, frames = measure_peak_memory(), make_frames(args.size, args.frames)
    cpu, wall = time.process_time(), time.perf_counter()
    with torch.no_grad():
        results = run(frames)
    cpu, wall = (time.process_time() - cpu) / len(frames), (time.perf_counter() - wall) / len(frames)
    torch.save({"cpu": cpu, "wall": wall, "built": built, "peak": measure_peak_memory(), "results": results}, args.out)


def make_frames(size: str, count: int) -> Frames:
    """Random pictures (1, 3, H, W) in [-1, 1]."""
    width, height = map(int, size.split("x"))
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(1, 3, height, width, generator=generator) * 2 - 1 for _ in range(count)]


def measure_peak_memory() -> float:
    """Measure the peak memory of this process, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def fill(net: nn.Module) -> nn.Module:
    """Fill a net with random weights that depend on a tensor's name and shape alone, so that both nets get the same."""
    for name, tensor in sorted(net.state_dict().items()):
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        noise = torch.randn(tensor.shape, generator=generator)
        spread = tensor[0].numel() ** -0.5 if tensor.ndim > 1 else 0.05
        tensor.copy_(noise * spread + (tensor.ndim == 1 and name.endswith("weight")))
    return net.eval()


# ---- ours --------------------------------------------------------------------------------------------------------------


def make_ours(sizes: Cut3rSizes, clone: Path) -> Run:
    """Make our net with every output that the original computes."""
    net = fill(Cut3r(sizes, rgb_head=True, ray_encoder=True, rope_fp16=True))
    return lambda frames: run_ours(net, frames, OutputRequest(colors=True))


def make_lean(sizes: Cut3rSizes, clone: Path) -> Run:
    """Make our net with the outputs that MoonSeg3R uses: no colors, and the state's attention."""
    net = fill(Cut3r(sizes, rope_fp16=True))
    return lambda frames: run_ours(net, frames, OutputRequest(attention=StateAttention()))


def make_self_points(sizes: Cut3rSizes, clone: Path) -> Run:
    """Make it without the world head too (`points: self`)."""
    net = fill(Cut3r(sizes, rope_fp16=True))
    return lambda frames: run_ours(net, frames, OutputRequest(world=False, attention=StateAttention()))


def run_ours(net: Cut3r, frames: Frames, request: OutputRequest) -> Results:
    state, results = net.start(), []
    for frame in frames:
        outputs, state = net(frame, state, request)
        results.append(outputs)
    ours = {name: [getattr(outputs, field) for outputs in results] for name, field in NAMES.items()}
    stacked = {name: torch.stack(values) for name, values in ours.items() if values[0] is not None}
    return stacked | {"state": state.tokens, "memory": state.memory}


NAMES = {
    "pts3d_in_self_view": "self_points", "conf_self": "self_confidence", "pts3d_in_other_view": "world_points",
    "conf": "world_confidence", "camera_pose": "pose", "rgb": "colors",
}  # fmt: skip


# ---- the original ------------------------------------------------------------------------------------------------------


class StandIn(nn.Module):
    """Our rotation behind the interface of the original's GPU kernel: tokens (B, heads, N, width), positions (B, N, 2)."""

    def __init__(self, freq: float = 100.0, F0: float = 1.0) -> None:
        super().__init__()
        self.known: dict[tuple[int, bytes], Rotation] = {}

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        key = tokens.shape[-1], positions[0].numpy().tobytes()
        if key not in self.known:
            self.known[key] = make_rotation(positions[0], tokens.shape[-1])
        return self.known[key](tokens.transpose(1, 2)).transpose(1, 2)


def make_original(sizes: Cut3rSizes, clone: Path) -> Run:
    """Make the clone's net, frame by frame as it runs a stream. Raises InputError where it cannot be imported."""
    if not (clone / "src" / "dust3r" / "model.py").is_file():
        raise InputError(f"{clone} must hold src/dust3r/model.py, got no such file; give a clone of the original.")
    sys.path.insert(0, str(clone / "src"))
    sys.modules["models.curope"] = types.SimpleNamespace(cuRoPE2D=StandIn)  # type: ignore[assignment]
    try:
        from dust3r import model
    except ImportError as error:
        raise InputError(f"the clone's packages must be importable, got: {error}; install what is missing.") from error
    net = fill(model.ARCroco3DStereo(model.ARCroco3DStereoConfig(**make_arguments(sizes))))
    return lambda frames: run_original(net, frames)


def run_original(net: nn.Module, frames: Frames) -> Results:
    results, _, states = net.forward_recurrent([make_view(frame) for frame in frames], "cpu", ret_state=True)
    stacked = {name: torch.stack([result[name] for result in results]) for name in NAMES}
    return stacked | {"state": states[-1][0], "memory": states[-1][3]}


def make_view(frame: Tensor) -> dict[str, Tensor]:
    yes, no = torch.tensor([True]), torch.tensor([False])
    rays = torch.zeros(1, *frame.shape[2:], 6)
    return {"img": frame, "ray_map": rays, "img_mask": yes, "ray_mask": no, "update": yes, "reset": no}


def make_arguments(sizes: Cut3rSizes) -> dict[str, object]:
    """Make the original constructor's arguments for a net of these sizes; the rest is the same in all checkpoints."""
    infinity = float("inf")
    return {
        "enc_embed_dim": sizes.enc_dim, "enc_depth": sizes.enc_depth, "enc_num_heads": sizes.enc_heads,
        "dec_embed_dim": sizes.dec_dim, "dec_depth": sizes.dec_depth, "dec_num_heads": sizes.dec_heads,
        "state_dec_num_heads": sizes.state_heads, "state_size": sizes.state_size, "state_pe": sizes.state_positions,
        "local_mem_size": sizes.memory_size, "ray_enc_depth": sizes.ray_depth, "head_type": sizes.head,
        "img_size": (sizes.image_size, sizes.image_size), "pos_embed": "RoPE100", "output_mode": "pts3d+pose",
        "rgb_head": True, "pose_head": True, "landscape_only": False, "depth_mode": ("exp", -infinity, infinity),
        "conf_mode": ("exp", 1, infinity), "pose_mode": ("exp", -infinity, infinity),
    }  # fmt: skip


SIDES: dict[str, Callable[[Cut3rSizes, Path], Run]] = {
    "original": make_original, "ours": make_ours, "lean": make_lean, "carried": make_self_points,
}  # fmt: skip


# ---- results ---------------------------------------------------------------------------------------------------


def print_costs(measured: dict[str, dict]) -> None:
    """Print a row per side; ratios are to the first one."""
    first = next(iter(measured.values()))
    print(f"{'':<10}{'CPU s/frame':>12}{'ratio':>8}{'wall s/frame':>14}{'GiB built':>11}{'GiB peak':>10}")
    for side, row in measured.items():
        ratio = row["cpu"] / first["cpu"]
        print(
            f"{side:<10}{row['cpu']:>12.2f}{ratio:>8.2f}{row['wall']:>14.2f}{row['built']:>11.2f}{row['peak']:>10.2f}"
        )


def print_differences(measured: dict[str, dict]) -> bool:
    """Print the worst differences from the first row, tensor by tensor. Returns whether all are small."""
    (first, reference), *others = measured.items()
    small = True
    for side, row in others:
        print(f"\n{side} from {first:<20}{'worst off':>12}{'largest':>12}")
        for name, value in row["results"].items():
            expected = reference["results"].get(name)
            if expected is None:
                continue
            worst, largest = float((value - expected).abs().max()), float(expected.abs().max())
            near = worst <= TOLERANCE * largest
            small &= near
            print(f"  {name:<{23 + len(side)}}{worst:>12.1e}{largest:>12.3g}{'' if near else '  DIFFERS'}")
    return small


if __name__ == "__main__":
    sys.exit(main())
