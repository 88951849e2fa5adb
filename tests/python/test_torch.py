"""What needs PyTorch: the operator, its gradient, compilation and export; the module; KernelBench's rules; the models on tensors."""

import copy
import runpy

import numpy as np
import pytest
from conftest import GOLDEN, TREE, read_safetensors, share_of_range

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import frieze  # noqa: E402

nn = torch.nn
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def formula(x, weight=None, bias=None, eps=1e-5):
    wide = x.float()
    y = wide * torch.rsqrt(wide.square().mean(1, keepdim=True) + eps)
    if weight is not None:
        y = y * weight.float().view(1, -1, 1, 1)
    if bias is not None:
        y = y + bias.float().view(1, -1, 1, 1)
    return y


def tolerance(dtype):
    return {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]


@pytest.fixture
def x():
    return torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_memory_format(x, dtype):
    x, w, b = x.to(dtype), torch.randn(6).to(dtype), torch.randn(6).to(dtype)
    views = [x, x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3), x[:, :, ::2], x[:1].expand(4, 6, 5, 4)]
    for view in views:
        y = frieze.rms_norm2d(view, w, b)
        assert type(y) is torch.Tensor and y.dtype == dtype and y.shape == view.shape and y.device == x.device
        torch.testing.assert_close(y.float(), formula(view, w, b), rtol=tolerance(dtype), atol=tolerance(dtype))
    assert frieze.rms_norm2d(views[1]).is_contiguous(memory_format=torch.channels_last)
    assert frieze.rms_norm2d(views[0]).is_contiguous()
    assert frieze.rms_norm2d(views[4]).is_contiguous()
    out = torch.empty_like(x)
    assert frieze.rms_norm2d(x, w, out=out) is out
    torch.testing.assert_close(out, frieze.rms_norm2d(x, w), rtol=0, atol=0)
    assert frieze.rms_norm2d(x[:0]).shape == (0, 6, 5, 4)


def test_refusals(x):
    for action, error, says in [
        (lambda: frieze.rms_norm2d(x.double()), frieze.DTypeError, "float64"),
        (lambda: frieze.rms_norm2d(x, torch.ones(6, dtype=torch.float16)), frieze.DTypeError, "weight"),
        (lambda: frieze.rms_norm2d(x, torch.ones(5)), frieze.ShapeError, "weight"),
        (lambda: frieze.rms_norm2d(x[0]), frieze.ShapeError, "N,C,H,W"),
        (lambda: frieze.rms_norm2d(x.to_sparse()), frieze.DTypeError, "dense"),
        (lambda: frieze.rms_norm2d(x, out=x[:, :, :, ::2]), frieze.ShapeError, "out"),
        (lambda: frieze.RMSNorm2d(0), frieze.OptionError, "num_features"),
        (lambda: frieze.rms_norm2d(x.to("meta")), frieze.OptionError, "meta"),
    ]:
        with pytest.raises(error, match=says):
            action()


def test_the_short_way_and_the_operator_agree(x):
    w = torch.randn(6)
    settings = dict(eps=1e-3, residual_mode="after", activation="silu", eps_mode="clamp_norm", rounding="wan")
    direct = frieze.rms_norm2d(x, w, residual=x, **settings)
    operator = torch.ops.frieze.rms_norm2d(x, w, None, 1e-3, x, "after", "silu", "clamp_norm", "wan")
    torch.testing.assert_close(direct, operator, rtol=0, atol=0)

    class Tagged(torch.Tensor):
        pass

    tagged = frieze.rms_norm2d(x.as_subclass(Tagged), w)
    assert type(tagged) is Tagged
    torch.testing.assert_close(tagged.as_subclass(torch.Tensor), frieze.rms_norm2d(x, w), rtol=0, atol=0)
    with torch.inference_mode():
        torch.testing.assert_close(frieze.rms_norm2d(x, w), frieze.rms_norm2d(x.clone(), w.clone()), rtol=0, atol=0)


def test_pending_signs_and_transforms(x):
    pair = torch.complex(torch.zeros_like(x), x).conj().imag  # -x, by a bit of the tensor alone
    assert pair.is_neg()
    torch.testing.assert_close(frieze.rms_norm2d(pair), -frieze.rms_norm2d(x), rtol=1e-6, atol=1e-6)
    with pytest.raises(RuntimeError):  # torch's own refusal for operators of others: never a wrong answer
        torch.func.grad(lambda t: (frieze.rms_norm2d(t) * x).sum())(x)
    with pytest.raises(frieze.DTypeError, match="list"):
        frieze.rms_norm2d(x, [1.0] * 6)


def test_the_host_time_of_a_call():
    """Measured without elements, so that nothing is computed, against what torch needs to allocate the result."""
    import timeit

    x, w, module = torch.empty(0, 6, 5, 4), torch.ones(6), frieze.RMSNorm2d(6)
    if not hasattr(type(x), "__dlpack_c_exchange_api__"):
        pytest.skip("this PyTorch has no C exchange table")

    def microseconds(call):
        return min(timeit.repeat(call, number=2000, repeat=7)) / 2000 * 1e6

    with torch.no_grad():
        allocate, function, layer = (microseconds(c) for c in (lambda: torch.empty_like(x), lambda: frieze.rms_norm2d(x, w), lambda: module(x)))
    print(f"empty_like {allocate:.2f} us, rms_norm2d {function:.2f} us, RMSNorm2d {layer:.2f} us")
    assert function < 25 * allocate and layer < 40 * allocate


@pytest.mark.parametrize("affine", ["none", "weight", "weight and bias"])
def test_gradients(x, affine):
    def leaves():
        parts = [x.clone().requires_grad_()]
        if affine != "none":
            parts.append(torch.linspace(0.5, 2, 6).requires_grad_())
        if affine == "weight and bias":
            parts.append(torch.linspace(-1, 1, 6).requires_grad_())
        return parts

    ours, theirs = leaves(), leaves()
    (frieze.rms_norm2d(*ours) * x).sum().backward()
    (formula(*theirs) * x).sum().backward()
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)


def test_no_silent_detach(x):
    leaf = x.clone().requires_grad_()
    assert frieze.rms_norm2d(leaf).requires_grad
    with torch.no_grad():
        assert not frieze.rms_norm2d(leaf).requires_grad
    for settings in [dict(activation="silu"), dict(residual=x, residual_mode="after"), dict(eps_mode="clamp_norm")]:
        y = frieze.rms_norm2d(leaf, **settings)
        with pytest.raises(frieze.OptionError, match="inference only"):
            y.sum().backward()


def test_opcheck(x):
    for arguments in [
        (x.clone().requires_grad_(), torch.ones(6, requires_grad=True), None, 1e-5, None, "none", "none", "add_inside", "once"),
        (x.contiguous(memory_format=torch.channels_last), None, torch.ones(6), None, x.clone(), "before", "relu", "none", "once"),
    ]:
        results = torch.library.opcheck(torch.ops.frieze.rms_norm2d.default, arguments)
        assert set(results.values()) == {"SUCCESS"}


def test_fake_tensors_compile_and_export(x):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        fake = frieze.rms_norm2d(torch.empty(2, 6, 5, 4))
        assert fake.shape == (2, 6, 5, 4) and "Fake" in type(fake).__name__
    module = nn.Sequential(nn.Conv2d(6, 6, 1), frieze.RMSNorm2d(6), nn.SiLU())
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), module(x))
    compiled(x).sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    exported = torch.export.export(module, (x,))
    assert any("frieze.rms_norm2d" in str(node.target) for node in exported.graph.nodes)
    torch.testing.assert_close(exported.module()(x), module(x))


def test_the_module(x):
    module = frieze.RMSNorm2d(6, bias=True)
    assert [n for n, _ in module.named_parameters()] == ["weight", "bias"]
    assert not list(frieze.RMSNorm2d(6, affine=False).parameters())
    torch.testing.assert_close(module(x), formula(x), rtol=1e-5, atol=1e-6)
    w = torch.randn(6)
    for state in [{"weight": w}, {"gamma": w}, {"g": w.view(6, 1, 1)}, {"weight": w.view(1, 6, 1, 1)}]:
        other = frieze.RMSNorm2d(6)
        other.load_state_dict(dict(state))
        torch.testing.assert_close(other(x), formula(x, w), rtol=1e-5, atol=1e-5)
    with pytest.raises(RuntimeError):
        frieze.RMSNorm2d(6).load_state_dict({"weight": torch.ones(7)})
    assert copy.deepcopy(module).eval()(x).shape == x.shape
    half = module.half()
    assert half(x.half()).dtype == torch.float16
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert frieze.RMSNorm2d(6)(x.bfloat16()).dtype == torch.bfloat16
    assert "6" in repr(module) and "bias=True" in repr(module)


class RmsNorm2d(nn.Module):  # as timm has it
    def __init__(self, channels, eps=1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.randn(channels))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + self.eps) * self.weight.view(1, -1, 1, 1)


class Wan_RMS_norm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gamma = nn.Parameter(torch.randn(channels, 1, 1))

    def forward(self, x):
        return nn.functional.normalize(x, dim=1) * x.shape[1] ** 0.5 * self.gamma


class RMSNorm(nn.Module):  # over the last axis: not of the family
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class VarianceRMSNorm2d(RmsNorm2d):  # the name says one thing, the formula another
    def forward(self, x):
        return x * torch.rsqrt(x.var(1, keepdim=True) + self.eps) * self.weight.view(1, -1, 1, 1)


def test_replace_norms(caplog):
    torch.manual_seed(5)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), RmsNorm2d(8), nn.Sequential(Wan_RMS_norm(8), nn.ReLU()), VarianceRMSNorm2d(8), nn.Identity()
    )  # fmt: skip
    net.eval()
    with torch.no_grad():
        before = net(torch.ones(1, 3, 9, 9))
        with caplog.at_level("INFO", logger="frieze"):
            assert frieze.replace_norms(net) == 2
        torch.testing.assert_close(net(torch.ones(1, 3, 9, 9)), before, rtol=1e-4, atol=1e-5)
    assert isinstance(net[1], frieze.RMSNorm2d) and isinstance(net[2][0], frieze.RMSNorm2d)
    assert net[2][0].eps_mode == "clamp_norm" and not net[1].training
    assert "VarianceRMSNorm2d" in caplog.text
    assert frieze.replace_norms(net) == 0
    assert frieze.replace_norms(nn.Sequential(RMSNorm(8), nn.LayerNorm(8), nn.BatchNorm2d(8))) == 0


def test_kernelbench_36():
    """Its rules: the same answers as the problem's model for several seeds, inputs unchanged, fresh memory each time, no answer kept."""
    problem = runpy.run_path(str(TREE / "tools" / "python" / "examples" / "kernelbench_36.py"))
    assert problem["get_init_inputs"]() == [64]
    reference, solution = (problem[name](64).eval() for name in ("Model", "ModelNew"))
    assert not list(solution.state_dict())
    seen = []
    for seed in range(5):
        x = torch.rand(2, 64, 12, 10, generator=torch.Generator().manual_seed(seed))
        given = x.clone()
        with torch.no_grad():
            expected, got = reference(x), solution(x)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(x, given, rtol=0, atol=0)
        assert got.data_ptr() not in [x.data_ptr(), *(s.data_ptr() for s in seen)]
        x.mul_(2)  # an answer that was kept, or is computed later, would show
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
        seen.append(got)


def test_graph_on_tensors(x):
    conv = nn.Conv2d(6, 6, 3, padding=1)
    g = frieze.Graph()
    v = g.input("x", tuple(x.shape), torch.float32)
    model = g.compile(v + g.conv2d(g.silu(g.rms_norm2d(v)), conv.weight, conv.bias, padding=1), device="cpu")
    with torch.no_grad():
        expected = x + conv(nn.functional.silu(formula(x)))
    y = model(x)
    assert type(y) is torch.Tensor
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    assert model(x.bfloat16()).dtype == torch.bfloat16


def test_autoencoder_in_a_pipeline():
    golden = {k: torch.from_numpy(v.copy()) for k, v in read_safetensors(GOLDEN / "sana" / "golden.safetensors").items()}

    class Pipeline:  # what SANA's pipelines do with an autoencoder of images
        def __init__(self, vae):
            self.vae = vae
            self.vae_scale_factor = 2 ** (len(vae.config.encoder_block_out_channels) - 1)

        def __call__(self, latents):
            latents = latents.to(self.vae.dtype) / self.vae.config.scaling_factor
            return self.vae.decode(latents, return_dict=False)[0]

    vae = frieze.Autoencoder.from_pretrained(GOLDEN / "sana", device="cpu", torch_dtype=torch.float32)
    pipe = Pipeline(vae)
    assert pipe.vae_scale_factor == 8
    image = pipe(golden["latent"] * vae.config.scaling_factor)
    assert type(image) is torch.Tensor and share_of_range(image.numpy(), golden["decoded"].numpy()) <= 1e-5
    assert vae.dtype == torch.float32 and vae.device == torch.device("cpu")
    assert vae.to(torch.device("cpu")).eval().requires_grad_(False) is vae and vae.captures == 1
    half = vae.to(dtype=torch.bfloat16)
    assert half is vae and vae.dtype == torch.bfloat16
    latent = vae.encode(golden["image"].bfloat16()).latent
    assert latent.dtype == torch.bfloat16 and share_of_range(latent.float().numpy(), golden["latent"].numpy()) < 3e-2
    with pytest.raises(frieze.OptionError, match="inference"):
        vae.requires_grad_(True)


def test_denoiser_on_tensors():
    denoiser = frieze.Denoiser("cpu", tune=False)
    x = torch.rand(1, 3, 32, 32)
    y = denoiser(x)
    assert type(y) is torch.Tensor
    np.testing.assert_array_equal(y.numpy(), denoiser(x.numpy()))
