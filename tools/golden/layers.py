#!/usr/bin/env python3
"""Golden data for tests/layers/golden_test.cpp: every layer as PyTorch computes it.

    python3 tools/golden/layers.py tests/golden/layers.safetensors

One safetensors file; the tensors of a case are named "<case>/x", "<case>/weight", ..., "<case>/y". PyTorch computes in
float64 (sums included), inputs and parameters are exact in float32, and y is stored in float32; the cases named *_bf16 and
*_f16 are computed by PyTorch in that type with the roundings that the named code base has. The file's metadata records the versions.
"""
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20261122)
tensors = {}


def rand(*shape):
    return torch.randn(*shape, dtype=torch.float32)


def case(name, y, **inputs):
    for key, value in inputs.items():
        tensors[f"{name}/{key}"] = value.contiguous().clone()
    tensors[f"{name}/y"] = y.to(y.dtype if y.dtype in (torch.bfloat16, torch.float16) else torch.float32).contiguous()


def conv(name, n, c_in, c_out, h, w, k, bias=True, **options):
    groups = options.get("groups", 1)
    kh, kw = (k, k) if isinstance(k, int) else k
    x, weight = rand(n, c_in, h, w), rand(c_out, c_in // groups, kh, kw) / (c_in // groups * kh * kw) ** 0.5
    b = rand(c_out) if bias else None
    y = F.conv2d(x.double(), weight.double(), b.double() if bias else None, **options)
    case(name, y, x=x, weight=weight, **({"bias": b} if bias else {}))


conv("conv_1x1", 2, 7, 5, 3, 4, 1)
conv("conv_3x3", 1, 3, 8, 9, 7, 3, padding=1)
conv("conv_3x3_stride2", 2, 6, 4, 9, 8, 3, stride=2, padding=1, bias=False)
conv("conv_5x5_dilated", 1, 4, 3, 13, 12, 5, padding=4, dilation=2)
conv("conv_grouped", 1, 6, 9, 6, 5, 3, padding=1, groups=3)
conv("conv_depthwise", 2, 11, 11, 7, 6, 3, padding=1, groups=11)
conv("conv_no_padding", 1, 5, 2, 6, 6, 3, padding=0)

x, weight, bias = rand(3, 5, 17), rand(6, 17) / 17**0.5, rand(6)
case("linear", F.linear(x.double(), weight.double(), bias.double()), x=x, weight=weight, bias=bias)

x = torch.cat([rand(60) * 3, torch.tensor([-100.0, -20.0, 0.0, 100.0])]).reshape(1, 4, 4, 4)
for name, function in [("relu", F.relu), ("silu", F.silu), ("gelu", F.gelu),
                       ("gelu_tanh", lambda v: F.gelu(v, approximate="tanh")), ("sigmoid", torch.sigmoid)]:
    case(name, function(x.double()), x=x)

x = rand(2, 33, 3, 5) * 4
for axis in range(4):
    case(f"softmax_axis{axis}", F.softmax(x.double(), dim=axis), x=x)
x = rand(2, 12, 3, 5)
case("pixel_shuffle", F.pixel_shuffle(x, 2), x=x)
x = rand(2, 3, 6, 9)
case("pixel_unshuffle", F.pixel_unshuffle(x, 3), x=x)
case("upsample", F.interpolate(x, scale_factor=2, mode="nearest"), x=x)
case("global_avg_pool", x.double().mean(dim=(2, 3)), x=x)
x2, x3 = rand(2, 1, 6, 9), rand(2, 4, 6, 9)
case("concat", torch.cat([x, x2, x3], dim=1), x=x, x2=x2, x3=x3)
case("add_broadcast", x.double() + x2.double(), x=x, x2=x2)
gate = rand(2, 3, 1, 1)
case("mul_broadcast", x.double() * gate.double(), x=x, x2=gate)

x, weight, bias = rand(2, 35, 3, 5), rand(35), rand(35)
ms = x.double().pow(2).mean(dim=1, keepdim=True)
column = (1, 35, 1, 1)
case("rms_norm_plain", x.double() / torch.sqrt(ms + 1e-5), x=x)
case("rms_norm_affine", x.double() / torch.sqrt(ms + 1e-5) * weight.double().view(column) + bias.double().view(column), x=x, weight=weight, bias=bias)
# torch's own RMSNorm, over the last axis.
case("rms_norm_torch", F.rms_norm(x.double().permute(0, 2, 3, 1), (35,), weight.double(), eps=1e-6).permute(0, 3, 1, 2), x=x, weight=weight)
case("rms_norm_normalize", F.normalize(x.double(), dim=1, eps=1e-12) * 35**0.5 * weight.double().view(column), x=x, weight=weight)

# diffusers' RMSNorm.forward with bfloat16 weights: x*r in float32, rounded; times weight, rounded; plus bias, rounded.
xb, wb, bb = x.bfloat16(), weight.bfloat16(), bias.bfloat16()
r = torch.rsqrt(xb.float().pow(2).mean(dim=1, keepdim=True) + 1e-5)
case("rms_norm_diffusers_bf16", (xb.float() * r).bfloat16() * wb.view(column) + bb.view(column), x=xb, weight=wb, bias=bb)
# The Wan VAE's RMS_norm: F.normalize in float32, rounded; times sqrt(C), rounded; times gamma, rounded.
case("rms_norm_wan_bf16", F.normalize(xb.float(), dim=1).bfloat16() * 35**0.5 * wb.view(column), x=xb, weight=wb)

# The rest of the family, on few pixels: one of zeros, one with a norm below every clamp here, the others normal.
C = 13
x, weight, bias, residual = rand(2, C, 3, 2), rand(C), rand(C), rand(2, C, 3, 2)
x[0, :, 1, 0], x[1, :, 2, 1] = 0, x[1, :, 2, 1] / 4096
xd, column = x.double(), (1, C, 1, 1)
wd, bd = weight.double().view(column), bias.double().view(column)
ms, norm = xd.pow(2).mean(dim=1, keepdim=True), xd.norm(dim=1, keepdim=True)
case("rms_norm_timm", xd * torch.rsqrt(ms + 1e-6) * wd, x=x, weight=weight)  # RmsNorm2d
case("rms_norm_ltx", xd * torch.rsqrt(ms + 1e-8), x=x)  # also PixelNorm of ProGAN and StyleGAN
case("rms_norm_pixel_norm_clamped", xd * torch.rsqrt(ms.clamp_min(1e-3)), x=x)
case("rms_norm_normalize_clamped", F.normalize(xd, dim=1, eps=0.25) * C**0.5 * wd + bd, x=x, weight=weight, bias=bias)
case("rms_norm_add_to_rms", xd / (ms.sqrt() + 1e-3) * wd, x=x, weight=weight)
case("rms_norm_no_eps", torch.where(norm == 0, 0, xd / ms.sqrt()), x=x)
plain = xd / torch.sqrt(ms + 1e-5) * wd + bd
for name, function in [("relu", F.relu), ("silu", F.silu), ("gelu", F.gelu)]:
    case(f"rms_norm_{name}", function(plain), x=x, weight=weight, bias=bias)
case("rms_norm_silu_residual_after", F.silu(plain) + residual.double(), x=x, weight=weight, bias=bias, x2=residual)
total = (x + residual).double()  # rounded to the type of x, as an addition of its own would
case("rms_norm_silu_residual_before", F.silu(total / torch.sqrt(total.pow(2).mean(dim=1, keepdim=True) + 1e-5) * wd + bd),
     x=x, weight=weight, bias=bias, x2=residual)
for suffix, dtype in [("f16", torch.float16), ("bf16", torch.bfloat16)]:
    xt, wt, bt = x.to(dtype), weight.to(dtype), bias.to(dtype)
    r = torch.rsqrt(xt.float().pow(2).mean(dim=1, keepdim=True) + 1e-5)
    case(f"rms_norm_once_{suffix}", (xt.float() * r * wt.float().view(column) + bt.float().view(column)).to(dtype), x=xt, weight=wt, bias=bt)
    case(f"rms_norm_wan_bias_{suffix}", F.normalize(xt.float(), dim=1).to(dtype) * C**0.5 * wt.view(column) + bt.view(column), x=xt, weight=wt, bias=bt)
case("rms_norm_diffusers_f16", (x.half().float() * torch.rsqrt(x.half().float().pow(2).mean(dim=1, keepdim=True) + 1e-5)).half()
     * weight.half().view(column) + bias.half().view(column), x=x.half(), weight=weight.half(), bias=bias.half())

save_file(tensors, sys.argv[1], metadata={"torch": torch.__version__, "script": "tools/golden/layers.py"})
print(f"{len(tensors)} tensors, torch {torch.__version__}: {sys.argv[1]}")
