"""MVLM's deployment graphs: exactly the published result, in constant shapes, with less work.

Templates and the sentence come embedded; the last block runs for the search tokens alone; the boxes' tokens are summed
by one product with a matrix of zeros and ones, which gives the exact zeros that the published integral image lacks
(oddity O1). What needs the past or the other boxes stays with the tracker core: it is 196 numbers.
tests/export/test_mvlm_graphs.py proves each of these steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgetrack.export.graphs.centre import HeadGraph
from edgetrack.export.graphs.fastitpn import LastMainGraph, MainGraph, StemGraph
from edgetrack.export.loops.centre_head import hann_window
from edgetrack.export.models.margin import token_cells
from edgetrack.export.models.mvlm_net import MvlmNet, candidate_boxes

__all__ = ["SearchGraph", "TemplateGraph", "covered", "similarity"]

# A norm below this is a sum of nothing. Published is 1e-12, which half precision does not know.
_FLOOR = 1e-6


def covered(boxes: Tensor, grid: int) -> Tensor:
    """Return which tokens (N, grid^2), 1.0 or 0.0, each box cx, cy, w, h (N, 4) is judged by.

    Of the rectangle that it covers the first row and column are dropped, as published (oddity O2).
    """
    x1, y1, x2, y2 = token_cells(boxes, grid).unsqueeze(2).unbind(1)
    line = torch.arange(grid, dtype=boxes.dtype)
    x, y = line.repeat(grid), line.repeat_interleave(grid)
    return ((x > x1) & (x < x2) & (y > y1) & (y < y2)).to(boxes.dtype)


def similarity(boxes: Tensor, features: Tensor, text: Tensor) -> Tensor:
    """Return the cosine (N,) between the tokens of each box and the sentence; 0 for a box without tokens.

    boxes (N, 4), features (grid^2, C), text (words, C).
    """
    pooled = covered(boxes, round(features.shape[0] ** 0.5)) @ features
    sentence = text.mean(dim=0)
    pooled = pooled / pooled.norm(dim=1, keepdim=True).clamp(min=_FLOOR)
    cosine: Tensor = pooled @ (sentence / sentence.norm().clamp(min=_FLOOR))
    return cosine


class TemplateGraph(nn.Module):
    """What follows from a template alone: image (1, 3, Sz, Sz) -> tokens (1, Lz, C), positions added."""

    def __init__(self, net: MvlmNet) -> None:
        """`net` is a loaded network."""
        super().__init__()
        self.stem = StemGraph(net.encoder.body, net.encoder.body.template_positions)

    def forward(self, image: Tensor) -> Tensor:
        """Run the graph; see the class for shapes."""
        out: Tensor = self.stem(image).unsqueeze(0)
        return out


class SearchGraph(nn.Module):
    """One tracked frame.

    search (1, 3, Sx, Sx) normalised RGB; text (1, words, C) from the text graph; for a network with templates also
    templates (1, T * Lz, C) from the template graph, one after the other. Returns, for every cell, cls (1, f * f), the
    head's score times the window; boxes (1, f * f, 4), cx, cy, w, h in parts of the input; sims (1, f * f).
    """

    first: Tensor
    window: Tensor

    def __init__(self, net: MvlmNet) -> None:
        """`net` is a loaded network."""
        super().__init__()
        body = net.encoder.body
        *full, last = body.layers()
        self.shape = net.shape
        self.stem = StemGraph(body, body.search_positions)
        self.blocks = nn.Sequential(*(MainGraph(block) for block in full))
        self.last = LastMainGraph(last, slice(1, 1 + net.shape.search_tokens))
        self.norm = body.fc_norm
        self.head = HeadGraph(net.head)
        self.register_buffer("first", body.cls_token.detach()[0])
        self.register_buffer("window", hann_window(net.shape.search_grid).flatten())

    def features(self, search: Tensor, text: Tensor, templates: Tensor | None = None) -> Tensor:
        """Return the search tokens (f * f, C) after the last norm."""
        told = [text[0]] if templates is None else [templates[0], text[0]]
        x = torch.cat([self.first, self.stem(search), *told])
        out: Tensor = self.norm(self.last(self.blocks(x)))
        return out

    def forward(self, search: Tensor, text: Tensor, templates: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Run the graph; see the class for shapes."""
        features = self.features(search, text, templates)
        side = self.shape.search_grid
        score, size, offset = self.head(features.t().reshape(1, self.shape.channels, side, side))
        boxes = candidate_boxes(size, offset)
        sims = similarity(boxes, features, text[0])
        cls = self.window * score.flatten()
        return cls.unsqueeze(0), boxes.unsqueeze(0), sims.unsqueeze(0)
