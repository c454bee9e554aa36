"""CLIP's text transformer in PyTorch, once for all trackers that read a sentence (arXiv 2103.00020).

MVLM takes what the last block gives, before the final normalisation (spec section 3.2); Stable Diffusion v1.5, and so
GLAD (3.1b), and ATSTrack (3.1) take it after. None reads CLIP's projection or its image side. Parameter names are
OpenAI's; `edgetrack.export.clip_files` reads files that have them, or those of transformers and diffusers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgetrack.export.models.base import DeployGraph

__all__ = [
    "CLIP_VIT_B32",
    "CLIP_VIT_L14",
    "CONTEXT",
    "END",
    "START",
    "VOCABULARY",
    "ClipText",
    "TextShape",
    "text_graph",
]

CONTEXT = 77
"""Most tokens of a sentence, start and end included: rows of the position table."""
VOCABULARY = 49408
START, END = VOCABULARY - 2, VOCABULARY - 1
"""Ids of the tokens before and after a sentence."""

_EPS = 1e-5
_MASKED = -1e4  # as good as -inf behind a softmax, and a number in half precision too


@dataclass(frozen=True)
class TextShape:
    """Sizes of one published text transformer; an MLP is four times as wide as a token, unless `hidden` says so.

    name: of the CLIP model it belongs to. width: of a token. heads, layers: their numbers.
    """

    name: str
    width: int
    heads: int
    layers: int = 12
    hidden: int = 0
    vocabulary: int = VOCABULARY
    context: int = CONTEXT

    @property
    def mlp_width(self) -> int:
        """Width between the two layers of an MLP."""
        return self.hidden or 4 * self.width

    def entries(self, *, final_norm: bool = True) -> dict[str, tuple[int, ...]]:
        """Return name -> shape of every parameter under OpenAI's names; without `final_norm` not that one's."""
        with torch.device("meta"):
            net = ClipText(self, final_norm=final_norm)
        return {name: tuple(value.shape) for name, value in net.state_dict().items()}


CLIP_VIT_L14 = TextShape("CLIP ViT-L/14", width=768, heads=12)
"""MVLM's, and Stable Diffusion v1.5's."""
CLIP_VIT_B32 = TextShape("CLIP ViT-B/32", width=512, heads=8)
"""ATSTrack's."""


class _Attention(nn.Module):
    """Multi-head self-attention in which a token sees itself and those before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, C) to the same shape."""
        batch, count, width = x.shape
        rows = functional.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        q, k, v = (part.reshape(batch, count, self.heads, width // self.heads).transpose(1, 2) for part in rows)
        later = torch.full((count, count), _MASKED, dtype=x.dtype, device=x.device).triu(1)
        weights = torch.softmax((q @ k.transpose(-2, -1)) * self.scale + later, dim=-1)
        out: Tensor = self.out_proj((weights @ v).transpose(1, 2).flatten(2))
        return out


class _Mlp(nn.Module):
    """Two linear layers around CLIP's approximation of the GELU, u * sigmoid(1.702 u)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, hidden)
        self.c_proj = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        wide = self.c_fc(x)
        out: Tensor = self.c_proj(wide * torch.sigmoid(1.702 * wide))
        return out


class _Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.attn = _Attention(shape.width, shape.heads)
        self.ln_1 = nn.LayerNorm(shape.width, eps=_EPS)
        self.mlp = _Mlp(shape.width, shape.mlp_width)
        self.ln_2 = nn.LayerNorm(shape.width, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, C) to the same shape."""
        x = x + self.attn(self.ln_1(x))
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class _Transformer(nn.Module):
    """The stack of blocks, under its published name."""

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(_Block(shape) for _ in range(shape.layers)))

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, C) to the same shape."""
        out: Tensor = self.resblocks(x)
        return out


class ClipText(nn.Module):
    """Token ids to features of every token, those after the end of the sentence too."""

    def __init__(self, shape: TextShape, *, final_norm: bool = True) -> None:
        """Build with parameters unset; without `final_norm` the last block's output is the result (MVLM)."""
        super().__init__()
        self.shape = shape
        self.token_embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.positional_embedding = nn.Parameter(torch.zeros(shape.context, shape.width))
        self.transformer = _Transformer(shape)
        self.ln_final = nn.LayerNorm(shape.width, eps=_EPS) if final_norm else None

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids (B, N), int32 or int64, N up to `shape.context`, to features (B, N, width) float32.

        A token sees itself and those before it, so a shorter context gives the same features for what it holds.
        """
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        x = self.transformer(x)
        out: Tensor = x if self.ln_final is None else self.ln_final(x)
        return out


def text_graph(
    module: nn.Module,
    outputs: tuple[str, ...],
    *,
    shape: tuple[int, ...] = (1, CONTEXT),
    layouts: Mapping[str, str] | None = None,
) -> DeployGraph:
    """Wrap what turns ids into target data as a deployment graph of role "text", run once per target.

    Args:
        module: maps `ids`, int32 of `shape`, to one tensor per output: a `ClipText`, or one with layers behind it, as
            `nn.Sequential(clip, projection)`.
        outputs: names of the results; the runtime copies each to the search graph's input of the same name.
        shape: of `ids`.
        layouts: names of the axes of outputs.
    """
    return DeployGraph(
        role="text",
        module=module.eval(),
        inputs={"ids": torch.zeros(shape, dtype=torch.int32)},
        outputs=outputs,
        layouts={"ids": "N,token" if len(shape) == 2 else "N,phrase,token", **(layouts or {})},
    )
