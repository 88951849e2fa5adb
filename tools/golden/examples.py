#!/usr/bin/env python3
"""Golden data for tests/packaging/examples, from PyTorch: what a user brings along.

    python3 -m venv venv && venv/bin/pip install torch numpy safetensors
    venv/bin/python tools/golden/examples.py tests/packaging/examples

programs/resnet18_weights.safetensors: torchvision's ResNet-18 (the same modules, so the same keys, num_batches_tracked too) with a
sixteenth of its channels and ten classes, random weights and statistics from a seed, stored in float16.
programs/resnet18_outputs.safetensors: an input "x", the output "y". response_norm/golden.safetensors: weight, bias, x and y of ConvNeXt
V2's GlobalResponseNorm. Computed in float64 on the CPU from values that the files hold exactly.

    venv/bin/python tools/golden/examples.py tests/packaging/examples tests/data

also makes tests/data/quickstart.safetensors and quickstart_outputs.safetensors: the quickstart model in PyTorch, of which README.md's
`frieze verify --against` reads both.
"""
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file


class BasicBlock(nn.Module):
    def __init__(self, a, b, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b)
        self.conv2, self.bn2 = nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b)
        changes = a != b or stride != 1
        self.downsample = nn.Sequential(nn.Conv2d(a, b, 1, stride, bias=False), nn.BatchNorm2d(b)) if changes else None

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.conv1, self.bn1, self.maxpool = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.MaxPool2d(3, 2, 1)
        a = width
        for i in range(4):
            b = width << i
            setattr(self, f"layer{i + 1}", nn.Sequential(BasicBlock(a, b, 1 if i == 0 else 2), BasicBlock(b, b, 1)))
            a = b
        self.fc = nn.Linear(a, classes)

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


class RMSNorm2d(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(c))

    def forward(self, x):
        return x * torch.rsqrt((x * x).mean(1, keepdim=True) + 1e-5) * self.weight[:, None, None]


class GlobalResponseNorm(nn.Module):
    """timm's, over images [N,C,H,W]."""

    def __init__(self, c):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(c)), nn.Parameter(torch.zeros(c))

    def forward(self, x):
        g = x.norm(p=2, dim=(2, 3), keepdim=True)
        n = g / (g.mean(1, keepdim=True) + 1e-6)
        return x + torch.addcmul(self.bias.view(1, -1, 1, 1), self.weight.view(1, -1, 1, 1), x * n)


class QuickstartBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm, self.conv1, self.conv2 = RMSNorm2d(c), nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x):
        return x + self.conv2(F.silu(self.conv1(self.norm(x))))


class Quickstart(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 16, 5, padding=2), nn.Conv2d(16, 3, 3, padding=1)
        self.blocks = nn.Sequential(QuickstartBlock(16), QuickstartBlock(16))

    def forward(self, x):
        return x + self.head(self.blocks(self.stem(x)))


def stir(model):
    """Statistics and affines as a trained model has them, all values such that float16 holds them."""
    for name, tensor in list(model.named_buffers()) + list(model.named_parameters()):
        if "running_mean" in name:
            tensor.uniform_(-0.3, 0.3)
        elif "running_var" in name:
            tensor.uniform_(0.5, 2)
        elif tensor.dim() == 1:
            tensor.data += torch.randn_like(tensor) * 0.1
        if tensor.is_floating_point():
            tensor.data = tensor.data.half().to(tensor.dtype)
    return model.eval()


def golden_model(model, x, weights, outputs, note):
    """Writes a model's state_dict in float16, and what it makes of x."""
    stir(model)
    save_file({k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}, weights, metadata=note)
    x = x.half().double()
    save_file({"x": x.float(), "y": model.double()(x).float()}, outputs, metadata=note)


def main(folder, data=None):
    torch.manual_seed(0)
    note = {"torch": torch.__version__, "by": "tools/golden/examples.py"}
    with torch.no_grad():
        resnet = f"{folder}/programs/resnet18"
        golden_model(ResNet18(4, 10), torch.randn(2, 3, 32, 40), f"{resnet}_weights.safetensors", f"{resnet}_outputs.safetensors", note)

        norm = stir(GlobalResponseNorm(12))
        x = torch.randn(2, 12, 5, 7).half().double()
        golden = {"weight": norm.weight.data.clone(), "bias": norm.bias.data.clone(), "x": x.float(), "y": norm.double()(x).float()}
        save_file(golden, f"{folder}/response_norm/golden.safetensors", metadata=note)

        if data:
            names = f"{data}/quickstart.safetensors", f"{data}/quickstart_outputs.safetensors"
            golden_model(Quickstart(), torch.rand(1, 3, 24, 32), *names, note)


if __name__ == "__main__":
    main(*sys.argv[1:])
