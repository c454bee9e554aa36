"""The catalogue's figures of ATSTrack are counted, not copied, and agree with the spec's."""

from __future__ import annotations

import pytest
import torch
from test_fartrack_cost import count_gmacs

from edgetrack.export.models import VARIANTS, family_of
from edgetrack.export.models.atstrack_variants import ATSTRACK_VARIANTS
from edgetrack.export.models.clip_text import ClipText

# Section 1.1 of the spec: GMACs of the network's frame, and tokens.
COSTS = {
    "atstrack-384": (109.6, 1010),
    "atstrack-384-t2": (92.3, 866),
    "atstrack-384-t1": (75.6, 722),
    "atstrack-256": (44.3, 450),
    "atstrack-256-t2": (37.8, 386),
}


def test_every_variant_is_counted():
    assert list(COSTS) == [variant.name for variant in ATSTRACK_VARIANTS]
    assert all(VARIANTS[name].family == family_of(name).name == "atstrack" for name in COSTS)
    assert all("no code or weights published, accuracy unverified" in VARIANTS[name].licence for name in COSTS)


@pytest.mark.parametrize("name", COSTS)
def test_costs_and_parameters(name):
    variant, family = VARIANTS[name], family_of(name)
    with torch.device("meta"):
        net = family.network(name)
        search = family.deploy_graphs(name, net)[-1]
        inputs = dict(search.inputs)
        del inputs["qkv"]
        frame = count_gmacs(net, *inputs.values())
        deployed = count_gmacs(search.module, *search.inputs.values())
    assert frame == pytest.approx(variant.published_gmacs, abs=6e-4)
    assert deployed == pytest.approx(variant.gmacs, abs=6e-4)
    assert (variant.published_gmacs, variant.tokens) == pytest.approx(COSTS[name], abs=6e-2)
    counted = {key: parameter.numel() for key, parameter in net.named_parameters()}
    text = sum(size for key, size in counted.items() if key.startswith("lang_"))
    assert sum(counted.values()) - text - counted["backbone.pos_embed"] == variant.parameters


def test_parts_are_the_specs():
    """Sections 2.1 and 6: parameters of backbone, head, language modules, text side; GMACs of text and template."""
    family = family_of("atstrack-384")
    with torch.device("meta"):
        net = family.network("atstrack-384")
        net.add_clip(ClipText(family.text_side("atstrack-384").encoder))
        text, template, _ = family.deploy_graphs("atstrack-384", net)
        assert count_gmacs(text.module, *text.inputs.values()) == pytest.approx(2.45, abs=6e-2)
        embedding = 144 * 768 * 768 / 1e9
        projection = 3 * 144 * 768**2 / 1e9  # the first block's, which the spec counts to the frame
        assert count_gmacs(template.module, *template.inputs.values()) == pytest.approx(
            embedding + projection, abs=1e-3
        )
    sizes = {"backbone.": 86.35, "box_head.": 6.47, "fgm.": 9.86, "lang_": 0.40, "text_encoder.": 63.17}
    for prefix, millions in sizes.items():
        counted = sum(value.numel() for name, value in net.named_parameters() if name.startswith(prefix))
        assert counted / 1e6 == pytest.approx(millions, abs=6e-3), prefix
