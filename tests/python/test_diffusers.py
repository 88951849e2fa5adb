"""frieze.Autoencoder beside diffusers' own class, and in the place of it in a pipeline of diffusers."""

import pytest
from conftest import GOLDEN

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import frieze  # noqa: E402

NAMES = ["sana", "in", "lite", "odd"]


def pair(name):
    theirs = diffusers.AutoencoderDC.from_pretrained(GOLDEN / name, low_cpu_mem_usage=False).eval()
    return theirs, frieze.Autoencoder.from_pretrained(GOLDEN / name, device="cpu")


def share(got, expected):
    assert got.shape == expected.shape and got.dtype == expected.dtype
    return ((got - expected).abs().max() / (expected.max() - expected.min())).item()


def random_images(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("name", NAMES)
def test_the_same_answers(name):
    theirs, ours = pair(name)
    f = ours.spatial_compression_ratio
    assert ours.config.scaling_factor == theirs.config.scaling_factor
    x = random_images(2, 3, 4 * f, 3 * f)
    with torch.no_grad():
        encoded = theirs.encode(x)
        assert share(ours.encode(x).latent, encoded.latent) <= 1e-5
        assert share(ours.encode(x, return_dict=False)[0], encoded.latent) <= 1e-5
        assert share(ours.decode(encoded.latent).sample, theirs.decode(encoded.latent).sample) <= 1e-5
        assert share(ours(x).sample, theirs(x).sample) <= 1e-5
        for vae in (theirs, ours):
            vae.enable_slicing()
        assert share(ours.encode(x).latent, theirs.encode(x).latent) <= 1e-5


def test_tiles_of_any_size():
    theirs, ours = pair("sana")
    for vae in (theirs, ours):
        vae.enable_tiling(32, 32, 24, 24)
    for height, width in [(44, 60), (40, 40), (33, 71), (32, 64)]:
        x = random_images(1, 3, height, width)
        with torch.no_grad():
            latent = theirs.encode(x).latent
            assert share(ours.encode(x).latent, latent) <= 1e-5, (height, width)
            assert share(ours.decode(latent).sample, theirs.decode(latent).sample) <= 1e-5, (height, width)


def test_in_a_pipeline():
    theirs, ours = pair("sana")
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 2, "attention_head_dim": 4, "num_cross_attention_heads": 2, "cross_attention_head_dim": 4}
    transformer = diffusers.SanaTransformer2DModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=1, cross_attention_dim=8, caption_channels=8, sample_size=32, **sizes
    ).eval()

    def picture(vae, assigned):
        pipe = diffusers.SanaPipeline(
            tokenizer=None,
            text_encoder=None,
            vae=theirs if assigned else vae,
            transformer=transformer,
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        )
        if assigned:
            pipe.vae = vae
        pipe.set_progress_bar_config(disable=True)
        pipe.to("cpu")
        generator = torch.Generator().manual_seed(3)
        prompt = {"prompt_embeds": torch.randn(1, 6, 8, generator=generator), "prompt_attention_mask": torch.ones(1, 6)}
        size = {"height": 64, "width": 64, "use_resolution_binning": False}
        return pipe(prompt=None, guidance_scale=1.0, num_inference_steps=2, output_type="pt", generator=generator, **prompt, **size).images

    expected = picture(theirs, True)
    for assigned in (True, False):
        assert (picture(ours, assigned) - expected).abs().max() <= 1e-5
    assert ours.captures == 1
