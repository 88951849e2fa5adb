#!/usr/bin/env python3
"""Golden data for the programs in tests/packaging/examples/programs: weights under the keys of the original code, and what PyTorch makes of them.

    python3 tools/golden/programs.py tests/packaging/examples/programs

unet_weights.safetensors, unet_outputs.safetensors: the U-Net of lucidrains/denoising-diffusion-pytorch 2.x, written here from its
formulas, with D = 8, multiples 1, 2, 4 and attentions of two heads of four channels. vit_weights.safetensors, vit_outputs.safetensors: a
vision transformer of two blocks with timm's modules. Weights and inputs are random from a seed and stored in float16; the outputs are
PyTorch's in float64. The ResNet-18 has its data from examples.py.
"""
import math
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

class Norm(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, c, 1, 1))

    def forward(self, x):
        return F.normalize(x, dim=1) * self.g * x.shape[1] ** 0.5


class Block(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.proj, self.norm = nn.Conv2d(a, b, 3, padding=1), Norm(b)

    def forward(self, x, film=None):
        x = self.norm(self.proj(x))
        return F.silu(x if film is None else x * (film[0] + 1) + film[1])


class ResnetBlock(nn.Module):
    def __init__(self, a, b, time):
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * b))
        self.block1, self.block2 = Block(a, b), Block(b, b)
        self.res_conv = nn.Conv2d(a, b, 1) if a != b else nn.Identity()

    def forward(self, x, t):
        film = self.mlp(t)[:, :, None, None].chunk(2, dim=1)
        return self.block2(self.block1(x, film)) + self.res_conv(x)


class Attention(nn.Module):
    def __init__(self, c, full, heads=2, width=4):
        super().__init__()
        self.full, self.heads = full, heads
        self.norm, self.to_qkv = Norm(c), nn.Conv2d(c, 3 * heads * width, 1, bias=False)
        self.mem_kv = nn.Parameter(torch.randn(*((2, heads, 4, width) if full else (2, heads, width, 4))))
        self.to_out = nn.Conv2d(heads * width, c, 1) if full else nn.Sequential(nn.Conv2d(heads * width, c, 1), Norm(c))

    def forward(self, x):
        n, _, h, w = x.shape
        q, k, v = (part.reshape(n, self.heads, -1, h * w) for part in self.to_qkv(self.norm(x)).chunk(3, dim=1))
        mk, mv = (part.expand(n, *part.shape) for part in self.mem_kv)
        scale = q.shape[2] ** -0.5
        if self.full:
            q, k, v = q.transpose(2, 3), torch.cat([mk, k.transpose(2, 3)], 2), torch.cat([mv, v.transpose(2, 3)], 2)
            out = ((q * scale) @ k.transpose(2, 3)).softmax(-1) @ v
            out = out.transpose(2, 3)
        else:
            k, v = torch.cat([mk, k], 3).softmax(-1), torch.cat([mv, v], 3)
            out = (k @ v.transpose(2, 3)).transpose(2, 3) @ (q.softmax(2) * scale)
        return self.to_out(out.reshape(n, -1, h, w))


class TimeEmbedding(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.half = dim // 2

    def forward(self, t):
        angle = t[:, None] * torch.exp(torch.arange(self.half).to(t) * -(math.log(10000) / (self.half - 1)))
        return torch.cat([angle.sin(), angle.cos()], 1)


class Unet(nn.Module):
    def __init__(self, dim, mults, channels):
        super().__init__()
        w, time, n = [dim] + [dim * m for m in mults], 4 * dim, len(mults)
        self.init_conv, self.final_conv = nn.Conv2d(channels, dim, 7, padding=3), nn.Conv2d(dim, channels, 1)
        self.time_mlp = nn.Sequential(TimeEmbedding(dim), nn.Linear(dim, time), nn.GELU(), nn.Linear(time, time))
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for i in range(n):
            a, b, last = w[i], w[i + 1], i == n - 1
            down = nn.Conv2d(a, b, 3, padding=1) if last else nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * a, b, 1))
            self.downs.append(nn.ModuleList([ResnetBlock(a, a, time), ResnetBlock(a, a, time), Attention(a, last), down]))
        for i in reversed(range(n)):
            a, b = w[i], w[i + 1]
            up = nn.Conv2d(b, a, 3, padding=1)
            up = up if i == 0 else nn.Sequential(nn.Upsample(scale_factor=2), up)
            self.ups.append(nn.ModuleList([ResnetBlock(a + b, b, time), ResnetBlock(a + b, b, time), Attention(b, i == n - 1), up]))
        c = w[-1]
        self.mid_block1, self.mid_attn, self.mid_block2 = ResnetBlock(c, c, time), Attention(c, True), ResnetBlock(c, c, time)
        self.final_res_block = ResnetBlock(2 * dim, dim, time)

    def forward(self, x, t):
        x = first = self.init_conv(x)
        t, skips = self.time_mlp(t), []
        for one, two, attend, down in self.downs:
            x = one(x, t)
            skips.append(x)
            x = two(x, t)
            x = attend(x) + x
            skips.append(x)
            x = down(x)
        x = self.mid_block1(x, t)
        x = self.mid_attn(x) + x
        x = self.mid_block2(x, t)
        for one, two, attend, up in self.ups:
            x = one(torch.cat([x, skips.pop()], 1), t)
            x = two(torch.cat([x, skips.pop()], 1), t)
            x = up(attend(x) + x)
        return self.final_conv(self.final_res_block(torch.cat([x, first], 1), t))


def by_rule(key, shape):
    """Weights that any language can make from their key: FNV-1a, then a mixing of bits, as uniform numbers."""
    hash_, values = 2166136261, []
    for char in key.encode():
        hash_ = (hash_ ^ char) * 16777619 & 0xFFFFFFFF
    for i in range(math.prod(shape)):
        s = hash_ ^ (i * 0x9E3779B1 & 0xFFFFFFFF)
        s = (s ^ s >> 16) * 0x85EBCA6B & 0xFFFFFFFF
        s = (s ^ s >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
        values.append((s ^ s >> 16) / 4294967296)
    u = torch.tensor(values, dtype=torch.float64).reshape(shape)
    fan = math.prod(shape[1:])
    return (0.5 + u if key.endswith(".g") else 0.25 * (2 * u - 1) if key.endswith(".bias")
            else (2 * u - 1) * (3 / fan) ** 0.5 if key.endswith(".weight") else 2 * u - 1).float().double()


def check_unet():
    """The class above against what the original code makes of weights made by that rule."""
    net = Unet(8, (1, 2, 4), 3).double()
    for key, p in net.named_parameters():
        p.data = by_rule(key, tuple(p.shape))
    y = net(by_rule("input", (1, 3, 8, 16)), torch.tensor([7.0], dtype=torch.float64))
    assert abs(y.sum().item() + 118.394241) < 1e-4 and abs(y.abs().sum().item() - 456.589220) < 1e-4, (y.sum(), y.abs().sum())
    assert abs(y[0, 0, 0, 0].item() - 0.425669) < 1e-5


class VitAttention(nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(c, 3 * c), nn.Linear(c, c)

    def forward(self, x):
        n, t, c = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        weights = (q * (c // self.heads) ** -0.5 @ k.transpose(-1, -2)).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(n, t, c))


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(c, 4 * c), nn.Linear(4 * c, c)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class VitBlock(nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = nn.LayerNorm(c, 1e-6), VitAttention(c, heads), nn.LayerNorm(c, 1e-6), Mlp(c)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, c, patch):
        super().__init__()
        self.proj = nn.Conv2d(3, c, patch, patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class ViT(nn.Module):
    def __init__(self, size, patch, c, heads, depth, classes):
        super().__init__()
        self.patch_embed, self.cls_token = PatchEmbed(c, patch), nn.Parameter(torch.randn(1, 1, c))
        self.pos_embed = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, c))
        self.blocks = nn.Sequential(*[VitBlock(c, heads) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(c, 1e-6), nn.Linear(c, classes)

    def forward(self, x):
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


def golden(model, folder, name, **inputs):
    for key, p in model.named_parameters():
        if p.dim() == 1 or key.endswith(".g"):
            p.data += torch.randn_like(p) * 0.1
        p.data = p.data.half().float()
    note = {"torch": torch.__version__, "by": "tools/golden/programs.py"}
    save_file({k: v.half() for k, v in model.state_dict().items()}, f"{folder}/{name}_weights.safetensors", metadata=note)
    y = model.double()(*(value.double() for value in inputs.values()))
    save_file({**inputs, "y": y.float()}, f"{folder}/{name}_outputs.safetensors", metadata=note)


if __name__ == "__main__":
    torch.manual_seed(0)
    with torch.no_grad():
        check_unet()
        golden(Unet(8, (1, 2, 4), 3), sys.argv[1], "unet", x=torch.randn(2, 3, 8, 16).half().float(), t=torch.tensor([7.0, 981.0]))
        golden(ViT(32, 8, 32, 4, 2, 10), sys.argv[1], "vit", x=torch.randn(2, 3, 32, 32).half().float())
