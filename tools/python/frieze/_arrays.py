"""Arrays of several libraries: how each is handed to the native part, and where results come from."""

import sys
from typing import Any, Optional, Tuple

from ._frieze import DTypeError, OptionError

CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13  # DLPack's types of devices

TYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


def called(what: str, function: Any, *arguments: Any, **keywords: Any) -> Any:
    """function(…) of the native part, with an OptionError for arguments of types that it does not take."""
    try:
        return function(*arguments, **keywords)
    except TypeError as e:
        if isinstance(e, DTypeError) or "incompatible function arguments" not in str(e):
            raise
        given = ", ".join([*(type(a).__name__ for a in arguments), *(f"{k}: {type(v).__name__}" for k, v in keywords.items())])
        raise OptionError(f"{what}: an argument is of a type that is not taken, among {given}") from None


def type_name(dtype: Any) -> str:
    """ "f32", "f16" or "bf16" for one of these, a NumPy type or a torch.dtype."""
    text = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", None) or str(dtype)
    text = text.rpartition(".")[2]
    short = TYPES.get(text, text)
    if short not in TYPES.values():
        raise OptionError(f"dtype: expected float32, float16 or bfloat16, got {text}")
    return short


def long_name(short: str) -> str:
    """The inverse: "float32" for "f32"."""
    return next(name for name, s in TYPES.items() if s == short)


def is_torch(x: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def device_of(x: Any, what: str = "x") -> Tuple[int, int]:
    """(type, index) as DLPack has them. Objects with the buffer protocol alone lie on the CPU."""
    if is_torch(x):
        kind = x.device.type
        if kind not in ("cpu", "cuda"):
            raise OptionError(f"{what}: expected a tensor on the CPU or on CUDA, got one on {kind}")
        return (CPU, 0) if kind == "cpu" else (CUDA, x.device.index)
    ask = getattr(x, "__dlpack_device__", None)
    if ask is not None:
        kind, index = ask()
        return int(kind), int(index)
    try:
        memoryview(x).release()
    except TypeError:
        raise DTypeError(f"{what}: expected an array that speaks DLPack, such as NumPy's or PyTorch's, got {type(x).__name__}") from None
    return CPU, 0


def is_cuda(x: Any, what: str = "x") -> bool:
    return device_of(x, what)[0] in (CUDA, CUDA_MANAGED)


def handed(x: Any, what: str, *, writable: bool = False, stream: int = 0) -> Any:
    """What the native part takes for `x`: memory of float32, float16 or bfloat16 with any strides. Throws DTypeError, OptionError."""
    if is_torch(x):
        if str(x.dtype) not in ("torch.float32", "torch.float16", "torch.bfloat16"):
            raise DTypeError(f"{what}: expected float32, float16 or bfloat16, got {str(x.dtype).rpartition('.')[2]}")
        if x.layout is not sys.modules["torch"].strided:
            raise DTypeError(f"{what}: expected a dense tensor, got {x.layout}")
        x = x.detach()
        # The work goes to the caller's current stream, which torch's memory is ordered on already: no synchronisation.
        return x.__dlpack__(stream=-1) if x.is_cuda else x
    if type(x).__module__.partition(".")[0] == "numpy":
        return _numpy_handed(x, what, writable)
    if is_cuda(x, what):
        return x.__dlpack__(stream=stream if stream != 0 else 1)  # DLPack calls the legacy stream 1
    return x


def _numpy_handed(x: Any, what: str, writable: bool) -> Any:
    import numpy as np

    if not isinstance(x, np.ndarray):
        raise DTypeError(f"{what}: expected an array, got {type(x).__name__}")
    if x.dtype not in (np.float32, np.float16) or not x.dtype.isnative:
        raise DTypeError(f"{what}: expected float32 or float16 in the machine's byte order, got {x.dtype.str if x.dtype.kind == 'f' else x.dtype}")
    if writable and not x.flags.writeable:
        raise OptionError(f"{what}: the array is read-only")
    fits = x.flags.aligned and all(s % x.itemsize == 0 for s in x.strides)
    if not fits:
        if writable:
            raise OptionError(f"{what}: expected memory that is aligned for its type")
        x = np.array(x)  # a copy, which is
    return x


def empty_like(x: Any, shape: Tuple[int, ...], dtype: Optional[str], what: str = "x") -> Any:
    """Fresh memory where `x` lies, of its library; `dtype`: a long name, or None for that of x. Other libraries' arrays on the CPU get
    NumPy's, see given_back()."""
    if is_torch(x):
        torch = sys.modules["torch"]
        return torch.empty(shape, dtype=x.dtype if dtype is None else getattr(torch, dtype), device=x.device)
    library = type(x).__module__.partition(".")[0]
    if library == "cupy":
        cupy = sys.modules["cupy"]
        return cupy.empty(shape, dtype=x.dtype if dtype is None else dtype)
    if is_cuda(x, what):
        raise OptionError(f"{what}: results for {type(x).__name__} on CUDA need out=, memory that the caller has made, and stream=")
    import numpy as np

    if dtype is None:
        try:
            dtype = str(x.dtype if library == "numpy" else np.from_dlpack(x).dtype if hasattr(x, "__dlpack__") else np.asarray(x).dtype)
        except (BufferError, RuntimeError, TypeError) as e:
            raise DTypeError(f"{what}: NumPy cannot read this {type(x).__name__}: {e}") from None
    if dtype == "bfloat16":
        raise DTypeError(f"{what}: NumPy has no bfloat16: use PyTorch's tensors, or float32")
    return np.empty(shape, dtype=dtype)


def given_back(result: Any, x: Any) -> Any:
    """`result` as an array of the library of `x`, without a copy."""
    library = sys.modules.get(type(x).__module__.partition(".")[0])
    if is_torch(x) or type(result).__module__.partition(".")[0] == getattr(library, "__name__", None):
        return result
    from_dlpack = getattr(library, "from_dlpack", None)
    return from_dlpack(result) if from_dlpack is not None else result


def stream_of(x: Any, stream: Any) -> int:
    """The handle of `stream`, or of the stream that is current for the library of `x` on its device; 0 on the CPU."""
    if stream is not None:
        if isinstance(stream, int):
            return stream
        protocol = getattr(stream, "__cuda_stream__", None)
        if protocol is not None:
            return int((protocol() if callable(protocol) else protocol)[1])
        for name in ("cuda_stream", "ptr"):
            if hasattr(stream, name):
                return int(getattr(stream, name))
        raise OptionError(f"stream: expected a handle or a stream object, got {type(stream).__name__}")
    if is_torch(x):
        return sys.modules["torch"].cuda.current_stream(x.device).cuda_stream if x.is_cuda else 0
    if type(x).__module__.partition(".")[0] == "cupy":
        return int(sys.modules["cupy"].cuda.get_current_stream().ptr)
    if is_cuda(x):
        raise OptionError(f"stream: which one to use for {type(x).__name__} is not known: pass stream=")
    return 0


def to_host(x: Any, what: str) -> Any:
    """`x` on the CPU, for parameters that are copied anyway."""
    if is_torch(x):
        x = x.detach().cpu()
    return handed(x, what)
