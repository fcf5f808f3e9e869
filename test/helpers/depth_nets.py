"""Depth Anything at a tiny size, with random weights."""

from functools import cache

import torch

KINDS = {"relative": {}, "metric": {"depth_estimation_type": "metric", "max_depth": 20}}


def make_tiny_config(kind):
    import transformers

    backbone = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14, mlp_ratio=2,
        out_indices=[1, 2, 3, 4], reshape_hidden_states=False,
    )  # fmt: skip
    return transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=32, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8,
        head_hidden_size=8, **KINDS[kind],
    )  # fmt: skip


@cache
def tiny(kind):
    """A net of random numbers; no test may change it."""
    import transformers

    torch.manual_seed(3)
    net = transformers.DepthAnythingForDepthEstimation(make_tiny_config(kind)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return net
