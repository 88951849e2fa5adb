"""What the tests of the wheel share. They run against the installed package, never against tools/python."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

TREE = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = TREE / "tests" / "golden" / "dc_ae"
PHOTO = TREE / "tests" / "data" / "chelsea.png"


def read_safetensors(path):
    """{name: float32 array} of a file's tensors of float32 and bfloat16."""
    data = pathlib.Path(path).read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    body = data[8 + size :]
    tensors = {}
    for name, t in header.items():
        raw = body[t["data_offsets"][0] : t["data_offsets"][1]]
        if t["dtype"] == "F32":
            tensors[name] = np.frombuffer(raw, np.float32).reshape(t["shape"])
        elif t["dtype"] == "BF16":  # the upper half of a float32
            tensors[name] = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(t["shape"])
    return tensors


def write_safetensors(path, tensors):
    header, body = {}, b""
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array, np.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    pathlib.Path(path).write_bytes(len(text).to_bytes(8, "little") + text + body)


def share_of_range(got, expected):
    """The largest difference as a share of the expected values' range."""
    assert got.shape == expected.shape
    return float(np.abs(got - expected).max() / (expected.max() - expected.min()))


def run_python(*arguments, **environment):
    """The outcome of a fresh interpreter."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, env={**os.environ, **environment}, check=False
    )


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(scope="session", autouse=True)
def package_folder():
    import frieze

    where = pathlib.Path(frieze.__file__).absolute().parent
    assert where != TREE / "tools" / "python" / "frieze", "the tests are for the installed package"
    return where
