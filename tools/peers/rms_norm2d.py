#!/usr/bin/env python3
"""RMSNorm2d in PyTorch and Triton, timed as `frieze bench-op rms_norm2d` times ours, on the same shapes and the same GPU.

    python3 tools/peers/rms_norm2d.py --frieze build/cuda/bin/frieze --out peers.json

Peers: PyTorch eager (the formula of KernelBench level 1 problem 36), torch.compile in its default mode and with max-autotune, a two-pass
Triton kernel, and torch.clone as the copy. Each is captured into one CUDA graph whose launches go through as many buffers as exceed
twice the L2 cache; the graphs are replayed in turn, and the median of the rounds counts. Ours runs before the peers of each
shape, in its own process. Everything is merged into one JSON and printed as a table. What fails is reported and left out.

Needs PyTorch with CUDA and Triton. `--check` compares every peer with the formula in float64 on whatever device there is, and times nothing.
"""
import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import time

import torch

from device_time import short

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from rows_json import rows_json  # noqa: E402

try:
    import triton
    import triton.language as tl
except ImportError:  # PyTorch for the CPU comes without
    triton = None

EPS = 1e-5
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
# The order is that of importance: a budget of time is spent from the front.
SHAPES = (
    "112x64x512x512:f32,112x64x512x512:bf16,1x128x1024x1024:bf16,1x512x64x64:bf16,1x256x512x512:bf16,16x64x256x256:f32,1x512x256x256:bf16,"
    "1x1024x32x32:bf16,1x512x128x128:bf16,1x256x512x512:f32,1x1024x64x64:bf16,1x2048x64x64:bf16,1x96x300x301:bf16,4x192x127x129:bf16,"
    "1x320x96x96:bf16,1x640x48x48:bf16,2x1280x24x24:bf16,1x4096x32x32:bf16,2x48x513x511:bf16,1x3x1023x1025:bf16"
)


def formula(x):
    return x / torch.sqrt(torch.mean(x**2, dim=1, keepdim=True) + EPS)


if triton is not None:

    @triton.autotune(
        configs=[
            triton.Config({"BLOCK_C": c, "BLOCK_P": p}, num_warps=warps)
            for c, p, warps in [(16, 128, 4), (16, 256, 8), (32, 64, 4), (32, 128, 8), (64, 32, 4), (64, 64, 8), (64, 128, 8), (128, 16, 4),
                                (128, 32, 8), (256, 8, 4), (256, 16, 8), (512, 4, 4), (1024, 1, 4), (1024, 4, 8), (4096, 1, 8)]
        ],
        key=["channels", "pixels", "stride_c"],
    )
    @triton.jit
    def two_pass_kernel(x, y, channels, pixels, stride_n, stride_c, stride_p, eps, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr):
        p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
        image = tl.program_id(1).to(tl.int64) * stride_n
        total = tl.zeros([BLOCK_P], tl.float32)
        for start in range(0, channels, BLOCK_C):
            c = start + tl.arange(0, BLOCK_C)
            inside = (c[:, None] < channels) & (p[None, :] < pixels)
            v = tl.load(x + image + c[:, None] * stride_c + p[None, :] * stride_p, mask=inside, other=0).to(tl.float32)
            total += tl.sum(v * v, axis=0)
        r = 1 / tl.sqrt(total / channels + eps)
        for start in range(0, channels, BLOCK_C):
            c = start + tl.arange(0, BLOCK_C)
            inside = (c[:, None] < channels) & (p[None, :] < pixels)
            at = image + c[:, None] * stride_c + p[None, :] * stride_p
            v = tl.load(x + at, mask=inside, other=0).to(tl.float32)
            tl.store(y + at, (v * r[None, :]).to(y.dtype.element_ty), mask=inside)


def triton_two_pass(x):
    y = torch.empty_like(x)  # keeps the memory format
    n, c, h, w = x.shape
    channels_last = x.stride(1) == 1 and c > 1
    stride_p = c if channels_last else 1
    grid = lambda meta: (triton.cdiv(h * w, meta["BLOCK_P"]), n)  # noqa: E731
    two_pass_kernel[grid](x, y, c, h * w, c * h * w, 1 if channels_last else h * w, stride_p, EPS)
    return y


def compiled(mode):
    def make():
        torch._dynamo.reset()
        return torch.compile(formula, mode=mode, dynamic=False)

    return make


# Name, how to make the function, and whether making it costs a compilation.
PEERS = [
    ("clone", lambda: torch.clone, False),
    ("eager", lambda: formula, False),
    ("triton two-pass", lambda: triton_two_pass, False),
    ("compile", compiled(None), True),
    # Our graph takes the place of the CUDA graphs that max-autotune would make; the kernels are the same.
    ("compile max-autotune", compiled("max-autotune-no-cudagraphs"), True),
]


def parse_shapes(text, fallback):
    cases = []
    for item in text.split(","):
        extents, _, dtype = item.partition(":")
        shape = tuple(int(e) for e in extents.split("x"))
        if len(shape) != 4 or min(shape) < 1 or (dtype or fallback) not in DTYPES:
            raise SystemExit(f"expected NxCxHxW or NxCxHxW:DTYPE, got '{item}'")
        cases.append((shape, dtype or fallback))
    return cases


def random_input(shape, dtype, layout, device):
    x = torch.empty(shape, dtype=DTYPES[dtype], device=device,
                    memory_format=torch.channels_last if layout == "nhwc" else torch.contiguous_format)
    return x.normal_()


def error_of(y, x, is_copy):
    """Largest absolute error on the first rows of the first and the last image."""
    worst = 0.0
    for image in {0, x.shape[0] - 1}:
        part = x[image : image + 1, :, :4].double()
        expected = part if is_copy else formula(part)
        worst = max(worst, (y[image : image + 1, :, :4].double() - expected).abs().max().item())
    return worst


def capture(function, inputs, launches, pool):
    """One graph of `launches` calls. Results are kept while the others of a turn are written, so that no memory is met again while warm."""
    graph = torch.cuda.CUDAGraph()
    results = [None] * len(inputs)
    with torch.cuda.graph(graph, pool=pool):
        for i in range(launches):
            results[i % len(inputs)] = function(inputs[i % len(inputs)])
    return graph


def time_graphs(graphs, launches, rounds):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    times = {name: [] for name in graphs}
    for _ in range(rounds):
        for name, graph in graphs.items():
            graph.replay()  # keeps the device busy while the host enqueues
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            times[name].append(1000 * begin.elapsed_time(end) / launches)
    return times


def measure(shape, dtype, layout, options, out_of_time):
    """Every peer on one shape: name -> {"us", "lowest", "highest", "max_abs_error"} or {"error"}."""
    element = torch.tensor([], dtype=DTYPES[dtype]).element_size()
    bytes_each = 2 * element * shape[0] * shape[1] * shape[2] * shape[3]
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    buffers = min(max(3, 2 * l2 // bytes_each + 1), 1024)
    free, _ = torch.cuda.mem_get_info()
    # Results take one more than there are buffers, eager temporaries as much again. A tensor above twice the cache is cold all alone.
    while buffers > 1 and bytes_each > 2 * l2 and bytes_each * (buffers + 1.5) > 0.95 * free:
        buffers -= 1
    launches = -(-max(min(int(1500 / (2 + bytes_each / 3e6)), 512), buffers) // buffers) * buffers
    inputs = [random_input(shape, dtype, layout, "cuda") for _ in range(buffers)]
    found, graphs, pool = {}, {}, torch.cuda.graph_pool_handle()
    for name, make, compiles in PEERS:
        if compiles and (options.quick and name != "compile" or out_of_time()):
            found[name] = {"error": "skipped: --quick" if options.quick else "skipped: the budget of time is spent"}
            continue
        try:
            function = make()
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # compiles and tunes before the capture
                for _ in range(3):
                    y = function(inputs[0])
            torch.cuda.current_stream().wait_stream(side)
            torch.cuda.synchronize()
            found[name] = {"max_abs_error": error_of(y, inputs[0], name == "clone")}
            del y
            torch.cuda.empty_cache()  # the graphs have a pool of memory of their own
            graphs[name] = capture(function, inputs, launches, pool)
        except Exception as error:  # a peer that fails is a result, too
            found[name] = {"error": short(error)}
            torch.cuda.synchronize()
        torch.cuda.empty_cache()
    for name, times in time_graphs(graphs, launches, options.rounds).items():
        found[name].update(us=statistics.median(times), lowest=min(times), highest=max(times))
    return found, buffers, launches


def run_frieze(options, shape, dtype, layout):
    command = [options.frieze, "bench-op", "rms_norm2d", "--shapes", "x".join(map(str, shape)) + ":" + dtype, "--format", layout, "--rounds",
               str(options.rounds), "--json"] + options.frieze_arguments.split()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            return {"error": done.stderr.strip() or f"exit status {done.returncode}"}
        result = json.loads(done.stdout)["results"][0]
        return {"error": result["skipped"]} if "skipped" in result else result
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        return {"error": short(error)}


def merge(shape, dtype, layout, ours, peers, buffers, launches):
    """One row: ours and the peers against the best copy of all that were measured in this row."""
    row = {"shape": "x".join(map(str, shape)), "dtype": dtype, "format": layout, "peer_buffers": buffers, "peer_launches": launches,
           "frieze": ours, "peers": peers}
    copies = [peers["clone"]["us"]] if "us" in peers.get("clone", {}) else []
    if "floor_us" in ours:
        copies.append(ours["floor_us"])
    if not copies:
        return row
    row["copy_us"] = min(copies)
    for peer in peers.values():
        if "us" in peer:
            peer["ratio"] = row["copy_us"] / peer["us"]
    timed = {name: peer["us"] for name, peer in peers.items() if "us" in peer and name != "clone"}
    if timed:
        row["best_peer"] = min(timed, key=timed.get)
    if "us" in ours:
        row["frieze_us"] = ours["us"]["median"]
        row["frieze_ratio"] = row["copy_us"] / row["frieze_us"]
        if timed:
            row["speedup"] = timed[row["best_peer"]] / row["frieze_us"]
    return row


def print_table(rows):
    names = [name for name, _, _ in PEERS if name != "clone"]
    print(f"{'shape':20} {'type':5} {'format':6} {'copy us':>9} {'frieze':>7}" + "".join(f" {name:>20}" for name in names) + "  x best peer")
    for row in rows:
        cell = lambda found: f"{found['ratio']:.3f}" if "ratio" in found else "-"  # noqa: E731
        ours = f"{row['frieze_ratio']:.3f}" if "frieze_ratio" in row else "-"
        speedup = f"{row['speedup']:.2f}" if "speedup" in row else "-"
        print(f"{row['shape']:20} {row['dtype']:5} {row['format']:6} {row.get('copy_us', float('nan')):9.2f} {ours:>7}"
              + "".join(f" {cell(row['peers'].get(name, {})):>20}" for name in names) + f"  {speedup}")
    print("ratios: time of the best copy in the row / time")
    for row in rows:
        for name, found in [("frieze", row["frieze"])] + list(row["peers"].items()):
            if "error" in found and not found["error"].startswith("skipped"):
                print(f"failed: {row['shape']} {row['dtype']} {row['format']} {name}: {found['error']}")


def check(cases, layouts):
    """Every peer against the formula in float64; the exit status."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    failed = 0
    for shape, dtype in cases:
        for layout in layouts:
            x = random_input(shape, dtype, layout, device)
            limit = {"f32": 1e-5, "f16": 0.02, "bf16": 0.15}[dtype]  # eager rounds each of its four steps
            for name, make, _ in PEERS:
                if name.startswith("triton") and (triton is None or device == "cpu"):
                    print(f"{shape} {dtype} {layout} {name}: skipped, needs Triton and a GPU")
                    continue
                try:
                    y = make()(x)
                    same_layout = y.stride() == x.stride()
                    error = error_of(y, x, name == "clone")
                    ok = same_layout and error <= (0 if name == "clone" else limit)
                    print(f"{shape} {dtype} {layout} {name}: max abs error {error:.2e}{'' if same_layout else ', other strides than x'} {'ok' if ok else 'WRONG'}")
                except Exception as error:
                    ok = False
                    print(f"{shape} {dtype} {layout} {name}: failed: {short(error)}")
                failed += not ok
    return 1 if failed else 0


def save(path, report):
    temporary = path + ".tmp"
    with open(temporary, "w") as file:
        file.write(rows_json(report) + "\n")
    os.replace(temporary, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--frieze", help="our program; left out, only the peers are timed")
    parser.add_argument("--frieze-arguments", default="", help="more options for bench-op, e.g. --no-tune")
    parser.add_argument("--shapes", help="NxCxHxW or NxCxHxW:DTYPE, separated by commas")
    parser.add_argument("--dtype", default="bf16", choices=DTYPES, help="of shapes that name none")
    parser.add_argument("--formats", default="nchw,nhwc")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds after which no shape and no compilation is started")
    parser.add_argument("--quick", action="store_true", help="5 rounds, the first 6 shapes, no max-autotune")
    parser.add_argument("--check", action="store_true", help="compare the peers with the formula, time nothing")
    parser.add_argument("--out", help="JSON file for the results, written anew after each shape")
    options = parser.parse_args()
    cases, layouts = parse_shapes(options.shapes or SHAPES, options.dtype), options.formats.split(",")
    if not set(layouts) <= {"nchw", "nhwc"}:
        raise SystemExit(f"--formats: expected nchw, nhwc or both, got '{options.formats}'")
    if options.check:
        small = "1x33x5x7:f32,2x64x8x8:bf16,2x96x3x5:f16"
        return check(parse_shapes(options.shapes or small, options.dtype), layouts)
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device: only --check works here")
    if options.quick:
        options.rounds = min(options.rounds, 5)
        cases = cases if options.shapes else cases[:6]
    started = time.monotonic()
    out_of_time = lambda: time.monotonic() - started > options.budget  # noqa: E731
    report = {"device": torch.cuda.get_device_name(0), "torch": torch.__version__, "triton": getattr(triton, "__version__", None),
              "cuda": torch.version.cuda, "date": datetime.date.today().isoformat(), "protocol": "cold", "rounds": options.rounds, "rows": []}
    for shape, dtype in cases:
        for layout in layouts:
            if out_of_time():
                print(f"not measured, the budget is spent: {shape} {dtype} {layout}", file=sys.stderr)
                continue
            torch.cuda.empty_cache()
            ours = run_frieze(options, shape, dtype, layout) if options.frieze else {"error": "skipped: no --frieze"}
            try:
                peers, buffers, launches = measure(shape, dtype, layout, options, out_of_time)
            except Exception as error:
                peers, buffers, launches = {"clone": {"error": short(error)}}, 0, 0
            report["rows"].append(merge(shape, dtype, layout, ours, peers, buffers, launches))
            if options.out:
                save(options.out, report)
    report["seconds"] = time.monotonic() - started
    if options.out:
        save(options.out, report)
    print(f"{report['device']}, torch {report['torch']}, triton {report['triton']}")
    print_table(report["rows"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
