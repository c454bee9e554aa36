"""What GLAD uses of Stable Diffusion against recorded activations; the published sizes are `big` (0.5 G parameters)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusion_case import (
    FEATURES,
    GUIDED,
    LATENT,
    SHAPES,
    TEXT,
    loaded_diffusion,
    model_inputs,
    own_names,
    vector_shapes,
)
from golden_files import golden

from edgetrack.export.models.diffusion import Diffusion, empty_sentence, guided, noisy_latent
from edgetrack.export.models.diffusion_blocks import Downsample, SpatialTransformer, time_vector
from edgetrack.export.models.diffusion_shape import TIMESTEP

KINDS = ["sdtiny", pytest.param("sd", marks=pytest.mark.big)]


def compare(found, recorded, atol, what) -> None:
    assert found.shape == recorded.shape, what
    np.testing.assert_allclose(found, recorded, rtol=0, atol=atol, err_msg=what)


@pytest.mark.parametrize("kind", SHAPES)
def test_layout(kind):
    shapes = vector_shapes(kind)
    with torch.device("meta"):
        found = {name: tuple(value.shape) for name, value in Diffusion(SHAPES[kind]).state_dict().items()}
    empty = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    assert {name: tuple(value.shape) for name, value in own_names(empty, SHAPES[kind]).items()} == found
    if kind == "sd":
        assert len(shapes) == 602
        assert sum(int(np.prod(shape)) for shape in found.values()) == pytest.approx(505.9e6, abs=0.1e6)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_recorded_pass(kind):
    """All stages of one pass; strides as the file stores them."""
    vectors, net, given = golden("glad_b256"), loaded_diffusion(kind), model_inputs(kind)
    sd = kind == "sd"
    ids = torch.cat([empty_sentence(SHAPES[kind].text), given.ids])
    assert np.array_equal(ids, vectors["sd_ids"])
    told = net.text_encoder(ids)
    compare(told[:, ::7, ::16] if sd else told, vectors[f"{kind}_text"], TEXT, "text")
    moments = net.vae(given.image)
    noisy = noisy_latent(moments, given.posterior, given.diffusion)
    step = (slice(None), slice(None), slice(None, None, 4), slice(None, None, 4)) if sd else ...
    compare(moments[step], vectors[f"{kind}_moments"], LATENT, "moments")
    compare(noisy[step], vectors[f"{kind}_latent"], LATENT, "x_t")
    time = net.unet.time()
    compare(time[:, ::4] if sd else time, vectors[f"{kind}_temb"], LATENT, "time")
    seen = {}
    hooks = [
        net.unet.down_blocks[k]
        .downsamplers[0]
        .register_forward_hook(lambda _, __, out, k=k: seen.update({f"down{k}": out}))
        for k in (0, 1)
    ]
    rows = net.unet(noisy, told)
    for hook in hooks:
        hook.remove()
    for k, (channels, space) in enumerate(((20, 4), (40, 4))):
        stored = seen[f"down{k}"][:, ::channels, ::space, ::space] if sd else seen[f"down{k}"][:, ::4]
        compare(stored, vectors[f"{kind}_down{k}"], FEATURES, f"stage {k}")
    if sd:
        for key, value, space in zip(("d2a", "d2b", "mid"), rows, (4, 4, 2), strict=True):
            compare(value[:, ::40, ::space, ::space], vectors[f"sd_{key}"], FEATURES, key)
    for k, value in enumerate(rows):
        found = guided(value)[:, ::20, ::2, ::2] if sd else guided(value)
        compare(found, vectors[f"{kind}_feat_{k}"], GUIDED[kind], f"guided {k}")


@torch.no_grad()
def test_recorded_pass_with_a_lora():
    """The noises are the first numbers of the large model's."""
    vectors, net, given = golden("glad_b256"), loaded_diffusion("sdtiny", lora=True), model_inputs("sdtiny")
    noises = [
        torch.from_numpy(vectors[f"sd_noise_{key}"].ravel()[:1024].reshape(1, 4, 16, 16))
        for key in ("vae", "diffusion")
    ]
    found = net(given.ids, given.image, *noises)
    for k, value in enumerate(found):
        compare(value, vectors[f"lora_feat_{k}"], GUIDED["sdtiny"], f"guided {k}")


def test_schedule():
    vectors = golden("glad_b256")
    assert int(vectors["sd_timestep"]) == TIMESTEP
    one, zero = torch.ones(1, 4, 1, 1), torch.zeros(1, 8, 1, 1)
    found = noisy_latent(zero, 0 * one, one)[0, 0, 0, 0]
    assert float(found) == pytest.approx(float(vectors["sd_sqrt_alpha"][1]), abs=1e-7)
    mean = torch.cat([one, -30 * one], dim=1) / 0.18215
    assert float(noisy_latent(mean, one, 0 * one)[0, 0, 0, 0]) == pytest.approx(
        float(vectors["sd_sqrt_alpha"][0]), abs=1e-6
    )


def test_guidance():
    rows = torch.tensor([[1.0], [2.0]])[..., None, None]
    assert guided(rows).item() == 1 + 8 * (2 - 1)
    assert guided(rows[:1].repeat(2, 1, 1, 1)).item() == 1  # no sentence


def test_time_vector_has_its_cosines_first():
    found = time_vector(3, 4)[0]
    np.testing.assert_allclose(found, [np.cos(3), np.cos(0.03), np.sin(3), np.sin(0.03)], atol=1e-6)


def test_downsampling_pads_where_it_is_said():
    """With a kernel that picks its top left pixel: from the image itself, or from the padding."""
    image = torch.arange(1.0, 17).reshape(1, 1, 4, 4)
    for lopsided, expected in ((True, [1, 3, 9, 11]), (False, [0, 0, 0, 6])):
        down = Downsample(1, lopsided=lopsided)
        with torch.no_grad():
            down.conv.weight.zero_()[0, 0, 0, 0] = 1
            down.conv.bias.zero_()
            assert down(image).flatten().tolist() == expected


@torch.no_grad()
def test_one_image_row_for_two_texts():
    """What is shared until the texts differ gives the same as two rows from the start."""
    block = SpatialTransformer(32, 8, heads=4, groups=8).eval()
    x, told = torch.randn(1, 32, 4, 4), torch.randn(2, 5, 8)
    torch.testing.assert_close(block(x, told), block(x.repeat(2, 1, 1, 1), told), rtol=0, atol=1e-6)
    single = [block(x, row[None]) for row in told]
    torch.testing.assert_close(block(x, told), torch.cat(single), rtol=0, atol=1e-6)
