#!/usr/bin/env python3
"""tools/gpu_results.py on canned logs: what passes, and that each kind of failure shows."""
import contextlib
import importlib.util
import io
import json
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("gpu_results", ROOT / "tools" / "gpu_results.py")
gpu_results = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gpu_results)

VERSION = "frieze 0.1.0 (commit 0123456789ab)\nCUDA toolkit: 13.0.88\ncuBLAS: 13.1.0.3\ncuDNN: not in this build\n"
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
        for tool, log in (("memcheck", MEMCHECK.format(0)), ("racecheck", RACECHECK.format(0, 0))):
            self.program("sanitizer_" + tool, [("A", "passed")], log=log)
        self.write("bench_quickstart_f32.log", '{"run_ms": 0.25}\n')
        self.write("bench_quickstart_f32.status", "0 3\n")

    def write(self, name, text):
        (self.logs / name).write_text(text)

    def program(self, name, tests, log="", status=0):
        self.write(name + ".json", report(*tests))
        self.write(name + ".log", log)
        self.write(name + ".status", f"{status} 12\n")

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
        self.assertEqual(result["sanitizers"]["racecheck"]["findings"], 0)
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

    def test_no_programs(self):
        for path in self.logs.glob("test_*"):
            path.unlink()
        self.assertEqual(self.run_main()[0], 1)

    def test_sanitizer_findings(self):
        self.program("sanitizer_memcheck", [("A", "passed")], log=MEMCHECK.format(3), status=86)
        result = self.expect_failure("memcheck: findings")
        self.assertEqual(result["sanitizers"]["memcheck"]["findings"], 3)

    def test_a_race_that_is_a_warning_counts(self):
        self.program("sanitizer_racecheck", [("A", "passed")], log=RACECHECK.format(0, 1))
        self.expect_failure("racecheck: findings")

    def test_a_sanitizer_that_did_not_finish(self):
        self.program("sanitizer_memcheck", [("A", "passed")], log="========= COMPUTE-SANITIZER\n", status=124)
        self.expect_failure("memcheck: did not finish")

    def test_a_sanitizer_over_no_test(self):
        self.program("sanitizer_memcheck", [("A", "filtered")], log=MEMCHECK.format(0))
        self.expect_failure("memcheck: tests failed or none ran")

    def test_a_failed_bench(self):
        self.write("bench_quickstart_f32.log", "frieze: error: out of memory\n")
        self.write("bench_quickstart_f32.status", "2 1\n")
        self.expect_failure("bench quickstart_f32: frieze: error: out of memory")

    def test_quick_runs_say_what_was_not_run(self):
        for path in [*self.logs.glob("sanitizer_*"), *self.logs.glob("bench_*")]:
            path.unlink()
        status, result, _ = self.run_main()
        self.assertEqual(status, 0)
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
