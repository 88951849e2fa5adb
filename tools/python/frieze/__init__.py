"""Frieze from Python: RMSNorm2d, autoencoders, a denoiser and models of your own, each as one CUDA graph, or on the CPU.

Arrays are anything that speaks DLPack: NumPy and PyTorch on the CPU; PyTorch and CuPy on CUDA, where a build with CUDA uses them where they
lie, on the caller's current stream. Importing this package imports neither PyTorch nor NumPy and asks for no driver.

    frieze.rms_norm2d(x, weight)                         # [N,C,H,W] -> the same, normalised over the channels
    frieze.RMSNorm2d(64), frieze.replace_norms(model)    # as torch.nn.Module
    frieze.Autoencoder.from_pretrained(folder)           # .encode(x).latent, .decode(z).sample
    frieze.Denoiser()(photo)
    frieze.Graph()                                       # layers of your own, compiled, verified, profiled
    python -m frieze --help                              # the command line

Errors: `Error` (a RuntimeError) and under it ShapeError, DTypeError, OptionError, WeightsError, OutOfMemory, IoError, CudaError,
CaptureError, NonFiniteError, which are ValueError, TypeError, MemoryError or OSError too where that fits.
"""

from importlib import import_module as _import_module
from typing import Any as _Any

from ._frieze import (
    CaptureError,
    CudaError,
    DTypeError,
    Error,
    IoError,
    NonFiniteError,
    OptionError,
    OutOfMemory,
    ShapeError,
    WeightsError,
    build_info,
    cuda_devices,
)
from ._graph import Graph, Model, Value
from ._models import Autoencoder, DecoderOutput, Denoiser, EncoderOutput
from ._norm import rms_norm2d

__version__: str = build_info()["version"]

# Defined in terms of torch, which is imported when one of them is asked for.
_NEED_TORCH = ("RMSNorm2d", "replace_norms")

__all__ = [
    "Autoencoder",
    "CaptureError",
    "CudaError",
    "DTypeError",
    "DecoderOutput",
    "Denoiser",
    "EncoderOutput",
    "Error",
    "Graph",
    "IoError",
    "Model",
    "NonFiniteError",
    "OptionError",
    "OutOfMemory",
    "RMSNorm2d",
    "ShapeError",
    "Value",
    "WeightsError",
    "build_info",
    "cuda_devices",
    "replace_norms",
    "rms_norm2d",
]


def __getattr__(name: str) -> _Any:
    if name in _NEED_TORCH:
        try:
            module = _import_module("._torch", __name__)
        except ModuleNotFoundError as e:
            if e.name != "torch":
                raise
            raise ImportError(f"frieze.{name} is a torch.nn.Module, and PyTorch is not installed: pip install torch", name="torch") from e
        return getattr(module, name)
    raise AttributeError(f"module 'frieze' has no attribute '{name}'")


def __dir__() -> list:
    return sorted(__all__ + ["__version__"])
