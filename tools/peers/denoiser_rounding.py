#!/usr/bin/env python3
"""Which rounding of a 16-bit run changes the denoiser's 8-bit picture, and by how much: a table of models/denoiser/README.md.

    python3 tools/peers/denoiser_rounding.py [--photo tests/data/chelsea.png] [--held-out .cache/denoiser/held_out.tar --limit 5] [--json out/rounding.json]

PyTorch computes the trained network in f64 on the CPU and rounds chosen values on the way, where a plan of Frieze stores them. The truth
is the same network without any rounding; the weights are those of the file, 16-bit, in both. A row says which share of the pixels (any
colour) and of the values differs in 8 bits, the largest step, and the standard deviation s of the error before the 8 bits, in levels of
255. An error that is small beside a level moves a value over the border between two levels with probability E|e|, for a normal error
s * sqrt(2 / pi): that is `expected`, for the values. The last rows compare two ways with each other instead of with the truth.
Needs PyTorch, NumPy, Pillow, safetensors.
"""
import argparse
import io
import math
import pathlib
import sys
import tarfile

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools/train"), str(ROOT / "tools")]
from denoiser import Denoiser, load_exported  # noqa: E402
from rows_json import rows_json  # noqa: E402

WEIGHTS = ROOT / "models/denoiser/denoiser.safetensors"

# What a step stores. A stream's number is its level: 0 at 1/2 of the size, 3 at 1/16.
INPUT, OPERAND, FACTOR, HEAD, SUM, INNER = "input", "operand", "factor", "head", "sum", "inner"
STREAMS = ("stream0", "stream1", "stream2", "stream3")
PLAN = {INPUT, OPERAND, FACTOR, HEAD, SUM, *STREAMS}  # INNER is what fusion keeps in f32 and PyTorch stores
DENOISE = PLAN - {SUM}
PAIRS, EXACT_SUM = "pairs", "exact sum"  # a value as the sum of two 16-bit numbers; the last sum adds the exact input, not the rounded one

ROWS = [  # name, what is rounded
    ("every store of the plan", PLAN),
    ("every store of PyTorch, layer by layer", PLAN | {INNER}),
    ("all but the last sum: `frieze denoise`", DENOISE),
    ("... which adds the exact input, not the rounded one", DENOISE | {EXACT_SUM}),
    ("nor the input", DENOISE - {INPUT}),
    ("nor what the head gives", DENOISE - {INPUT, HEAD}),
    ("nor the stream at 1/2 of the size", DENOISE - {INPUT, HEAD, "stream0"}),
    ("nor any stream", DENOISE - {INPUT, HEAD, *STREAMS}),
    ("nor factors: only what dense products read", {OPERAND}),
    ("only what the head reads", {"head operand"}),
    ("only the input", {INPUT, EXACT_SUM}),
    ("only the stream at 1/2 of the size", {"stream0"}),
    ("only the last sum", {SUM}),
    ("all but the last sum, each value in two parts", DENOISE | {PAIRS}),
]


class Rounded:
    """The network of tools/train/denoiser.py with roundings; `kinds` says of what."""

    def __init__(self, net, kinds, dtype):
        self.net, self.kinds, self.dtype = net, kinds, dtype

    def at(self, kind, x):
        if kind not in self.kinds:
            return x
        high = x.to(self.dtype).to(x.dtype)
        return high + (x - high).to(self.dtype).to(x.dtype) if PAIRS in self.kinds else high

    def norm(self, layer, x):
        return self.at(OPERAND, x * torch.rsqrt(x.square().mean(1, keepdim=True) + layer.eps) * layer.weight[:, None, None])

    def block(self, net, stream, x):
        inner = lambda v: self.at(INNER, v)  # noqa: E731
        gated = lambda v, factor: self.at(OPERAND, inner(F.silu(inner(v))) * factor)  # noqa: E731
        n = self.norm(net.norm1, x)
        value, gate = self.at(FACTOR, net.value(n)), self.at(FACTOR, net.gate(n))
        x = self.at(stream, x + inner(net.project(gated(net.mix(value), gate))))
        n = self.norm(net.norm2, x)
        return self.at(stream, x + inner(net.down(gated(net.a(n), self.at(FACTOR, net.b(n))))))

    def blocks(self, blocks, level, x):
        for block in blocks:
            x = self.block(block, STREAMS[level], x)
        return x

    def operand(self, x):  # a stream that a dense product reads
        return self.at(OPERAND, x)

    def __call__(self, exact):
        net, x = self.net, self.at(INPUT, exact)
        stream = lambda level, v: self.at(STREAMS[level], v)  # noqa: E731
        down = lambda layer, level, s: stream(level, layer(self.operand(F.pixel_unshuffle(s, 2))))  # noqa: E731
        up = lambda layer, level, s, h: stream(level, s + stream(level, F.pixel_shuffle(layer(self.operand(h)), 2)))  # noqa: E731
        s0 = self.blocks(net.enc0, 0, stream(0, net.stem(F.pixel_unshuffle(x, 2))))
        s1 = self.blocks(net.enc1, 1, down(net.down0, 1, s0))
        s2 = self.blocks(net.enc2, 2, down(net.down1, 2, s1))
        h = self.blocks(net.middle, 3, down(net.down2, 3, s2))
        h = self.blocks(net.dec2, 2, up(net.up2, 2, s2, h))
        h = self.blocks(net.dec1, 1, up(net.up1, 1, s1, h))
        h = self.blocks(net.dec0, 0, up(net.up0, 0, s0, h))
        change = self.at(HEAD, F.pixel_shuffle(net.head(self.at("head operand", self.operand(h))), 2))
        return self.at(SUM, (exact if EXACT_SUM in self.kinds else x) + change)


def noisy_pictures(options):
    """8-bit pictures [1,3,H,W] as f64 in [0,1], as tools/peers/denoiser.py and tools/eval_denoiser.py make them."""
    photographs = [(1, Image.open(options.photo))]
    if options.held_out:
        with tarfile.open(options.held_out) as tar:
            members = tar.getmembers()[: options.limit]
            photographs += [(1000 + i, Image.open(io.BytesIO(tar.extractfile(m).read()))) for i, m in enumerate(members)]
    for seed, photograph in photographs:
        clean = np.asarray(photograph.convert("RGB")).astype(np.float32) / 255
        noise = np.random.default_rng(seed).standard_normal(clean.shape, dtype=np.float32) * (options.sigma / 255)
        noisy = np.rint((clean + noise).clip(0, 1) * 255)
        yield torch.from_numpy(noisy.astype(np.float64).transpose(2, 0, 1)[None].copy()) / 255


def run(way, picture):
    h, w = picture.shape[2:]
    pad = (0, -w % Denoiser.STRIDE, 0, -h % Denoiser.STRIDE)
    return way(F.pad(picture, pad, mode="reflect"))[:, :, :h, :w].double()


def levels(y):
    return (y.clamp(0, 1) * 255).round()


class Score:
    """Sums over pictures of one way's answers against another's."""

    def __init__(self):
        self.pixels = self.values = self.count = self.squares = 0.0
        self.largest = 0

    def add(self, y, truth):
        step = (levels(y) - levels(truth)).abs()
        self.values += (step > 0).double().mean().item() * step.numel()
        self.pixels += (step.amax(1) > 0).double().mean().item() * step.numel()
        self.squares += ((y - truth) * 255).square().sum().item()
        self.count += step.numel()
        self.largest = max(self.largest, int(step.max()))

    def report(self):
        s = math.sqrt(self.squares / self.count)
        return {"pixels_percent": 100 * self.pixels / self.count, "values_percent": 100 * self.values / self.count, "largest": self.largest,
                "s_levels": s, "expected_values_percent": 100 * s * math.sqrt(2 / math.pi)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=pathlib.Path, default=ROOT / "tests/data/chelsea.png")
    parser.add_argument("--held-out", type=pathlib.Path, help="more photographs, a tar of tools/train/photographs.py")
    parser.add_argument("--limit", type=int, default=5, help="of --held-out, the first ones")
    parser.add_argument("--sigma", type=float, default=25)
    parser.add_argument("--dtype", choices=["f16", "bf16"], default="f16")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    dtype = {"f16": torch.float16, "bf16": torch.bfloat16}[options.dtype]
    wide, single, half = load_exported(WEIGHTS).double(), load_exported(WEIGHTS), load_exported(WEIGHTS).to(dtype)
    stores = PLAN | {INNER}
    ways = {name: Rounded(wide, kinds, dtype) for name, kinds in ROWS}
    ways["nothing, sums in f32"] = lambda x: single(x.float())
    # The same roundings, sums in another precision or order: how far two right 16-bit programs are from each other.
    others = {"PyTorch's stores, sums in f32": lambda x: Rounded(single, stores, dtype)(x.float()),
              "PyTorch itself": lambda x: half(x.to(dtype)),
              "PyTorch itself, channels_last": lambda x: half(x.to(dtype).contiguous(memory_format=torch.channels_last))}
    pairs = [("PyTorch itself", "truth"), ("PyTorch's stores, sums in f32", "every store of PyTorch, layer by layer"),
             ("PyTorch itself", "every store of PyTorch, layer by layer"), ("PyTorch itself, channels_last", "PyTorch itself"),
             ("every store of the plan", "PyTorch itself"), ("all but the last sum: `frieze denoise`", "PyTorch itself")]
    scores = {name: Score() for name in ways}
    pair_scores = {f"{a} against {b}": Score() for a, b in pairs}
    with torch.inference_mode():
        pictures = 0
        for picture in noisy_pictures(options):
            answers = {"truth": run(wide, picture)}
            for name, way in (ways | others).items():
                answers[name] = run(way, picture)
            for name, score in scores.items():
                score.add(answers[name], answers["truth"])
            for a, b in pairs:
                pair_scores[f"{a} against {b}"].add(answers[a], answers[b])
            pictures += 1
    found = {name: score.report() for name, score in (scores | pair_scores).items()}
    print(f"torch {torch.__version__}, {options.dtype}, noise of {options.sigma:g}, {pictures} pictures")
    print(f"{'rounded':72} pixels %  values %  expected  largest  s, levels")
    for name, f in found.items():
        print(f"{name:72} {f['pixels_percent']:8.3f} {f['values_percent']:9.3f} {f['expected_values_percent']:9.3f} {f['largest']:8} {f['s_levels']:10.5f}")
    if options.json:
        options.json.write_text(rows_json({"torch": torch.__version__, "dtype": options.dtype, "sigma": options.sigma, "pictures": pictures, "rows": found}) + "\n")


if __name__ == "__main__":
    main()
