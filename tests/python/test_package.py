"""The wheel itself: what is in it, what it needs, how errors are related, and the command line."""

import os
import re
import subprocess
import sys
import zipfile

import pytest
from conftest import GOLDEN, PHOTO, run_python

import frieze

WHEEL = os.environ.get("FRIEZE_WHEEL")


@pytest.fixture(scope="module")
def wheel():
    if not WHEEL:
        pytest.skip("FRIEZE_WHEEL does not name the wheel")
    return zipfile.ZipFile(WHEEL)


def test_the_wheel_is_small_and_complete(wheel):
    name = os.path.basename(WHEEL)
    assert re.fullmatch(r"frieze-[0-9.]+-cp310-abi3-manylinux_2_\d+_\w+\.whl", name), name
    assert os.path.getsize(WHEEL) <= 8e6
    files = wheel.namelist()
    for expected in ("frieze/__init__.py", "frieze/_frieze.abi3.so", "frieze/_frieze.pyi", "frieze/py.typed", "frieze/bin/frieze", "frieze/denoiser.safetensors"):
        assert expected in files
    assert any(f.endswith("/licenses/LICENSE") for f in files)
    assert not [f for f in files if f.endswith((".a", ".h", ".cmake", ".cpp"))]
    assert any(f.endswith("/THIRD_PARTY.txt") for f in files)
    bundled = [f for f in files if ".so" in f and not f.endswith("_frieze.abi3.so")]
    assert all(re.match(r"frieze\.libs/lib(png16|jpeg|lcms2|z)-", f) for f in bundled), bundled


def test_the_extension_exports_its_init_function_alone(package_folder):
    extension = package_folder / "_frieze.abi3.so"
    table = subprocess.run(["nm", "-D", "--defined-only", extension], capture_output=True, text=True, check=True).stdout
    assert [line.split()[-1] for line in table.splitlines()] == ["PyInit__frieze"]
    needed = subprocess.run(["readelf", "-d", extension], capture_output=True, text=True, check=True).stdout
    libraries = re.findall(r"NEEDED.*\[(.*)\]", needed)
    assert libraries and all(re.match(r"(libstdc\+\+|libgcc_s|libm|libc|ld-linux|libpthread)", name) for name in libraries), libraries
    assert "/" not in "".join(re.findall(r"(?:RPATH|RUNPATH).*\[(.*)\]", needed)).replace("$ORIGIN/../frieze.libs", "")


def test_no_path_of_the_build_machine_is_inside(wheel):
    for name in wheel.namelist():
        data = wheel.read(name)
        for path in re.findall(rb"/(?:home|root|work|tmp|build|Users)/[\w./-]{4,}", data):
            assert b"/frieze/" not in path and b"/core/" not in path and b"/source/" not in path, (name, path)


def test_auditwheel_finds_it_portable():
    program = os.environ.get("FRIEZE_AUDITWHEEL")
    if not WHEEL or not program:
        pytest.skip("FRIEZE_AUDITWHEEL does not name the program")
    report = subprocess.run([program, "show", WHEEL], capture_output=True, text=True, check=False)
    assert report.returncode == 0, report.stderr
    assert re.search(r'following platform tag:\s+"manylinux_2_\d+_', report.stdout), report.stdout


def test_import_is_quick_and_asks_for_nothing():
    program = (
        "import sys, time; a = time.process_time(); import frieze; b = time.process_time();"
        "print(b - a, *[m for m in ('torch', 'numpy', 'cupy', 'jax') if m in sys.modules])"
    )
    outcomes = [run_python("-c", program, CUDA_VISIBLE_DEVICES="").stdout.split() for _ in range(5)]
    assert all(len(o) == 1 for o in outcomes), f"imported along: {outcomes}"
    assert min(float(o[0]) for o in outcomes) < 0.1


def test_what_this_build_is():
    info = frieze.build_info()
    assert re.fullmatch(r"\d+\.\d+\.\d+", frieze.__version__) and info["version"] == frieze.__version__
    assert set(info) == {"version", "commit", "cuda", "cublas", "cudnn"}
    assert isinstance(frieze.cuda_devices(), list)
    assert set(frieze.__all__) <= set(dir(frieze))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = frieze.nonsense


def test_errors_are_what_python_calls_them():
    table = {
        "ShapeError": ValueError,
        "OptionError": ValueError,
        "WeightsError": ValueError,
        "NonFiniteError": ValueError,
        "DTypeError": TypeError,
        "OutOfMemory": MemoryError,
        "IoError": OSError,
        "CudaError": RuntimeError,
        "CaptureError": RuntimeError,
    }
    for name, base in table.items():
        error = getattr(frieze, name)
        assert issubclass(error, frieze.Error) and issubclass(error, base) and error.__doc__
        assert error.__module__ == "frieze" and error.__name__ == name
    assert issubclass(frieze.Error, RuntimeError)


def test_what_needs_torch_says_so():
    program = "import sys; sys.modules['torch'] = None; import frieze\ntry: frieze.RMSNorm2d\nexcept ImportError as e: print(e)"
    assert "pip install torch" in run_python("-c", program).stdout


def test_docstrings():
    for name in frieze.__all__:
        if name in ("RMSNorm2d", "replace_norms"):
            continue
        thing = getattr(frieze, name)
        assert thing.__doc__, name
        if isinstance(thing, type) and not issubclass(thing, Exception):
            for member, value in vars(thing).items():
                if callable(value) and not member.startswith("_") and member not in ("eval", "to_tuple", "requires_grad_", "disable_tiling", "disable_slicing"):
                    assert value.__doc__, f"{name}.{member}"


def test_the_command_line(tmp_path):
    outcome = run_python("-m", "frieze", "--version")
    assert outcome.returncode == 0 and outcome.stdout.startswith("frieze " + frieze.__version__)
    script = os.path.join(os.path.dirname(sys.executable), "frieze")
    assert subprocess.run([script, "--version"], capture_output=True, text=True, check=True).stdout == outcome.stdout
    command = ["vae", "roundtrip", "--model", str(GOLDEN / "lite"), "--in", str(PHOTO), "--device", "cpu"]
    outcome = run_python("-m", "frieze", *command, "--out", str(tmp_path / "again.png"), "--tile", "--tile-size", "128")
    assert outcome.returncode == 0 and (tmp_path / "again.png").stat().st_size > 0, outcome.stderr
    denoised = run_python("-m", "frieze", "denoise", str(PHOTO.with_name("cmyk.jpg")), "-o", str(tmp_path / "clean.png"), "--device", "cpu")
    assert denoised.returncode == 0 and (tmp_path / "clean.png").stat().st_size > 0, denoised.stderr
    wrong = run_python("-m", "frieze", "vae", "fly")
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1


def test_the_stub_knows_every_name(package_folder):
    stub = (package_folder / "_frieze.pyi").read_text()
    from frieze import _frieze

    for name in vars(_frieze):
        if not name.startswith("__"):
            assert re.search(rf"^(class|def) {name}\b|^{name}\b", stub, re.MULTILINE), name


def test_libraries_of_pip_are_named(tmp_path, monkeypatch):
    from frieze import _libraries

    for folder, name in [("cu13", "libcublasLt.so.13"), ("cudnn", "libcudnn.so.9")]:
        (tmp_path / "nvidia" / folder / "lib").mkdir(parents=True)
        (tmp_path / "nvidia" / folder / "lib" / name).touch()
    monkeypatch.setattr(_libraries, "site_folders", lambda: [str(tmp_path / "other"), str(tmp_path)])
    found = {}
    _libraries.name_libraries(found)
    assert found == {
        "FRIEZE_CUBLASLT_FILE": str(tmp_path / "nvidia" / "cu13" / "lib" / "libcublasLt.so.13"),
        "FRIEZE_CUDNN_FILE": str(tmp_path / "nvidia" / "cudnn" / "lib" / "libcudnn.so.9"),
    }
    mine = {"FRIEZE_CUDNN_FILE": "/mine"}
    _libraries.name_libraries(mine)
    assert mine["FRIEZE_CUDNN_FILE"] == "/mine" and len(mine) == 2
    led = {"VIRTUAL_ENV": "/env"}
    _libraries.name_libraries(led)
    assert led == {"VIRTUAL_ENV": "/env"}, "the library looks there itself"
