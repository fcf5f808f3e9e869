"""Checkpoints laid out as the training of CUT3R writes them, of untrained nets."""

import argparse
from dataclasses import replace
from functools import cache

import torch

from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r
from moonseg3r_core.reconstruction.cut3r.net.sizes import SIZES

DPT = SIZES["cut3r-tiny"]
LINEAR = replace(DPT, head="linear", dpt_width=256, dpt_last=128, dpt_layers=(96, 192, 384, 768))
WHOLE = {"rgb_head": True, "ray_encoder": True}


def model_line(s, **others):
    """What a checkpoint's args say of a net of these sizes."""
    named = {
        "state_pe": s.state_positions, "pos_embed": "RoPE100", "rgb_head": True, "pose_head": True,
        "output_mode": "pts3d+pose", "state_size": s.state_size, "local_mem_size": s.memory_size,
        "enc_embed_dim": s.enc_dim, "enc_depth": s.enc_depth, "enc_num_heads": s.enc_heads, "dec_embed_dim": s.dec_dim,
        "dec_depth": s.dec_depth, "dec_num_heads": s.dec_heads, "state_dec_num_heads": s.state_heads,
        "head_type": s.head, "img_size": (s.image_size, s.image_size),
    } | others  # fmt: skip
    modes = "depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), pose_mode=('exp', -inf, inf)"
    words = ", ".join(f"{name}={value!r}" for name, value in named.items() if value is not ...)
    return f"ARCroco3DStereo(ARCroco3DStereoConfig({words}, {modes}))"


@cache
def weights(sizes=DPT):
    """An untrained net's tensors; not to be changed."""
    torch.manual_seed(0)
    return Cut3r(sizes, **WHOLE).state_dict()


def official(path, sizes=DPT, model=None, **others):
    """A file laid out as the training of CUT3R writes it."""
    tensors = dict(weights(sizes)) if model is None else model
    content = {
        "model": tensors,
        "optimizer": {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(4)}}, "param_groups": [{"lr": 0.1}]},
        "scaler": {}, "args": argparse.Namespace(model=model_line(sizes), epochs=10), "epoch": 3,
    } | others  # fmt: skip
    torch.save({name: value for name, value in content.items() if value is not ...}, path)
    return path
