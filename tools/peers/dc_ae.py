#!/usr/bin/env python3
"""DC-AE's decoder in PyTorch against Frieze on the same weights and the same GPU: how long an image takes, how far the answers differ.

    python3 tools/peers/dc_ae.py --frieze build/cuda/bin/frieze [--sizes 256 512 1024] [--json out/peers.json]
    python3 tools/peers/dc_ae.py --frieze build/cpu/bin/frieze --agree --device cpu --model tests/golden/dc_ae/sana --sizes 32

Peers, in bf16: PyTorch eager captured as one CUDA graph, and torch.compile in mode reduce-overhead with channels_last. The module below has
diffusers' names and its arithmetic (three roundings in a norm, f32 in linear attention) and needs no diffusers: the golden data, which
come from there, check it (`--agree` above). Device time of one image, latent and image on the device: events around 10 runs in a row;
the median of the rounds counts. Frieze is the program itself, before and after the peers. What fails is reported and left out.

Without --model the weights are random ones of f32c32-sana-1.0, written as a checkpoint that both sides read. `--agree` times nothing.
"""
import argparse
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile
import time

import torch
import torch.nn.functional as F
from torch import nn

from device_time import short, time_runs

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from rows_json import rows_json  # noqa: E402

TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "I64": torch.int64}
SANA = {
    "_class_name": "AutoencoderDC", "in_channels": 3, "latent_channels": 32, "attention_head_dim": 32, "scaling_factor": 0.41407,
    "encoder_block_types": ["ResBlock"] * 3 + ["EfficientViTBlock"] * 3, "decoder_block_types": ["ResBlock"] * 3 + ["EfficientViTBlock"] * 3,
    "encoder_block_out_channels": [128, 256, 512, 512, 1024, 1024], "decoder_block_out_channels": [128, 256, 512, 512, 1024, 1024],
    "encoder_layers_per_block": [2, 2, 2, 3, 3, 3], "decoder_layers_per_block": [3] * 6,
    "encoder_qkv_multiscales": [[], [], [], [5], [5], [5]], "decoder_qkv_multiscales": [[], [], [], [5], [5], [5]],
    "downsample_block_type": "conv", "upsample_block_type": "interpolate", "decoder_norm_types": "rms_norm", "decoder_act_fns": "silu",
}


# ---- safetensors, both ways --------------------------------------------------------------------------------------------


def read_tensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    body = memoryview(bytearray(data[8 + length:]))
    tensors = {}
    for name, about in json.loads(data[8:8 + length]).items():
        if name != "__metadata__":
            begin, end = about["data_offsets"]
            tensors[name] = torch.frombuffer(body[begin:end], dtype=TYPES[about["dtype"]]).reshape(about["shape"])
    return tensors


def write_tensors(path, tensors):
    names = {t: name for name, t in TYPES.items()}
    header, parts, offset = {}, [], 0
    for name, tensor in tensors.items():
        raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, offset + len(raw)]}
        parts.append(raw)
        offset += len(raw)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for raw in parts:
            file.write(raw)


def read_checkpoint(folder):
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    files = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else ["diffusion_pytorch_model.safetensors"]
    tensors = {}
    for name in files:
        tensors.update(read_tensors(folder / name))
    return tensors


# ---- the decoder ---------------------------------------------------------------------------------------------------------


class Norm(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(c)), nn.Parameter(torch.empty(c))

    def forward(self, x):  # as diffusers: rounded after x*r, after *weight, after +bias
        x = x.float()
        x = (x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-5)).to(self.weight.dtype)
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class ResBlock(nn.Module):
    def __init__(self, c, _scales, _head):
        super().__init__()
        self.conv1, self.conv2, self.norm = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1, bias=False), Norm(c)

    def forward(self, x):
        return x + self.norm(self.conv2(F.silu(self.conv1(x))))


class Scale(nn.Module):
    def __init__(self, c, k, head):
        super().__init__()
        self.proj_in = nn.Conv2d(c, c, k, padding=k // 2, groups=c, bias=False)
        self.proj_out = nn.Conv2d(c, c, 1, groups=c // head, bias=False)

    def forward(self, x):
        return self.proj_out(self.proj_in(x))


class Attention(nn.Module):
    def __init__(self, c, scales, head):
        super().__init__()
        self.head = head
        self.to_q, self.to_k, self.to_v = (nn.Linear(c, c, bias=False) for _ in range(3))
        self.to_qkv_multiscale = nn.ModuleList(Scale(3 * c, k, head) for k in scales)
        self.to_out, self.norm_out = nn.Linear(c * (1 + len(scales)), c, bias=False), Norm(c)

    def forward(self, x):
        n, _, h, w = x.shape
        qkv = F.conv2d(x, torch.cat([self.to_q.weight, self.to_k.weight, self.to_v.weight])[:, :, None, None])
        m = torch.cat([qkv] + [scale(qkv) for scale in self.to_qkv_multiscale], 1)
        linear = h * w > self.head
        q, k, v = (m.float() if linear else m).reshape(n, -1, 3 * self.head, h * w).chunk(3, 2)
        q, k = F.relu(q), F.relu(k)
        if linear:
            out = (F.pad(v, (0, 0, 0, 1), value=1) @ k.transpose(-1, -2)) @ q
            out = out[:, :, :-1] / (out[:, :, -1:] + 1e-15)
        else:
            scores = (k.transpose(-1, -2) @ q).float()
            out = v @ (scores / (scores.sum(2, keepdim=True) + 1e-15)).to(v.dtype)
        out = out.to(x.dtype).reshape(n, -1, h, w)
        return x + self.norm_out(F.conv2d(out, self.to_out.weight[:, :, None, None]))


class GluMbConv(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv_inverted, self.conv_depth = nn.Conv2d(c, 8 * c, 1), nn.Conv2d(8 * c, 8 * c, 3, padding=1, groups=8 * c)
        self.conv_point, self.norm = nn.Conv2d(4 * c, c, 1, bias=False), Norm(c)

    def forward(self, x):
        value, gate = self.conv_depth(F.silu(self.conv_inverted(x))).chunk(2, 1)
        return x + self.norm(self.conv_point(value * F.silu(gate)))


class EfficientViTBlock(nn.Module):
    def __init__(self, c, scales, head):
        super().__init__()
        self.attn, self.conv_out = Attention(c, scales, head), GluMbConv(c)

    def forward(self, x):
        return self.conv_out(self.attn(x))


class UpBlock(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.conv, self.repeats = nn.Conv2d(a, b, 3, padding=1), 4 * b // a

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest")) + F.pixel_shuffle(x.repeat_interleave(self.repeats, 1), 2)


class Decoder(nn.Module):
    """Of sana's kind: every stage has blocks and RMS norms, up-blocks interpolate, the last activation is a ReLU."""

    def __init__(self, c):
        super().__init__()
        widths, depths = c["decoder_block_out_channels"], c["decoder_layers_per_block"]
        same = lambda value: [value] * len(widths) if isinstance(value, str) else value  # noqa: E731
        assert c["upsample_block_type"] == "interpolate" and depths[0] > 0 and set(same(c["decoder_norm_types"])) == {"rms_norm"}, "another kind"
        self.conv_in = nn.Conv2d(c["latent_channels"], widths[-1], 3, padding=1)
        stages = []
        for i, kind in enumerate(same(c["decoder_block_types"])):
            block = ResBlock if kind == "ResBlock" else EfficientViTBlock
            stage = [UpBlock(widths[i + 1], widths[i])] if i + 1 < len(widths) else []
            stage += [block(widths[i], c["decoder_qkv_multiscales"][i], c["attention_head_dim"]) for _ in range(depths[i])]
            stages.append(nn.Sequential(*stage))
        self.up_blocks, self.repeats = nn.ModuleList(stages), widths[-1] // c["latent_channels"]
        self.norm_out, self.conv_out = Norm(widths[0]), nn.Conv2d(widths[0], c["in_channels"], 3, padding=1)

    def forward(self, z):
        x = self.conv_in(z) + z.repeat_interleave(self.repeats, 1)
        for stage in reversed(self.up_blocks):
            x = stage(x)
        return self.conv_out(F.relu(self.norm_out(x)))


def load(folder, device):
    net = Decoder(json.loads((folder / "config.json").read_text()))
    net.load_state_dict({k.removeprefix("decoder."): v.float() for k, v in read_checkpoint(folder).items() if k.startswith("decoder.")})
    return net.to(device).eval().requires_grad_(False)


def write_random(folder):
    torch.manual_seed(1)
    state = {}
    for name, tensor in Decoder(SANA).state_dict().items():
        if tensor.dim() >= 2:
            value = torch.randn_like(tensor) / math.sqrt(tensor[0].numel())
        else:
            value = 0.1 * torch.randn_like(tensor) + (1 if "norm" in name and name.endswith("weight") else 0)
        state["decoder." + name] = value.bfloat16()
    (folder / "config.json").write_text(json.dumps(SANA))
    write_tensors(folder / "diffusion_pytorch_model.safetensors", state)
    return folder


def make_latent(folder, size):
    c = json.loads((folder / "config.json").read_text())
    f = 2 ** (len(c["decoder_block_out_channels"]) - 1)
    return torch.randn(1, c["latent_channels"], size // f, size // f, generator=torch.Generator().manual_seed(2)).bfloat16().float()


# ---- agreement -----------------------------------------------------------------------------------------------------------


def decode_with_frieze(options, folder, z, dtype):
    with tempfile.TemporaryDirectory() as where:
        where = pathlib.Path(where)
        write_tensors(where / "z.safetensors", {"latent": z})
        command = [options.frieze, "vae", "decode", "--model", folder, "--in", where / "z.safetensors", "--out", where / "y.safetensors", "--device",
                   options.device, "--dtype", dtype]
        begin = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return read_tensors(where / "y.safetensors")["image"].float(), time.monotonic() - begin


def agree(options, folder, size):
    z = make_latent(folder, size)
    net = load(folder, options.device)
    with torch.backends.cudnn.flags(allow_tf32=False):
        truth = net(z.to(options.device)).float().cpu()
    answers = {"PyTorch bf16": net.bfloat16()(z.to(options.device).bfloat16()).float().cpu()}
    seconds = {}
    for dtype in ("f32", "bf16"):
        answers[f"Frieze {dtype}"], seconds[dtype] = decode_with_frieze(options, folder, z, dtype)
    scale = truth.max() - truth.min()
    found = {name: {"largest_of_range": ((y - truth).abs().max() / scale).item(),
                    "nmse": ((y - truth).pow(2).sum() / truth.pow(2).sum()).item()} for name, y in answers.items()}
    for name, d in found.items():
        print(f"{size:5}  {name:14} against PyTorch f32: at most {d['largest_of_range']:.2e} of the range, NMSE {d['nmse']:.2e}", flush=True)
    print(f"{size:5}  the frieze program from start to end: f32 {seconds['f32']:.2f} s, bf16 {seconds['bf16']:.2f} s")
    return {"against PyTorch f32": found, "frieze_program_seconds": seconds}


# ---- time ----------------------------------------------------------------------------------------------------------------


def bench_frieze(options, folder, size):
    command = [options.frieze, "bench", f"dcae-decoder:{folder}", "--device", "cuda", "--dtype", "bf16", "--size", f"{size}x{size}", "--rounds",
               str(options.rounds), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {"ms": json.loads(done.stdout)["graph"]["device_us"] / 1e3} if done.returncode == 0 else {"error": done.stderr.strip()}


def time_eager(net, z, rounds):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            net(z)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        net(z)
    return time_runs(graph.replay, rounds, in_a_row=10)


def time_compiled(net, z, rounds):
    torch._dynamo.reset()
    begin = time.monotonic()
    run = torch.compile(net, mode="reduce-overhead", fullgraph=True, dynamic=False)
    for _ in range(4):  # compiles, captures
        run(z)
    torch.cuda.synchronize()
    return {"compile_s": time.monotonic() - begin, **time_runs(lambda: run(z), rounds, in_a_row=10)}


def measure(options, folder, size):
    ways = {}

    def tell(name, make):
        try:
            found = make()
        except Exception as error:  # a peer that fails is a result, too
            found = {"error": short(error)}
        ways[name] = found
        print(f"{size:5}  {name:40} {found['error'] if 'error' in found else format(found['ms'], '.3f') + ' ms'}", flush=True)

    def with_memory(make):
        torch.cuda.reset_peak_memory_stats()
        return {**make(), "peak_mib": torch.cuda.max_memory_reserved() / 2**20}

    tell("frieze, one graph", lambda: bench_frieze(options, folder, size))
    net = load(folder, "cuda").bfloat16()
    z = make_latent(folder, size).cuda().bfloat16()
    tell("PyTorch eager, one graph", lambda: with_memory(lambda: time_eager(net, z, options.rounds)))
    net, z = net.to(memory_format=torch.channels_last), z.to(memory_format=torch.channels_last)
    tell("torch.compile reduce-overhead, channels_last", lambda: with_memory(lambda: time_compiled(net, z, options.rounds)))
    del net
    torch.cuda.empty_cache()
    tell("frieze again", lambda: bench_frieze(options, folder, size))
    return ways


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frieze", required=True, type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--model", type=pathlib.Path, help="a checkpoint's folder, of sana's kind; without: random weights")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024], help="of the square image")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--agree", action="store_true", help="compare the answers, time nothing")
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"], help="of --agree")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    if not options.agree and not torch.cuda.is_available():
        raise SystemExit("no CUDA device: only --agree works here")
    report = {"device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu", "torch": torch.__version__, "dtype": "bf16", "sizes": {}}
    print(f"{report['device']}, torch {report['torch']}")
    with torch.inference_mode(), tempfile.TemporaryDirectory() as where:
        folder = options.model or write_random(pathlib.Path(where))
        for size in options.sizes:
            report["sizes"][size] = (agree if options.agree else measure)(options, folder, size)
    if options.json:
        options.json.write_text(rows_json(report) + "\n")


if __name__ == "__main__":
    main()
