"""What needs a GPU, a wheel with CUDA and PyTorch: the caller's memory on the caller's stream. Skipped visibly elsewhere."""

import pytest
from conftest import GOLDEN, read_safetensors, share_of_range

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import frieze  # noqa: E402

if not torch.cuda.is_available() or not frieze.cuda_devices():
    pytest.skip("needs a GPU, and a wheel that was built with CUDA", allow_module_level=True)

nn = torch.nn


def formula(x, weight=None):
    wide = x.float()
    y = wide * torch.rsqrt(wide.square().mean(1, keepdim=True) + 1e-5)
    return y if weight is None else y * weight.float().view(1, -1, 1, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_norm(dtype):
    tolerance = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    x, w = torch.randn(2, 64, 33, 17, device="cuda").to(dtype), torch.randn(64, device="cuda").to(dtype)
    for view in (x, x.contiguous(memory_format=torch.channels_last), x[:, :, ::2], x.transpose(2, 3)):
        y = frieze.rms_norm2d(view, w)
        assert y.device == x.device and y.dtype == dtype
        torch.testing.assert_close(y.float(), formula(view, w), rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(torch.ops.frieze.rms_norm2d(view, w, None, None, None, "none", "none", "add_inside", "once"), y, rtol=0, atol=0)
    assert frieze.rms_norm2d(x.contiguous(memory_format=torch.channels_last)).is_contiguous(memory_format=torch.channels_last)
    for bad in (w.cpu(), w[:3], w.double()):
        with pytest.raises(frieze.Error):
            frieze.rms_norm2d(x, bad)


def test_side_streams_see_what_was_written_on_them():
    stream = torch.cuda.Stream()
    for i in range(200):
        with torch.cuda.stream(stream):
            x = torch.full((1, 8, 64, 64), float(i + 1), device="cuda")
            torch.cuda._sleep(100_000)
            x.mul_(2)
            y = frieze.rms_norm2d(x, eps=0.0)
            result = y.sum()
        stream.synchronize()
        assert result.item() == pytest.approx(8 * 64 * 64, rel=1e-5)


def test_inside_a_graph_of_torch():
    x, w = torch.randn(1, 64, 32, 32, device="cuda"), torch.randn(64, device="cuda")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        frieze.rms_norm2d(x, w)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = frieze.rms_norm2d(x, w)
    for _ in range(100):
        x.normal_()
        graph.replay()
        torch.testing.assert_close(y, frieze.rms_norm2d(x, w), rtol=0, atol=0)


def test_compile():
    module = nn.Sequential(nn.Conv2d(8, 8, 1), frieze.RMSNorm2d(8), nn.SiLU()).cuda()
    x = torch.randn(1, 8, 16, 16, device="cuda")
    for mode in ("default", "reduce-overhead"):
        compiled = torch.compile(module, fullgraph=True, mode=mode)
        for _ in range(4):
            torch.testing.assert_close(compiled(x), module(x), rtol=1e-4, atol=1e-4)


def test_composed_model():
    conv = nn.Conv2d(8, 8, 3, padding=1).cuda()
    g = frieze.Graph()
    v = g.input("x", (2, 8, 32, 32))
    model = g.compile(v + g.conv2d(g.silu(g.rms_norm2d(v)), conv.weight, conv.bias, padding=1), device="cuda")
    streams = [torch.cuda.Stream() for _ in range(3)]
    for i in range(60):
        with torch.cuda.stream(streams[i % 3]):
            x = torch.randn(2, 8, 32, 32, device="cuda")
            y = model(x)
            with torch.no_grad():
                expected = x + conv(nn.functional.silu(formula(x)))
        streams[i % 3].synchronize()
        torch.testing.assert_close(y, expected, rtol=1e-2, atol=1e-2)
    assert model.verify()["ok"] and model.receipt()["captured"]
    with pytest.raises(frieze.ShapeError):
        model(torch.randn(1, 8, 32, 32, device="cuda"))
    with pytest.raises(frieze.OptionError, match="cuda:0"):
        model(torch.randn(2, 8, 32, 32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autoencoder(dtype):
    golden = read_safetensors(GOLDEN / "sana" / "golden.safetensors")
    image, latent = (torch.from_numpy(golden[k].copy()).cuda() for k in ("image", "latent"))
    model = frieze.Autoencoder.from_pretrained(GOLDEN / "sana", device="cuda", dtype=dtype)
    bar = 1e-4 if dtype == torch.float32 else 3e-2
    for _ in range(3):
        assert share_of_range(model.encode(image).latent.float().cpu().numpy(), golden["latent"]) <= bar
        assert share_of_range(model.decode(latent).sample.float().cpu().numpy(), golden["decoded"]) <= bar
    assert model.captures == 2
    out = torch.empty_like(image.to(dtype))
    model.decode_into(latent.to(dtype), out)
    torch.testing.assert_close(out, model.decode(latent.to(dtype)).sample, rtol=0, atol=0)
    model.enable_tiling(32, 32, 24, 24)
    tiled = model.decode(torch.from_numpy(golden["tiled_latent"].copy()).cuda().to(dtype)).sample
    assert tiled.is_cuda and share_of_range(tiled.float().cpu().numpy(), golden["tiled_decoded"]) <= bar
    assert share_of_range(model.encode(golden["image"]).latent, golden["latent"]) <= bar, "arrays on the host"


def test_host_time_of_a_call():
    import timeit

    x, w, module = torch.randn(1, 64, 8, 8, device="cuda"), torch.randn(64, device="cuda"), frieze.RMSNorm2d(64).cuda()
    with torch.no_grad():
        for name, call in (("rms_norm2d", lambda: frieze.rms_norm2d(x, w)), ("RMSNorm2d", lambda: module(x))):
            times = []
            for _ in range(20):
                torch.cuda.synchronize()
                times.append(timeit.timeit(call, number=200) / 200 * 1e6)
            print(f"{name}: {min(times):.2f} us")
            assert min(times) < 50
