"""Which numbers a machine multiplies fast."""

from __future__ import annotations

import torch


def has_fast_bfloat16(device: str) -> bool:
    """True for a GPU, and for a CPU with matrix units for bfloat16; device: "cuda" or "cpu"."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)  # not in torch 2.4
    return device == "cuda" or bool(capabilities and capabilities().get("amx_bf16", False))
