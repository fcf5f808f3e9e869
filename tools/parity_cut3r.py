"""Compare the CUT3R net with golden sequences: `python tools/parity_cut3r.py FOLDER [FOLDER ...] [--tolerance 1e-4] [--points 1e-3]`.

FOLDER holds config.json (the constructor's values), model.safetensors and sequences *.safetensors: images in, the original's
outputs, states and inner tensors out. Prints the worst absolute difference of every tensor of every sequence.
Exit status: 0 all within the tolerances, 1 a difference, 2 a folder that cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from moonseg3r_core.errors import InputError, MissingDependency
from moonseg3r_core.geometry import rotation_from_quaternion
from moonseg3r_core.reconstruction.cut3r.net.attention import LogitMeter, StateAttention
from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r, OutputRequest, Outputs, Tokens, make_state_positions
from moonseg3r_core.reconstruction.cut3r.net.sizes import Cut3rSizes
from moonseg3r_core.reconstruction.cut3r.net.state import Gated, Overwrite, State

TOLERANCE = 1e-4  # of tokens, pose, state, memory, attention and colours
POINTS = 1e-3  # of points and confidences
NEAR_ZERO = 1e-3  # the linear head mirrors self points where z passes 0; |z| below this may have either sign


@dataclass(frozen=True)
class Difference:
    """The worst absolute difference of one tensor over a sequence's frames; mirrored: self points compared with their mirror."""

    name: str
    worst: float
    tolerance: float
    mirrored: int = 0

    @property
    def holds(self) -> bool:
        return self.worst <= self.tolerance


@dataclass(frozen=True)
class Variant:
    """One of the original's implementations: its groups of keys; the frame that resets if the file has no flag; and whether the
    pose token after a reset is the learned one, or is read from the initial memory.
    """

    out: str = "out"
    after: str = "after"
    resets_at: int | None = None
    fresh_after_reset: bool = False


# A file may hold several. Ours runs frame by frame. The original's `parallel` variant is not followed: it adds mask tokens to
# views without an image or rays as soon as one view has rays.
VARIANTS = (
    Variant(),
    Variant("out_recurrent", "after_recurrent"),
    Variant("out_lighter", "", 3, True),
    Variant("out_impl", "", 3),
)
NOT_FOLLOWED = "_parallel/"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", metavar="FOLDER", type=Path, nargs="+")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="of everything but points and confidences")
    parser.add_argument("--points", type=float, default=POINTS, help="of points and confidences")
    args = parser.parse_args(argv)
    try:
        holds = [report(folder, args.tolerance, args.points) for folder in args.folders]
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if all(holds) else 1


def report(folder: Path, tolerance: float, points: float) -> bool:
    """Print the differences of a folder, one row per tensor. Returns whether all hold."""
    holds = True
    for name in list_sequences(folder):
        print(f"{folder.name}/{name}")
        for row in compare(folder, name, tolerance, points):
            mirrored = f"  {row.mirrored} of |z| < {NEAR_ZERO:g} mirrored" if row.mirrored else ""
            print(f"  {row.name:<34}{row.worst:>9.1e}  {'holds' if row.holds else 'DIFFERS'}{mirrored}")
            holds &= row.holds
        for key in list_left_out(folder, name):
            print(f"  {key:<34}{'':>9}  not followed")
    return holds


def list_sequences(folder: Path) -> list[str]:
    """List the folder's sequences by name. Raises InputError for another layout."""
    names = sorted(file.stem for file in folder.glob("*.safetensors") if file.stem != "model")
    if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file() or not names:
        raise InputError(f"{folder} must hold config.json, model.safetensors and sequences *.safetensors, got {names}.")
    return names


@torch.no_grad()
def compare(folder: Path, name: str, tolerance: float = TOLERANCE, points: float = POINTS) -> list[Difference]:
    """Compare one sequence: every tensor's worst difference, in the order that our net yields them."""
    golden = read_tensors(folder / f"{name}.safetensors")
    variants = [variant for variant in VARIANTS if f"0/{variant.out}/camera_pose" in golden]
    if not variants or "0/in/img" not in golden:
        raise InputError(
            f"{folder}/{name}.safetensors must hold 0/in/img and 0/out/camera_pose, got {sorted(golden)[:3]}."
        )
    net = read_net(folder, rope_fp16=name.endswith("halfrope"), gated=name.startswith("ttt3r"))
    worst: dict[str, Difference] = {}
    for variant in variants:
        for key, ours in run_sequence(net, golden, variant):
            add(worst, key, golden[key], ours, tolerance, points, net.sizes.head)
    return list(worst.values())


def list_left_out(folder: Path, name: str) -> list[str]:
    """List the outputs of a sequence that are not followed, without the frames' numbers."""
    golden = read_tensors(folder / f"{name}.safetensors")
    return sorted({key.partition("/")[2] for key in golden if NOT_FOLLOWED in key})


def add(
    worst: dict[str, Difference], key: str, golden: Tensor, ours: Tensor, tolerance: float, points: float, head: str
) -> None:
    """Add one tensor of one frame under its name without the frame's number."""
    name = key.partition("/")[2] if key[0].isdigit() else key
    may_mirror = head == "linear" and key.endswith("pts3d_in_self_view")
    off, mirrored = compute_mirrored_difference(golden, ours) if may_mirror else (compute_difference(golden, ours), 0)
    limit = points if "pts3d" in name or "/conf" in name else tolerance
    before = worst.get(name, Difference(name, 0.0, limit))
    worst[name] = Difference(name, max(before.worst, off), limit, before.mirrored + mirrored)


def compute_difference(golden: Tensor, ours: Tensor) -> float:
    """Compute the largest absolute difference; infinite for another shape or NaN."""
    if golden.shape != ours.shape:
        return float("inf")
    return float((golden - ours).abs().nan_to_num(nan=float("inf")).max())


def compute_mirrored_difference(golden: Tensor, ours: Tensor) -> tuple[float, int]:
    """Compute the difference of points (..., 3) that may be negated where |z| is next to 0, and count the negated ones.

    docs/cut3r_facts.md, 8, says why.
    """
    if golden.shape != ours.shape:
        return float("inf"), 0
    mirrored = (golden[..., 2].abs() < NEAR_ZERO) & ((golden + ours).norm(dim=-1) < (golden - ours).norm(dim=-1))
    return compute_difference(torch.where(mirrored[..., None], -golden, golden), ours), int(mirrored.sum())


# ---- our net along a sequence ----------------------------------------------------------------------------------


def run_sequence(net: Cut3r, golden: dict[str, Tensor], variant: Variant) -> Iterator[tuple[str, Tensor]]:
    """Yield every (golden key, our tensor) of a sequence, frame by frame (docs/cut3r_facts.md, 6, 9 and 11)."""
    batch = len(golden["0/in/img"])
    state = net.start(batch)
    slots = make_state_positions(net.sizes)
    places = {} if slots is None else {"init/state_pos": slots.expand(batch, -1, -1)}
    yield from select_present(golden, {"init/state": state.tokens, "init/mem": state.memory} | places)
    for index in range(sum(key.endswith("/in/img") for key in golden)):
        given = {key.rpartition("/")[2]: value for key, value in golden.items() if key.startswith(f"{index}/in/")}
        tokens = read_view(net, given)
        with record_tensors(net) as inner:
            outputs, updated = net(tokens, state, OutputRequest(colors=True))
        yield from select_present(
            golden, {f"{index}/{variant.out}/{name}": value for name, value in rename_outputs(outputs).items()}
        )
        if f"{index}/int/enc_tokens" in golden:
            inner |= {"enc_tokens": tokens.features, "state_cross_attn": compute_attention(net, tokens, state)}
            yield from select_present(golden, {f"{index}/int/{name}": value for name, value in inner.items()})
        state = select_next_state(net, state, updated, given, variant, index)
        yield from select_present(
            golden, {f"{index}/{variant.after}/state": state.tokens, f"{index}/{variant.after}/mem": state.memory}
        )


def select_present(golden: dict[str, Tensor], ours: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    return ((key, value) for key, value in ours.items() if key in golden)


def read_view(net: Cut3r, given: dict[str, Tensor]) -> Tokens:
    """Encode a frame: its image, its ray map, or the sum of both."""
    parts = [net.encode(given["img"])] if read_flag(given, "img_mask", True).all() else []
    if read_flag(given, "ray_mask", False).any():
        parts.append(net.encode_rays(given["ray_map"]))
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def select_next_state(
    net: Cut3r, state: State, updated: State, given: dict[str, Tensor], variant: Variant, index: int
) -> State:
    """Select the state after a frame: updated and reset by the frame's flags."""
    state = updated.select(read_flag(given, "update", True) & read_flag(given, "img_mask", True), state)
    reset = read_flag(given, "reset", index == variant.resets_at)
    start = net.start(len(reset))
    fresh = start if variant.fresh_after_reset else replace(start, fresh=torch.zeros_like(start.fresh))
    return fresh.select(reset, state)


def read_flag(given: dict[str, Tensor], name: str, default: bool) -> Tensor:
    return given[name].bool() if name in given else torch.full((len(given["img"]),), default)


def rename_outputs(outputs: Outputs) -> dict[str, Tensor | None]:
    """Rename our outputs to the original's names."""
    camera = torch.eye(4).repeat(len(outputs.pose), 1, 1)
    camera[:, :3, :3] = rotation_from_quaternion(outputs.pose[:, [4, 5, 6, 3]])
    camera[:, :3, 3] = outputs.pose[..., :3]
    return {
        "pts3d_in_self_view": outputs.self_points,
        "conf_self": outputs.self_confidence,
        "rgb": outputs.colors,
        "camera_pose": outputs.pose,
        "pts3d_in_other_view": outputs.world_points,
        "conf": outputs.world_confidence,
        "c2w": camera,
    }


# ---- inner tensors ------------------------------------------------------------------------------------------------


class MeteredUpdate(Overwrite):
    """The plain update, which also records the logits that the gate of TTT3R would use."""

    def make_hook(self) -> LogitMeter:  # type: ignore[override]
        self.meter = LogitMeter()
        return self.meter


@contextmanager
def record_tensors(net: Cut3r) -> Iterator[dict[str, Tensor]]:
    """Record the inner tensors of one pass, under the golden data's names."""
    inner: dict[str, Tensor] = {}
    handles = [module.register_forward_hook(keep(inner, name)) for name, module in list_modules(net)]
    for name, blocks in (("dec_img.0", net.dec_blocks), ("dec_state.0", net.dec_blocks_state)):
        handles.append(blocks[0].register_forward_pre_hook(keep_input(inner, name)))
    try:
        yield inner
    finally:
        for handle in handles:
            handle.remove()
    inner["pose_token_in"] = inner["dec_img.0"][:, :1]
    if isinstance(net.update, MeteredUpdate):
        inner["state_cross_attn_logits_mean"] = net.update.meter.compute_mean()


def list_modules(net: Cut3r) -> Iterator[tuple[str, nn.Module]]:
    for name, blocks in (("dec_img", net.dec_blocks), ("dec_state", net.dec_blocks_state)):
        yield from ((f"{name}.{number}", block) for number, block in enumerate(blocks, start=1))
    yield from (("dec_img.norm", net.dec_norm), ("dec_state.norm", net.dec_norm_state))
    yield from ((f"modulated.{number}", block) for number, block in enumerate(net.downstream_head.final_transform))


def keep(inner: dict[str, Tensor], name: str) -> Callable[[nn.Module, tuple, Tensor], None]:
    return lambda module, inputs, output: inner.update({name: output})


def keep_input(inner: dict[str, Tensor], name: str) -> Callable[[nn.Module, tuple], None]:
    return lambda module, inputs: inner.update({name: inputs[0]})


def compute_attention(net: Cut3r, tokens: Tokens, state: State) -> Tensor:
    """Compute the state's attention (B, L, heads, S, 1 + N), one layer and head at a time. Column 0, the pose token's, is 1
    minus the sum of the patches.
    """
    sizes = net.sizes
    requests = [StateAttention((layer,), head) for layer in range(sizes.dec_depth) for head in range(sizes.state_heads)]
    patches = [
        net(tokens, state, OutputRequest(world=False, attention=request))[0].attention.flatten(2)
        for request in requests
    ]
    rows = torch.stack(patches, 1).unflatten(1, (sizes.dec_depth, sizes.state_heads))
    return torch.cat((1 - rows.sum(-1, keepdim=True), rows), -1)


# ---- reading -----------------------------------------------------------------------------------------------------------


def read_net(folder: Path, *, rope_fp16: bool = False, gated: bool = False) -> Cut3r:
    """Read the folder's net with all heads and weights. Raises InputError where they do not fit."""
    update = Gated() if gated else MeteredUpdate()
    net = Cut3r(read_sizes(folder), rgb_head=True, ray_encoder=True, rope_fp16=rope_fp16, update=update).eval()
    given, ours = read_tensors(folder / "model.safetensors"), net.state_dict()
    wrong = sorted(key for key in given.keys() | ours.keys() if get_shape(given, key) != get_shape(ours, key))
    if wrong:
        raise InputError(
            f"{folder}/model.safetensors must hold exactly our {len(ours)} tensors, got {len(wrong)} that are missing, "
            f"too many or of another shape: {wrong[0]} is {get_shape(given, wrong[0])}, not {get_shape(ours, wrong[0])}."
        )
    net.load_state_dict(given)
    return net


def get_shape(tensors: dict[str, Tensor], key: str) -> tuple[int, ...] | None:
    return tuple(tensors[key].shape) if key in tensors else None


def read_sizes(folder: Path) -> Cut3rSizes:
    """Read our sizes from the original constructor's values. Raises InputError where one is missing."""
    file = folder / "config.json"
    try:
        facts = json.loads(file.read_text())
        given, adapter = facts["config"], facts.get("dpt_adapter") or {}
        ours = {field: given[name] for field, name in NAMES.items()} | {"image_size": given["img_size"][0]}
        if adapter:
            ours |= {"dpt_width": adapter["feature_dim"], "dpt_last": adapter["last_dim"]}
            ours |= {"dpt_layers": tuple(adapter["layer_dims"])}
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{file} must hold the constructor's values under config, got: {error!r}.") from error
    return Cut3rSizes(**ours)


NAMES = {
    "enc_dim": "enc_embed_dim", "enc_depth": "enc_depth", "enc_heads": "enc_num_heads", "dec_dim": "dec_embed_dim",
    "dec_depth": "dec_depth", "dec_heads": "dec_num_heads", "state_heads": "state_dec_num_heads",
    "state_size": "state_size", "state_positions": "state_pe", "memory_size": "local_mem_size",
    "ray_depth": "ray_enc_depth", "head": "head_type",
}  # fmt: skip


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file. Raises InputError where it cannot be read."""
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingDependency(
            "reading the folder needs the package safetensors; `pip install safetensors`."
        ) from error
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file} must be a readable safetensors file, got: {error}.") from error


if __name__ == "__main__":
    sys.exit(main())
