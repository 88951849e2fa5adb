#!/usr/bin/env python3
"""tools/gpu_results.py on canned logs: what passes, and that each kind of failure shows."""
import contextlib
import importlib.util
import io
import json
import pathlib
import struct
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tools"))
spec = importlib.util.spec_from_file_location("gpu_results", ROOT / "tools" / "gpu_results.py")
gpu_results = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gpu_results)

VERSION = "frieze 0.1.0 (commit 0123456789ab)\nCUDA toolkit: 13.0.88\ncuBLASLt: 13.1.0.3 headers; loaded when first needed\ncuDNN: not in this build\n"
MEMCHECK = "========= COMPUTE-SANITIZER\n[  PASSED  ] 2 tests.\n========= ERROR SUMMARY: {} errors\n"
RACECHECK = "========= RACECHECK SUMMARY: {0} hazards displayed ({0} errors, {1} warnings)\n"


def report(*tests):
    """A GoogleTest report; each test as (name, "passed" | "failed" | "skipped" | "filtered")."""
    cases = []
    for name, outcome in tests:
        case = {"name": name, "status": "NOTRUN" if outcome == "filtered" else "RUN", "result": "COMPLETED"}
        if outcome == "failed":
            case["failures"] = [{"failure": "file.cpp:3\nExpected", "type": ""}]
        if outcome == "skipped":
            case["result"] = "SKIPPED"
        cases.append(case)
    return json.dumps({"testsuites": [{"name": "Suite", "testsuite": cases}]})


def parity(share, dtype="f16", failed=0):
    row = {"layer": "Conv2d", "dtype": dtype, "worst_share": share, "worst_ulp": 1.0, "cases": 10, "failed": failed, "worst_case": f"at {share}"}
    return json.dumps({"executable": "x", "layers": [row]})


class RowsJson(unittest.TestCase):
    def test_a_row_is_a_line(self):
        rows = [{"shape": "1x2", "us": {"median": 1.5}, "text": "x" * 200}] * 3
        names = ["a  b", "c" * 170, "\u00e9"] + ["two words " * 8] * 5
        text = gpu_results.rows_json({"date": "today", "facts": {"a": 1}, "rows": rows, "names": names, "none": []})
        self.assertEqual(json.loads(text)["rows"], rows)
        self.assertEqual(json.loads(text)["names"], names)
        self.assertEqual(sum(line.lstrip().startswith('{"shape"') for line in text.splitlines()), 3)
        self.assertIn(' "facts": {"a": 1},', text.splitlines())
        numbers = gpu_results.rows_json(list(range(1000)))
        self.assertEqual(json.loads(numbers), list(range(1000)))
        self.assertLess(max(map(len, numbers.splitlines())), 170)
        with self.assertRaises(ValueError):
            gpu_results.rows_json({"a": float("nan")})

    def test_committed_results_are_written_so(self):
        for path in (ROOT / "tools" / "results").glob("*.json"):
            text = path.read_text()
            self.assertEqual(text, gpu_results.rows_json(json.loads(text)) + "\n", path)


class GpuResults(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.logs = pathlib.Path(folder.name) / "logs"
        self.out = pathlib.Path(folder.name) / "out"
        (self.logs / "parity").mkdir(parents=True)
        self.write("gpu.csv", "NVIDIA H100 80GB HBM3, 580.65.06, 81559 MiB, 9.0\n")
        self.write("version.txt", VERSION)
        self.program("test_core_tests", [("A", "passed"), ("B", "passed"), ("C", "skipped"), ("D", "filtered")],
                     log="[ RUN      ] Suite.C\nfile.cpp:7: Skipped\nneeds two GPUs\n\n[  SKIPPED ] Suite.C (0 ms)\n")
        self.program("test_layers_tests", [("A", "passed")])
        self.write("parity/parity_layers_tests.json", parity(0.5))
        self.write("kernels.txt", "_ZN6frieze3oneEv\n_ZN6frieze3twoEv\n")
        for tool, log in (("memcheck", MEMCHECK.format(0)), ("racecheck", RACECHECK.format(0, 0))):
            self.sanitizer(tool, "layers", log, "_ZN6frieze3oneEv\nnvjet_of_a_library shared\n")
            self.sanitizer(tool, "graph", log, "_ZN6frieze3twoEv shared\n_ZN6frieze4test4onlyEv\n")
        self.write("bench_quickstart_f32.log", '{"run_ms": 0.25}\n')
        self.write("bench_quickstart_f32.status", "0 3\n")

    def write(self, name, text):
        (self.logs / name).write_text(text)

    def program(self, name, tests, log="", status=0):
        self.write(name + ".json", report(*tests))
        self.write(name + ".log", log)
        self.write(name + ".status", f"{status} 12\n")

    def sanitizer(self, tool, part, log, kernels, **program):
        name = f"sanitizer_{tool}_{part}"
        self.program(name, **{"tests": [("A", "passed")], **program}, log=log)
        (self.logs / "watched" / name).mkdir(parents=True, exist_ok=True)
        self.write(f"watched/{name}/kernels_{part}_tests.txt", kernels)

    def run_main(self):
        """(exit status, the file as an object, what was printed)."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = gpu_results.main([str(self.logs), str(self.out)])
        path = self.out / "nvidia_h100_80gb_hbm3.json"
        return status, json.loads(path.read_text()) if path.exists() else None, said.getvalue()

    def test_all_is_well(self):
        status, result, said = self.run_main()
        self.assertEqual(status, 0, said)
        self.assertTrue(result["ok"])
        self.assertRegex(result["date"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual(result["commit"], "0123456789ab")
        self.assertEqual((result["frieze"], result["cuda"], result["cublas"]), ("0.1.0", "13.0.88", "13.1.0.3"))
        self.assertEqual(result["gpu"]["driver"], "580.65.06")
        self.assertEqual([result["tests"][key] for key in ("passed", "failed", "skipped")], [3, 0, 1])
        core = result["tests"]["programs"]["core_tests"]
        self.assertEqual((core["passed"], core["skipped"], core["seconds"]), (2, 1, 12))
        self.assertEqual(core["skip_reasons"], {"needs two GPUs": 1})
        self.assertEqual(result["sanitizers"]["memcheck"]["verdict"], "clean")
        racecheck = result["sanitizers"]["racecheck"]
        self.assertEqual([racecheck[key] for key in ("findings", "passed", "seconds", "kernels", "kernels_watched")], [0, 2, 12, 1, 1])
        self.assertEqual(result["benches"]["quickstart_f32"]["run_ms"], 0.25)
        self.assertEqual(result["worst_share"], 0.5)
        self.assertEqual(list(self.out.iterdir()), [self.out / "nvidia_h100_80gb_hbm3.json"])  # no temporary is left

    def test_a_checkout_tells_its_own_commit(self):
        self.write("commit.txt", "fedcba987654\n")
        self.assertEqual(self.run_main()[1]["commit"], "fedcba987654")

    def test_the_worst_share_wins_over_all_programs(self):
        self.write("parity/parity_graph_tests.json", parity(0.75))
        self.write("parity/parity_models_tests.json", parity(0.25, "bf16", failed=1))
        result = self.run_main()[1]
        self.assertEqual(result["parity"]["Conv2d"]["f16"]["worst_case"], "at 0.75")
        self.assertEqual(result["parity"]["Conv2d"]["f16"]["cases"], 20)
        self.assertEqual(result["parity"]["Conv2d"]["bf16"]["failed"], 1)
        self.assertEqual(result["worst_share"], 0.75)

    def test_seeds_count_towards_the_worst(self):
        for seed in (1, 2):
            for shard in ("1of2", "2of2"):
                self.program(f"seed_{seed}-{shard}", [("A", "passed")])
        (self.logs / "parity" / "seed_2-1of2").mkdir()
        row = {**json.loads(parity(0.75))["layers"][0], "worst_excess": 0.4, "excess_case": "there"}
        self.write("parity/seed_2-1of2/parity_layers_tests.json", json.dumps({"layers": [row]}))
        status, result, said = self.run_main()
        self.assertEqual((status, result["seeds"], result["worst_share"]), (0, {"count": 3}, 0.75))
        self.assertEqual(result["worst_excess"], {"share": 0.4, "of": "Conv2d f16"})
        self.assertEqual(result["tests"]["passed"], 3, "seeds are the same tests again")
        self.assertIn("0.750, with 3 seeds", said)

    def test_a_seed_that_fails(self):
        self.program("seed_7-1of2", [("A", "failed")], status=1)
        self.expect_failure("FAILED: seed_7-1of2: Suite.A")

    def expect_failure(self, says):
        status, result, said = self.run_main()
        self.assertEqual(status, 1)
        self.assertFalse(result["ok"])
        self.assertIn(says, said)
        return result

    def test_a_failed_test(self):
        self.program("test_core_tests", [("A", "passed"), ("B", "failed")], status=1)
        result = self.expect_failure("core_tests: Suite.B")
        self.assertEqual(result["tests"]["failed"], 1)
        self.assertEqual(result["tests"]["programs"]["core_tests"]["failed_tests"], ["Suite.B"])

    def test_a_crash_names_its_test(self):
        self.program("test_core_tests", [], log="[ RUN      ] Suite.A\n[ RUN      ] Suite.Crash\n", status=139)
        (self.logs / "test_core_tests.json").unlink()
        self.expect_failure("left no report, ended in Suite.Crash")

    def test_a_timeout(self):
        self.program("test_core_tests", [("A", "passed")], status=124)
        self.expect_failure("timed out")

    def test_a_program_whose_tests_all_skip(self):
        self.program("test_core_tests", [("A", "skipped")])
        self.assertEqual(self.run_main()[0], 1)

    def test_tests_that_did_not_see_the_gpu(self):
        self.program("test_core_tests", [("A", "passed"), ("B", "skipped")], log="file.cpp:7: Skipped\nneeds a CUDA device\n")
        self.expect_failure("saw no CUDA device")

    def test_without_its_tests_nothing_is_ok(self):
        for path in self.logs.glob("test_*"):
            path.unlink()
        status, result, said = self.run_main()
        self.assertEqual((status, result["ok"]), (0, False))
        self.assertIn("tests: not run", said)

    def test_nothing_at_all_is_a_failure(self):
        for part in ("test", "sanitizer", "bench"):
            for path in self.logs.glob(f"{part}_*"):
                path.unlink()
        self.assertEqual(self.run_main()[0], 1)

    def test_sanitizer_findings(self):
        self.sanitizer("memcheck", "graph", MEMCHECK.format(3), "_ZN6frieze3twoEv\n", status=86)
        result = self.expect_failure("memcheck: findings")
        self.assertEqual(result["sanitizers"]["memcheck"]["findings"], 3)

    def test_a_race_that_is_a_warning_counts(self):
        self.sanitizer("racecheck", "layers", RACECHECK.format(0, 1), "_ZN6frieze3oneEv\n")
        self.expect_failure("racecheck: findings")

    def test_racecheck_needs_the_kernels_with_shared_memory_alone(self):
        self.sanitizer("racecheck", "graph", RACECHECK.format(0, 0), "")
        self.sanitizer("memcheck", "graph", MEMCHECK.format(0), "_ZN6frieze3twoEv\n")
        self.sanitizer("memcheck", "layers", MEMCHECK.format(0), "_ZN6frieze3oneEv shared\nnvjet shared\n")
        status, result, said = self.run_main()
        racecheck = result["sanitizers"]["racecheck"]
        self.assertEqual((status, racecheck["verdict"], racecheck["kernels"], racecheck["kernels_watched"]), (0, "clean", 1, 1), said)
        self.assertIn("0 findings in 1 of 1 kernels that use shared memory", said)
        self.sanitizer("racecheck", "layers", RACECHECK.format(0, 0), "_ZN6frieze3twoEv\n")
        self.expect_failure("racecheck: kernels left out")

    def test_a_sanitizer_that_broke(self):
        log = "========= Internal Sanitizer Error: The Sanitizer failed to handle a hardware exception.\n" + RACECHECK.format(0, 0)
        self.sanitizer("racecheck", "layers", log, "_ZN6frieze3oneEv\n")
        self.expect_failure("racecheck: did not finish")

    def test_one_part_of_a_sanitizer_that_did_not_finish(self):
        self.sanitizer("memcheck", "layers", "========= COMPUTE-SANITIZER\n", "_ZN6frieze3oneEv\n", status=124)
        self.expect_failure("memcheck: did not finish")

    def test_a_sanitizer_over_no_test(self):
        self.sanitizer("memcheck", "layers", MEMCHECK.format(0), "_ZN6frieze3oneEv\n", tests=[("A", "filtered")])
        self.expect_failure("memcheck: tests failed or none ran")

    def test_a_sanitizer_that_did_not_meet_every_kernel(self):
        self.sanitizer("memcheck", "graph", MEMCHECK.format(0), "")
        result = self.expect_failure("memcheck: kernels left out, 0 findings in 1 of 2 kernels")
        self.assertEqual(result["sanitizers"]["memcheck"]["kernels_not_watched"], ["_ZN6frieze3twoEv"])

    def test_a_profile_keeps_its_sums_and_its_worst_steps(self):
        steps = [{"path": f"s{i}", "layer": "L", "us": 1.0 + i % 7, "floor_us": 1.0, "ratio": 1.0, "bytes": 5} for i in range(20)]
        report = {"run_us": 80.5, "sum_us": 79.5, "excess": -0.01, "measured": {"copy_gb_per_s": 3000}, "steps": steps}
        self.write("bench_profile_x.log", json.dumps({"model": "x", "report": report}))
        self.write("bench_profile_x.status", "0 3\n")
        status, result, _ = self.run_main()
        self.assertEqual(status, 0)
        kept = result["benches"]["profile_x"]["report"]
        self.assertEqual((kept["run_us"], kept["sum_us"], kept["step_count"]), (80.5, 79.5, 20))
        self.assertEqual(kept["measured"]["copy_gb_per_s"], 3000)
        self.assertNotIn("steps", kept)
        self.assertEqual([step["path"] for step in kept["furthest_above_floor"]], ["s6", "s13", "s5", "s12", "s19"])

    def test_the_kernels_of_a_program_are_among_its_constants(self):
        names = b"\0_ZN6frieze3oneEv\0\0\0\x41_ZN6frieze3twoIfEEvPKT_\0_ZN5other3oneEv\0"
        strings = b"\0.rodata\0.text\0"

        def section(name, offset, size):
            return struct.pack("<IIQQQQIIQQ", name, 1, 0, 0, offset, size, 0, 0, 1, 0)

        text = b"_ZN6frieze5otherEv\0"
        header_size, at = 64, 64
        places = []
        for part in (names, text, strings):
            places.append((at, len(part)))
            at += len(part)
        table = section(1, *places[0]) + section(9, *places[1]) + section(0, *places[2])
        header = b"\x7fELF\x02" + bytes(35) + struct.pack("<Q", at) + bytes(10) + struct.pack("<HHH", 64, 3, 2)
        self.assertEqual(len(header), header_size)
        program = self.logs / "program"
        program.write_bytes(header + names + text + strings + table)
        self.assertEqual(gpu_results.kernels_in(program), ["_ZN6frieze3oneEv", "_ZN6frieze3twoIfEEvPKT_"])
        program.write_bytes(b"#!/bin/sh\n")
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(gpu_results.main(["--kernels", str(program)]), 2)

    def test_a_failed_bench(self):
        self.write("bench_quickstart_f32.log", "frieze: error: out of memory\n")
        self.write("bench_quickstart_f32.status", "2 1\n")
        self.expect_failure("bench quickstart_f32: frieze: error: out of memory")

    def test_quick_runs_say_what_was_not_run(self):
        for path in [*self.logs.glob("sanitizer_*"), *self.logs.glob("bench_*")]:
            path.unlink()
        status, result, _ = self.run_main()
        self.assertEqual((status, result["ok"]), (0, False))
        self.assertEqual((result["sanitizers"], result["benches"]), ("not run", "not run"))

    def test_no_gpu_is_no_result(self):
        (self.logs / "gpu.csv").unlink()
        status, result, said = self.run_main()
        self.assertEqual((status, result), (2, None))
        self.assertIn("gpu.csv", said)

    def test_an_unwritable_folder(self):
        self.out.write_text("a file")
        self.assertEqual(self.run_main_only(), 2)

    def run_main_only(self):
        with contextlib.redirect_stderr(io.StringIO()):
            return gpu_results.main([str(self.logs), str(self.out)])


if __name__ == "__main__":
    unittest.main()
