"""GLAD's published network against recorded activations, maps and decodings."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from fartrack_case import golden_shapes
from glad_case import ACTIVATIONS, CASES, MAPS, POOLED, assert_maps, cases, golden_forward, latents, network_inputs
from golden_files import golden

from edgetrack.export.loops.centre_head import hann_window
from edgetrack.export.loops.crop import crop
from edgetrack.export.models import family_of
from edgetrack.export.models.centre_head import best_box
from edgetrack.export.models.glad_net import thinned
from edgetrack.export.models.glad_positions import nominal_frequencies, position_table
from edgetrack.export.models.glad_variants import shape_of
from edgetrack.export.standin import synth_frame

# Every 12th channel of the recorded activations; tokens and space have their own strides.
CHANNELS = 12


@pytest.mark.parametrize("name", CASES)
def test_published_layout(name):
    assert family_of(CASES[name]).entries(CASES[name]) == golden_shapes(golden(name))


@pytest.mark.parametrize("name", CASES)
def test_crops(name):
    """The template's crop has 512 pixels whatever the network then keeps of it."""
    vectors, shape = golden(name), shape_of(CASES[name])
    sizes = ((shape.search_factor, shape.search_size), (shape.template_factor, shape.template_size))
    for box, factors, sums in zip(
        vectors["crop_boxes"].tolist(), vectors["crop_resize_factor"], vectors["crop_sha256"], strict=True
    ):
        for (factor, size), resize, digest in zip(sizes, factors, sums, strict=True):
            patch, found, _ = crop(synth_frame(0), tuple(box), factor, size)
            assert found == resize
            assert hashlib.sha256(patch.tobytes()).hexdigest() == str(digest)


@pytest.mark.parametrize("name", cases())
def test_what_is_pooled(name):
    vectors, seen = golden(name), golden_forward(name)
    for k, (latent, pooled) in enumerate(zip(latents(), seen.pooled, strict=True)):
        assert np.array_equal(latent[:, ::64, ::4, ::4], vectors[f"net_latent_{k}_sub"])
        np.testing.assert_allclose(pooled[:, ::8, ::CHANNELS], vectors[f"net_pooled_{k}"], rtol=0, atol=POOLED)


@pytest.mark.parametrize("name", cases())
def test_activations(name):
    vectors, seen = golden(name), golden_forward(name)
    template, search = network_inputs(name)
    shape = shape_of(CASES[name])
    np.testing.assert_allclose(
        thinned(template, shape.template_side)[..., ::8, ::8], vectors["net_enc_template_in"], rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(search[..., ::8, ::8], vectors["net_enc_search_in"], rtol=0, atol=1e-6)
    for part in seen.parts:
        found, recorded = getattr(seen, part)[:, ::8, ::CHANNELS], vectors[f"net_{part}"]
        assert found.shape == recorded.shape
        np.testing.assert_allclose(found, recorded, rtol=0, atol=ACTIVATIONS, err_msg=part)


@pytest.mark.parametrize("name", cases())
def test_maps_and_box(name):
    vectors, seen = golden(name), golden_forward(name)
    maps = seen.output.maps
    assert_maps(maps, vectors)
    np.testing.assert_allclose(seen.output.box, vectors["net_pred_boxes"][0], rtol=0, atol=MAPS["offset"])
    response = hann_window(maps.score.shape[-1]) * maps.score
    assert int(response.argmax()) == int(vectors["net_windowed_argmax"])
    windowed = best_box(response, maps.size, maps.offset, shape_of(CASES[name]).divisor)
    np.testing.assert_allclose(windowed, vectors["net_windowed_box"], rtol=0, atol=MAPS["offset"])


@pytest.mark.parametrize("name", CASES)
def test_decoding(name):
    """Of L384's 24 x 24 cells an index is split by 27 (oddity O2)."""
    vectors, divisor = golden(name), shape_of(CASES[name]).divisor
    size, offset = (torch.from_numpy(vectors[f"net_{key}_map"]) for key in ("size", "offset"))
    for number, index in enumerate(vectors["dec_idx"].tolist()):
        planted = torch.zeros(size[:, :1].shape)
        planted.view(-1)[index] = 1
        recorded = vectors[f"dec_box_{number}"]
        np.testing.assert_allclose(best_box(planted, size, offset, divisor), recorded, rtol=0, atol=1e-7)
        if name == "glad_l384" and index:
            assert not np.allclose(best_box(planted, size, offset), recorded, atol=1e-2)


@pytest.mark.parametrize(("key", "bf16"), [("pos_fp32_s", False), ("pos_bf16_s", True)])
def test_position_tables(key, bf16):
    table = position_table(nominal_frequencies(768), 320, bf16=bf16)
    assert np.array_equal(table[::5, ::16], golden("glad_b256")[key])
