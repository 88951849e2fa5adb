#!/usr/bin/env python3
"""The denoiser in PyTorch against Frieze on the same weights and the same GPU: how long a picture takes, and how far the answers differ.

    python3 tools/peers/denoiser.py --frieze build/cuda/bin/frieze [--size 1024] [--json out/peers.json]
    python3 tools/peers/denoiser.py --frieze build/cpu/bin/frieze --agree --device cpu --photo tests/data/chelsea.png

Peers: PyTorch eager and torch.compile in mode reduce-overhead (CUDA graphs) and max-autotune, in nchw and channels_last, f16.
Device time of one picture, input and output on the device: events around 20 runs in a row, as `frieze bench` does it; the median of
the rounds counts. Frieze is the program itself, before and after the peers. What fails is reported and left out.

`--agree` times nothing: `frieze denoise` of a noisy photograph (f32 and f16) against PyTorch with the same padding. The yardstick is
PyTorch in float64; PyTorch's own f16 stands beside it. Needs PyTorch, NumPy, Pillow, safetensors; Triton for torch.compile.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from PIL import Image

from device_time import short, time_runs

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools/train"), str(ROOT / "tools")]
from denoiser import denoise, load_exported  # noqa: E402
from rows_json import rows_json  # noqa: E402

WEIGHTS = ROOT / "models/denoiser/denoiser.safetensors"
PEERS = [  # name, mode of torch.compile or None, memory format
    ("eager", None, torch.contiguous_format),
    ("eager, channels_last", None, torch.channels_last),
    ("compile reduce-overhead", "reduce-overhead", torch.contiguous_format),
    ("compile reduce-overhead, channels_last", "reduce-overhead", torch.channels_last),
    ("compile max-autotune, channels_last", "max-autotune", torch.channels_last),
]


def bench_frieze(options):
    command = [options.frieze, "bench", "denoiser", "--device", "cuda", "--dtype", "f16", "--size", f"{options.size}x{options.size}", "--rounds",
               str(options.rounds), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {"error": done.stderr.strip()}
    report = json.loads(done.stdout)
    return {"ms": report["graph"]["device_us"] / 1e3, "eager_ms": report["eager"]["device_us"] / 1e3}


def time_peer(mode, layout, options):
    torch._dynamo.reset()
    net = load_exported(WEIGHTS, "cuda").half().to(memory_format=layout)
    generator = torch.Generator("cuda").manual_seed(1)
    x = torch.rand(1, 3, options.size, options.size, device="cuda", generator=generator).half().to(memory_format=layout)
    run = net if mode is None else torch.compile(net, mode=mode, fullgraph=True, dynamic=False)
    with torch.inference_mode():
        for _ in range(5):  # compiles, tunes, captures
            y = run(x)
        torch.cuda.synchronize()
        expected = net(x.float().half()).float() if mode else None
        found = time_runs(lambda: run(x), options.rounds, in_a_row=20)
        if mode:
            found["max_abs_difference_from_eager"] = (run(x).float() - expected).abs().max().item()
    return found


def measure(options):
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device: only --agree works here")
    report = {"device": torch.cuda.get_device_name(0), "torch": torch.__version__, "size": options.size, "dtype": "f16", "ways": {}}
    ways = report["ways"]

    def tell(name, found):
        ways[name] = found
        print(f"{name:42} {found['error'] if 'error' in found else format(found['ms'], '.3f') + ' ms'}", flush=True)

    print(f"{report['device']}, torch {report['torch']}, {options.size}x{options.size}, f16")
    tell("frieze, one graph", bench_frieze(options))
    for name, mode, layout in PEERS:
        if mode == "max-autotune" and options.quick:
            continue
        try:
            tell(name, time_peer(mode, layout, options))
        except Exception as error:  # a peer that fails is a result, too
            tell(name, {"error": short(error)})
    tell("frieze again", bench_frieze(options))
    return report


# ---- agreement ----------------------------------------------------------------------------------------------------------


def difference(a, b):
    """Of 8-bit pictures [H,W,3]: share of differing pixels (any channel) and of values, and the largest step."""
    step = np.abs(a.astype(int) - b.astype(int))
    return {"pixels_percent": 100 * float((step.max(2) > 0).mean()), "values_percent": 100 * float((step > 0).mean()), "largest": int(step.max())}


def agree(options):
    device = "cpu" if options.device == "cpu" else "cuda"
    clean = np.asarray(Image.open(options.photo).convert("RGB"))
    noise = np.random.default_rng(1).standard_normal(clean.shape, dtype=np.float32) * (25 / 255)
    noisy = np.rint((clean.astype(np.float32) / 255 + noise).clip(0, 1) * 255).astype(np.uint8)
    x = torch.from_numpy(noisy.transpose(2, 0, 1)[None].copy()).to(device)
    net = load_exported(WEIGHTS, device)
    bytes_of = lambda y: np.rint(y[0].double().cpu().numpy().transpose(1, 2, 0) * 255).astype(np.uint8)  # noqa: E731
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    pictures = {"PyTorch f64": bytes_of(denoise(net.double(), x.double() / 255)), "PyTorch f32": bytes_of(denoise(net.float(), x.float() / 255)),
                "PyTorch f16": bytes_of(denoise(net.half(), (x.float() / 255).half()))}
    with tempfile.TemporaryDirectory() as folder:
        where = pathlib.Path(folder)
        Image.fromarray(noisy).save(where / "noisy.png")
        for dtype in ("f32", "f16"):
            subprocess.run([options.frieze, "denoise", where / "noisy.png", "-o", where / "out.png", "--device", device, "--dtype", dtype], check=True,
                           capture_output=True)
            pictures[f"Frieze {dtype}"] = np.asarray(Image.open(where / "out.png").convert("RGB"))
    pairs = [("PyTorch f32", "PyTorch f64"), ("Frieze f32", "PyTorch f64"), ("Frieze f32", "PyTorch f32"), ("PyTorch f16", "PyTorch f64"),
             ("Frieze f16", "PyTorch f64"), ("Frieze f16", "PyTorch f16")]
    found = {f"{a} against {b}": difference(pictures[a], pictures[b]) for a, b in pairs}
    for name, d in found.items():
        print(f"{name:32} {d['pixels_percent']:7.3f} % of the pixels, {d['values_percent']:7.3f} % of the values, by at most {d['largest']}")
    return {"photo": str(options.photo), "device": device, "torch": torch.__version__, "differences": found}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frieze", required=True, type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="without max-autotune, which compiles for a minute")
    parser.add_argument("--agree", action="store_true", help="compare the answers, time nothing")
    parser.add_argument("--photo", type=pathlib.Path, default=ROOT / "tests/data/chelsea.png")
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"], help="of --agree")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    with torch.inference_mode():
        report = agree(options) if options.agree else measure(options)
    if options.json:
        options.json.write_text(rows_json(report) + "\n")


if __name__ == "__main__":
    main()
