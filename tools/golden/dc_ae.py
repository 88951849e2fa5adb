#!/usr/bin/env python3
"""Golden data for DC-AE from the real diffusers package: small random models, saved as users find them, with inputs and outputs.

    python3 -m venv venv && venv/bin/pip install torch diffusers safetensors
    venv/bin/python tools/golden/dc_ae.py tests/golden/dc_ae

One folder a case: config.json and diffusion_pytorch_model.safetensors by save_pretrained (sharded in one case), golden.safetensors with
"image" [N,3,H,W], "latent" = encode(image), "decoded" = decode(latent), and for one case the same tiled. Weights are stored in
bfloat16 and computed with in float32 on the CPU. Two cases also have original.safetensors: the same weights under the names of
efficientvit, checked by diffusers' own conversion. The golden files' metadata records the versions.
"""
import json
import os
import re
import shutil
import sys

import diffusers
import torch
from diffusers import AutoencoderDC
from diffusers.loaders.single_file_utils import convert_autoencoder_dc_checkpoint_to_diffusers
from safetensors.torch import save_file

R, V = "ResBlock", "EfficientViTBlock"
CASES = {
    # (settings, image [N,H,W])
    "sana": (dict(latent_channels=4, attention_head_dim=4, encoder_block_types=[R, R, V, V], decoder_block_types=[R, R, V, V],
                  encoder_block_out_channels=[4, 8, 8, 16], decoder_block_out_channels=[4, 8, 8, 16], encoder_layers_per_block=[1, 1, 1, 1],
                  decoder_layers_per_block=[1, 2, 1, 1], encoder_qkv_multiscales=[[], [], [5], [5]], decoder_qkv_multiscales=[[], [], [5], [5]],
                  downsample_block_type="conv", upsample_block_type="interpolate", decoder_conv_act_fn="relu", scaling_factor=0.41407),
             (2, 24, 32)),
    "in": (dict(latent_channels=8, attention_head_dim=8, encoder_block_types=[R, R, R, V], decoder_block_types=[R, R, R, V],
                encoder_block_out_channels=[8, 16, 16, 16], decoder_block_out_channels=[8, 16, 16, 16], encoder_layers_per_block=[0, 1, 1, 1],
                decoder_layers_per_block=[0, 1, 1, 1], encoder_qkv_multiscales=[[], [], [], []], decoder_qkv_multiscales=[[], [], [], []],
                downsample_block_type="pixel_unshuffle", upsample_block_type="pixel_shuffle", scaling_factor=0.3189,
                decoder_norm_types=["batch_norm", "batch_norm", "batch_norm", "rms_norm"], decoder_act_fns=["relu", "relu", "relu", "silu"]),
           (1, 16, 40)),
    "lite": (dict(latent_channels=4, attention_head_dim=4, encoder_block_types=[R, R, V], decoder_block_types=R,
                  encoder_block_out_channels=[6, 12, 16], decoder_block_out_channels=[4, 8, 16], encoder_layers_per_block=[1, 1, 2],
                  decoder_layers_per_block=[0, 1, 1], encoder_qkv_multiscales=[[], [], [5]], decoder_qkv_multiscales=[[], [], []],
                  downsample_block_type="Conv", upsample_block_type="pixel_shuffle", decoder_conv_act_fn="silu"),
             (1, 20, 12)),
    # No latent shortcuts; batch norm behind the attention too; small heads; kernels 3 and 5; channels averaged and repeated by threes.
    "odd": (dict(latent_channels=5, attention_head_dim=2, encoder_block_types=[V, R, V], decoder_block_types=V,
                 encoder_block_out_channels=[6, 8, 16], decoder_block_out_channels=[6, 12, 16], encoder_layers_per_block=[1, 1, 1],
                 decoder_layers_per_block=[1, 1, 1], encoder_qkv_multiscales=[[3], [], [5]], decoder_qkv_multiscales=[[5], [], [3]],
                 downsample_block_type="pixel_unshuffle", upsample_block_type="interpolate", decoder_norm_types="batch_norm",
                 decoder_act_fns=["silu", "relu", "silu"], encoder_out_shortcut=False, decoder_in_shortcut=False),
            (1, 12, 20)),
}


def fill(model):
    """Random weights of a size that keeps values near 1, exact in bfloat16."""
    for name, tensor in list(model.named_parameters()) + list(model.named_buffers()):
        if not tensor.is_floating_point():
            continue
        if tensor.dim() >= 2:
            value = torch.randn_like(tensor) / tensor[0].numel() ** 0.5
        elif name.endswith((".weight", ".running_var")):
            value = 0.5 + torch.rand_like(tensor)
        else:
            value = 0.25 * torch.randn_like(tensor)
        tensor.data.copy_(value.to(torch.bfloat16).to(tensor.dtype))


def original_names(state, config):
    """The state dict under efficientvit's names: the inverse of diffusers' conversion script, written from its table."""
    out = {}
    for key, value in state.items():
        k = key
        k = re.sub(r"^encoder\.conv_in\.", "encoder.project_in.conv.", k)
        k = re.sub(r"^encoder\.conv_out\.", "encoder.project_out.main.op_list.0.conv.", k)
        k = re.sub(r"^decoder\.conv_in\.", "decoder.project_in.main.conv.", k)
        k = re.sub(r"^decoder\.norm_out\.", "decoder.project_out.op_list.0.", k)
        k = re.sub(r"^decoder\.conv_out\.", "decoder.project_out.op_list.2.conv.", k)
        k = re.sub(r"^encoder\.down_blocks\.(\d+)\.(\d+)\.", r"encoder.stages.\1.op_list.\2.", k)
        k = re.sub(r"^decoder\.up_blocks\.(\d+)\.(\d+)\.", r"decoder.stages.\1.op_list.\2.", k)
        if ".attn." in k:
            q = re.match(r"(.*)\.attn\.to_([qkv])\.weight", k)
            if q:
                k = q.group(1) + ".context_module.main.qkv.conv.weight"
                out.setdefault(k, []).append(value)  # to_q, to_k, to_v come in this order
                continue
            k = k.replace(".attn.to_out.weight", ".context_module.main.proj.conv.weight")
            value = value[:, :, None, None] if k.endswith(".proj.conv.weight") else value
            k = k.replace(".attn.norm_out.", ".context_module.main.proj.norm.")
            k = re.sub(r"\.attn\.to_qkv_multiscale\.(\d+)\.proj_in\.", r".context_module.main.aggreg.\1.0.", k)
            k = re.sub(r"\.attn\.to_qkv_multiscale\.(\d+)\.proj_out\.", r".context_module.main.aggreg.\1.1.", k)
        elif ".op_list." in k and ".conv_out." in k:
            for new, old in (("conv_inverted", "inverted_conv.conv"), ("conv_depth", "depth_conv.conv"), ("conv_point", "point_conv.conv"),
                             ("norm", "point_conv.norm")):
                k = k.replace(f".conv_out.{new}.", f".local_module.main.{old}.")
        elif re.search(r"stages\.\d+\.op_list\.\d+\.conv[12]\.", k):
            k = re.sub(r"\.conv([12])\.", r".main.conv\1.conv.", k)
        elif re.search(r"stages\.\d+\.op_list\.\d+\.norm\.", k):
            k = k.replace(".norm.", ".main.conv2.norm.")
        elif re.search(r"stages\.\d+\.op_list\.\d+\.conv\.", k):
            plain = k.startswith("encoder.") and config.downsample_block_type.lower() == "conv"
            k = k.replace(".conv.", ".main.conv." if plain else ".main.conv.conv.")
        out[k] = value
    return {k: torch.cat(v)[:, :, None, None] if isinstance(v, list) else v for k, v in out.items()}


def main(folder):
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__, "made by": "tools/golden/dc_ae.py"}
    for seed, (name, (settings, (n, h, w))) in enumerate(CASES.items()):
        torch.manual_seed(20261122 + seed)
        model = AutoencoderDC(in_channels=3, **settings).eval()
        fill(model)
        path = os.path.join(folder, name)
        shutil.rmtree(path, ignore_errors=True)
        model.to(torch.bfloat16).save_pretrained(path, max_shard_size="20KB" if name == "sana" else "10GB")
        model.float()
        image = (2 * torch.rand(n, 3, h, w) - 1).to(torch.bfloat16).float()
        golden = {"image": image}
        with torch.no_grad():
            golden["latent"] = model.encode(image).latent
            golden["decoded"] = model.decode(golden["latent"]).sample
            if name == "sana":
                large = (2 * torch.rand(1, 3, 44, 60) - 1).to(torch.bfloat16).float()  # no multiples of 8
                model.enable_tiling(32, 32, 24, 24)
                golden["tiled_image"] = large.to(torch.bfloat16)
                golden["tiled_latent"] = model.encode(large).latent
                golden["tiled_decoded"] = model.decode(golden["tiled_latent"]).sample
        assert all(torch.isfinite(t).all() for t in golden.values())
        golden["image"] = golden["image"].to(torch.bfloat16)
        save_file({k: v.contiguous() for k, v in golden.items()}, os.path.join(path, "golden.safetensors"), versions)
        if name in ("sana", "in"):
            state = model.to(torch.bfloat16).state_dict()
            original = original_names(state, model.config)
            converted = convert_autoencoder_dc_checkpoint_to_diffusers({k: v.clone() for k, v in original.items()})
            for key, value in state.items():
                assert torch.equal(converted[key].reshape(value.shape), value), key
            assert set(converted) == set(state)
            save_file({k: v.contiguous() for k, v in original.items()}, os.path.join(path, "original.safetensors"), versions)
        print(name, {k: (list(v.shape), f"{v.float().abs().max():.3f}") for k, v in golden.items()},
              sum(os.path.getsize(os.path.join(path, f)) for f in os.listdir(path)), "bytes")


main(sys.argv[1])
