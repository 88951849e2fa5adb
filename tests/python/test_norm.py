"""frieze.rms_norm2d() on NumPy's arrays and on other producers: values, memory, refusals."""

import gc
import itertools
import resource
import sys

import numpy as np
import pytest

import frieze


def formula(x, weight=None, bias=None, eps=1e-5, mode="add_inside", activation="none"):
    x = x.astype(np.float64)
    ms, c = (x * x).mean(1, keepdims=True), x.shape[1]
    y = {
        "add_inside": lambda: x / np.sqrt(ms + eps),
        "clamp_norm": lambda: x / np.maximum(np.sqrt(ms * c), eps) * np.sqrt(c),
        "clamp_mean_square": lambda: x / np.sqrt(np.maximum(ms, eps)),
        "add_to_rms": lambda: x / (np.sqrt(ms) + eps),
        "none": lambda: x / np.sqrt(ms),
    }[mode]()
    if weight is not None:
        y = y * weight.astype(np.float64).reshape(1, -1, 1, 1)
    if bias is not None:
        y = y + bias.astype(np.float64).reshape(1, -1, 1, 1)
    return {"none": lambda: y, "relu": lambda: np.maximum(y, 0), "silu": lambda: y / (1 + np.exp(-y))}[activation]()


TOLERANCE = {np.float32: 1e-6, np.float16: 1e-3}


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 5, 7), (1, 33, 1, 4), (3, 96, 2, 2)])
def test_every_setting(rng, dtype, shape):
    x = rng.standard_normal(shape).astype(dtype)
    weight, bias = (rng.standard_normal(shape[1]).astype(dtype) for _ in range(2))
    before = x.copy()
    for (w, b), mode, activation in itertools.product(
        [(None, None), (weight, None), (weight, bias), (None, bias)],
        ["add_inside", "clamp_norm", "clamp_mean_square", "add_to_rms", "none"],
        ["none", "relu", "silu"],
    ):
        y = frieze.rms_norm2d(x, w, b, 1e-3, eps_mode=mode, activation=activation)
        assert isinstance(y, np.ndarray) and y.dtype == dtype and y.shape == shape
        assert not np.shares_memory(x, y)
        np.testing.assert_allclose(y, formula(x, w, b, 1e-3, mode, activation), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    np.testing.assert_array_equal(x, before)


def test_defaults_and_parameters_with_extents_of_one(rng):
    x, w = rng.standard_normal((2, 4, 3, 3)).astype(np.float32) * 1e-3, rng.standard_normal(4).astype(np.float32)
    expected = frieze.rms_norm2d(x, w, eps=1e-5)
    np.testing.assert_allclose(expected, formula(x, w, eps=1e-5), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(frieze.rms_norm2d(x, w), expected)
    for shape in [(4, 1, 1), (1, 4, 1, 1), (1, 4)]:
        np.testing.assert_array_equal(frieze.rms_norm2d(x, w.reshape(shape)), expected)
    np.testing.assert_array_equal(frieze.rms_norm2d(x, eps_mode="clamp_norm"), frieze.rms_norm2d(x, eps=1e-12, eps_mode="clamp_norm"))


def test_residuals(rng):
    x, r = (rng.standard_normal((2, 5, 3, 4)).astype(np.float32) for _ in range(2))
    np.testing.assert_allclose(frieze.rms_norm2d(x, residual=r, residual_mode="before"), formula(x + r), rtol=1e-5, atol=1e-5)
    after = frieze.rms_norm2d(x, residual=r, residual_mode="after", activation="silu")
    np.testing.assert_allclose(after, formula(x, activation="silu") + r, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a,
        lambda a: a[:, :, ::-1],
        lambda a: a[::-1, ::-1, ::-1, ::-1],
        lambda a: a[:, :, :, ::2],
        lambda a: a[:, 1:4],
        lambda a: a.transpose(0, 3, 1, 2),
        lambda a: np.broadcast_to(a[:1], (3, *a.shape[1:])),
        lambda a: np.asfortranarray(a),
    ],
)
def test_strides_in_and_out(rng, view):
    base = rng.standard_normal((2, 6, 5, 8)).astype(np.float32)
    x = view(base)
    expected = formula(x)
    np.testing.assert_allclose(frieze.rms_norm2d(x), expected, rtol=1e-5, atol=1e-6)
    if x.flags.writeable:
        out = view(np.full_like(base, np.nan))
        assert frieze.rms_norm2d(x, out=out) is out
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


def test_read_only_and_misaligned_inputs(rng):
    x = rng.standard_normal((1, 3, 2, 2)).astype(np.float32)
    expected = frieze.rms_norm2d(x)
    locked = x.copy()
    locked.flags.writeable = False
    np.testing.assert_array_equal(frieze.rms_norm2d(locked), expected)
    raw = np.zeros(x.nbytes + 1, np.uint8)
    shifted = raw[1:].view(np.float32).reshape(x.shape)
    assert not shifted.flags.aligned
    shifted[...] = x
    np.testing.assert_array_equal(frieze.rms_norm2d(shifted), expected)
    records = np.zeros((1, 3, 2, 2), [("a", np.uint8), ("b", np.float32)])  # a stride of 5 bytes
    records["b"] = x
    np.testing.assert_array_equal(frieze.rms_norm2d(records["b"]), expected)
    for out, says in [(locked, "read-only"), (shifted, "aligned"), (records["b"], "aligned")]:
        with pytest.raises(frieze.OptionError, match=says):
            frieze.rms_norm2d(x, out=out)


def test_arrays_without_elements():
    for shape in [(0, 3, 2, 2), (1, 3, 0, 5), (2, 0, 4, 4)]:
        y = frieze.rms_norm2d(np.zeros(shape, np.float32))
        assert y.shape == shape and y.dtype == np.float32


def test_in_place_and_overlap(rng):
    x, r = (rng.standard_normal((2, 4, 3, 3)).astype(np.float32) for _ in range(2))
    expected = frieze.rms_norm2d(x)
    same = x.copy()
    assert frieze.rms_norm2d(same, out=same) is same
    np.testing.assert_array_equal(same, expected)
    into = r.copy()
    both = frieze.rms_norm2d(x, residual=into, residual_mode="before", out=into)
    np.testing.assert_array_equal(both, frieze.rms_norm2d(x, residual=r, residual_mode="before"))
    big = np.zeros((3, 4, 3, 3), np.float32)
    for out in [big[1:], big[:2, ::-1], big[:2, :, ::-1]]:
        with pytest.raises(frieze.OptionError, match="shares memory with x"):
            frieze.rms_norm2d(big[:2], out=out)
    with pytest.raises(frieze.OptionError, match="shares memory with weight"):
        frieze.rms_norm2d(x, weight=big.reshape(-1)[:4], out=big[:2])
    with pytest.raises(frieze.OptionError, match="shares memory with residual"):
        frieze.rms_norm2d(x, residual=big[:2], residual_mode="after", out=big[1:])
    interleaved = np.ones((2, 8, 3, 3), np.float32)  # halves of one array that do not meet
    frieze.rms_norm2d(2 * interleaved[:, ::2], out=interleaved[:, 1::2], eps=0.0)
    np.testing.assert_allclose(interleaved, 1, rtol=1e-6)


def test_refusals(rng):
    x = rng.standard_normal((2, 4, 3, 3)).astype(np.float32)
    w = np.ones(4, np.float32)
    table = [
        (lambda: frieze.rms_norm2d(x[0]), frieze.ShapeError, r"\[N,C,H,W\], got \[4,3,3\]"),
        (lambda: frieze.rms_norm2d(x[None]), frieze.ShapeError, r"got \[1,2,4,3,3\]"),
        (lambda: frieze.rms_norm2d(x, w[:3]), frieze.ShapeError, r"weight: expected \[C\] with C = 4.*got \[3\]"),
        (lambda: frieze.rms_norm2d(x, bias=np.ones((2, 2), np.float32)), frieze.ShapeError, "bias: .*got"),
        (lambda: frieze.rms_norm2d(x, np.ones(8, np.float32)[::2]), frieze.OptionError, "weight: expected contiguous"),
        (lambda: frieze.rms_norm2d(x, w.astype(np.float16)), frieze.DTypeError, "weight: .*f32, got f16"),
        (lambda: frieze.rms_norm2d(x, out=np.zeros((2, 4, 3, 2), np.float32)), frieze.ShapeError, "out: expected the shape"),
        (lambda: frieze.rms_norm2d(x, out=np.zeros(x.shape, np.float16)), frieze.DTypeError, "out: .*f16"),
        (lambda: frieze.rms_norm2d(x, residual=x), frieze.OptionError, "residual"),
        (lambda: frieze.rms_norm2d(x, residual_mode="before"), frieze.OptionError, "residual is needed"),
        (lambda: frieze.rms_norm2d(x, residual=x[:1], residual_mode="after"), frieze.ShapeError, "residual: expected the shape"),
        (lambda: frieze.rms_norm2d(x, eps=-1), frieze.OptionError, "eps"),
        (lambda: frieze.rms_norm2d(x, eps=float("nan")), frieze.OptionError, "eps"),
        (lambda: frieze.rms_norm2d(x, eps=float("inf")), frieze.OptionError, "eps"),
        (lambda: frieze.rms_norm2d(x, eps_mode="inside"), frieze.OptionError, "'inside'"),
        (lambda: frieze.rms_norm2d(x, rounding="up"), frieze.OptionError, "'up'"),
        (lambda: frieze.rms_norm2d(x, activation="swish"), frieze.OptionError, "'swish'"),
        (lambda: frieze.rms_norm2d(x, residual_mode="between", residual=x), frieze.OptionError, "'between'"),
        (lambda: frieze.rms_norm2d([[1.0]]), frieze.DTypeError, "DLPack.*list"),
        (lambda: frieze.rms_norm2d(None), frieze.DTypeError, "NoneType"),
        (lambda: frieze.rms_norm2d(3.5), frieze.DTypeError, "float"),
        (lambda: frieze.rms_norm2d(x, [1.0] * 4), frieze.DTypeError, "weight.*list"),
        (lambda: frieze.rms_norm2d(x, activation=3), frieze.OptionError, "int"),
        (lambda: frieze.rms_norm2d(x, eps="small"), frieze.OptionError, "str"),
        (lambda: frieze.rms_norm2d(x, eps_mode=None), frieze.OptionError, "NoneType"),
    ]
    for action, error, says in table:
        with pytest.raises(error, match=says):
            action()


@pytest.mark.parametrize("dtype", ["float64", "int32", "uint8", "complex64", "bool", ">f4", "object", "U3"])
def test_types_of_values_that_are_refused(dtype):
    with pytest.raises(frieze.DTypeError, match="float32"):
        frieze.rms_norm2d(np.zeros((1, 2, 3, 3), dtype))
    with pytest.raises(frieze.DTypeError, match="weight"):
        frieze.rms_norm2d(np.zeros((1, 2, 3, 3), np.float32), np.zeros(2, dtype))


class Producer:
    """Nothing but DLPack."""

    def __init__(self, array):
        self.array, self.shape, self.capsules = array, array.shape, 0

    def __dlpack__(self, **keywords):
        self.capsules += 1
        return self.array.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_any_producer(rng):
    x, w = rng.standard_normal((2, 4, 3, 3)).astype(np.float32), np.ones(4, np.float32)
    producer = Producer(x)
    np.testing.assert_array_equal(frieze.rms_norm2d(producer, Producer(w)), frieze.rms_norm2d(x, w))
    assert producer.capsules > 0
    np.testing.assert_array_equal(frieze.rms_norm2d(memoryview(x)), frieze.rms_norm2d(x))  # the buffer protocol alone
    with pytest.raises(frieze.DTypeError, match="float64|float32"):
        frieze.rms_norm2d(Producer(x.astype(np.float64)))


def test_nothing_is_kept(rng):
    x, w = rng.standard_normal((1, 8, 16, 16)).astype(np.float32), np.ones(8, np.float32)
    references = sys.getrefcount(x), sys.getrefcount(w)

    def many(count):
        for i in range(count):
            frieze.rms_norm2d(x, w)
            if i % 100 == 0:
                with pytest.raises(frieze.ShapeError):
                    frieze.rms_norm2d(x, w[:3])
        gc.collect()

    many(2000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    many(20000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096  # KiB; one result is 8 KiB
    assert (sys.getrefcount(x), sys.getrefcount(w)) == references
