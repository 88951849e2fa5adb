#!/usr/bin/env python3
"""Golden data for tests/layers/norms_golden_test.cpp: normalisations and poolings as PyTorch computes them.

    python3 tools/golden/norms.py tests/golden/norms.safetensors

One safetensors file; the tensors of a case are named "<case>/x", "<case>/weight", "<case>/bias", "<case>/y". PyTorch computes in float64,
inputs and parameters are exact in float32, and y is stored in float32; cases named *_f16 and *_bf16 have inputs of that type, and a y that
is rounded once from float64. The file's metadata records the versions.
"""
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20261130)
tensors = {}


def case(name, function, x, **parameters):
    y = function(x.double(), **{key: value.double() for key, value in parameters.items()})
    for key, value in {"x": x, **parameters}.items():
        tensors[f"{name}/{key}"] = value.contiguous().clone()
    tensors[f"{name}/y"] = y.to(x.dtype).contiguous()


def affine(*shape):
    return {"weight": 1 + torch.randn(shape) / 4, "bias": torch.randn(shape) / 4}


# Layer normalisation over the last axis and the last two, with and without parameters; a mean far from zero; other types.
x = torch.randn(3, 5, 17)
case("layer_norm", lambda v, weight, bias: F.layer_norm(v, (17,), weight, bias), x, **affine(17))
case("layer_norm_plain", lambda v: F.layer_norm(v, (17,), eps=1e-6), x)
case("layer_norm_no_bias", lambda v, weight: F.layer_norm(v, (17,), weight), x, weight=affine(17)["weight"])
case("layer_norm_two_axes", lambda v, weight, bias: F.layer_norm(v, (5, 17), weight, bias), x, **affine(5, 17))
case("layer_norm_768", lambda v, weight, bias: F.layer_norm(v, (768,), weight, bias), torch.randn(2, 3, 768), **affine(768))
case("layer_norm_far_mean", lambda v: F.layer_norm(v, (256,)), 4096 + torch.randint(-8, 9, (2, 256)).float() / 8)
case("layer_norm_f16", lambda v, weight, bias: F.layer_norm(v, (64,), weight, bias), torch.randn(5, 64).half(),
     **{key: value.half() for key, value in affine(64).items()})
case("layer_norm_bf16", lambda v, weight, bias: F.layer_norm(v, (64,), weight, bias), torch.randn(5, 64).bfloat16(),
     **{key: value.bfloat16() for key, value in affine(64).items()})
case("layer_norm_2d", lambda v, weight, bias: F.layer_norm(v.permute(0, 2, 3, 1), (24,), weight, bias, 1e-6).permute(0, 3, 1, 2),
     torch.randn(2, 24, 5, 4), **affine(24))

# Group and instance normalisation: groups of whole packs and others, ranks 2 to 4, equal values, a mean far from zero.
x = torch.randn(2, 24, 5, 7)
case("group_norm", lambda v, weight, bias: F.group_norm(v, 4, weight, bias), x, **affine(24))
case("group_norm_one_group", lambda v, weight, bias: F.group_norm(v, 1, weight, bias, 1e-6), x, **affine(24))
case("group_norm_8_channels_a_group", lambda v, weight, bias: F.group_norm(v, 3, weight, bias), torch.randn(1, 24, 4, 8), **affine(24))
case("group_norm_plain", lambda v: F.group_norm(v, 12), x)
case("group_norm_silu", lambda v, weight, bias: F.silu(F.group_norm(v, 6, weight, bias)), x, **affine(24))
case("group_norm_rank_2", lambda v, weight, bias: F.group_norm(v, 5, weight, bias), torch.randn(4, 35), **affine(35))
case("group_norm_rank_3", lambda v, weight, bias: F.group_norm(v, 3, weight, bias), torch.randn(2, 12, 33), **affine(12))
far = 4096 + torch.randint(-8, 9, (1, 8, 8, 8)).float() / 8
case("group_norm_far_mean", lambda v: F.group_norm(v, 2), far)
equal = torch.ones(2, 6, 3, 3) * torch.tensor([0.3, -7.7]).view(2, 1, 1, 1)
case("group_norm_equal_values", lambda v, weight, bias: F.group_norm(v, 2, weight, bias), equal, **affine(6))
case("group_norm_bf16", lambda v, weight, bias: F.group_norm(v, 4, weight, bias), x.bfloat16(),
     **{key: value.bfloat16() for key, value in affine(24).items()})
case("instance_norm", lambda v: F.instance_norm(v), torch.randn(2, 7, 6, 5))
case("instance_norm_affine", lambda v, weight, bias: F.instance_norm(v, weight=weight, bias=bias, eps=1e-3), torch.randn(2, 8, 6, 5),
     **affine(8))

# RMS normalisation over the last axis, eps given and PyTorch's own.
x = torch.randn(3, 5, 33)
case("rms_norm", lambda v, weight: F.rms_norm(v, (33,), weight, 1e-6), x, weight=affine(33)["weight"])
case("rms_norm_default_eps", lambda v: F.rms_norm(v, (33,), eps=2.0**-23), x / 1024)

# Poolings.
x = torch.randn(2, 5, 9, 11)
x[0, 0, 4, 5] = float("nan")
case("max_pool", lambda v: F.max_pool2d(v, 2), x)
case("max_pool_resnet", lambda v: F.max_pool2d(v, 3, 2, 1), x)
case("max_pool_dilated", lambda v: F.max_pool2d(v, (2, 3), (1, 2), (1, 1), (2, 1)), x)
case("max_pool_ceil", lambda v: F.max_pool2d(v, 3, 2, 1, ceil_mode=True), torch.randn(1, 3, 8, 10))
case("max_pool_dilated_ceil", lambda v: F.max_pool2d(v, 2, 3, 1, 3, ceil_mode=True), torch.randn(1, 3, 8, 10))
case("max_pool_packs", lambda v: F.max_pool2d(v, 3, 2, 1), torch.randn(1, 8, 6, 16))
case("max_pool_same", lambda v: F.max_pool2d(v, 3, 1, 1), torch.randn(1, 8, 6, 16))
x = torch.randn(2, 5, 9, 11)
case("avg_pool", lambda v: F.avg_pool2d(v, 2), x)
case("avg_pool_padded", lambda v: F.avg_pool2d(v, 3, 2, 1), x)
case("avg_pool_not_counted", lambda v: F.avg_pool2d(v, (3, 5), (2, 1), (1, 2), count_include_pad=False), x)
case("avg_pool_ceil", lambda v: F.avg_pool2d(v, 3, 2, 1, ceil_mode=True), torch.randn(1, 3, 8, 10))
case("avg_pool_ceil_not_counted", lambda v: F.avg_pool2d(v, 4, 3, 1, ceil_mode=True, count_include_pad=False), torch.randn(1, 3, 8, 10))
case("avg_pool_divisor", lambda v: F.avg_pool2d(v, 3, 2, 1, divisor_override=7), x)
case("avg_pool_packs", lambda v: F.avg_pool2d(v, 3, 2, 1), torch.randn(1, 8, 6, 16))
case("avg_pool_large_window", lambda v: F.avg_pool2d(v, 9, 4, 4), torch.randn(1, 8, 18, 20))
case("adaptive_avg_pool_one", lambda v: F.adaptive_avg_pool2d(v, 1), x)
case("adaptive_avg_pool", lambda v: F.adaptive_avg_pool2d(v, (4, 7)), x)
case("adaptive_avg_pool_more", lambda v: F.adaptive_avg_pool2d(v, (12, 3)), x)
case("adaptive_avg_pool_large_bins", lambda v: F.adaptive_avg_pool2d(v, 2), torch.randn(1, 8, 19, 21))
case("adaptive_max_pool", lambda v: F.adaptive_max_pool2d(v, (4, 7)), x)

save_file(tensors, sys.argv[1], metadata={"torch": torch.__version__, "script": "tools/golden/norms.py"})
print(f"{len(tensors)} tensors, torch {torch.__version__}: {sys.argv[1]}")
