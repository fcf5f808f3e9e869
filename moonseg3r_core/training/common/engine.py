"""Lightning Fabric for a training: processes of torchrun, device and precision."""

from __future__ import annotations

import os
from typing import Any

import torch

from moonseg3r_core.errors import InputError, MissingDependency
from moonseg3r_core.ops.precision import has_fast_bfloat16


def make_fabric(device: str, precision: str, seed: int, partial: bool = False) -> Any:
    """Make a seeded Fabric for this process, or for the processes of torchrun; bf16 where the machine multiplies it fast.

    partial: some steps leave parameters without a gradient, and several processes must search for those. Raises
    InputError for a missing device, MissingDependency without Fabric.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise MissingDependency("training needs lightning-fabric: pip install 'moonseg3r_ros[train]'.") from error
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda needs a GPU that this torch can use, got none; leave it out, or say cpu.")
    accelerator = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    local, world = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), int(os.environ.get("WORLD_SIZE", 1))
    if precision == "auto":
        precision = "bf16-mixed" if has_fast_bfloat16(accelerator) else "32-true"
    fabric = Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=max(world // local, 1),
        precision=precision,  # type: ignore[arg-type]
        strategy="ddp_find_unused_parameters_true" if partial and world > 1 else "auto",
    )
    fabric.launch()
    fabric.seed_everything(seed, verbose=False)
    return fabric
