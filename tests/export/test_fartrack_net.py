"""The published networks against recorded outputs of the published code (tolerances: spec section 7)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fartrack_case import CASES, SPARSE, golden_shapes, loaded_network, network_inputs
from golden_files import golden, golden_seed

from edgetrack.errors import CheckpointError
from edgetrack.export.models import MODELS, VARIANTS
from edgetrack.export.standin import synth_state

LOGITS = 2e-5
ACTIVATIONS = 5e-5
ATTENTION_ROW = 1e-6
FAMILY = MODELS.get("fartrack")


def check_forward(vectors, prefix: str, net, keep: torch.Tensor | None, templates, search) -> None:
    out = net(templates, search, keep)
    logits = out.logits.numpy()
    np.testing.assert_allclose(logits, vectors[f"{prefix}_logits"], rtol=0, atol=LOGITS)
    assert (logits.argmax(-1) == vectors[f"{prefix}_argmax"]).all()
    prob = out.logits.softmax(-1).max(-1).values.numpy()
    np.testing.assert_allclose(prob, vectors[f"{prefix}_prob"], rtol=0, atol=1e-6)
    if net.sparse:
        np.testing.assert_allclose(out.score.numpy(), vectors[f"{prefix}_attn_row"], rtol=0, atol=ATTENTION_ROW)


@pytest.mark.parametrize("name", CASES)
def test_full_forward(name):
    check_forward(golden(name), "net_full", loaded_network(name), None, *network_inputs(name))


@pytest.mark.parametrize("name", SPARSE)
def test_masked_forward(name):
    vectors = golden(name)
    keep = torch.from_numpy(vectors["net_keep_mask"])
    check_forward(vectors, "net_masked", loaded_network(name), keep, *network_inputs(name))


@pytest.mark.parametrize("name", CASES)
def test_activations(name):
    vectors, net = golden(name), loaded_network(name)
    rows, columns = vectors["net_token_index"], vectors["net_channel_index"]
    x = net.embed(*network_inputs(name))

    def check(key: str) -> None:
        seen = x[0].numpy()[np.ix_(rows, columns)]
        np.testing.assert_allclose(seen, vectors[f"net_full_{key}"], rtol=0, atol=ACTIVATIONS, err_msg=key)

    check("embed")
    for index, layer in enumerate(net.layers()):
        x, _ = layer(x, None)
        if index in (0, 5):
            check(f"block{index}")
    check("last")


def test_exits_of_every_trained_depth():
    vectors, net = golden("fartrack_distill_tiny"), loaded_network("fartrack_distill_tiny")
    logits = net.exits(*network_inputs("fartrack_distill_tiny"))
    assert list(vectors["net_exit_depth"]) == list(range(5, 16))
    np.testing.assert_allclose(logits.numpy()[..., ::5], vectors["net_exit_logits"], rtol=0, atol=LOGITS)


def test_a_truncated_network_is_an_exit_of_the_deep_one():
    deep = loaded_network("fartrack_distill_tiny")
    vectors = golden("fartrack_distill_tiny")
    shallow = FAMILY.build("fartrack-pico-distill")
    state = synth_state(golden_shapes(vectors), golden_seed(vectors))
    FAMILY.load_state(shallow, "fartrack-pico-distill", {k: torch.from_numpy(v) for k, v in state.items()})
    inputs = network_inputs("fartrack_distill_tiny")
    with torch.no_grad():
        torch.testing.assert_close(shallow(*inputs).logits, deep.exits(*inputs)[1], rtol=0, atol=LOGITS)


@pytest.mark.parametrize("name", CASES)
def test_published_layout(name):
    variant = CASES[name]
    expected = golden_shapes(golden(name))
    assert FAMILY.entries(variant) == expected
    assert len(expected) == (255 if VARIANTS[variant].flavour == "sparse" else 193)


@pytest.mark.parametrize("row", range(4))
def test_command_rows_are_renormalised_only_above_norm_one(row):
    net = FAMILY.build("fartrack-pico")
    words = net.backbone.word_embeddings.weight
    with torch.no_grad():
        words.fill_(0.01)
        words[:600] = 3.0
        words[600 + row] = 2.0
    before = words.detach().clone()
    net.renormalise_commands()
    assert words[600 + row].norm().item() == pytest.approx(1.0, abs=1e-6)
    others = torch.arange(605) != 600 + row
    assert torch.equal(words[others], before[others])


@pytest.mark.parametrize("name", CASES)
def test_unused_entries_do_not_change_the_result(name):
    """The table of unused entries is right: noise in all of them leaves the output bit-identical."""
    variant, vectors = CASES[name], golden(name)
    unused = FAMILY.unused(variant)
    state = synth_state(golden_shapes(vectors), golden_seed(vectors))
    touched = 0
    for key in state:
        if any(key == entry or (entry.endswith(".") and key.startswith(entry)) for entry in unused):
            state[key] = state[key] + np.float32(0.5)
            touched += 1
    assert touched >= 3
    net = FAMILY.build(variant)
    FAMILY.load_state(net, variant, {key: torch.from_numpy(value) for key, value in state.items()})
    inputs = network_inputs(name)
    with torch.no_grad():
        assert torch.equal(net(*inputs).logits, loaded_network(name)(*inputs).logits)


def test_every_other_entry_is_used():
    """...and complete: each entry that the table does not name changes the output when it changes."""
    variant = "fartrack-pico"
    net, unused = FAMILY.build(variant), FAMILY.unused(variant)
    vectors = golden("fartrack_pico")
    state = synth_state(golden_shapes(vectors))
    FAMILY.load_state(net, variant, {key: torch.from_numpy(value) for key, value in state.items()})
    inputs = network_inputs("fartrack_pico")
    net(*inputs).logits.sum().backward()
    gradients = {key: parameter.grad for key, parameter in net.named_parameters()}
    silent = {key for key, gradient in gradients.items() if gradient is None or not gradient.abs().sum() > 0}
    named = {key for key in gradients if any(key == e or (e.endswith(".") and key.startswith(e)) for e in unused)}
    assert silent == named


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("identity"), ["1 missing", "identity"]),
        (lambda s: s.update(extra=torch.zeros(2)), ["1 unexpected", "extra"]),
        (lambda s: s.update(identity=torch.zeros(1, 5, 192)), ["of another shape", "(1, 5, 192)"]),
        (lambda s: s["identity"].fill_(float("nan")), ["not finite", "identity"]),
    ],
)
def test_strict_loading(change, words):
    entries = FAMILY.entries("fartrack-pico")
    state = {key: torch.zeros(shape) for key, shape in entries.items()}
    change(state)
    with pytest.raises(CheckpointError) as error:
        FAMILY.load_state(FAMILY.build("fartrack-pico"), "fartrack-pico", state)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_only_floating_point_entries_are_loaded(dtype):
    state = {key: torch.zeros(shape) for key, shape in FAMILY.entries("fartrack-pico").items()}
    state["identity"] = state["identity"].to(dtype)
    with pytest.raises(CheckpointError) as error:
        FAMILY.load_state(FAMILY.build("fartrack-pico"), "fartrack-pico", state)
    assert "identity" in str(error.value)
    assert str(dtype).removeprefix("torch.") in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_types_are_loaded(dtype):
    state = {key: torch.zeros(shape, dtype=dtype) for key, shape in FAMILY.entries("fartrack-pico").items()}
    net = FAMILY.build("fartrack-pico")
    FAMILY.load_state(net, "fartrack-pico", state)
    assert all(parameter.dtype == torch.float32 for parameter in net.parameters())


def test_a_long_name_is_cut_in_the_message():
    state = {key: torch.zeros(shape) for key, shape in FAMILY.entries("fartrack-pico").items()}
    state["x\n" * 5000] = torch.zeros(1)
    with pytest.raises(CheckpointError) as error:
        FAMILY.load_state(FAMILY.build("fartrack-pico"), "fartrack-pico", state)
    assert len(str(error.value)) < 400
    assert "\n" not in str(error.value)


def test_another_flavours_checkpoint_is_named():
    state = {key: torch.zeros(shape) for key, shape in FAMILY.entries("fartrack-tiny-distill").items()}
    with pytest.raises(CheckpointError, match="layout of fartrack-tiny-distill"):
        FAMILY.load_state(FAMILY.build("fartrack-pico"), "fartrack-pico", state)
