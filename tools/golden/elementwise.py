#!/usr/bin/env python3
"""Golden data for tests/layers/elementwise_golden_test.cpp: arithmetic, activations, reductions, gates and embeddings as PyTorch computes
them.

    python3 tools/golden/elementwise.py tests/golden/elementwise.safetensors

One safetensors file; the tensors of a case are named "<case>/x", "<case>/x2", "<case>/x3", "<case>/weight", "<case>/y". PyTorch computes in
float64, inputs and parameters are exact in float32, y is stored in float32. diffusers' time step embedding, which computes in float32, must
agree with the float64 values to 1e-3. The file's metadata records the versions.
"""
import math
import sys

import diffusers
import torch
import torch.nn.functional as F
from diffusers.models.embeddings import get_timestep_embedding
from safetensors.torch import save_file

torch.manual_seed(20261130)
tensors = {}


def rand(*shape):
    return torch.randn(*shape, dtype=torch.float32)


def case(name, y, **inputs):
    for key, value in inputs.items():
        tensors[f"{name}/{key}"] = value.contiguous().clone()
    tensors[f"{name}/y"] = y.to(torch.float32).contiguous()


edges = torch.tensor([-100.0, -20.5, -3.0, -0.0, 0.0, 3.0, 20.5, 100.0])
x = torch.cat([rand(112) * 3, edges]).reshape(2, 5, 3, 4)
for name, function in [
        ("tanh", torch.tanh), ("softplus", F.softplus), ("mish", F.mish), ("hardsigmoid", F.hardsigmoid), ("hardswish", F.hardswish),
        ("leaky_relu", F.leaky_relu), ("leaky_relu_02", lambda v: F.leaky_relu(v, float(torch.tensor(0.2)))), ("elu", F.elu),
        ("elu_17", lambda v: F.elu(v, float(torch.tensor(1.7)))), ("neg", torch.neg), ("abs", torch.abs), ("sin", torch.sin),
        ("cos", torch.cos), ("square", torch.square), ("floor", torch.floor), ("exp", torch.exp), ("reciprocal", torch.reciprocal),
        ("clamp", lambda v: v.clamp(-1, 2)), ("clamp_low", lambda v: v.clamp(min=0.5)), ("clamp_crossed", lambda v: v.clamp(2, 1)),
        ("add_number", lambda v: v + 1), ("sub_number", lambda v: v - 0.5), ("number_sub", lambda v: 3 - v), ("div_number", lambda v: v / 8),
        ("number_div", lambda v: 2 / v), ("pow_2", lambda v: v**2), ("pow_3", lambda v: v**3), ("greater_number", lambda v: (v > 0).double()),
        ("less_equal_number", lambda v: (v <= 3).double())]:
    case(name, function(x.double()), x=x)
x = torch.cat([rand(31).abs() * 5, torch.tensor([0.0, 1.0, 1e-30, 1e30, 1.0000001])])
for name, function in [("log", torch.log), ("sqrt", torch.sqrt), ("rsqrt", torch.rsqrt), ("pow_half", lambda v: v**0.5)]:
    case(name, function(x.double()), x=x)
x = torch.tensor([1e4, -3.5e5, 1e8, 2.0**40, 3e38, -1e20, 12345.678])
case("sin_large", torch.sin(x.double()), x=x)
case("cos_large", torch.cos(x.double()), x=x)

x, x2 = rand(2, 5, 3, 4), rand(2, 5, 3, 4)
x2[0, 0, 0] = x[0, 0, 0]
for name, function in [("sub", torch.sub), ("div", torch.div), ("minimum", torch.minimum), ("maximum", torch.maximum),
                       ("greater", lambda a, b: (a > b).double()), ("greater_equal", lambda a, b: (a >= b).double()),
                       ("less", lambda a, b: (a < b).double()), ("equal", lambda a, b: (a == b).double()),
                       ("not_equal", lambda a, b: (a != b).double())]:
    case(name, function(x.double(), x2.double()), x=x, x2=x2)
for name, shape in [("channels", (5, 1, 1)), ("row", (4,)), ("gate", (2, 5, 1, 1)), ("one", (1,))]:
    x2 = rand(*shape)
    case(f"sub_{name}", x.double() - x2.double(), x=x, x2=x2)
    case(f"rdiv_{name}", x2.double() / x.double(), x=x2, x2=x)
    case(f"add_{name}", x.double() + x2.double(), x=x, x2=x2)
x, x2 = rand(7, 1, 3), rand(4, 1)
case("mul_both_repeat", x.double() * x2.double(), x=x, x2=x2)
condition, x2, x3 = (rand(2, 1, 3, 4) > 0).float(), rand(5, 1, 1), rand(2, 5, 3, 4)
case("where", torch.where(condition.bool(), x2.double(), x3.double()), x=condition, x2=x2, x3=x3)
case("where_number", torch.where(condition.bool(), -1.5, x3.double()), x=condition, x2=x3)

x = rand(3, 5, 4, 6)
for name, function in [("sum", torch.sum), ("mean", torch.mean), ("amax", torch.amax), ("amin", torch.amin)]:
    for axes in [(0,), (1,), (3,), (2, 3), (0, 2), (0, 2, 3), (1, 2)]:
        text = "".join(str(a) for a in axes)
        case(f"{name}_{text}", function(x.double(), dim=axes), x=x)
        case(f"{name}_{text}_kept", function(x.double(), dim=axes, keepdim=True), x=x)
    case(f"{name}_all", function(x.double(), dim=(0, 1, 2, 3)), x=x)
x = rand(2, 3, 4)
x[1, 2, 0] = float("nan")
case("amax_nan", torch.amax(x, dim=2), x=x)
case("amin_nan", torch.amin(x, dim=(0, 1)), x=x)

x = rand(2, 6, 3, 8)
for name, function in [("glu", torch.sigmoid), ("swiglu", F.silu), ("geglu", F.gelu), ("reglu", F.relu)]:
    for axis in (1, -1):
        a, b = x.double().chunk(2, dim=axis)
        case(f"{name}_{axis % 4}", a * function(b), x=x)
case("glu_torch", F.glu(x.double(), dim=1), x=x)

x = rand(2, 5, 3, 4)
for name, count in [("one", 1), ("channels", 5)]:
    weight = rand(count)
    case(f"prelu_{name}", F.prelu(x.double(), weight.double()), x=x, weight=weight)

for name, dtype in [("i64", torch.int64), ("i32", torch.int32)]:
    indices, weight = torch.randint(0, 11, (3, 4), dtype=dtype), rand(11, 6)
    case(f"embedding_{name}", F.embedding(indices.long(), weight), x=indices, weight=weight)


def timesteps(t, width, flip=False, shift=1.0, scale=1.0, period=10000):
    half = width // 2
    exponent = -math.log(period) * torch.arange(half, dtype=torch.float64) / (half - shift)
    a = scale * t.double()[:, None] * torch.exp(exponent)[None, :]
    y = torch.cat([torch.cos(a), torch.sin(a)] if flip else [torch.sin(a), torch.cos(a)], dim=-1)
    y = F.pad(y, (0, width % 2))
    theirs = get_timestep_embedding(t, width, flip, shift, scale, period)
    assert (y - theirs).abs().max() < 1e-3, (y - theirs).abs().max()
    return y


t = torch.tensor([0.0, 1.0, 17.5, 999.0])
case("timestep", timesteps(t, 32), x=t)
case("timestep_flipped", timesteps(t, 32, True, 0.0), x=t)
case("timestep_odd", timesteps(t, 9, False, 0.5, 0.25, 1000), x=t)
case("timestep_i64", timesteps(torch.tensor([3, 500]), 16, True, 0.0), x=torch.tensor([3, 500]))

x, x2 = rand(2, 3, 4), rand(2, 3, 4)
for axis in (0, 1, -1):
    case(f"stack_{axis % 4}", torch.stack([x, x2], dim=axis), x=x, x2=x2)
case("squeeze_unsqueeze", x[:1].squeeze(0).unsqueeze(-1).unsqueeze(1), x=x[:1])

save_file(tensors, sys.argv[1], {"torch": torch.__version__, "diffusers": diffusers.__version__, "made by": "tools/golden/elementwise.py"})
