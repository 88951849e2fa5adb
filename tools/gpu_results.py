#!/usr/bin/env python3
"""Turns the logs of tools/gpu_check.sh into one results file, <gpu>.json.

  tools/gpu_results.py LOGS OUT

LOGS holds, each optional but gpu.csv (a program or tool that was split has -1of3 after its name, and so on):
  gpu.csv                                name, driver, memory, compute capability, as nvidia-smi lists them
  version.txt, commit.txt                `frieze --version`; the commit of the tree, which goes before that of the version
  test_<program>.{log,json,status}       one GoogleTest program: its output, its report, "exit-status seconds"
  parity/**/parity_<program>.json        the worst share of the error budget per layer and type
  sanitizer_<tool>.{log,json,status}     one tool of compute-sanitizer over layers_tests
  bench_<name>.{log,status}              one bench; the log is its JSON
Exit status: 0 if everything passed, 1 if anything failed (the file is written all the same), 2 if it cannot be written.
"""
import datetime
import json
import os
import pathlib
import re
import sys
import tempfile


def text_of(path):
    return path.read_text(errors="replace") if path.is_file() else ""


def json_of(path):
    """The JSON in a file, or None."""
    try:
        return json.loads(text_of(path))
    except ValueError:
        return None


def status_of(path):
    """(exit status, seconds); status None if the part left no record."""
    words = text_of(path).split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else (None, 0)


def slug(name):
    """"NVIDIA H100 80GB HBM3" -> "nvidia_h100_80gb_hbm3"."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def gpu_facts(logs):
    fields = [field.strip() for field in text_of(logs / "gpu.csv").split("\n")[0].split(",")]
    if len(fields) != 4 or not fields[0]:
        raise ValueError(f"{logs / 'gpu.csv'}: expected name, driver, memory and compute capability")
    return dict(zip(("name", "driver", "memory", "compute_capability"), fields))


def versions(logs):
    text = text_of(logs / "version.txt")

    def find(pattern):
        found = re.search(pattern, text)
        return found.group(1).strip() if found else "unknown"

    commit = text_of(logs / "commit.txt").strip() or find(r"\(commit ([^)]*)\)")
    return {"frieze": find(r"^frieze (\S+)"), "commit": commit, "cuda": find(r"CUDA toolkit: (.*)"), "cublas": find(r"cuBLAS: (.*)")}


def count_tests(report):
    """Counts of one GoogleTest report, and the names of what failed. A skip is no pass."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failed = []
    for suite in report.get("testsuites", []):
        for test in suite.get("testsuite", []):
            if test.get("status") == "NOTRUN":  # filtered out
                continue
            if test.get("failures"):
                counts["failed"] += 1
                failed.append(f"{suite['name']}.{test['name']}")
            elif test.get("result") == "SKIPPED":
                counts["skipped"] += 1
            else:
                counts["passed"] += 1
    return counts, failed


def skip_reasons(log):
    """Why tests skipped, which only the log tells -> how many did."""
    reasons = {}
    for reason in re.findall(r": Skipped\n(.+)", log):
        reasons[reason] = reasons.get(reason, 0) + 1
    return reasons


def read_program(logs, prefix):
    """One test program under `prefix`; ok only if it ended well, ran at least one test, and saw the GPU."""
    status, seconds = status_of(logs / f"{prefix}.status")
    report = json_of(logs / f"{prefix}.json")
    counts, failed = count_tests(report or {})
    reasons = skip_reasons(text_of(logs / f"{prefix}.log"))
    entry = {**counts, "seconds": seconds, "exit_status": status}
    if failed:
        entry["failed_tests"] = failed
    if reasons:
        entry["skip_reasons"] = reasons
    blind = "needs a CUDA device" in reasons
    if blind:
        entry["note"] = "saw no CUDA device"
    if status in (124, 137):
        entry["note"] = "timed out"
    elif report is None:
        last = re.findall(r"^\[ RUN +\] (.*)$", text_of(logs / f"{prefix}.log"), re.MULTILINE)
        entry["note"] = "left no report" + (f", ended in {last[-1]}" if last else "")
    return entry, status == 0 and report is not None and counts["failed"] == 0 and counts["passed"] > 0 and not blind


def read_tests(logs):
    programs, ok = {}, True
    for path in sorted(logs.glob("test_*.status")):
        programs[path.stem[len("test_"):]], good = read_program(logs, path.stem)
        ok = ok and good
    total = {key: sum(p[key] for p in programs.values()) for key in ("passed", "failed", "skipped")}
    return {**total, "programs": programs}, ok and bool(programs)


def read_parity(logs):
    """Worst share of the budget per layer and type, over all programs."""
    worst = {}
    for path in sorted((logs / "parity").rglob("parity_*.json")):
        for row in (json_of(path) or {}).get("layers", []):
            old = worst.setdefault(row["layer"], {}).get(row["dtype"])
            cases, failed = row["cases"] + (old["cases"] if old else 0), row["failed"] + (old["failed"] if old else 0)
            entry = {key: row[key] for key in ("worst_share", "worst_ulp", "worst_case")}
            if old and old["worst_share"] > entry["worst_share"]:
                entry = {key: old[key] for key in entry}
            # What the kernels' own arithmetic takes of the budget, see graph/BUDGETS.md; its worst case may be another one.
            excess = [(r["worst_excess"], r["excess_case"]) for r in (old, row) if r and "worst_excess" in r]
            if excess:
                entry["worst_excess"], entry["excess_case"] = max(excess)
            worst[row["layer"]][row["dtype"]] = {**entry, "cases": cases, "failed": failed}
    return {layer: worst[layer] for layer in sorted(worst)}


def read_sanitizers(logs):
    tools, ok = {}, True
    for path in sorted(logs.glob("sanitizer_*.status")):
        entry, good = read_program(logs, path.stem)
        log = text_of(path.with_suffix(".log"))
        summaries = re.findall(r"(?:ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: \d+ hazards? displayed \((\d+) errors?, (\d+) warning)", log)
        # Without its summary a tool has not looked to the end.
        findings = sum(int(n) for n in summaries[-1] if n) if summaries else None
        clean = good and findings == 0
        entry["findings"] = findings
        entry["verdict"] = "clean" if clean else "findings" if findings else "did not finish" if findings is None else "tests failed or none ran"
        tools[path.stem[len("sanitizer_"):]] = entry
        ok = ok and clean
    return tools, ok


def read_benches(logs):
    benches, ok = {}, True
    for path in sorted(logs.glob("bench_*.status")):
        status, seconds = status_of(path)
        result = json_of(path.with_suffix(".log"))
        name = path.stem[len("bench_"):]
        if status == 0 and result is not None:
            benches[name] = result
        else:
            lines = text_of(path.with_suffix(".log")).strip().split("\n")
            benches[name] = {"exit_status": status, "error": lines[-1], "seconds": seconds}
            ok = False
    return benches, ok


def collect(logs, now):
    """The whole result."""
    tests, tests_ok = read_tests(logs)
    sanitizers, sanitizers_ok = read_sanitizers(logs)
    benches, benches_ok = read_benches(logs)
    parity = read_parity(logs)
    shares = [entry["worst_share"] for types in parity.values() for entry in types.values()]
    return {
        "ok": tests_ok and sanitizers_ok and benches_ok,
        "date": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        **versions(logs),
        "gpu": gpu_facts(logs),
        "tests": tests,
        "worst_share": max(shares, default=None),
        "parity": parity,
        "sanitizers": sanitizers or "not run",
        "benches": benches or "not run",
    }


def write_atomically(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix="." + path.name)
    try:
        with os.fdopen(handle, "w") as out:
            out.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def summary(result):
    tests = result["tests"]
    lines = [f"{tests['passed']} passed, {tests['failed']} failed, {tests['skipped']} skipped"]
    for name, program in tests["programs"].items():
        for test in program.get("failed_tests", []):
            lines.append(f"  FAILED: {name}: {test}")
        if program["exit_status"] != 0 or "note" in program:
            lines.append(f"  FAILED: {name}: exit status {program['exit_status']} {program.get('note', '')}".rstrip())
    if isinstance(result["sanitizers"], dict):
        lines += [f"{tool}: {entry['verdict']}" for tool, entry in result["sanitizers"].items()]
    if isinstance(result["benches"], dict):
        lines += [f"  FAILED: bench {name}: {bench['error']}" for name, bench in result["benches"].items() if "error" in bench]
    if result["worst_share"] is not None:
        lines.append(f"worst share of an error budget: {result['worst_share']:.3f}")
    return "\n".join(lines)


def main(arguments):
    if len(arguments) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    logs, out = map(pathlib.Path, arguments)
    try:
        result = collect(logs, datetime.datetime.now(datetime.timezone.utc))
        path = out / (slug(result["gpu"]["name"]) + ".json")
        write_atomically(path, json.dumps(result, indent=2, allow_nan=False) + "\n")
    except (OSError, ValueError) as error:
        print(f"gpu_results: {error}", file=sys.stderr)
        return 2
    print(summary(result))
    print(f"written: {path}")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
