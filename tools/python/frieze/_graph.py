"""Models composed in Python with Frieze's layers."""

import atexit
import functools
import html
import json
import operator
import weakref
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from . import _arrays, _frieze, _libraries
from ._frieze import OptionError

_open: "weakref.WeakSet[Any]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Graphs go before the driver does."""
    for model in list(_open):
        model.close()


def device_name(device: Any) -> str:
    """ "cpu" or "cuda:N" for a name, a torch.device, or "auto": the first GPU if there is one."""
    text = str(device)
    if text == "auto":
        text = "cuda" if _frieze.cuda_devices() else "cpu"
    if text.startswith("cuda"):
        _libraries.name_libraries()
    return "cuda:0" if text == "cuda" else text


class Value:
    """What a layer of a graph makes. `+` and `*` add and multiply, with broadcasting, or scale by a number."""

    __slots__ = ("graph", "node", "shape", "dtype")

    def __init__(self, graph: "Graph", node: int) -> None:
        self.graph, self.node = graph, node
        self.shape, self.dtype = graph._recorder.spec(node)

    def __add__(self, other: "Value") -> "Value":
        return self.graph.add(self, other) if isinstance(other, Value) else NotImplemented

    def __mul__(self, other: Union["Value", float]) -> "Value":
        if isinstance(other, Value):
            return self.graph.mul(self, other)
        return self.graph.scale(self, other) if isinstance(other, (int, float)) else NotImplemented

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"Value({list(self.shape)}, {self.dtype})"


class Model:
    """A compiled graph, made by Graph.compile(). Calls of several threads run one after the other, without the GIL."""

    def __init__(self, native: Any) -> None:
        self._native = native
        _open.add(self)

    @property
    def device(self) -> str:
        return self._native.device

    @property
    def inputs(self) -> List[Tuple[str, Tuple[int, ...], str]]:
        """(name, shape, type) of each input, in the order of calls."""
        return self._native.ports(False)

    @property
    def outputs(self) -> List[Tuple[str, Tuple[int, ...], str]]:
        """The same of the outputs."""
        return self._native.ports(True)

    def __call__(self, *inputs: Any, out: Union[None, Any, Mapping[str, Any]] = None, stream: Optional[Any] = None) -> Any:
        """One run. Arrays in the order of `inputs`, of their shapes; on CUDA contiguous ones of their types too, which are used where they
        lie, on the caller's current stream or `stream`, and nothing waits: keep them until that stream is through.
        Returns an array like the first input for the only output, or a dict by name; `out` (an array, or a dict) is written instead.
        Raises ShapeError, DTypeError, OptionError, CudaError; Error after close() and in a forked process."""
        ports = self.outputs
        if len(inputs) != len(self.inputs):
            raise OptionError(f"expected {len(self.inputs)} inputs ({', '.join(n for n, _, _ in self.inputs)}), got {len(inputs)}")
        first = inputs[0]
        _arrays.device_of(first)
        handle = _arrays.stream_of(first, stream)
        arrays: Dict[str, Any] = {}
        for name, shape, dtype in ports:
            if out is not None:
                if isinstance(out, Mapping) and name not in out:
                    raise OptionError(f"out: no '{name}' in it")
                arrays[name] = out[name] if isinstance(out, Mapping) else out
            else:
                on_host = self.device == "cpu"
                arrays[name] = _arrays.empty_like(first, shape, None if on_host else _arrays.long_name(dtype))
        if out is not None and not isinstance(out, Mapping) and len(ports) != 1:
            raise OptionError("out: this model has several outputs, give a dict of arrays")
        pack = _arrays.handed
        self._native.run(
            [pack(a, f"'{port[0]}'", stream=handle) for a, port in zip(inputs, self.inputs)],
            [pack(arrays[name], f"'{name}'", writable=True, stream=handle) for name, _, _ in ports],
            handle,
        )
        if out is not None:
            return out
        results = {name: _arrays.given_back(a, first) for name, a in arrays.items()}
        return next(iter(results.values())) if len(results) == 1 else results

    def receipt(self) -> Dict[str, Any]:
        """What was captured: nodes, steps, memory. On the CPU there are no nodes."""
        return json.loads(self._native.text("receipt", 0))

    def verify(self, seed: int = 1) -> Dict[str, Any]:
        """Each layer against the double-precision reference, on random inputs: "ok", and "layers" with their shares of the error budget."""
        return json.loads(self._native.text("verify", seed))

    def profile(self, rounds: int = 50) -> Dict[str, Any]:
        """The time of each step inside the replay, on what the last call left in the inputs, in microseconds."""
        return json.loads(self._native.text("profile", rounds))

    def close(self) -> None:
        """Gives memory back; every later call raises Error."""
        self._native.close()

    def __repr__(self) -> str:
        return f"<frieze.Model on {self.device}: {self.inputs} -> {self.outputs}>"

    def _repr_html_(self) -> str:
        """The receipt as a table, for notebooks."""
        rows = "".join(
            f"<tr><td>{html.escape(s['path'])}</td><td>{html.escape(s['layer'])}</td><td>{html.escape(s['algorithm'])}</td>"
            f"<td>{s['nodes']}</td></tr>"
            for s in self.receipt()["steps"]
        )
        head = "<tr><th>step</th><th>layer</th><th>algorithm</th><th>nodes</th></tr>"
        return f"<p>frieze.Model on {html.escape(self.device)}</p><table>{head}{rows}</table>"


class Graph:
    """Records layers as they are called, and compiles them as one model.

        g = frieze.Graph()
        x = g.input("x", (1, 3, 64, 96))
        y = x + g.conv2d(g.silu(g.rms_norm2d(x, w0)), w1, b1, padding=1)
        model = g.compile(y)
        out = model(array)

    Shapes and types are checked at each call: ShapeError, DTypeError and OptionError say what the layer expected. Weights are any arrays on
    the CPU (torch's on any device), are copied, and are rounded to the type of the values when the model is compiled; NaN and Inf in them are
    a WeightsError."""

    def __init__(self) -> None:
        self._recorder = _frieze.Recorder()

    def input(self, name: str, shape: Sequence[int], dtype: Any = "f32") -> Value:
        """An input of the model, [N,C,H,W] or any other rank up to 8."""
        try:
            extents = tuple(operator.index(e) for e in shape)
        except TypeError:
            raise OptionError(f"input: expected whole numbers as the shape, got {shape!r}") from None
        return Value(self, _arrays.called("input", self._recorder.input, name, extents, _arrays.type_name(dtype)))

    def layer(self, name: str, *inputs: Value, parameters: Optional[Mapping[str, Any]] = None, **settings: Any) -> Value:
        """Any layer by the name that `frieze op --list` gives it, with its settings; the methods below are these with Python's signatures."""
        for value in inputs:
            if not isinstance(value, Value) or value.graph is not self:
                raise OptionError(f"{name}: expected values of this graph, got {type(value).__name__}")
        arrays = {k: _arrays.to_host(a, f"{name}: '{k}'") for k, a in (parameters or {}).items() if a is not None}
        pairs = [f"{k}={_setting(k, v)}" for k, v in settings.items() if v is not None]
        return Value(self, _arrays.called("layer", self._recorder.step, name, [v.node for v in inputs], arrays, pairs))

    def __getattr__(self, name: str) -> Callable[..., Value]:
        """Layers without a method below, by name: g.softplus(x), g.matmul(a, b), g.max_pool2d(x, kernel=2). What they take is what
        `frieze op --list` says: inputs first, weights in `parameters`, settings by keyword."""
        if name in _frieze.layers:
            return functools.partial(self.layer, name)
        raise AttributeError(f"frieze.Graph has no layer '{name}'")

    def relu(self, x: Value) -> Value:
        """max(x, 0)"""
        return self.layer("relu", x)

    def silu(self, x: Value) -> Value:
        """x * sigmoid(x)"""
        return self.layer("silu", x)

    def gelu(self, x: Value, approximate: str = "none") -> Value:
        """x * Phi(x); approximate="tanh": the tanh form."""
        if approximate not in ("none", "tanh"):
            raise OptionError(f"gelu: approximate: expected none or tanh, got {approximate}")
        return self.layer("gelu" if approximate == "none" else "gelu_tanh", x)

    def sigmoid(self, x: Value) -> Value:
        """1 / (1 + exp(-x))"""
        return self.layer("sigmoid", x)

    def add(self, a: Value, b: Value) -> Value:
        """a + b; extents of 1 are repeated."""
        return self.layer("add", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        """a * b; extents of 1 are repeated."""
        return self.layer("mul", a, b)

    def scale(self, x: Value, factor: float) -> Value:
        """factor * x"""
        return self.layer("scale", x, factor=float(factor))

    def rms_norm2d(
        self,
        x: Value,
        weight: Optional[Any] = None,
        bias: Optional[Any] = None,
        eps: Optional[float] = None,
        *,
        residual: Optional[Value] = None,
        residual_mode: str = "none",
        activation: str = "none",
        eps_mode: str = "add_inside",
        rounding: str = "once",
    ) -> Value:
        """frieze.rms_norm2d() as a layer. weight, bias: [C]."""
        if (residual is None) != (residual_mode == "none"):
            raise OptionError("rms_norm2d: a residual and its residual_mode come together")
        inputs = (x,) if residual is None else (x, residual)
        return self.layer("rms_norm2d", *inputs, parameters={"weight": weight, "bias": bias}, eps=eps, residual=residual_mode,
                          activation=activation, eps_mode=eps_mode, rounding=rounding)  # fmt: skip

    def batch_norm2d(self, x: Value, weight: Any, bias: Any, running_mean: Any, running_var: Any, eps: float = 1e-5) -> Value:
        """(x - running_mean) / sqrt(running_var + eps) * weight + bias, each [C]."""
        named = {"weight": weight, "bias": bias, "running_mean": running_mean, "running_var": running_var}
        return self.layer("batch_norm2d", x, parameters=named, eps=eps)

    def conv2d(
        self,
        x: Value,
        weight: Any,
        bias: Optional[Any] = None,
        *,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Value:
        """torch.nn.functional.conv2d. weight: [M,C/groups,KH,KW], bias: [M]. padding=-1: the same size, for odd kernels."""
        return self.layer("conv2d", x, parameters={"weight": weight, "bias": bias}, stride=stride, padding=padding, dilation=dilation,
                          groups=groups)  # fmt: skip

    def linear(self, x: Value, weight: Any, bias: Optional[Any] = None) -> Value:
        """x @ weight.T + bias over the last axis. weight: [M,K], bias: [M]."""
        return self.layer("linear", x, parameters={"weight": weight, "bias": bias})

    def concat(self, *values: Value) -> Value:
        """The values side by side along the channels (axis 1)."""
        return self.layer("concat", *values)

    def slice(self, x: Value, begin: int, end: int) -> Value:
        """x[:, begin:end]"""
        return self.layer("slice", x, begin=int(begin), end=int(end))

    def chunk(self, x: Value, n: int) -> List[Value]:
        """The channels in n ranges of equal length."""
        channels = x.shape[1] if len(x.shape) > 1 else 0
        if n < 1 or channels % n != 0:
            raise OptionError(f"chunk: expected a number of ranges that divides the {channels} channels, got {n}")
        step = channels // n
        return [self.slice(x, i * step, (i + 1) * step) for i in range(n)]

    def pixel_shuffle(self, x: Value, factor: int) -> Value:
        """Channels to space: [N,C*f*f,H,W] -> [N,C,H*f,W*f]."""
        return self.layer("pixel_shuffle", x, factor=int(factor))

    def pixel_unshuffle(self, x: Value, factor: int) -> Value:
        """Space to channels."""
        return self.layer("pixel_unshuffle", x, factor=int(factor))

    def upsample(self, x: Value, factor: int) -> Value:
        """Every pixel factor x factor times."""
        return self.layer("upsample", x, factor=int(factor))

    def gated_silu(self, x: Value) -> Value:
        """The first half of the channels * silu(the second half)."""
        return self.layer("gated_silu", x)

    def softmax(self, x: Value, axis: int = -1) -> Value:
        """Over one axis."""
        return self.layer("softmax", x, axis=int(axis))

    def global_avg_pool(self, x: Value, keep_dims: bool = False) -> Value:
        """The mean over H and W: [N,C], or [N,C,1,1]."""
        return self.layer("global_avg_pool", x, keep_dims=bool(keep_dims))

    def linear_attention2d(self, x: Value, head_dim: int, eps: Optional[float] = None) -> Value:
        """ReLU linear attention over the pixels; q, k and v side by side for each head."""
        return self.layer("linear_attention2d", x, head_dim=int(head_dim), eps=eps)

    def compile(
        self,
        outputs: Union[Value, Mapping[str, Value]],
        device: Any = "auto",
        *,
        tune: bool = True,
        tf32: bool = False,
        max_memory: int = 0,
    ) -> Model:
        """The model that computes a value, or several by name. On CUDA its whole forward is one captured graph.
        tune=False: default kernels, nothing is timed. max_memory: bytes; more is OutOfMemory with the bill, 0: no limit.
        Raises OptionError, OutOfMemory, CudaError, CaptureError."""
        named = dict(outputs) if isinstance(outputs, Mapping) else {"y": outputs}
        for name, value in named.items():
            if not isinstance(value, Value) or value.graph is not self:
                raise OptionError(f"output '{name}': expected a value of this graph, got {type(value).__name__}")
        nodes = {name: value.node for name, value in named.items()}
        return Model(_arrays.called("compile", self._recorder.compile, nodes, device_name(device), tune, tf32, max_memory))


def _setting(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise OptionError(f"{key}: expected a number or a pair, got {value}")
        return f"{int(value[0])}x{int(value[1])}"
    return repr(value) if isinstance(value, float) else str(value)
