"""Reads the sizes of a net from the text in an official checkpoint, or from the header of our files.

The text is a constructor call in Python, parsed and never run: `keyword=literal`, with `inf` as a number.
See docs/cut3r_facts.md, 1.
"""

from __future__ import annotations

import ast
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, NoReturn

from torch import Tensor

from moonseg3r_core.errors import InputError
from moonseg3r_core.io.torch_checkpoint import Inert
from moonseg3r_core.reconstruction.cut3r.net.sizes import Cut3rSizes

FIELDS = {
    "enc_embed_dim": "enc_dim", "enc_depth": "enc_depth", "enc_num_heads": "enc_heads",
    "dec_embed_dim": "dec_dim", "dec_depth": "dec_depth", "dec_num_heads": "dec_heads",
    "state_dec_num_heads": "state_heads", "state_size": "state_size", "local_mem_size": "memory_size",
    "ray_enc_depth": "ray_depth",
}  # fmt: skip
CHOICES = {"state_pe": ("state_positions", ("2d", "1d", "none")), "head_type": ("head", ("dpt", "linear"))}
FIXED = {  # what the net can do only one way
    "patch_size": 16, "mlp_ratio": 4, "norm_im2_in_dec": True, "pos_embed": "RoPE100", "output_mode": "pts3d+pose",
    "pose_head": True, "depth_head": False, "pose_conf_head": False, "depth_mode": ("exp", -math.inf, math.inf),
    "conf_mode": ("exp", 1, math.inf), "pose_mode": ("exp", -math.inf, math.inf),
}  # fmt: skip
MAY_LACK = {"state_dec_num_heads", "local_mem_size", "ray_enc_depth"}  # then as in the published nets
WITHOUT_EFFECT = {"img_size", "rgb_head", "patch_embed_cls", "landscape_only", "freeze"}  # or read otherwise
LARGEST = 2**16
_LOG = logging.getLogger("moonseg3r")


def find_model_line(args: Any) -> str:
    """Find the text of `args.model` in OmegaConf's or argparse's object, read inertly, or in a plain dict.

    Raises InputError where there is none.
    """
    inside = _find_inside(args, "_content")
    text = _find_inside(inside["model"], "_val") if isinstance(inside, dict) and "model" in inside else None
    if not isinstance(text, str):
        raise InputError("args.model must be the text that describes the net, got none; give the official checkpoint.")
    return text


def parse_model(text: str) -> dict[str, Any]:
    """Parse the keywords of the inner call in `ARCroco3DStereo(ARCroco3DStereoConfig(keyword=literal, ...))`.

    Raises InputError for any other text.
    """
    try:
        outer = ast.parse(text.strip(), mode="eval").body
        if isinstance(outer, ast.Call) and len(outer.args) == 1 and not outer.keywords:
            inner = outer.args[0]
            if isinstance(inner, ast.Call) and not inner.args:
                words = {keyword.arg: _parse_literal(keyword.value) for keyword in inner.keywords if keyword.arg}
                if len(words) == len(inner.keywords):
                    return words
    except (SyntaxError, ValueError, TypeError):
        pass
    raise InputError(
        "args.model must read ARCroco3DStereo(ARCroco3DStereoConfig(keyword=literal, ...)), "
        f"got {text[:60]!r}; give the official checkpoint."
    )


def read_sizes(keywords: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Cut3rSizes:
    """Read the sizes that the keywords name; the tensors tell the widths of the DPT head, which they do not name.

    Raises InputError for a net of another kind.
    """
    for name, value in FIXED.items():
        if keywords.get(name, value) != value:
            _refuse(name, value, keywords[name])
    unknown = keywords.keys() - FIELDS - CHOICES.keys() - FIXED.keys() - WITHOUT_EFFECT
    for name in sorted(unknown):
        _LOG.warning("the checkpoint's args name %s=%r, which is not known here and left out.", name, keywords[name])
    lacking = ({*FIELDS, *CHOICES, "img_size"} - MAY_LACK) - keywords.keys()
    if lacking:
        raise InputError(
            f"args.model must name {', '.join(sorted(lacking))} too, got {', '.join(keywords)}; give the official checkpoint."
        )
    counts = {name: value for name, value in keywords.items() if name in FIELDS}
    found: dict[str, Any] = {FIELDS[name]: _check_count(name, value) for name, value in counts.items()}
    found |= {field: _check_choice(name, keywords[name], choices) for name, (field, choices) in CHOICES.items()}
    size = keywords["img_size"]
    sides = size if isinstance(size, tuple) and size else (size,)
    found["image_size"] = max(_check_count("img_size", side) for side in sides)
    sizes = Cut3rSizes(**found, **(_read_dpt_widths(tensors) if found["head"] == "dpt" else {}))
    check_sizes(sizes)
    return sizes


def parse_sizes(facts: Mapping[str, Any]) -> Cut3rSizes:
    """Parse the sizes in a header of ours; an older file lacks some, which had the default then.

    Raises ValueError or InputError unless each is of its kind.
    """
    default = Cut3rSizes()
    named = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
    values: dict[str, Any] = asdict(default) | named
    for field in fields(Cut3rSizes):
        if type(values.get(field.name)) is not type(getattr(default, field.name)):
            raise ValueError(f"{field.name}={values.get(field.name)!r}")
    sizes = Cut3rSizes(**values)
    check_sizes(sizes)
    return sizes


def _find_inside(value: Any, name: str) -> Any:
    """Find what an inert object keeps under a name, or else all that it keeps, or the value itself."""
    state = value.state if isinstance(value, Inert) else value
    return state[name] if isinstance(state, dict) and name in state else state


def _parse_literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_parse_literal(item) for item in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_parse_literal(node.operand)
    if isinstance(node, ast.Name) and node.id == "inf":
        return math.inf
    return ast.literal_eval(node)


def _check_count(name: str, value: Any) -> int:
    if type(value) is not int or not 1 <= value <= LARGEST:
        _refuse(name, f"a whole number from 1 to {LARGEST}", value)
    return value


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        _refuse(name, " or ".join(choices), value)
    return value


def _read_dpt_widths(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    head = "downstream_head.dpt_self"
    try:
        first, last = tensors[f"{head}.head.0.weight"].shape, tensors[f"{head}.head.2.weight"].shape
        layers = tuple(tensors[f"{head}.act_postprocess.{k}.0.weight"].shape[0] for k in range(4))
        return {"dpt_width": first[1], "dpt_last": last[0], "dpt_layers": layers}
    except (KeyError, IndexError) as error:
        raise InputError(
            f"a checkpoint with head_type='dpt' must hold {head}.*, got none or other ones ({error})."
        ) from error


def check_sizes(sizes: Cut3rSizes) -> None:
    """Raise InputError unless counts are from 1, kinds are known, and the width of a head is a multiple of 4.

    The rotary positions of two axes need the latter.
    """
    for name, value in asdict(sizes).items():
        for number in value if isinstance(value, tuple) else (value,) * (not isinstance(value, str)):
            _check_count(name, number)
    for name, choices in CHOICES.values():
        _check_choice(name, getattr(sizes, name), choices)
    if len(sizes.dpt_layers) != len(Cut3rSizes.dpt_layers):
        _refuse("dpt_layers", "4 widths", sizes.dpt_layers)
    for dim, heads in (("enc_dim", "enc_heads"), ("dec_dim", "dec_heads"), ("dec_dim", "state_heads")):
        if getattr(sizes, dim) % (4 * getattr(sizes, heads)):
            _refuse(dim, f"a multiple of 4 x {getattr(sizes, heads)} ({heads})", getattr(sizes, dim))


def _refuse(name: str, expected: Any, got: Any) -> NoReturn:
    raise InputError(
        f"the checkpoint's {name} must be {expected}, got {got!r}; give a checkpoint of the published CUT3R."
    )
