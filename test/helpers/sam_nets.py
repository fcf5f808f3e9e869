"""Small random nets of transformers' own classes for SAM and SAM 2, that see masks of all sizes."""

import torch


def sam(side=64):
    import transformers as t

    torch.manual_seed(3)
    hidden = {"hidden_size": 32}
    vision = {"output_channels": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "window_size": 4, "mlp_dim": 64}
    vision |= {"image_size": side, "patch_size": 8, "global_attn_indexes": [1], "num_pos_feats": 16}
    prompts = {"image_size": side, "patch_size": 8, "mask_input_channels": 8}
    net = t.SamModel(
        t.SamConfig(
            vision_config=hidden | vision, prompt_encoder_config=hidden | prompts, mask_decoder_config=decoder(32)
        )
    )
    return ready(net, 0.4)


def sam2(spread=0.3, **sizes):
    import transformers as t

    return ready(t.Sam2Model(t.Sam2Config(**sam2_sections(**sizes))), spread)


def sam2_video():
    import transformers as t

    memory = {"memory_attention_hidden_size": 32, "memory_attention_feed_forward_hidden_size": 32}
    memory |= {"memory_attention_num_layers": 1, "memory_encoder_hidden_size": 32, "memory_fuser_embed_dim": 32}
    memory |= {"memory_encoder_output_channels": 16, "mask_downsampler_embed_dim": 32, "image_size": 64}
    return ready(t.Sam2VideoModel(t.Sam2VideoConfig(**sam2_sections(), **memory)), 0.3)


NETS = {"sam": sam, "sam2": sam2}


def saved(net, folder):
    """A folder as the hub has them."""
    net.save_pretrained(folder)
    return folder


def decoder(hidden):
    return {"hidden_size": hidden, "mlp_dim": hidden * 8, "iou_head_hidden_dim": hidden, "num_attention_heads": 8}


def sam2_sections(side=64, width=16, hidden=32, blocks=(1, 1, 2, 1), windows=(4, 2, 2, 2), everywhere=(3,)):
    widths = [width << stage for stage in range(4)]
    backbone = {"model_type": "sam2_hiera_det_model", "hidden_size": width, "image_size": [side, side]}
    backbone |= {
        "embed_dim_per_stage": widths,
        "blocks_per_stage": list(blocks),
        "window_size_per_stage": list(windows),
    }
    backbone |= {"global_attention_blocks": list(everywhere), "num_attention_heads_per_stage": [1, 2, 4, 8]}
    vision = {"model_type": "sam2_vision_model", "backbone_config": backbone, "fpn_hidden_size": hidden}
    vision |= {"backbone_channel_list": widths[::-1]}
    vision |= {"backbone_feature_sizes": [[side // step, side // step] for step in (4, 8, 16)]}
    prompts = {"hidden_size": hidden, "image_size": side, "patch_size": 16}
    return {"vision_config": vision, "prompt_encoder_config": prompts, "mask_decoder_config": decoder(hidden)}


def ready(net, spread):
    """The net with weights so large that its masks differ from point to point, and with trust in some of them."""
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, spread)
        if type(net).__name__ == "SamModel":  # its predicted IoU goes through no sigmoid
            net.mask_decoder.iou_prediction_head.proj_out.bias += 1
    return net.eval()
