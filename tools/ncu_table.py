#!/usr/bin/env python3
"""Joins what `frieze bench-op … --profile --csv` says of each launch with ncu's raw page of the same run: one line a shape.

    python3 tools/ncu_table.py shapes.csv ncu_raw.csv OUT      writes OUT.csv and OUT.md

The layer's one kernel a shape is expected, in the same order in both files; anything else is an error.
"""
import csv
import io
import sys

COLUMNS = [  # metric, title, factor, digits
    ("gpu__time_duration.sum", "us", 1e-3, 2),
    ("sm__throughput.avg.pct_of_peak_sustained_elapsed", "SM throughput %", 1, 1),
    ("sm__warps_active.avg.pct_of_peak_sustained_active", "warps active %", 1, 1),
    ("dram__throughput.avg.pct_of_peak_sustained_elapsed", "DRAM throughput %", 1, 1),
    ("lts__t_sector_hit_rate.pct", "L2 hit rate %", 1, 1),
    ("launch__grid_size", "blocks", 1, 0),
    ("launch__block_size", "threads", 1, 0),
    ("launch__registers_per_thread", "registers", 1, 0),
]


def raw_rows(path):
    """The launches of ncu's CSV: its own messages begin with ==, and its second line holds the units."""
    with open(path, newline="") as file:
        text = "".join(line for line in file if not line.startswith("=="))
    rows = list(csv.DictReader(io.StringIO(text)))
    return [row for row in rows if (row.get("ID") or "").strip()]


def number(text, factor, digits):
    try:
        return f"{float(text.replace(',', '')) * factor:.{digits}f}"
    except (AttributeError, ValueError):
        return "n/a"  # a counter that this GPU or this user does not have


def kernel_name(launch):
    """Without return type, namespaces, template and call arguments."""
    return launch.get("Kernel Name", "").split("<")[0].split("(")[0].split(" ")[-1].split("::")[-1]


def main(shapes_path, raw_path, out):
    with open(shapes_path, newline="") as file:
        shapes = [row for row in csv.DictReader(file) if not row["kernel"].startswith("skipped")]
    launches = raw_rows(raw_path)
    if len(shapes) != len(launches):
        raise SystemExit(f"{len(shapes)} shapes in {shapes_path}, but {len(launches)} kernels in {raw_path}")
    titles = ["shape", "dtype", "format"] + [title for _, title, _, _ in COLUMNS] + ["kernel", "configuration"]
    table = []
    for shape, launch in zip(shapes, launches):
        cells = [number(launch.get(metric), factor, digits) for metric, _, factor, digits in COLUMNS]
        table.append([shape["shape"], shape["dtype"], shape["format"]] + cells + [kernel_name(launch), shape["kernel"]])
    with open(out + ".csv", "w", newline="") as file:
        csv.writer(file).writerows([titles] + table)
    with open(out + ".md", "w") as file:
        for row in [titles, ["---"] * len(titles)] + table:
            file.write("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |\n")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
