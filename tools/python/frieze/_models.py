"""The models that come along: autoencoders from checkpoints, and the denoiser."""

import json
import os
import warnings
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

from . import _arrays, _frieze
from ._frieze import OptionError, ShapeError
from ._graph import _open, device_name


class _Output:
    """One array under a name, by index, and unpacked: what diffusers' outputs are to the code of its pipelines."""

    _name = ""

    def __init__(self, value: Any) -> None:
        self.__dict__[self._name] = value

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self.__dict__[key]
        return (self.__dict__[self._name],)[key]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.__dict__[self._name],))

    def __len__(self) -> int:
        return 1

    def to_tuple(self) -> Tuple[Any]:
        return (self.__dict__[self._name],)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name}={self.__dict__[self._name]!r})"


class EncoderOutput(_Output):
    """`.latent`: [N,L,H/ratio,W/ratio], not scaled."""

    _name = "latent"
    latent: Any


class DecoderOutput(_Output):
    """`.sample`: [N,3,H,W], not clamped."""

    _name = "sample"
    sample: Any


class Config(Mapping[str, Any]):
    """The fields of config.json, as attributes and by name."""

    def __init__(self, fields: Dict[str, Any]) -> None:
        self.__dict__["_fields"] = dict(fields)

    def __getitem__(self, key: str) -> Any:
        return self._fields[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_fields"][name]
        except KeyError:
            raise AttributeError(f"the config has no field '{name}'") from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a config is read-only")

    def __repr__(self) -> str:
        return f"Config({self._fields!r})"


class Autoencoder:
    """An autoencoder from a checkpoint as diffusers saves it, today AutoencoderDC (DC-AE). It has the methods and fields of diffusers' class
    that pipelines use, so that `pipe.vae = frieze.Autoencoder.from_pretrained(folder)` works; it is no torch.nn.Module, and inference only.

    Arrays are NumPy's or PyTorch's. For each shape one graph is compiled when it first comes, and `shapes` of them are kept. On CUDA the input
    is used where it lies, the result is fresh memory of PyTorch's allocator, and nothing waits for the device. Calls of several threads run
    one after the other, without the GIL; two objects of one checkpoint share its weights on a GPU."""

    def __init__(self, path: Any, **options: Any) -> None:
        self._path, self._options = os.fspath(path), options
        self._tiling: Optional[Tuple[int, int]] = None
        self.use_tiling = self.use_slicing = False
        self._reopen()

    @classmethod
    def from_pretrained(
        cls,
        path: Any,
        *,
        device: Any = "auto",
        dtype: Any = "f32",
        parts: str = "both",
        weights: Any = None,
        variant: str = "",
        random_seed: Optional[int] = None,
        batch: int = 0,
        shapes: int = 8,
        exact: bool = False,
        tf32: bool = False,
        tune: bool = True,
        max_memory: int = 0,
        torch_dtype: Any = None,
    ) -> "Autoencoder":
        """`path`: a folder with config.json and weights, a pipeline's folder, one of Hugging Face's cache, a config.json, a file of weights
        beside one; or a published variant's name with `random_seed` or `weights`. Nothing is downloaded.
        device: "auto" (the first GPU, or the CPU), "cpu", "cuda", "cuda:1" or a torch.device. dtype (or torch_dtype): of weights and values.
        parts: "both", "encoder" or "decoder": half the memory. batch: images that go through the graph at once, on the CPU and for NumPy's
        arrays: an image then has the same bits beside whatever neighbours; 0: as many as a call brings. exact: no rewriting of layers,
        roundings as in diffusers. max_memory: bytes that a graph may hold, 0: no limit.
        Raises IoError, OptionError, WeightsError, CudaError."""
        return cls(
            path,
            device=device_name(device),
            dtype=_arrays.type_name(dtype if torch_dtype is None else torch_dtype),
            parts=parts,
            weights="" if weights is None else os.fspath(weights),
            variant=variant,
            random_seed=random_seed,
            batch=batch,
            shapes=shapes,
            exact=exact,
            tf32=tf32,
            tune=tune,
            max_memory=max_memory,
        )

    def _reopen(self) -> None:
        native = _arrays.called("Autoencoder", _frieze.Autoencoder, self._path, **self._options)
        self._native = native
        fields: Dict[str, Any] = {}
        if native.config_file:
            with open(native.config_file, encoding="utf-8") as file:
                fields = json.load(file)
        # What pipelines ask for, where an original config says it in other words.
        fields.setdefault("_class_name", native.kind)
        fields.setdefault("in_channels", native.image_channels)
        fields.setdefault("latent_channels", native.latent_channels)
        fields.setdefault("scaling_factor", native.scaling_factor)
        fields.setdefault("encoder_block_out_channels", [0] * (native.ratio.bit_length()))
        self.config = Config(fields)
        if self._tiling is not None:
            native.enable_tiling(*self._tiling)
        _open.add(self)

    @property
    def spatial_compression_ratio(self) -> int:
        """Pixels along one edge of the patch that a latent stands for."""
        return self._native.ratio

    @property
    def name(self) -> str:
        """The published variant's name if it is one."""
        return self._native.name

    @property
    def dtype(self) -> Any:
        """A torch.dtype if torch is loaded, as pipelines expect it, else "f32", "f16" or "bf16"."""
        import sys

        short = self._options["dtype"]
        torch = sys.modules.get("torch")
        return short if torch is None else getattr(torch, _arrays.long_name(short))

    @property
    def device(self) -> Any:
        """A torch.device if torch is loaded, else "cpu" or "cuda:N"."""
        import sys

        torch = sys.modules.get("torch")
        return self._native.device if torch is None else torch.device(self._native.device)

    @property
    def captures(self) -> int:
        """Graphs that were compiled so far."""
        return self._native.captures()

    def _other_side(self, shape: Tuple[int, ...], encode: bool) -> Tuple[int, ...]:
        net, f = self._native, self._native.ratio
        channels = net.image_channels if encode else net.latent_channels
        what = "encode: expected [N,%d,H,W]" % channels if encode else "decode: expected [N,%d,h,w]" % channels
        if len(shape) != 4 or shape[1] != channels or 0 in shape:
            raise ShapeError(f"{what}, got {list(shape)}")
        n, _, h, w = shape
        if not encode:
            return n, net.image_channels, h * f, w * f
        if (h % f or w % f) and not net.tiles(h, w):
            raise ShapeError(f"encode: expected a height and a width that are multiples of {f}, got {list(shape)}")
        return n, net.latent_channels, h // f, w // f

    def _run(self, x: Any, encode: bool, out: Optional[Any] = None, stream: Any = None) -> Any:
        name, other = ("image", "latent") if encode else ("latent", "image")
        cuda = _arrays.is_cuda(x, name)
        shape = self._other_side(tuple(x.shape), encode)
        f = self._native.ratio
        tiled = self._native.tiles(*(x.shape[2:] if encode else (x.shape[2] * f, x.shape[3] * f)))
        if cuda and tiled and out is None:  # tiles are cut and blended on the host
            return self._run(x.cpu(), encode).to(x.device)
        if cuda and tiled:
            raise OptionError("tiles are put together on the host: *_into needs an image of one tile on CUDA")
        given = x
        if cuda and out is None:
            x = x.to(getattr(__import__("torch"), _arrays.long_name(self._options["dtype"]))).contiguous()
        result = _arrays.empty_like(x, shape, None, name) if out is None else out
        handle = _arrays.stream_of(x, stream)
        self._native.run(
            encode,
            _arrays.handed(x, name, stream=handle),
            _arrays.handed(result, other, writable=True, stream=handle),
            handle,
        )
        if out is not None:
            return out
        result = _arrays.given_back(result, x)
        return result.to(given.dtype) if cuda and result.dtype != given.dtype else result

    def _sliced(self, x: Any, encode: bool) -> Any:
        if not self.use_slicing or x.shape[0] <= 1:
            return self._run(x, encode)
        results = [self._run(x[i : i + 1], encode) for i in range(x.shape[0])]
        if _arrays.is_torch(x):
            return __import__("torch").cat(results)
        import numpy as np

        return np.concatenate(results)

    def encode(self, x: Any, return_dict: bool = True) -> Any:
        """[N,3,H,W] in [-1,1] -> `.latent` [N,L,H/ratio,W/ratio], not scaled. H and W: multiples of the ratio, or with tiling larger than a
        tile. On the CPU any of the three types; on CUDA another type than the model's is converted on the device. The result has x's type.
        return_dict=False: a tuple of one. Raises ShapeError, DTypeError, OptionError, NonFiniteError (on the CPU), OutOfMemory, CudaError."""
        latent = self._sliced(x, True)
        return EncoderOutput(latent) if return_dict else (latent,)

    def decode(self, z: Any, return_dict: bool = True) -> Any:
        """[N,L,h,w], not scaled -> `.sample` [N,3,h*ratio,w*ratio], not clamped. All else as encode()."""
        sample = self._sliced(z, False)
        return DecoderOutput(sample) if return_dict else (sample,)

    def encode_into(self, x: Any, out: Any, stream: Any = None) -> Any:
        """encode() into an array that the caller has made; returns it. On CUDA neither is copied: both must be contiguous, 16-byte aligned, of
        the model's type, and stay until `stream` (by default the caller's current one) is through. New addresses patch the graph."""
        return self._run(x, True, out, stream)

    def decode_into(self, z: Any, out: Any, stream: Any = None) -> Any:
        """decode() into an array that the caller has made."""
        return self._run(z, False, out, stream)

    def forward(self, x: Any, return_dict: bool = True) -> Any:
        """decode(encode(x))"""
        return self.decode(self.encode(x, return_dict=False)[0], return_dict=return_dict)

    __call__ = forward

    def enable_tiling(
        self,
        tile_sample_min_height: Optional[int] = None,
        tile_sample_min_width: Optional[int] = None,
        tile_sample_stride_height: Optional[int] = None,
        tile_sample_stride_width: Optional[int] = None,
    ) -> None:
        """Larger images go through in square tiles that are blended, on the host, as diffusers does: 512 pixels at every 448 by default.
        Raises OptionError for tiles that are not square, or no multiples of the ratio."""
        sides = {s for s in (tile_sample_min_height, tile_sample_min_width) if s is not None}
        steps = {s for s in (tile_sample_stride_height, tile_sample_stride_width) if s is not None}
        if len(sides) > 1 or len(steps) > 1:
            raise OptionError(f"enable_tiling: expected square tiles, got sizes {sorted(sides)} and strides {sorted(steps)}")
        if any(s < 1 for s in sides | steps):
            raise OptionError(f"enable_tiling: expected sizes of at least 1, got {sorted(sides | steps)}")
        tiling = (int(min(sides, default=0)), int(min(steps, default=0)))
        self._native.enable_tiling(*tiling)
        self._tiling, self.use_tiling = tiling, True

    def disable_tiling(self) -> None:
        self._native.disable_tiling()
        self._tiling, self.use_tiling = None, False

    def enable_slicing(self) -> None:
        """The images of a call go through one by one."""
        self.use_slicing = True

    def disable_slicing(self) -> None:
        self.use_slicing = False

    def to(self, *args: Any, **kwargs: Any) -> "Autoencoder":
        """Another type, or another GPU: the weights are read again and graphs are compiled anew when they are needed. From a GPU to the CPU
        nothing moves, with a warning: pipelines that offload would compile again for every image."""
        options = dict(self._options)
        for value in [*args, *(v for k, v in kwargs.items() if k in ("device", "dtype"))]:
            if value is None:
                continue
            text = str(value).rpartition(".")[2]
            if text in _arrays.TYPES or text in _arrays.TYPES.values():
                options["dtype"] = _arrays.type_name(value)
            else:
                options["device"] = device_name(value)
        if options["device"] == "cpu" and self._options["device"] != "cpu":
            warnings.warn("frieze.Autoencoder stays on its GPU: open it with device='cpu' to have it on the CPU", stacklevel=2)
            options["device"] = self._options["device"]
        if options != self._options:
            before, self._options = self._options, options
            old = self._native
            try:
                self._reopen()
            except BaseException:
                self._options, self._native = before, old
                raise
            old.close()
        return self

    def eval(self) -> "Autoencoder":
        return self

    def requires_grad_(self, requires_grad: bool = False) -> "Autoencoder":
        if requires_grad:
            raise OptionError("frieze.Autoencoder is for inference only")
        return self

    def planned_memory(self, shape: Tuple[int, ...], part: str = "both") -> Dict[str, int]:
        """Bytes that the graph of a part ("encoder", "decoder", "both") would hold for an input of this shape, without compiling it:
        weights, arena, ports, total."""
        return self._native.planned_memory(part, tuple(shape))

    def prepare(self, shape: Tuple[int, ...], part: str = "both") -> None:
        """Compiles the graph of a part for an input of this shape now."""
        self._native.text("receipt", part, tuple(shape), 0)

    def receipt(self, shape: Tuple[int, ...], part: str = "both") -> Dict[str, Any]:
        """What was captured for an input of this shape, which is compiled if need be: nodes, steps, memory."""
        return json.loads(self._native.text("receipt", part, tuple(shape), 0))

    def verify(self, shape: Tuple[int, ...], part: str = "both", seed: int = 1) -> Dict[str, Any]:
        """Each layer against the double-precision reference, on random inputs: "ok" and "layers"."""
        return json.loads(self._native.text("verify", part, tuple(shape), seed))

    def profile(self, shape: Tuple[int, ...], part: str = "both", rounds: int = 50) -> Dict[str, Any]:
        """The time of each step inside the replay, in microseconds."""
        return json.loads(self._native.text("profile", part, tuple(shape), rounds))

    def close(self) -> None:
        """Gives memory back; every later call raises Error."""
        self._native.close()

    def __repr__(self) -> str:
        return f"<frieze.Autoencoder {self._native.name} on {self._native.device}, {self._options['dtype']}>"


class Denoiser:
    """Takes noise out of photographs, with the weights that come along. Pictures of any size: large ones go through in tiles.

    device: as in Autoencoder.from_pretrained(). dtype: of weights and values. tile: the longest side of what runs at once, a multiple of 16, at
    least 256. max_memory: bytes on the device; tiles shrink until they fit."""

    def __init__(self, device: Any = "auto", dtype: Any = "f32", tile: int = 1024, max_memory: int = 0, tune: bool = True) -> None:
        self._native = _arrays.called("Denoiser", _frieze.Denoiser, device_name(device), _arrays.type_name(dtype), tile, max_memory, tune)
        _open.add(self)

    @property
    def device(self) -> str:
        return self._native.device

    def __call__(self, x: Any, limit_sigma: Optional[float] = None) -> Any:
        """x: [N,3,H,W] or [3,H,W] of float in [0,1] (NumPy, PyTorch), or uint8 [H,W,3] of NumPy, or a PIL image -> the same kind.
        limit_sigma: removes noise of at most this standard deviation, in levels of 255. The picture passes through the host.
        Raises ShapeError, DTypeError, OptionError, OutOfMemory, CudaError."""
        if type(x).__module__.partition(".")[0] == "PIL":
            return self._picture(x, limit_sigma)
        if type(x).__module__.partition(".")[0] == "numpy" and str(x.dtype) == "uint8":
            return self._bytes(x, limit_sigma)
        if _arrays.is_torch(x) and x.is_cuda:
            return self(x.detach().cpu(), limit_sigma).to(x.device)
        _arrays.device_of(x)
        if len(x.shape) == 3:
            return self(x[None], limit_sigma)[0]
        out = _arrays.empty_like(x, tuple(x.shape), None)
        _arrays.called("Denoiser", self._native.run, _arrays.handed(x, "x"), _arrays.handed(out, "out", writable=True), limit_sigma)
        return _arrays.given_back(out, x)

    def _bytes(self, x: Any, limit_sigma: Optional[float]) -> Any:
        import numpy as np

        if x.ndim != 3 or x.shape[2] != 3:
            raise ShapeError(f"x: expected [H,W,3] of uint8, got {list(x.shape)}")
        planes = np.ascontiguousarray(x.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)
        clean = self(planes, limit_sigma).transpose(1, 2, 0)
        return np.clip(np.rint(clean * 255), 0, 255).astype(np.uint8)

    def _picture(self, x: Any, limit_sigma: Optional[float]) -> Any:
        import numpy as np

        if x.mode not in ("RGB", "L"):
            raise OptionError(f"x: expected a picture of mode RGB or L, got {x.mode}: convert it")
        clean = self._bytes(np.asarray(x.convert("RGB")), limit_sigma)
        from PIL import Image

        return Image.fromarray(clean).convert(x.mode)

    def close(self) -> None:
        """Gives memory back; every later call raises Error."""
        self._native.close()
