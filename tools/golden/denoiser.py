#!/usr/bin/env python3
"""Golden data for tests/models/denoiser_test.cpp: the trained network as PyTorch computes it.

    python3 tools/golden/denoiser.py models/denoiser/denoiser.safetensors tests/golden/denoiser.safetensors

x holds two noisy pictures; PyTorch computes in float64 with the file's weights, y is
stored in float32.
"""
import pathlib
import sys

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "train"))
from denoiser import load_exported

torch.manual_seed(20261124)
n, h, w = 2, 48, 32
across = torch.linspace(0, 1, w)[None, None, None, :].expand(n, 3, h, w)
waves = 0.5 + 0.3 * torch.sin(40 * across * torch.tensor([1.0, 0.5, 0.25])[None, :, None, None]) * torch.linspace(-1, 1, h)[:, None]
noisy = (waves + 0.1 * torch.randn(n, 3, h, w)).clamp(0, 1)
x = noisy.contiguous()
net = load_exported(sys.argv[1]).double()
with torch.no_grad():
    y = net(x.double()).float().contiguous()
save_file({"x": x, "y": y}, sys.argv[2], metadata={"torch": torch.__version__, "script": "tools/golden/denoiser.py"})
