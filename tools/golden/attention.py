#!/usr/bin/env python3
"""Golden data for tests/layers/attention_golden_test.cpp: matrix products and attention as PyTorch computes them.

    python3 tools/golden/attention.py tests/golden/attention.safetensors

The tensors of a case are "<case>/x", "<case>/x2", ... in the order of the layer's inputs, and "<case>/y". PyTorch computes in float64
from values that the file holds exactly; y is stored in the type of x. Boolean masks are stored as int32.
"""
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20261130)
tensors = {}


def rand(*shape):
    return torch.randn(*shape, dtype=torch.float32)


def case(name, y, *inputs):
    for i, value in enumerate(inputs):
        stored = value.to(torch.int32) if value.dtype == torch.bool else value
        tensors[f"{name}/x{i + 1 if i else ''}"] = stored.contiguous().clone()
    tensors[f"{name}/y"] = y.to(inputs[0].dtype).contiguous()


def attention(name, q, k, v, mask=None, **options):
    given = mask if mask is None or mask.dtype == torch.bool else mask.double()
    y = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), attn_mask=given, **options)
    case(f"attention_{name}", y, q, k, v, *([] if mask is None else [mask]))


def qkv(n, heads, rows, keys, width, value_width, kv_heads=None):
    kv_heads = kv_heads or heads
    return rand(n, heads, rows, width), rand(n, kv_heads, keys, width), rand(n, kv_heads, keys, value_width)


attention("plain", *qkv(2, 3, 9, 9, 16, 16))
attention("cross", *qkv(2, 3, 5, 70, 8, 6))
attention("wide", *qkv(1, 1, 5, 6, 384, 384))
attention("odd_width", *qkv(1, 2, 11, 13, 41, 23))
attention("rank3", *[x[0] for x in qkv(1, 3, 6, 7, 8, 8)])
attention("causal", *qkv(1, 2, 17, 17, 8, 8), is_causal=True)
attention("causal_more_keys", *qkv(1, 2, 5, 9, 8, 8), is_causal=True)
attention("causal_more_rows", *qkv(1, 2, 9, 5, 8, 8), is_causal=True)
attention("scaled", *qkv(1, 2, 9, 9, 8, 8), scale=1.7)
attention("negative_scale", *qkv(1, 2, 9, 9, 8, 8), scale=-0.4)
attention("grouped", *qkv(2, 6, 9, 11, 8, 8, 2), enable_gqa=True)
attention("one_kv_head", *qkv(2, 3, 9, 11, 8, 8, 1))
hidden = torch.rand(2, 1, 9, 11) < 0.6
hidden[1, 0, 3] = False  # a row that sees nothing
attention("boolean_mask", *qkv(2, 3, 9, 11, 8, 8), mask=hidden)
attention("boolean_mask_of_keys", *qkv(2, 3, 9, 11, 8, 8), mask=torch.rand(2, 1, 1, 11) < 0.6)
added = torch.where(torch.rand(3, 9, 11) < 0.7, rand(3, 9, 11), -torch.inf)
added[2, 4] = -torch.inf
attention("added_mask", *qkv(2, 3, 9, 11, 8, 8), mask=added)
attention("added_mask_of_rows", *qkv(2, 3, 9, 11, 8, 8), mask=rand(9, 11))
for suffix, dtype in [("f16", torch.float16), ("bf16", torch.bfloat16)]:
    q, k, v = (x.to(dtype) for x in qkv(1, 4, 9, 70, 40, 40, 2))
    attention(f"grouped_{suffix}", q, k, v, enable_gqa=True)
    q, k, v = (x.to(dtype) for x in qkv(1, 2, 17, 17, 16, 16))
    attention(f"added_mask_{suffix}", q, k, v, mask=rand(1, 1, 17, 17).to(dtype))


def product(name, a, b):
    case(f"matmul_{name}", a.double() @ b.double(), a, b)


product("matrices", rand(5, 7), rand(7, 3))
product("vectors", rand(19), rand(19))
product("vector_matrix", rand(7), rand(7, 3))
product("matrix_vector", rand(5, 7), rand(7))
product("batch", rand(2, 3, 5, 7), rand(2, 3, 7, 4))
product("batch_of_rows", rand(4, 5, 7), rand(7, 6))
product("broadcast", rand(2, 1, 5, 7), rand(3, 7, 4))
product("batch_vector", rand(2, 3, 5, 7), rand(7))
product("vector_batch", rand(7), rand(2, 3, 7, 4))
product("bf16", rand(2, 9, 65).bfloat16(), rand(65, 40).bfloat16())
product("f16", rand(2, 9, 65).half(), rand(2, 65, 40).half())

save_file(tensors, sys.argv[1], metadata={"torch": torch.__version__, "script": "tools/golden/attention.py"})
print(f"{len(tensors)} tensors, torch {torch.__version__}: {sys.argv[1]}")
