"""What needs PyTorch: the operator frieze::rms_norm2d with its gradient, RMSNorm2d as a module, and replace_norms()."""

import copy
import logging
from typing import Any, Optional

import torch
from torch import Tensor, nn

from . import _norm
from ._frieze import DTypeError, OptionError

_log = logging.getLogger("frieze")

# Kept for the life of the process: operators are unregistered when this is collected.
_library = torch.library.Library("frieze", "FRAGMENT")
_library.define(
    "rms_norm2d(Tensor x, Tensor? weight, Tensor? bias, float? eps, Tensor? residual, str residual_mode, str activation, str eps_mode, "
    "str rounding) -> Tensor"
)


def empty_like(x: Tensor) -> Tensor:
    """Fresh memory in the memory format of x; contiguous if x has gaps or overlaps itself."""
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        return torch.empty_like(x, memory_format=torch.channels_last)
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


def _run(
    x: Tensor,
    weight: Optional[Tensor],
    bias: Optional[Tensor],
    eps: Optional[float],
    residual: Optional[Tensor],
    residual_mode: str,
    activation: str,
    eps_mode: str,
    rounding: str,
) -> Tensor:
    out = empty_like(x)
    _norm.rms_norm2d(x.detach(), weight, bias, eps, residual=residual, residual_mode=residual_mode, activation=activation, eps_mode=eps_mode,
                     rounding=rounding, out=out)  # fmt: skip
    return out


_library.impl("rms_norm2d", _run, "CPU")
_library.impl("rms_norm2d", _run, "CUDA")


@torch.library.register_fake("frieze::rms_norm2d", lib=_library)
def _fake(x: Tensor, *_: Any) -> Tensor:
    torch._check(x.dim() == 4, lambda: f"x: expected [N,C,H,W], got {list(x.shape)}")
    return empty_like(x)


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    x, weight, _, eps, residual, _, activation, eps_mode, _ = inputs
    ctx.save_for_backward(x, weight)
    ctx.eps = 1e-5 if eps is None else eps
    ctx.has_gradient = residual is None and activation == "none" and eps_mode == "add_inside"


def _backward(ctx: Any, grad: Tensor) -> Any:
    if not ctx.has_gradient:
        raise OptionError("frieze.rms_norm2d is inference only with a residual, an activation or another eps_mode than add_inside")
    x, weight = ctx.saved_tensors
    wide, g = x.float(), grad.float()
    r = torch.rsqrt(wide.square().mean(1, keepdim=True) + ctx.eps)
    n = wide * r
    gw = g if weight is None else g * weight.float().view(1, -1, 1, 1)
    dx = (r * (gw - n * (gw * n).mean(1, keepdim=True))).to(x.dtype)
    need = ctx.needs_input_grad
    dw = (g * n).sum((0, 2, 3)).to(x.dtype).view(weight.shape) if weight is not None and need[1] else None
    db = g.sum((0, 2, 3)).to(x.dtype) if need[2] else None
    return dx if need[0] else None, dw, db, None, None, None, None, None, None


torch.library.register_autograd("frieze::rms_norm2d", _backward, setup_context=_setup, lib=_library)


strided = torch.strided
_PLAIN = (Tensor, nn.Parameter)
_compiling, _grad_enabled = torch.compiler.is_compiling, torch.is_grad_enabled
_mode = torch.utils._python_dispatch._get_current_dispatch_mode
_transform_level = getattr(torch._C._functorch, "maybe_current_level", lambda: None)


def needs_dispatcher(*tensors: Optional[Tensor]) -> bool:
    """True where torch must see the call: gradients, compilation, transforms, subclasses, modes, views with a pending sign."""
    if _compiling() or _mode() is not None or _transform_level() is not None:
        return True
    grad = _grad_enabled()
    for t in tensors:
        if t is None:
            continue
        if type(t) not in _PLAIN:
            if not isinstance(t, Tensor):
                raise DTypeError(f"expected tensors beside x, got {type(t).__name__}")
            return True
        if (grad and t.requires_grad) or t.is_neg():
            return True
    return False


def dispatched(*arguments: Any) -> Tensor:
    return torch.ops.frieze.rms_norm2d.default(*arguments)


class RMSNorm2d(nn.Module):
    """RMSNorm over the channels of [N,C,H,W], as frieze.rms_norm2d() computes it.

    num_features: C. affine: with a weight [C]; bias: with a bias [C] too. State dicts that call the weight gamma or g, or shape it [C,1,1] or
    [1,C,1,1], are loaded. Under autocast the parameters are cast to the type of x."""

    def __init__(
        self,
        num_features: int,
        eps: Optional[float] = 1e-5,
        *,
        affine: bool = True,
        bias: bool = False,
        eps_mode: str = "add_inside",
        rounding: str = "once",
        activation: str = "none",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if num_features < 1:
            raise OptionError(f"num_features: expected at least 1, got {num_features}")
        self.num_features, self.eps, self.eps_mode, self.rounding, self.activation = num_features, eps, eps_mode, rounding, activation
        for name, value in (("weight", 1.0 if affine else None), ("bias", 0.0 if affine and bias else None)):
            values = None if value is None else nn.Parameter(torch.full((num_features,), value, device=device, dtype=dtype))
            self.register_parameter(name, values)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,num_features,H,W] -> the same."""
        weight, bias = self._parameters["weight"], self._parameters["bias"]
        if weight is not None and weight.dtype != x.dtype:
            weight = weight.to(x.dtype)
        if bias is not None and bias.dtype != x.dtype:
            bias = bias.to(x.dtype)
        return _norm.rms_norm2d(x, weight, bias, self.eps, activation=self.activation, eps_mode=self.eps_mode, rounding=self.rounding)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:
        for other, name in (("gamma", "weight"), ("g", "weight"), ("beta", "bias")):
            if prefix + other in state_dict and getattr(self, name) is not None:
                state_dict[prefix + name] = state_dict.pop(prefix + other)
        for name in ("weight", "bias"):
            value = state_dict.get(prefix + name)
            if value is not None and value.dim() != 1 and value.numel() == self.num_features:
                state_dict[prefix + name] = value.reshape(-1)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        text = f"{self.num_features}, eps={self.eps}, affine={self.weight is not None}"
        return text + (", bias=True" if self.bias is not None else "") + (f", eps_mode={self.eps_mode!r}" if self.eps_mode != "add_inside" else "")


def _parameter(module: nn.Module, names: Any) -> Optional[Tensor]:
    return next((p for name, p in module.named_parameters(recurse=False) if name in names), None)


def _features(module: nn.Module, weight: Optional[Tensor]) -> Optional[int]:
    if weight is not None:
        return weight.numel()
    for name in ("num_features", "num_channels", "normalized_shape", "dim"):
        value = getattr(module, name, None)
        if isinstance(value, (tuple, list)) and len(value) == 1:
            value = value[0]
        if isinstance(value, int) and value > 0:
            return value
    return None


def _same(module: nn.Module, made: "RMSNorm2d") -> bool:
    """Whether both compute the same of random images, some so faint that eps shows."""
    theirs, ours = copy.deepcopy(module).float().cpu().eval(), copy.deepcopy(made).float().cpu().eval()
    x = torch.randn(3, made.num_features, 3, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 1e-2, 30.0]).view(3, 1, 1, 1)
    try:
        with torch.no_grad():
            expected, got = theirs(x), ours(x)
    except Exception:  # whatever a module of somebody's raises: it is not of the family
        return False
    return isinstance(expected, Tensor) and expected.shape == got.shape and torch.allclose(expected, got, rtol=1e-4, atol=1e-6)


def _replacement(module: nn.Module) -> Optional[RMSNorm2d]:
    """The module of ours that computes what `module` does, if that is an RMSNorm over the channels; None for every other one."""
    kind = type(module).__name__
    if isinstance(module, RMSNorm2d) or "rmsnorm" not in kind.lower().replace("_", "") or any(True for _ in module.children()):
        return None
    weight, bias = _parameter(module, ("weight", "gamma", "g", "scale")), _parameter(module, ("bias", "beta"))
    features = _features(module, weight)
    if features is None or (bias is not None and (weight is None or bias.numel() != features)):
        return None
    eps = getattr(module, "eps", getattr(module, "epsilon", None))
    first = [("add_inside", float(eps))] if isinstance(eps, (int, float)) else []
    for eps_mode, value in [*first, ("add_inside", 1e-5), ("add_inside", 1e-6), ("clamp_norm", 1e-12)]:
        made = RMSNorm2d(features, value, affine=weight is not None, bias=bias is not None, eps_mode=eps_mode)
        for name, given in (("weight", weight), ("bias", bias)):
            if given is not None:
                setattr(made, name, nn.Parameter(given.detach().reshape(-1).clone(), requires_grad=given.requires_grad))
        # efficientvit's runs on GPUs alone and cannot be asked here; its formula is known.
        if kind == "TritonRMSNorm2d" or _same(module, made):
            return made.train(module.training)
    return None


def replace_norms(module: nn.Module) -> int:
    """Puts RMSNorm2d in place of the norms below `module` that compute the same, with their parameters, and returns how many. Candidates are
    modules whose class has RMSNorm (RmsNorm, RMS_norm) in its name; each is tried on random images of [N,C,H,W] first, so that norms over
    another axis, or by another formula, are left as they are, which logging ("frieze", INFO) tells."""
    count = 0
    for path, parent in list(module.named_modules()):
        for name, child in list(parent.named_children()):
            made = _replacement(child)
            if made is not None:
                setattr(parent, name, made)
                count += 1
            elif "rmsnorm" in type(child).__name__.lower().replace("_", "") and not isinstance(child, RMSNorm2d):
                _log.info("replace_norms: %s is left as it is: %s", f"{path}.{name}".lstrip("."), type(child).__name__)
    return count
