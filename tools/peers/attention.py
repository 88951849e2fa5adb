#!/usr/bin/env python3
"""Attention against PyTorch's scaled_dot_product_attention, one backend at a time, on one GPU.

    python3 tools/peers/attention.py --frieze build/cuda/bin/frieze [--out attention.json]

Each shape is timed with PyTorch's default choice of a backend and with each backend alone (flash, cuDNN, memory-efficient, math where its
scores fit), from CUDA graphs that are replayed in turn, and by `frieze bench-op scaled_dot_product_attention` right after. Results are
compared with float64 on some rows. TFLOP/s count 4 * N * heads * L * S * D, half of it where causal. The rate of a matrix product of 8192
is measured in the same run.
"""
import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import warnings

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = {"default": None, "flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION,
            "efficient": SDPBackend.EFFICIENT_ATTENTION, "math": SDPBackend.MATH}
DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16}
# N x heads x L x S x D, causal or not.
SHAPES = "1x1x16384x16384x384,1x16x4096x4096x64,1x16x4096x4096x128,32x12x197x197x64,1x16x4096x4096x128c,1x16x4096x4096x256,1x8x4096x77x64,1x1x4096x4096x512"


def parse_shapes(text):
    shapes = []
    for item in text.split(","):
        causal = item.endswith("c")
        extents = tuple(int(e) for e in item.rstrip("c").split("x"))
        if len(extents) != 5 or min(extents) < 1:
            raise SystemExit(f"expected NxHEADSxLxSxD, with c behind it for a causal one, got '{item}'")
        shapes.append((item, extents, causal))
    return shapes


def first_line(error):
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]


def call(backend, q, k, v, causal):
    if backend is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)


def expected_rows(q, k, v, causal, rows):
    """The first image and head in float64."""
    scores = q[0, 0, rows].double() @ k[0, 0].double().T * q.shape[-1] ** -0.5
    if causal:
        hidden = torch.arange(k.shape[2], device=q.device)[None] > rows[:, None]
        scores.masked_fill_(hidden, -torch.inf)
    return scores.softmax(-1) @ v[0, 0].double()


def time_in_turn(graphs, launches, rounds):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    times = {name: [] for name in graphs}
    for _ in range(rounds):
        for name, graph in graphs.items():
            graph.replay()
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            times[name].append(1000 * begin.elapsed_time(end) / launches)
    return {name: statistics.median(t) for name, t in times.items()}


def capture(function, launches):
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            y = function()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(launches):
            function()
    return graph, y


def matrix_rate(dtype, rounds):
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=dtype) for _ in range(2))
    graph, _ = capture(lambda: a @ b, 4)
    return 2 * 8192**3 / time_in_turn({"product": graph}, 4, rounds)["product"] / 1e6


def measure(extents, causal, dtype, rounds):
    n, heads, rows, keys, width = extents
    q, k, v = (torch.randn(n, heads, length, width, device="cuda", dtype=DTYPES[dtype]) for length in (rows, keys, keys))
    flops = 4 * n * heads * rows * keys * width * (0.5 if causal else 1)
    launches = max(1, min(50, int(2e12 / flops)))
    some = torch.unique(torch.linspace(0, rows - 1, 64, device="cuda").long())
    expected = expected_rows(q, k, v, causal, some)
    found, graphs = {}, {}
    for name, backend in BACKENDS.items():
        if name == "math" and n * heads * rows * keys * 8 > 8 << 30:
            found[name] = {"error": "skipped: its scores do not fit"}
            continue
        try:
            graphs[name], y = capture(lambda: call(backend, q, k, v, causal), launches)
            error = (y[0, 0, some].double() - expected).abs().max().item()
            found[name] = {"max_abs_error": error}
        except Exception as error:  # a backend that does not take the shape is a result, too
            found[name] = {"error": first_line(error)}
            torch.cuda.synchronize()
    for name, us in time_in_turn(graphs, launches, rounds).items():
        found[name].update(us=us, tflops=flops / us / 1e6)
    return found, flops


def run_frieze(frieze, extents, causal, dtype, rounds):
    n, heads, rows, keys, width = extents
    kv = f"{n}x{heads}x{keys}x{width}"
    command = [frieze, "bench-op", "scaled_dot_product_attention", "--shapes", f"{n}x{heads}x{rows}x{width}", "--tensor", f"x2={kv}",
               "--tensor", f"x3={kv}", "--dtype", dtype, "--format", "nchw", "--rounds", str(rounds), "--no-check", "--json"]
    command += ["--set", "is_causal=true"] if causal else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            return {"error": done.stderr.strip() or f"exit status {done.returncode}"}
        result = json.loads(done.stdout)["results"][0]
        return {"error": result["skipped"]} if "skipped" in result else {"us": result["us"], "kernel": result["kernel"]}
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        return {"error": first_line(error)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--frieze", help="our program; left out, only PyTorch is timed")
    parser.add_argument("--shapes", default=SHAPES, help="NxHEADSxLxSxD, with c behind it for a causal one, separated by commas")
    parser.add_argument("--dtype", default="bf16", choices=DTYPES)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", help="JSON file for the results")
    options = parser.parse_args()
    shapes = parse_shapes(options.shapes)
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device")
    warnings.filterwarnings("ignore")  # of backends that do not take a shape; the table says so
    rate = matrix_rate(DTYPES[options.dtype], options.rounds)
    report = {"device": torch.cuda.get_device_name(0), "torch": torch.__version__, "cudnn": torch.backends.cudnn.version(),
              "date": datetime.date.today().isoformat(), "dtype": options.dtype, "matrix_tflops": rate, "rows": []}
    print(f"{report['device']}, torch {report['torch']}, cuDNN {report['cudnn']}, {options.dtype}: a product of 8192 at {rate:.0f} TFLOP/s")
    print(f"{'shape':26}" + "".join(f"{name:>18}" for name in [*BACKENDS, "frieze"]) + "   of default, of fastest, of the product (us, TFLOP/s)")
    for text, extents, causal in shapes:
        peers, flops = measure(extents, causal, options.dtype, options.rounds)
        ours = run_frieze(options.frieze, extents, causal, options.dtype, options.rounds) if options.frieze else {"error": "skipped"}
        if "us" in ours:
            ours["tflops"] = flops / ours["us"] / 1e6
        row = {"shape": text, "peers": peers, "frieze": ours}
        timed = {name: peer["us"] for name, peer in peers.items() if "us" in peer}
        cells = [f"{f['us']:.1f} {f['tflops']:6.0f}" if "us" in f else "-" for f in [*peers.values(), ours]]
        shares = ""
        if "us" in ours and timed:
            row["of_default"] = timed["default"] / ours["us"] if "default" in timed else None
            row["of_fastest"] = min(timed.values()) / ours["us"]
            row["of_product"] = ours["tflops"] / rate
            shares = f"   {row['of_default'] or 0:.2f} {row['of_fastest']:.2f} {row['of_product']:.2f}  {ours['kernel']}"
        print(f"{text:26}" + "".join(f"{cell:>18}" for cell in cells) + shares, flush=True)
        for name, peer in [*peers.items(), ("frieze", ours)]:
            if "error" in peer and not peer["error"].startswith("skipped"):
                print(f"  {name}: {peer['error']}")
        report["rows"].append(row)
    if options.out:
        with open(options.out + ".tmp", "w") as file:
            json.dump(report, file, indent=1)
        os.replace(options.out + ".tmp", options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
