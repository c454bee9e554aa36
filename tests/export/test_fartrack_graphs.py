"""Each step from the published network to the deployment graph leaves the result as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fartrack_case import CASES, SPARSE, loaded_network, network_inputs
from golden_files import golden

from edgetrack.export.graphs import fartrack as graphs
from edgetrack.export.models import MODELS

LOGITS = 2e-5
ATTENTION_ROW = 1e-6
ACTIVATIONS = 5e-5
KEPT_ROWS = 37


def embedded(name: str) -> list[torch.Tensor]:
    templates, _ = network_inputs(name)
    embed = graphs.TemplateGraph(loaded_network(name))
    return [embed(image)[0] for image in templates]


def run(name: str, keep: np.ndarray | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run the search graph on the golden inputs with the kept rows of the old templates gathered."""
    rows = embedded(name)
    old = rows[:4]
    if keep is not None:
        per_slot = torch.from_numpy(keep[: 5 * 49].reshape(5, 49))
        old = [tokens[mask] for tokens, mask in zip(old, per_slot[:4], strict=True)]
    out = graphs.SearchGraph(loaded_network(name))(network_inputs(name)[1], torch.stack(old)[None], rows[4][None])
    return out if isinstance(out, tuple) else (out, None)


@pytest.mark.parametrize("name", CASES)
def test_first_frame_equals_the_published_forward(name):
    logits, score = run(name, None)
    np.testing.assert_allclose(logits[0], golden(name)["net_full_logits"], rtol=0, atol=LOGITS)
    assert logits.shape == (1, 4, 605)
    assert (score is None) == (name not in SPARSE)
    if score is not None:
        assert score.shape == (1, 49)
        np.testing.assert_allclose(score[0], golden(name)["net_full_attn_row"], rtol=0, atol=ATTENTION_ROW)


@pytest.mark.parametrize("name", SPARSE)
def test_gathering_kept_tokens_equals_masking_keys(name):
    vectors = golden(name)
    logits, score = run(name, vectors["net_keep_mask"])
    np.testing.assert_allclose(logits[0], vectors["net_masked_logits"], rtol=0, atol=LOGITS)
    np.testing.assert_allclose(score[0], vectors["net_masked_attn_row"], rtol=0, atol=ATTENTION_ROW)


def test_embedding_once_equals_embedding_every_frame():
    net = loaded_network("fartrack_pico")
    templates, search = network_inputs("fartrack_pico")
    rows = embedded("fartrack_pico")
    tokens = graphs.SearchGraph(net).tokens(search, torch.stack(rows[:4])[None], rows[4][None])
    torch.testing.assert_close(tokens, net.embed(templates, search)[0], rtol=0, atol=1e-5)


def tokens_of(count: int = 100) -> torch.Tensor:
    return torch.randn(count, 192, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", ["fartrack_pico", "fartrack_distill_tiny"])
def test_block_with_folded_scale_and_biases(name):
    block = loaded_network(name).layers()[2]
    x = tokens_of(300)
    expected, weights = block(x[None], None)
    out, rows = graphs.FullBlock(block)(x)
    torch.testing.assert_close(out, expected[0], rtol=0, atol=ACTIVATIONS)
    published = weights[0, :, graphs.CENTRE_ROW, graphs.NEWEST_COLUMNS]
    torch.testing.assert_close(rows, published, rtol=0, atol=ATTENTION_ROW)


def test_row_logits_without_key_projection():
    """They differ from the published logits by a constant per row, which the softmax removes."""
    block = loaded_network("fartrack_pico").layers()[1]
    y = tokens_of()
    q, k, _ = block.attn.split(y[None])
    expected = torch.softmax(q @ k.transpose(-2, -1) * block.attn.scale, -1)[0]  # heads, N, N
    rows = torch.tensor([5, 50, 99])
    logits = graphs.RowLogits(block)(y[rows], y).reshape(3, 3, 100)  # rows, heads, N
    torch.testing.assert_close(torch.softmax(logits, -1).transpose(0, 1), expected[:, rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize("signal", [True, False])
def test_last_block_for_the_commands_alone(signal):
    block = loaded_network("fartrack_pico").layers()[-1]
    x = tokens_of(300)
    expected, weights = block(x[None], None)
    commands, rows = graphs.LastBlock(block, signal)(x)
    torch.testing.assert_close(commands, expected[0, -4:], rtol=0, atol=ACTIVATIONS)
    if signal:
        published = weights[0, :, graphs.CENTRE_ROW, graphs.NEWEST_COLUMNS]
        torch.testing.assert_close(rows, published, rtol=0, atol=ATTENTION_ROW)
    else:
        assert rows is None


def test_patch_rows_equal_the_convolution():
    net = loaded_network("fartrack_pico")
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    rows = graphs.PatchRows(net.backbone.patch_embed.proj, torch.zeros(196, 192))(image)
    torch.testing.assert_close(rows, net.backbone.patch_embed(image)[0], rtol=0, atol=1e-5)


def test_order_of_kept_rows_does_not_matter():
    rows = embedded("fartrack_pico")
    graph = graphs.SearchGraph(loaded_network("fartrack_pico"))
    search = network_inputs("fartrack_pico")[1]
    old = torch.stack([tokens[:KEPT_ROWS] for tokens in rows[:4]])[None]
    shuffled = old[:, :, torch.randperm(KEPT_ROWS, generator=torch.Generator().manual_seed(2))]
    logits, score = graph(search, old, rows[4][None])
    other_logits, other_score = graph(search, shuffled, rows[4][None])
    torch.testing.assert_close(logits, other_logits, rtol=0, atol=LOGITS)
    torch.testing.assert_close(score, other_score, rtol=0, atol=ATTENTION_ROW)


@pytest.mark.parametrize("name", CASES)
def test_declared_graphs_fit_their_modules(name):
    family = MODELS.get("fartrack")
    for graph in family.deploy_graphs(CASES[name], loaded_network(name)):
        out = graph.module(*graph.inputs.values())
        shapes = [tuple(t.shape) for t in (out if isinstance(out, tuple) else (out,))]
        assert len(shapes) == len(graph.outputs)
        assert set(graph.layouts) == {*graph.inputs, *graph.outputs}
        for symbol_axes in graph.dims.values():
            assert set(symbol_axes.values()) <= set(graph.values)
