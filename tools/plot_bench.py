#!/usr/bin/env python3
"""The picture of a bench: how near each shape comes to a copy, ours and the peers'.

    python3 tools/plot_bench.py tools/results/GPU.json peers.json --out rms_norm2d.svg

Takes what tools/peers/rms_norm2d.py writes and, then without peers, what `frieze bench-op … --json` prints or tools/gpu_check.sh keeps of
it. Of several files with the same tensor the last one counts. One dot a kernel and tensor, at time of the copy / time of the kernel:
1.0 is as fast as a copy, further right is faster, and the axis begins at 0. SVG or PNG, by the name of --out.
"""
import argparse
import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

# Colours that stay apart for the colour-blind (Okabe and Ito), and a shape each for print.
STYLES = {
    "frieze": ("#D55E00", "o", 52),
    "compile max-autotune": ("#0072B2", "s", 26),
    "compile": ("#56B4E9", "D", 24),
    "triton two-pass": ("#009E73", "^", 30),
    "eager": ("#999999", "v", 30),
}
LABELS = {"frieze": "Frieze", "compile": "torch.compile", "compile max-autotune": "torch.compile, max-autotune",
          "triton two-pass": "Triton, two passes", "eager": "PyTorch eager"}


def read_rows(report):
    """(shape, dtype, format, {name: ratio}) of every kind of report."""
    rows = []
    report = report.get("benches", {}).get("rms_norm2d", report)
    if "results" in report:
        for r in report["results"]:
            rows.append((r["shape"], r["dtype"], r["format"], {"frieze": r["ratio"]} if r.get("ratio") else {}))
    else:
        for r in report["rows"]:
            ratios = {name: p["ratio"] for name, p in r["peers"].items() if "ratio" in p and name in STYLES}
            if "frieze_ratio" in r:
                ratios["frieze"] = r["frieze_ratio"]
            rows.append((r["shape"], r["dtype"], r["format"], ratios))
    return [row for row in rows if row[3]]


def device_of(report):
    """"NVIDIA H100 80GB HBM3, 2026-11-24", as far as the report says so."""
    return ", ".join(filter(None, [report.get("device") or report.get("gpu", {}).get("name"), report.get("date", "")[:10]]))


def label(shape, dtype):
    return f"{shape.replace('x', '×')}  {dtype}"


def draw(rows, title):
    formats = [f for f in ("nchw", "nhwc") if any(row[2] == f for row in rows)]
    most = max(sum(row[2] == f for row in rows) for f in formats)
    highest = max(max(row[3].values()) for row in rows)
    figure, panels = plt.subplots(1, len(formats), figsize=(1.6 + 4.7 * len(formats), 1.7 + 0.27 * most), squeeze=False, sharex=True)
    for panel, format_ in zip(panels[0], formats):
        chosen = [row for row in rows if row[2] == format_]
        for i, (_, _, _, ratios) in enumerate(chosen):
            panel.plot([0, max(ratios.values())], [i, i], color="#E6E6E6", linewidth=1, zorder=1)
        for name, (color, marker, size) in STYLES.items():
            points = [(row[3][name], i) for i, row in enumerate(chosen) if name in row[3]]
            if points:
                x, y = zip(*points)
                panel.scatter(x, y, s=size, c=color, marker=marker, label=LABELS[name], linewidths=0, zorder=4 if name == "frieze" else 3)
        panel.axvline(1, color="black", linewidth=1, zorder=2)
        panel.set_yticks(range(len(chosen)), [label(row[0], row[1]) for row in chosen], fontsize=8)
        panel.set_ylim(len(chosen) - 0.4, -0.6)
        panel.set_xlim(0, max(1.1, 1.05 * highest))
        panel.set_xlabel("time of a copy / time of the kernel (1 = as fast as a copy)", fontsize=8)
        panel.set_title(format_, fontsize=10)
        panel.tick_params(axis="x", labelsize=8)
        for side in ("top", "right", "left"):
            panel.spines[side].set_visible(False)
        panel.tick_params(axis="y", length=0)
    handles = {}
    for panel in panels[0]:
        handles.update({text: handle for handle, text in zip(*panel.get_legend_handles_labels())})
    figure.suptitle(title, fontsize=11)
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncol=len(handles), fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.9 / (6 + most), 1, 1))
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("reports", nargs="+")
    parser.add_argument("--out", required=True)
    parser.add_argument("--title")
    options = parser.parse_args()
    rows, devices = {}, {}
    for path in options.reports:
        with open(path) as file:
            report = json.load(file)
        rows.update({row[:3]: row for row in read_rows(report)})
        devices[device_of(report)] = True
    if not rows:
        raise SystemExit("no row with a ratio in " + ", ".join(options.reports))
    title = options.title or "RMSNorm2d on " + "; ".join(filter(None, devices)) + ", cold L2"
    matplotlib.rcParams["svg.fonttype"] = "none"  # letters as text, not as curves: a fifth of the size
    matplotlib.rcParams["svg.hashsalt"] = "frieze"  # the same picture is the same file
    draw(list(rows.values()), title).savefig(options.out, dpi=160, metadata={"Date": None} if options.out.endswith(".svg") else None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
