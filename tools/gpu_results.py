#!/usr/bin/env python3
"""Turns the logs of tools/gpu_check.sh into one results file, <gpu>.json.

  tools/gpu_results.py LOGS OUT
  tools/gpu_results.py --kernels PROGRAM      lists the mangled names of Frieze's kernels in a program instead

LOGS holds, each optional but gpu.csv (a program or tool that was split has -1of3 after its name, and so on):
  gpu.csv                                name, driver, memory, compute capability, as nvidia-smi lists them
  version.txt, commit.txt                `frieze --version`; the commit of the tree, which goes before that of the version
  test_<program>.{log,json,status}       one GoogleTest program: its output, its report, "exit-status seconds"
  seed_<n>.{log,json,status}             the parity tests with another seed
  parity/**/parity_<program>.json        the worst share of the error budget per layer and type, over all seeds
  sanitizer_<tool>_<tests>.{log,json,status}   one tool of compute-sanitizer over a program of tests
  watched/sanitizer_<tool>_<tests>/kernels_*.txt   the kernels that it launched, see tests/testing/kernel_watch.h
  kernels.txt                            all that there are
  bench_<name>.{log,status}              one bench; the log is its JSON, of profiles the results keep the sums and the worst steps
Exit status: 0 if all that ran passed, 1 if anything failed (the file is written all the same), 2 if it cannot be written. The file's "ok"
is true only if tests, sanitizers and benches all ran and passed.
"""
import datetime
import json
import os
import pathlib
import re
import struct
import sys
import tempfile

from rows_json import rows_json


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
    return {"frieze": find(r"^frieze (\S+)"), "commit": commit, "cuda": find(r"CUDA toolkit: (.*)"), "cublas": find(r"cuBLASLt: (\d\S*)")}


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
    return {**total, "programs": programs}, ok


def read_seeds(logs):
    """How many seeds the parity tests ran with, and whether all passed."""
    seeds, failed = set(), []
    for path in sorted(logs.glob("seed_*.status")):
        part, good = read_program(logs, path.stem)
        seeds.add(re.match(r"seed_(\d+)", path.stem).group(1))
        if not good:
            failed += [f"{path.stem}: {name}" for name in part.get("failed_tests", [part.get("note", "failed")])]
    return {"count": len(seeds) + 1, **({"failed": failed} if failed else {})}


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


def names_in(paths, mark=None):
    """Of files with a kernel on each line: the names, or those that have the mark behind them."""
    lines = [line.split() for path in paths for line in text_of(path).splitlines()]
    return {words[0] for words in lines if words and (mark is None or mark in words[1:])}


def findings_in(log):
    """How many a tool reports; None without its summary, for then it has not looked to the end."""
    counts = re.findall(r"(?:ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: \d+ hazards? displayed \((\d+) errors?, (\d+) warning)", log)
    return sum(int(n) for n in counts[-1] if n) if counts and "Internal Sanitizer Error" not in log else None


def read_sanitizer(logs, tool):
    """All parts of one tool as one entry. Clean: every part ran to its end and found nothing, and together they met every kernel;
    racecheck: every one that uses shared memory, for it looks at nothing else."""
    entry = {"passed": 0, "failed": 0, "skipped": 0, "seconds": 0, "findings": 0}
    parts_ok, finished, about = True, True, []
    for path in sorted(logs.glob(f"sanitizer_{tool}_*.status")):
        part, good = read_program(logs, path.stem)
        found = findings_in(text_of(path.with_suffix(".log")))
        for key in ("passed", "failed", "skipped"):
            entry[key] += part[key]
        entry["seconds"] = max(entry["seconds"], part["seconds"])
        entry["findings"] += found or 0
        finished = finished and found is not None
        parts_ok = parts_ok and good
        about += part.get("failed_tests", []) + ([f"{path.stem}: {part['note']}"] if "note" in part else [])
    if about:
        entry["about"] = about
    kernels = names_in([logs / "kernels.txt"])
    if tool == "racecheck":
        kernels &= names_in((logs / "watched").glob("sanitizer_*/kernels_*.txt"), "shared")
    watched = names_in((logs / "watched").glob(f"sanitizer_{tool}_*/kernels_*.txt")) & kernels
    entry.update({"kernels": len(kernels), "kernels_watched": len(watched)})
    if kernels - watched:
        entry["kernels_not_watched"] = sorted(kernels - watched)
    if entry["findings"]:
        entry["verdict"] = "findings"
    elif not finished:
        entry["verdict"] = "did not finish"
    elif not parts_ok:
        entry["verdict"] = "tests failed or none ran"
    else:
        entry["verdict"] = "clean" if kernels and watched == kernels else "kernels left out"
    return entry


def read_sanitizers(logs):
    tools = sorted({path.stem.split("_")[1] for path in logs.glob("sanitizer_*.status")})
    entries = {tool: read_sanitizer(logs, tool) for tool in tools}
    return entries, all(entry["verdict"] == "clean" for entry in entries.values())


def short_profile(report):
    """The sums of one profile, and the steps that are furthest above their floors."""
    steps = report.get("steps", [])
    above = sorted(steps, key=lambda step: step.get("floor_us", 0) - step["us"])
    kept = {key: value for key, value in report.items() if isinstance(value, (int, float, str, bool)) or key == "measured"}
    worst = [{key: step[key] for key in ("path", "layer", "us", "floor_us", "ratio") if key in step} for step in above[:5]]
    return {**kept, "step_count": len(steps), "furthest_above_floor": worst}


def read_benches(logs):
    benches, ok = {}, True
    for path in sorted(logs.glob("bench_*.status")):
        status, seconds = status_of(path)
        result = json_of(path.with_suffix(".log"))
        name = path.stem[len("bench_"):]
        if status == 0 and result is not None:
            if name.startswith("profile_"):
                result = {**result, "report": short_profile(result["report"])}
            benches[name] = result
        else:
            lines = text_of(path.with_suffix(".log")).strip().split("\n")
            benches[name] = {"exit_status": status, "error": lines[-1], "seconds": seconds}
            ok = False
    return benches, ok


def kernels_in(program):
    """Names of Frieze's kernels in an ELF file of 64 bits: what registers them has their names among its constants."""
    data = pathlib.Path(program).read_bytes()
    if data[:5] != b"\x7fELF\x02":
        raise ValueError(f"{program}: expected a program (ELF, 64 bits)")
    table, = struct.unpack_from("<Q", data, 40)
    size, count, names_at = struct.unpack_from("<HHH", data, 58)
    # Of each section: the place of its name, and where its bytes lie.
    sections = [struct.unpack_from("<I20xQQ", data, table + i * size) for i in range(count)]
    names = sections[names_at][1]
    found = set()
    for name, offset, length in sections:
        if data[names + name:].startswith(b".rodata\0"):
            found.update(re.findall(rb"_ZN6frieze\w+(?=\0)", data[offset:offset + length]))
    return sorted(name.decode() for name in found)


def collect(logs, now):
    """The whole result, and whether all that ran is well. It is only ok if all parts ran."""
    tests, tests_ok = read_tests(logs)
    sanitizers, sanitizers_ok = read_sanitizers(logs)
    benches, benches_ok = read_benches(logs)
    parity = read_parity(logs)
    shares = [entry["worst_share"] for types in parity.values() for entry in types.values()]
    seeds = read_seeds(logs)
    tests_ok = tests_ok and "failed" not in seeds
    excesses = [(entry["worst_excess"], f"{layer} {dtype}") for layer, types in parity.items() for dtype, entry in types.items()
                if "worst_excess" in entry]
    ran = [bool(tests["programs"]), bool(sanitizers), bool(benches)]
    well = tests_ok and sanitizers_ok and benches_ok and any(ran)
    return {
        "ok": well and all(ran),
        "date": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        **versions(logs),
        "gpu": gpu_facts(logs),
        "tests": tests,
        "seeds": seeds,
        "worst_share": max(shares, default=None),
        "worst_excess": dict(zip(("share", "of"), max(excesses))) if excesses else None,
        "parity": parity,
        "sanitizers": sanitizers or "not run",
        "sanitizers_note": "kernels of libraries are left out",
        "benches": benches or "not run",
    }, well


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
    lines = [f"{tests['passed']} passed, {tests['failed']} failed, {tests['skipped']} skipped" if tests["programs"] else "tests: not run"]
    for name, program in tests["programs"].items():
        for test in program.get("failed_tests", []):
            lines.append(f"  FAILED: {name}: {test}")
        if program["exit_status"] != 0 or "note" in program:
            lines.append(f"  FAILED: {name}: exit status {program['exit_status']} {program.get('note', '')}".rstrip())
    lines += [f"  FAILED: {line}" for line in result["seeds"].get("failed", [])]
    if isinstance(result["sanitizers"], dict):
        for tool, entry in result["sanitizers"].items():
            lines.append(f"{tool}: {entry['verdict']}, {entry['findings']} findings in {entry['kernels_watched']} of {entry['kernels']} "
                         f"kernels{' that use shared memory' if tool == 'racecheck' else ''}, {entry['seconds']} s")
            lines += [f"  {line}" for line in entry.get("about", [])[:10]]
    if isinstance(result["benches"], dict):
        lines += [f"  FAILED: bench {name}: {bench['error']}" for name, bench in result["benches"].items() if "error" in bench]
    if result["worst_share"] is not None:
        lines.append(f"worst share of an error budget: {result['worst_share']:.3f}, with {result['seeds']['count']} seeds")
    if result["worst_excess"] is not None:
        lines.append(f"most that a kernel's own arithmetic takes of one: {result['worst_excess']['share']:.3f}, {result['worst_excess']['of']}")
    return "\n".join(lines)


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "--kernels":
        try:
            print("\n".join(kernels_in(arguments[1])))
        except (OSError, ValueError, struct.error) as error:
            print(f"gpu_results: {error}", file=sys.stderr)
            return 2
        return 0
    if len(arguments) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    logs, out = map(pathlib.Path, arguments)
    try:
        result, well = collect(logs, datetime.datetime.now(datetime.timezone.utc))
        path = out / (slug(result["gpu"]["name"]) + ".json")
        write_atomically(path, rows_json(result) + "\n")
    except (OSError, ValueError) as error:
        print(f"gpu_results: {error}", file=sys.stderr)
        return 2
    print(summary(result))
    print(f"written: {path}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
