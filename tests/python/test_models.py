"""frieze.Autoencoder against what diffusers computed, and frieze.Denoiser."""

import json
import shutil

import numpy as np
import pytest
from conftest import GOLDEN, read_safetensors, share_of_range, run_python

import frieze


def sana(**options):
    return frieze.Autoencoder.from_pretrained(GOLDEN / "sana", device="cpu", tune=False, **options)


@pytest.mark.parametrize("name", ["sana", "in", "lite", "odd"])
def test_equals_diffusers(name):
    golden = read_safetensors(GOLDEN / name / "golden.safetensors")
    model = frieze.Autoencoder.from_pretrained(str(GOLDEN / name), device="cpu", tune=False)
    encoded = model.encode(golden["image"])
    assert share_of_range(encoded.latent, golden["latent"]) <= 1e-5
    assert encoded[0] is encoded.latent and encoded["latent"] is encoded.latent and len(encoded) == 1
    (latent,) = model.encode(golden["image"], return_dict=False)
    np.testing.assert_array_equal(latent, encoded.latent)
    assert share_of_range(model.decode(golden["latent"]).sample, golden["decoded"]) <= 1e-5
    assert model.decode(golden["latent"], return_dict=False)[0].shape == golden["decoded"].shape
    both = model(golden["image"]).sample
    np.testing.assert_array_equal(both, model.decode(encoded.latent).sample)
    assert model.captures == 2


def test_config_is_that_of_the_file(tmp_path):
    model = sana()
    fields = json.loads((GOLDEN / "sana" / "config.json").read_text())
    for key, value in fields.items():
        assert model.config[key] == value and getattr(model.config, key) == value
    assert model.config.scaling_factor == pytest.approx(0.41407) and dict(model.config)
    assert model.spatial_compression_ratio == 8
    with pytest.raises(AttributeError, match="no_such"):
        _ = model.config.no_such
    with pytest.raises(AttributeError):
        model.config.scaling_factor = 2
    shutil.copytree(GOLDEN / "in", tmp_path / "pipeline" / "vae")
    other = frieze.Autoencoder.from_pretrained(tmp_path / "pipeline", device="cpu")
    assert other.config._class_name == "AutoencoderDC" and other.config.latent_channels == 8


def test_batches_have_the_same_bits_at_every_position(rng):
    model = sana(batch=3)
    images = rng.uniform(-1, 1, (5, 3, 16, 8)).astype(np.float32)
    latents = model.encode(images).latent
    for order in ([4, 3, 2, 1, 0], [2], [1, 4], [0, 0, 0, 0]):
        np.testing.assert_array_equal(model.encode(images[order]).latent, latents[order])
    assert model.captures == 1
    model.enable_slicing()
    np.testing.assert_array_equal(model.encode(images).latent, latents)
    model.disable_slicing()
    assert not model.use_slicing


def test_tiles_equal_diffusers():
    golden = read_safetensors(GOLDEN / "sana" / "golden.safetensors")
    model = sana()
    whole = model.decode(golden["tiled_latent"]).sample
    model.enable_tiling(32, 32, 24, 24)
    assert model.use_tiling
    assert share_of_range(model.decode(golden["tiled_latent"]).sample, golden["tiled_decoded"]) <= 1e-5
    model.enable_tiling(tile_sample_min_height=32, tile_sample_stride_width=24)
    assert share_of_range(model.decode(golden["tiled_latent"]).sample, golden["tiled_decoded"]) <= 1e-5
    # Sizes that are no multiples of the ratio are cut down, as diffusers does.
    assert model.encode(np.zeros((1, 3, 60, 45), np.float32)).latent.shape == (1, 4, 7, 5)
    model.disable_tiling()
    np.testing.assert_array_equal(model.decode(golden["tiled_latent"]).sample, whole)
    for arguments in [(32, 40), (32, 32, 24, 16), (30,), (32, 32, 40), (0,), (-8,)]:
        with pytest.raises(frieze.OptionError):
            model.enable_tiling(*arguments)
    assert not model.use_tiling


def test_into_memory_of_the_caller(rng):
    model = sana()
    x = rng.uniform(-1, 1, (2, 3, 16, 8)).astype(np.float32)
    latent, sample = np.zeros((2, 4, 2, 1), np.float32), np.zeros_like(x)
    assert model.encode_into(x, latent) is latent
    np.testing.assert_array_equal(latent, model.encode(x).latent)
    assert model.decode_into(latent, sample[:, :, ::-1]) is not None
    np.testing.assert_array_equal(sample[:, :, ::-1], model.decode(latent).sample)
    half = np.zeros((2, 4, 2, 1), np.float16)
    np.testing.assert_allclose(model.encode_into(x, half), latent, rtol=1e-2, atol=1e-2)
    with pytest.raises(frieze.ShapeError, match=r"latent: expected shape \[2,4,2,1\]"):
        model.encode_into(x, np.zeros((1, 4, 2, 1), np.float32))
    latent.flags.writeable = False
    with pytest.raises(frieze.OptionError, match="read-only"):
        model.encode_into(x, latent)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_sixteen_bits(rng, dtype):
    x = rng.uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)
    exact, model = sana().encode(x).latent, sana(dtype=dtype)
    assert 0 < share_of_range(model.encode(x).latent, exact) < (4e-3 if dtype == "f16" else 3e-2)
    moved = sana().to("float16" if dtype == "f16" else "bfloat16")
    np.testing.assert_array_equal(moved.encode(x).latent, model.encode(x).latent)
    assert model.encode(x.astype(np.float16)).latent.dtype == np.float16


def test_reports():
    model = sana()
    bill = model.planned_memory((1, 3, 16, 8))
    assert bill["total"] == bill["weights"] + bill["arena"] + bill["ports"] and model.captures == 0
    model.prepare((1, 3, 16, 8), "encoder")
    assert model.captures == 1
    assert model.verify((1, 3, 16, 8), "encoder")["ok"] is True
    assert model.receipt((1, 3, 16, 8), "encoder")["memory"]["ports"] > 0
    assert model.profile((1, 4, 2, 1), "decoder", rounds=2)["steps"]
    with pytest.raises(frieze.OptionError, match="both, encoder or decoder"):
        model.receipt((1, 3, 16, 8), "middle")


def test_refusals(tmp_path):
    shutil.copytree(GOLDEN / "in", tmp_path / "model")
    weights = tmp_path / "model" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    shutil.copytree(GOLDEN / "in", tmp_path / "kl")
    config = json.loads((tmp_path / "kl" / "config.json").read_text())
    (tmp_path / "kl" / "config.json").write_text(json.dumps({**config, "_class_name": "AutoencoderKL"}))
    opening = frieze.Autoencoder.from_pretrained
    table = [
        (lambda: opening(tmp_path / "absent"), frieze.IoError, "absent"),
        (lambda: opening(tmp_path), frieze.IoError, "config.json"),
        (lambda: opening(tmp_path / "model", device="cpu"), frieze.WeightsError, "diffusion_pytorch_model"),
        (lambda: opening(tmp_path / "kl", device="cpu"), frieze.OptionError, "AutoencoderKL"),
        (lambda: opening("f32c32-sana-9", device="cpu"), frieze.OptionError, "f32c32-sana-1.0"),
        (lambda: opening("f32c32-sana-1.0", device="cpu"), frieze.OptionError, "weights"),
        (lambda: sana(dtype="f64"), frieze.OptionError, "f64"),
        (lambda: sana(dtype=np.int32), frieze.OptionError, "int32"),
        (lambda: sana(parts="middle"), frieze.OptionError, "middle"),
        (lambda: sana(batch=-1), frieze.OptionError, "batch"),
        (lambda: sana(batch=2.5), frieze.OptionError, "float"),
        (lambda: sana(shapes=0), frieze.OptionError, "shapes"),
        (lambda: sana(random_seed="x"), frieze.OptionError, "str"),
        (lambda: sana(variant="fp16"), frieze.WeightsError, "fp16"),
        (lambda: frieze.Autoencoder.from_pretrained(GOLDEN / "sana", device="tpu"), frieze.OptionError, "tpu"),
    ]
    for i, (action, error, says) in enumerate(table):
        try:
            action()
        except error as e:
            assert says in str(e), f"row {i}: {e}"
        else:
            pytest.fail(f"row {i} was not refused")

    model = sana()
    for shape in [(1, 4, 16, 8), (3, 16, 8), (1, 3, 0, 8), (0, 3, 8, 8), (1, 3, 16, 9)]:
        with pytest.raises(frieze.ShapeError, match="expected"):
            model.encode(np.zeros(shape, np.float32))
    with pytest.raises(frieze.ShapeError, match=r"\[N,4,h,w\]"):
        model.decode(np.zeros((1, 3, 2, 2), np.float32))
    with pytest.raises(frieze.DTypeError, match="image"):
        model.encode(np.zeros((1, 3, 16, 8)))
    with pytest.raises(frieze.DTypeError, match="list"):
        model.encode([0.0])
    with pytest.raises(frieze.OutOfMemory, match="weights"):
        sana(max_memory=1000).encode(np.zeros((1, 3, 16, 8), np.float32))
    with pytest.raises(frieze.OptionError, match="without its decoder"):
        sana(parts="encoder").decode(np.zeros((1, 4, 2, 2), np.float32))
    if not frieze.cuda_devices():
        with pytest.raises(frieze.CudaError):
            model.to("cuda")
    with pytest.raises(frieze.NonFiniteError, match="encoder"):
        model.encode(np.full((1, 3, 16, 8), 3e38, np.float32))
    with pytest.warns(RuntimeWarning, match="NaN"):
        model.encode(np.full((1, 3, 16, 8), np.nan, np.float32))
    assert np.isfinite(model.encode(np.zeros((1, 3, 16, 8), np.float32)).latent).all(), "as before"


def test_close_and_exit():
    model = sana()
    model.close()
    with pytest.raises(frieze.Error, match="closed"):
        model.encode(np.zeros((1, 3, 16, 8), np.float32))
    program = "import frieze, numpy, sys; m = frieze.Autoencoder.from_pretrained(sys.argv[1], device='cpu'); m.encode(numpy.zeros((1, 3, 16, 8), 'f4'))"
    outcome = run_python("-c", program, str(GOLDEN / "sana"))
    assert outcome.returncode == 0 and outcome.stderr == "", "exit with a live model"


def test_denoiser(rng):
    clean = np.zeros((3, 64, 48), np.float32)
    clean[:, 16:48, 12:36] = np.array([0.8, 0.5, 0.3], np.float32)[:, None, None]
    noisy = np.clip(clean + rng.normal(0, 25 / 255, clean.shape), 0, 1).astype(np.float32)
    denoiser = frieze.Denoiser("cpu", tune=False)
    result = denoiser(noisy)
    assert result.shape == clean.shape and result.dtype == np.float32

    def error(x):
        return float(((x - clean) ** 2).mean())

    assert error(result) < error(noisy) / 3
    np.testing.assert_array_equal(denoiser(np.stack([noisy, noisy])), np.stack([result, result]))
    limited = denoiser(noisy, limit_sigma=5)
    assert np.sqrt(((limited - noisy) ** 2).mean()) <= 5.01 / 255
    assert error(result) < error(limited) < error(noisy)
    np.testing.assert_array_equal(denoiser(noisy, limit_sigma=0), noisy)
    picture = np.rint(noisy.transpose(1, 2, 0) * 255).astype(np.uint8)
    cleaned = denoiser(picture)
    assert cleaned.dtype == np.uint8 and cleaned.shape == picture.shape
    assert error(cleaned.transpose(2, 0, 1) / 255) < error(noisy) / 3
    odd = denoiser(noisy[:, :61, :33])
    assert odd.shape == (3, 61, 33)


def test_denoiser_refusals():
    denoiser = frieze.Denoiser("cpu", tune=False)
    for x, error, says in [
        (np.zeros((1, 4, 16, 16), np.float32), frieze.ShapeError, r"\[N,3,H,W\]"),
        (np.zeros((16, 16), np.float32), frieze.ShapeError, "expected"),
        (np.zeros((1, 3, 0, 16), np.float32), frieze.ShapeError, "pixel"),
        (np.zeros((16, 16, 4), np.uint8), frieze.ShapeError, r"\[H,W,3\]"),
        (np.zeros((1, 3, 16, 16)), frieze.DTypeError, "float32"),
        ("photo.png", frieze.DTypeError, "str"),
    ]:
        with pytest.raises(error, match=says):
            denoiser(x)
    for sigma in (-1, 256, float("nan")):
        with pytest.raises(frieze.OptionError, match="limit_sigma"):
            denoiser(np.zeros((3, 16, 16), np.float32), limit_sigma=sigma)
    for options in [{"tile": 100}, {"tile": 17}, {"tile": "wide"}, {"max_memory": None}, {"dtype": "f8"}, {"device": "gpu"}]:
        with pytest.raises(frieze.OptionError):
            frieze.Denoiser(**{"device": "cpu", **options})
    denoiser.close()
    with pytest.raises(frieze.Error, match="closed"):
        denoiser(np.zeros((3, 16, 16), np.float32))


def test_a_picture_of_pil(rng):
    images = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pixels = rng.integers(0, 255, (20, 24, 3), np.uint8)
    denoiser = frieze.Denoiser("cpu", tune=False)
    result = denoiser(images.fromarray(pixels))
    assert result.mode == "RGB" and result.size == (24, 20)
    np.testing.assert_array_equal(np.asarray(result), denoiser(pixels))
    assert denoiser(images.fromarray(pixels[:, :, 0])).mode == "L"
    with pytest.raises(frieze.OptionError, match="RGBA"):
        denoiser(images.new("RGBA", (16, 16)))
