"""Half precision where the machine multiplies it fast."""

from __future__ import annotations

import torch

_AMPERE = 8  # the first compute capability of GPUs that multiply bfloat16 in hardware


def has_fast_bfloat16(device: str) -> bool:
    """True for a GPU, or a CPU, with matrix units for bfloat16; device: "cuda" or "cpu"."""
    if device == "cuda":
        return torch.cuda.get_device_capability()[0] >= _AMPERE
    capabilities = getattr(torch.cpu, "get_capabilities", None)  # not in torch 2.4
    return bool(capabilities and capabilities().get("amx_bf16", False))


def autocast_where_fast(device: torch.device) -> torch.autocast:
    """Return a context in which nets run in bfloat16, where the device multiplies it fast."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device.type))
