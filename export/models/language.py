"""What a family of trackers that read a sentence offers to the export pipeline besides `ModelFamily`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from edgetrack.export.models.clip_text import TextShape
from edgetrack.export.models.diffusion_shape import DiffusionShape
from edgetrack.runtime.clip_tokenizer import TokenRules
from edgetrack.runtime.language_spec import TEXT_ROLE

__all__ = ["DiffusionSide", "LanguageFamily", "TextSide"]


@dataclass(frozen=True)
class TextSide:
    """How a variant reads text.

    Attributes:
        encoder: the published text transformer.
        final_norm: whether its final normalisation is used.
        prefix: of its entries in the state that `ModelFamily.load_state` takes; a published checkpoint mostly comes
            without them.
        rules: how a sentence becomes ids.
        feeds: outputs of the graph "text" that are inputs of the search graph; see `LanguageSpec.feeds`.
        prompt: inputs of the describing graphs, as arrays by name, which the parity gate describes the target with; the
            family's reference loop follows the same ones.
        form: see `LanguageSpec.form`.
        without_text: see `LanguageSpec.without_text`.
        without_box: see `LanguageSpec.without_box`.
        chain: see `LanguageSpec.chain`.
        noise_seed: see `LanguageSpec.noise_seed`.
        half: see `LanguageSpec.half`.
        diffusion: how it reads text where the files of a diffusion model are at hand; None: it has no use for one.
    """

    encoder: TextShape
    final_norm: bool
    prefix: str
    rules: TokenRules
    feeds: tuple[str, ...]
    prompt: Mapping[str, NDArray[Any]]
    form: str = "sentence"
    without_text: str = "refuse"
    without_box: bool = False
    chain: tuple[str, ...] = (TEXT_ROLE,)
    noise_seed: int = 0
    half: bool = False
    diffusion: DiffusionSide | None = None

    @property
    def encodes(self) -> bool:
        """Whether text is encoded in the artifact, or only what a text became elsewhere is read."""
        return TEXT_ROLE in self.chain

    def entries(self) -> dict[str, tuple[int, ...]]:
        """Return name -> shape of the text transformer's entries, under their prefix; none where no text is encoded."""
        if not self.encodes:
            return {}
        wanted = self.encoder.entries(final_norm=self.final_norm)
        return {self.prefix + name: shape for name, shape in wanted.items()}


@dataclass(frozen=True)
class DiffusionSide:
    """How a variant reads text with a diffusion model.

    Attributes:
        shape: of the model.
        prefix: of its entries in the state that `ModelFamily.load_state` takes.
        side: how text is read with it.
    """

    shape: DiffusionShape
    prefix: str
    side: TextSide


@runtime_checkable
class LanguageFamily(Protocol):
    """A `ModelFamily` whose variants may read text."""

    def text_side(self, variant: str) -> TextSide | None:
        """Return how `variant` reads text; None: it reads none."""
