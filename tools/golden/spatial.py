#!/usr/bin/env python3
"""Golden data for tests/layers/spatial_golden_test.cpp: padding, other sizes, transposed and one-dimensional convolutions in PyTorch.

    python3 tools/golden/spatial.py tests/golden/spatial.safetensors

One safetensors file; the tensors of a case are named "<case>/x", "<case>/weight", "<case>/bias", "<case>/y". PyTorch computes in float64,
but for what only moves values; inputs and parameters are exact in float32, and y is stored in float32.
"""
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20261130)
tensors = {}


def rand(*shape):
    return torch.randn(*shape, dtype=torch.float32)


def case(name, y, **inputs):
    for key, value in inputs.items():
        tensors[f"{name}/{key}"] = value.contiguous().clone()
    tensors[f"{name}/y"] = y.float().contiguous()


x = rand(2, 3, 4, 5)
sides = (3, 1, 0, 2)
case("pad_zeros", F.pad(x, sides), x=x)
case("pad_value", F.pad(x, sides, value=-1.5), x=x)
case("pad_reflect", F.pad(x, sides, mode="reflect"), x=x)
case("pad_replicate", F.pad(x, (7, 1, 6, 2), mode="replicate"), x=x)
case("pad_circular", F.pad(x, (5, 1, 0, 4), mode="circular"), x=x)
x = rand(3, 4, 9)
case("pad_reflect_rank3", F.pad(x, (8, 2, 3, 0), mode="reflect"), x=x)
x = rand(6)
case("pad_zeros_rank1", F.pad(x, (2, 3)), x=x)

# Convolutions whose sides differ, and the modes that PyTorch pads with.
x, weight, bias = rand(2, 3, 7, 8), rand(5, 3, 3, 3) / 5, rand(5)
wd, bd = weight.double(), bias.double()
case("conv_sides", F.conv2d(F.pad(x.double(), (0, 1, 2, 0)), wd, bd), x=x, weight=weight, bias=bias)
case("conv_sides_stride2", F.conv2d(F.pad(x.double(), (0, 1, 0, 1)), wd, bd, stride=2), x=x, weight=weight, bias=bias)
for mode in ["reflect", "replicate", "circular"]:
    layer = torch.nn.Conv2d(3, 5, 3, stride=(1, 2), padding=(2, 1), padding_mode=mode).double()
    layer.weight.data, layer.bias.data = wd, bd
    case(f"conv_{mode}", layer(x.double()).detach(), x=x, weight=weight, bias=bias)
point, shift = rand(4, 3, 1, 1), rand(4)
case("conv_1x1_sides", F.conv2d(F.pad(x.double(), (1, 0, 0, 2)), point.double(), shift.double()), x=x, weight=point, bias=shift)
depth = rand(3, 1, 3, 3)
case("conv_depthwise_sides", F.conv2d(F.pad(x.double(), (2, 1, 0, 3)), depth.double(), groups=3), x=x, weight=depth)

# Other sizes. The nearest two choose their pixels in float32.
x = rand(2, 3, 7, 6)
for name, options in [("size", {"size": (11, 4)}), ("scale", {"scale_factor": (1.7, 0.6)}),
                      ("recompute", {"scale_factor": (1.7, 0.6), "recompute_scale_factor": True}),
                      ("twice_cut", {"scale_factor": (2.1, 1.1)})]:
    for mode in ["nearest", "nearest-exact"]:
        case(f"{mode.replace('-', '_')}_{name}", F.interpolate(x, mode=mode, **options), x=x)
    for mode in ["bilinear", "bicubic"]:
        for suffix, more in [("", {}), ("_corners", {"align_corners": True}), ("_antialias", {"antialias": True}),
                             ("_corners_antialias", {"align_corners": True, "antialias": True})]:
            if name != "scale" and suffix == "_corners_antialias":
                continue
            case(f"{mode}_{name}{suffix}", F.interpolate(x.double(), mode=mode, **options, **more), x=x)
case("nearest_twice", F.interpolate(x, scale_factor=2, mode="nearest"), x=x)
x = rand(1, 2, 23, 31)
for mode in ["bilinear", "bicubic"]:
    case(f"{mode}_far_down_antialias", F.interpolate(x.double(), size=(5, 4), mode=mode, antialias=True), x=x)
x = rand(1, 2, 1, 3)
for mode in ["bilinear", "bicubic"]:
    case(f"{mode}_one_row", F.interpolate(x.double(), size=(3, 7), mode=mode), x=x)
    case(f"{mode}_one_pixel_corners", F.interpolate(x.double(), size=(1, 1), mode=mode, align_corners=True), x=x)


def transposed(name, c_in, c_out, k, h=5, w=4, bias=True, **options):
    groups = options.get("groups", 1)
    kh, kw = (k, k) if isinstance(k, int) else k
    x, weight = rand(2, c_in, h, w), rand(c_in, c_out // groups, kh, kw) / (c_in // groups) ** 0.5
    b = rand(c_out) if bias else None
    y = F.conv_transpose2d(x.double(), weight.double(), b.double() if bias else None, **options)
    case(name, y, x=x, weight=weight, **({"bias": b} if bias else {}))


transposed("transposed_2x2_stride2", 6, 5, 2, stride=2)
transposed("transposed_4x4_stride2", 4, 3, 4, stride=2, padding=1)
transposed("transposed_3x3_stride2", 4, 3, 3, stride=2, padding=1, output_padding=1)
transposed("transposed_5x3_stride3x2", 3, 4, (5, 3), stride=(3, 2), padding=(2, 0), output_padding=(1, 1), bias=False)
transposed("transposed_stride1", 3, 4, 3, padding=1)
transposed("transposed_dilated", 3, 4, 3, padding=1, dilation=2)
transposed("transposed_stride2_dilated", 3, 4, 3, stride=2, padding=1, output_padding=1, dilation=2)
transposed("transposed_groups", 6, 4, 3, stride=2, padding=1, groups=2)
transposed("transposed_sparse", 3, 2, 2, stride=4, output_padding=3)
transposed("transposed_deep_padding", 3, 4, 2, h=7, w=6, stride=2, padding=3)
transposed("transposed_deep_padding_stride1", 3, 4, 2, h=7, w=6, padding=2)

x, weight, bias = rand(2, 4, 11), rand(6, 4, 3) / 4, rand(6)
case("conv1d", F.conv1d(x.double(), weight.double(), bias.double(), stride=2, padding=1, dilation=2), x=x, weight=weight, bias=bias)
case("conv1d_sides", F.conv1d(F.pad(x.double(), (2, 0)), weight.double(), bias.double()), x=x, weight=weight, bias=bias)
for mode in ["reflect", "replicate", "circular"]:
    layer = torch.nn.Conv1d(4, 6, 3, padding=2, padding_mode=mode).double()
    layer.weight.data, layer.bias.data = weight.double(), bias.double()
    case(f"conv1d_{mode}", layer(x.double()).detach(), x=x, weight=weight, bias=bias)
weight = rand(6, 2, 3)
case("conv1d_groups", F.conv1d(x.double(), weight.double(), groups=2), x=x, weight=weight)
weight, bias = rand(4, 3, 4), rand(3)
case("conv_transpose1d", F.conv_transpose1d(x.double(), weight.double(), bias.double(), stride=2, padding=1, output_padding=1),
     x=x, weight=weight, bias=bias)

save_file(tensors, sys.argv[1], metadata={"torch": torch.__version__, "script": "tools/golden/spatial.py"})
print(f"{len(tensors)} tensors, torch {torch.__version__}: {sys.argv[1]}")
