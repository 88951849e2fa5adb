"""rms_norm2d() for arrays of any library."""

from typing import Any, Optional

from . import _arrays, _frieze

_torch_part: Any = None


def _load_torch() -> Any:
    global _torch_part
    from . import _torch

    _torch_part = _torch
    return _torch


def rms_norm2d(
    x: Any,
    weight: Optional[Any] = None,
    bias: Optional[Any] = None,
    eps: Optional[float] = None,
    *,
    residual: Optional[Any] = None,
    residual_mode: str = "none",
    activation: str = "none",
    eps_mode: str = "add_inside",
    rounding: str = "once",
    out: Optional[Any] = None,
    stream: Optional[Any] = None,
) -> Any:
    """y[n,c,h,w] = activation(x / sqrt(mean over c of x^2 + eps) * weight[c] + bias[c]).

    x: [N,C,H,W], float32, float16 or bfloat16, any strides, of NumPy, PyTorch, CuPy or another library that speaks DLPack. On CUDA one kernel
    is enqueued on the caller's current stream (or `stream`: a handle or a stream object) and nothing is waited for. On the CPU the reference
    in double precision runs: right, not fast.
    weight, bias: [C], or with extents of 1 around it; contiguous, of x's type and device.
    eps: by default 1e-5, and 1e-12 for eps_mode="clamp_norm".
    eps_mode: "add_inside", "clamp_norm" (x / max(norm, eps) * sqrt(C)), "clamp_mean_square", "add_to_rms" or "none".
    residual, residual_mode: an array like x that is added "before" the norm, or "after" the activation.
    activation: "none", "relu", "silu", "gelu", "gelu_tanh" or "sigmoid".
    rounding: of 16-bit types: "once", "diffusers" or "wan", as these round in between.
    out: written and returned; it may be x or residual itself, and may not overlap them otherwise.

    Returns an array of the library, device, shape and type of x; torch's memory format is kept. An array without elements gives one.
    Raises ShapeError, DTypeError, OptionError, CudaError. Gradients: with torch tensors, for eps_mode="add_inside" without residual and
    activation; other settings raise when backward() reaches them.
    """
    if _arrays.is_torch(x):
        part = _torch_part or _load_torch()
        if out is None and stream is None:
            if part.needs_dispatcher(x, weight, bias, residual):
                return part.dispatched(x, weight, bias, eps, residual, residual_mode, activation, eps_mode, rounding)
            if residual is None and residual_mode == "none" and x.layout is part.strided:
                try:
                    result = _frieze.rms_norm2d_exchanged(x, weight, bias, eps, activation, eps_mode, rounding)
                    if result is not None:
                        return result
                except (RuntimeError, TypeError) as e:
                    if isinstance(e, _frieze.Error):
                        raise
                    # torch cannot describe this tensor, or an argument is of no type that is taken: the long way says so
        if out is None:
            out = part.empty_like(x)
    _arrays.device_of(x)
    result = _arrays.empty_like(x, tuple(x.shape), None) if out is None else out
    handle = _arrays.stream_of(x, stream)
    pack = _arrays.handed

    def packed(a: Optional[Any], what: str) -> Any:
        return None if a is None else pack(a, what, stream=handle)

    _arrays.called(
        "rms_norm2d",
        _frieze.rms_norm2d_into,
        pack(x, "x", stream=handle),
        packed(weight, "weight"),
        packed(bias, "bias"),
        packed(residual, "residual"),
        pack(result, "out", writable=True, stream=handle),
        eps,
        residual_mode,
        activation,
        eps_mode,
        rounding,
        handle,
    )
    return result if out is not None else _arrays.given_back(result, x)
