"""frieze.Graph: what layers compute, what is refused where, and reports."""

import numpy as np
import pytest
from conftest import read_safetensors, run_python, write_safetensors

import frieze
from frieze import _frieze


def compiled(build, *arrays):
    """build(graph, values…) compiled for these arrays, and run on them."""
    g = frieze.Graph()
    values = [g.input(f"x{i}", a.shape) for i, a in enumerate(arrays)]
    return g.compile(build(g, *values), device="cpu")(*arrays)


def conv_formula(x, w, b, padding):
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    n, _, h, wd = x.shape
    m, _, kh, kw = w.shape
    y = np.zeros((n, m, h - kh + 1, wd - kw + 1))
    for r in range(kh):
        for s in range(kw):
            y += np.einsum("nchw,mc->nmhw", x[:, :, r : r + y.shape[2], s : s + y.shape[3]], w[:, :, r, s])
    return y + b.reshape(1, -1, 1, 1)


def silu(x):
    return x / (1 + np.exp(-x))


def test_a_block_with_a_skip(rng):
    x = rng.standard_normal((2, 4, 6, 5)).astype(np.float32)
    w0, b1 = rng.standard_normal(4).astype(np.float32), rng.standard_normal(4).astype(np.float32)
    w1 = rng.standard_normal((4, 4, 3, 3)).astype(np.float32)

    def build(g, v):
        assert v.shape == (2, 4, 6, 5) and v.dtype == "f32"
        return v + g.conv2d(g.silu(g.rms_norm2d(v, w0)), w1, b1, padding=1)

    norm = x / np.sqrt((x.astype(np.float64) ** 2).mean(1, keepdims=True) + 1e-5) * w0.reshape(1, -1, 1, 1)
    np.testing.assert_allclose(compiled(build, x), x + conv_formula(silu(norm), w1, b1, 1), rtol=2e-5, atol=2e-5)


def test_every_layer(rng):
    x = rng.standard_normal((2, 8, 4, 6)).astype(np.float32)
    flat, w = rng.standard_normal((3, 5)).astype(np.float32), rng.standard_normal((7, 5)).astype(np.float32)
    bias = rng.standard_normal(7).astype(np.float32)
    mean, var = rng.standard_normal(8).astype(np.float32), rng.uniform(0.5, 2, 8).astype(np.float32)
    one = np.ones(8, np.float32)
    shaped = mean.reshape(1, 8, 1, 1), var.reshape(1, 8, 1, 1)
    shuffled = x.reshape(2, 2, 2, 2, 4, 6).transpose(0, 1, 4, 2, 5, 3).reshape(2, 2, 8, 12)
    table = [
        (lambda g, v: g.relu(v), (x,), np.maximum(x, 0)),
        (lambda g, v: g.silu(v), (x,), silu(x)),
        (lambda g, v: g.sigmoid(v), (x,), 1 / (1 + np.exp(-x))),
        (lambda g, v: g.gelu(v, approximate="tanh"), (x,), 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
        (lambda g, a, b: a + b, (x, x[:1, :, :1]), x + x[:1, :, :1]),
        (lambda g, a, b: a * b, (x, x[:, :1]), x * x[:, :1]),
        (lambda g, v: 3 * v, (x,), 3 * x),
        (lambda g, v: v * 0.5, (x,), 0.5 * x),
        (lambda g, a, b: g.concat(a, b), (x, x[:, :3]), np.concatenate([x, x[:, :3]], 1)),
        (lambda g, v: g.slice(v, 2, 5), (x,), x[:, 2:5]),
        (lambda g, v: g.add(*g.chunk(v, 2)), (x,), x[:, :4] + x[:, 4:]),
        (lambda g, v: g.pixel_shuffle(v, 2), (x,), shuffled),
        (lambda g, v: g.pixel_unshuffle(g.pixel_shuffle(v, 2), 2), (x,), x),
        (lambda g, v: g.upsample(v, 2), (x,), x.repeat(2, 2).repeat(2, 3)),
        (lambda g, v: g.gated_silu(v), (x,), x[:, :4] * silu(x[:, 4:])),
        (lambda g, v: g.softmax(v), (x,), np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
        (lambda g, v: g.softmax(v, axis=1), (x,), np.exp(x) / np.exp(x).sum(1, keepdims=True)),
        (lambda g, v: g.global_avg_pool(v), (x,), x.mean((2, 3))),
        (lambda g, v: g.global_avg_pool(v, keep_dims=True), (x,), x.mean((2, 3), keepdims=True)),
        (lambda g, v: g.linear(v, w, bias), (flat,), flat @ w.T + bias),
        (lambda g, v: g.linear(v, w), (flat,), flat @ w.T),
        (lambda g, v: g.batch_norm2d(v, one, 0 * one, mean, var), (x,), (x - shaped[0]) / np.sqrt(shaped[1] + 1e-5)),
        (lambda g, a, b: g.rms_norm2d(a, residual=b, residual_mode="after"), (x, x), frieze.rms_norm2d(x) + x),
        (lambda g, v: g.rms_norm2d(v, one * 2, mean, 1e-3, eps_mode="add_to_rms"), (x,),
         frieze.rms_norm2d(x, one * 2, mean, 1e-3, eps_mode="add_to_rms")),
        (lambda g, v: g.layer("averaging_shortcut", v, channels=4, factor=1), (x,), x.reshape(2, 4, 2, 4, 6).mean(2)),
    ]  # fmt: skip
    for i, (build, arrays, expected) in enumerate(table):
        np.testing.assert_allclose(compiled(build, *arrays), expected, rtol=1e-5, atol=1e-5, err_msg=f"row {i}")


def test_linear_attention(rng):
    qkv = rng.standard_normal((1, 24, 3, 4)).astype(np.float32)  # two heads of 4: q, k, v for each
    parts = qkv.reshape(1, 2, 3, 4, 12).astype(np.float64)
    q, k, v = np.maximum(parts[:, :, 0], 0), np.maximum(parts[:, :, 1], 0), parts[:, :, 2]
    padded = np.concatenate([v, np.ones_like(v[:, :, :1])], 2)
    product = np.einsum("bhdp,bhep,bheq->bhdq", padded, k, q)
    expected = (product[:, :, :4] / (product[:, :, 4:] + 1e-15)).reshape(1, 8, 3, 4)
    np.testing.assert_allclose(compiled(lambda g, x: g.linear_attention2d(x, 4), qkv), expected, rtol=1e-4, atol=1e-5)


def test_bit_for_bit_what_the_command_line_computes(rng, tmp_path):
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in [(1, 3, 9, 7), (5, 3, 3, 3), (5,)])
    write_safetensors(tmp_path / "in.safetensors", {"x": x, "weight": w, "bias": b})
    command = ["op", "conv2d", "--in", str(tmp_path / "in.safetensors"), "--out", str(tmp_path / "y.safetensors"), "--device", "cpu"]
    outcome = run_python("-m", "frieze", *command, "--set", "padding=1", "--set", "stride=2x1")
    assert outcome.returncode == 0, outcome.stderr
    got = compiled(lambda g, v: g.conv2d(v, w, b, padding=1, stride=(2, 1)), x)
    np.testing.assert_array_equal(got, read_safetensors(tmp_path / "y.safetensors")["y"])


def test_several_inputs_and_outputs(rng):
    a, b = (rng.standard_normal((1, 2, 3, 3)).astype(np.float32) for _ in range(2))
    g = frieze.Graph()
    x, y = g.input("a", a.shape), g.input("b", b.shape)
    model = g.compile({"sum": x + y, "product": x * y}, device="cpu")
    assert [p[0] for p in model.inputs] == ["a", "b"] and {p[0] for p in model.outputs} == {"sum", "product"}
    results = model(a, b)
    np.testing.assert_allclose(results["sum"], a + b, rtol=1e-6)
    np.testing.assert_allclose(results["product"], a * b, rtol=1e-6)
    out = {"sum": np.zeros_like(a), "product": np.zeros_like(a)}
    assert model(a, b, out=out) is out
    np.testing.assert_array_equal(out["sum"], results["sum"])
    with pytest.raises(frieze.OptionError, match="product"):
        model(a, b, out={"sum": out["sum"]})
    with pytest.raises(frieze.OptionError, match="several outputs"):
        model(a, b, out=out["sum"])
    with pytest.raises(frieze.OptionError, match="2 inputs"):
        model(a)


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", np.float16, "float32"])
def test_types_of_the_model_and_of_arrays(rng, dtype):
    x = rng.standard_normal((1, 4, 3, 3)).astype(np.float32)
    g = frieze.Graph()
    model = g.compile(g.rms_norm2d(g.input("x", x.shape, dtype)), device="cpu")
    coarse = {"f32": 1e-6, "float32": 1e-6, "bf16": 2e-2}.get(dtype, 2e-3)
    np.testing.assert_allclose(model(x), frieze.rms_norm2d(x), rtol=coarse, atol=coarse)
    assert model(x.astype(np.float16)).dtype == np.float16


def test_errors_come_from_the_call_that_is_wrong(rng):
    g = frieze.Graph()
    x = g.input("x", (1, 3, 8, 8))
    w = rng.standard_normal((4, 5, 3, 3)).astype(np.float32)
    nan = np.full(3, np.nan, np.float32)
    table = [
        (lambda: g.conv2d(x, w), frieze.ShapeError, "Conv2d expects 5 input channels, got 3"),
        (lambda: g.conv2d(x, w[:, :3], np.zeros(3, np.float32)), frieze.ShapeError, r"'bias': expected \[4\], got \[3\]"),
        (lambda: g.conv2d(x, w[0]), frieze.ShapeError, "rank 4"),
        (lambda: g.conv2d(x, w[:, :3], groups=0), frieze.OptionError, "groups"),
        (lambda: g.conv2d(x, w[:, :3], stride=(1, 2, 3)), frieze.OptionError, "stride"),
        (lambda: g.rms_norm2d(x, np.ones(4, np.float32)), frieze.ShapeError, "weight"),
        (lambda: g.rms_norm2d(x, nan), frieze.WeightsError, "3 values that are NaN"),
        (lambda: g.rms_norm2d(x, residual=x), frieze.OptionError, "residual_mode"),
        (lambda: g.slice(x, 2, 9), frieze.ShapeError, "Slice"),
        (lambda: g.chunk(x, 2), frieze.OptionError, "divides the 3 channels"),
        (lambda: g.layer("nonsense", x), frieze.OptionError, "unknown layer 'nonsense'"),
        (lambda: g.layer("silu", x, colour="red"), frieze.OptionError, "colour"),
        (lambda: g.layer("silu", x, parameters={"weight": nan}), frieze.OptionError, "weight"),
        (lambda: g.layer("silu"), frieze.OptionError, "needs an input"),
        (lambda: g.layer("silu", 3), frieze.OptionError, "values of this graph"),
        (lambda: g.add(x, frieze.Graph().input("x", (1, 3, 8, 8))), frieze.OptionError, "values of this graph"),
        (lambda: g.input("x", (1, 3, 8, 8)), frieze.OptionError, "one of this name"),
        (lambda: g.input("z", (1, 0, 8, 8)), frieze.ShapeError, r"\[1,0,8,8\]"),
        (lambda: g.input("z", (1,) * 9), frieze.ShapeError, "8"),
        (lambda: g.input("z", (1, 1), "f64"), frieze.OptionError, "f64"),
        (lambda: g.input("z", (1, 2.5)), frieze.OptionError, "2.5"),
        (lambda: g.input("z", 3), frieze.OptionError, "whole numbers"),
        (lambda: g.input(7, (1, 1)), frieze.OptionError, "int"),
        (lambda: g.compile(x, device="cpu", max_memory="1G"), frieze.OptionError, "str"),
        (lambda: g.compile(3, device="cpu"), frieze.OptionError, "'y'.*int"),
        (lambda: g.gelu(x, approximate="sometimes"), frieze.OptionError, "sometimes"),
        (lambda: g.compile({}), frieze.OptionError, "output"),
        (lambda: g.compile(x + x, device="tpu"), frieze.OptionError, "tpu"),
        (lambda: g.compile(x + x, device="cpu", tf32=True), frieze.OptionError, "CUDA"),
        (lambda: g.compile(x + x, device="cpu", max_memory=10), frieze.OutOfMemory, "memory"),
    ]
    for i, (action, error, says) in enumerate(table):
        try:
            action()
        except error as e:
            assert __import__("re").search(says, str(e)), f"row {i}: {e}"
        else:
            pytest.fail(f"row {i} was not refused")
    if not frieze.cuda_devices():
        with pytest.raises(frieze.CudaError):
            g.compile(x + x, device="cuda")
    assert g.compile(x + x, device="cpu")(np.ones((1, 3, 8, 8), np.float32)).sum() == 2 * 3 * 64, "the graph is as it was"


def test_calls_that_are_refused():
    g = frieze.Graph()
    model = g.compile(g.silu(g.input("x", (1, 3, 4, 4))), device="cpu")
    with pytest.raises(frieze.ShapeError, match=r"'x': expected shape \[1,3,4,4\], got \[1,3,4,5\]"):
        model(np.zeros((1, 3, 4, 5), np.float32))
    with pytest.raises(frieze.DTypeError, match="'x'.*float32"):
        model(np.zeros((1, 3, 4, 4)))
    with pytest.raises(frieze.DTypeError, match="list"):
        model([1.0])
    with pytest.raises(frieze.ShapeError, match="'y'"):
        model(np.zeros((1, 3, 4, 4), np.float32), out=np.zeros((1, 3, 4), np.float32))


def test_reports(rng):
    g = frieze.Graph()
    x = g.input("x", (1, 8, 6, 6))
    model = g.compile(g.silu(g.conv2d(x, rng.standard_normal((8, 8, 3, 3)).astype(np.float32), padding=1)), device="cpu")
    report = model.verify(seed=3)
    assert report["ok"] is True and report["layers"]
    assert model.receipt()["memory"]["total"] > 0
    assert len(model.profile(rounds=3)["steps"]) == len(model.receipt()["steps"])
    with pytest.raises(frieze.OptionError):
        model.profile(rounds=0)
    page = model._repr_html_()
    assert page.count("<tr>") == len(model.receipt()["steps"]) + 1


def test_a_model_outlives_its_graph_and_weights(rng):
    w = rng.standard_normal((4, 4, 1, 1)).astype(np.float32)
    g = frieze.Graph()
    x = g.input("x", (1, 4, 2, 2))
    model = g.compile(g.conv2d(x, w), device="cpu")
    a = rng.standard_normal((1, 4, 2, 2)).astype(np.float32)
    expected = model(a)
    w[...] = np.nan
    del g, x
    np.testing.assert_array_equal(model(a), expected)


def test_every_layer_of_the_library_has_a_method(rng):
    g = frieze.Graph()
    for name in _frieze.layers:
        assert callable(getattr(g, name)), name
    with pytest.raises(AttributeError, match="no layer 'softmin'"):
        g.softmin
    x = g.input("x", (1, 4, 6, 6))
    a = rng.standard_normal((1, 4, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(g.compile(g.softplus(x), device="cpu")(a), np.log1p(np.exp(a)), rtol=1e-5)
    pooled = g.compile(g.max_pool2d(x, kernel=2), device="cpu")(a)
    np.testing.assert_array_equal(pooled, a.reshape(1, 4, 3, 2, 3, 2).max(axis=(3, 5)))
