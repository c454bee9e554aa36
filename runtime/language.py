"""The text side of a loaded tracker: from a sentence to what the search network is fed, once per target.

The manifest's `tracker.language` says how text becomes ids and which outputs of the graph "text" are inputs of the
search graph. They are copied there when a target is described and stay there: an update does not touch them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import ArtifactError, InputError
from edgetrack.runtime.clip_tokenizer import ClipTokenizer, checked_text
from edgetrack.runtime.clip_vocabulary import read_vocabulary
from edgetrack.runtime.describing import IMAGE, NO_ENCODER, Chain
from edgetrack.runtime.engine import Engine, Session
from edgetrack.runtime.graph_file import GraphFile
from edgetrack.runtime.language_spec import TEXT_ROLE, Inputs, LanguageSpec, described
from edgetrack.runtime.noise import standard_normal
from edgetrack.runtime.phrases import Phrases, Splitter, checked_phrases, split_with
from edgetrack.runtime.target_pack import ModelIdentity, TargetPack, read_pack

__all__ = ["TEXT_ROLE", "Language", "LanguageHome", "Pack", "ShapesOnly", "Text"]

_MAX_KEPT = 16  # descriptions whose data are kept; of MVLM each has 158 kB

Pack = str | os.PathLike[str] | TargetPack
"""A target pack, or where one lies."""
Text = str | Mapping[str, str]
"""A sentence, or phrases by their names."""


@dataclass(frozen=True)
class LanguageHome:
    """Where a tracker's language files lie, and which weights they belong to."""

    folder: Path
    variant: str
    checkpoint_sha256: str


@dataclass(frozen=True)
class ShapesOnly:
    """Stands for a tracker's session where there is none: inputs of the right shapes, which nothing reads."""

    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]

    @classmethod
    def of(cls, shapes: Mapping[str, Sequence[int | str]], names: Iterable[str]) -> ShapesOnly:
        """Return one that has those inputs of `shapes` that `names` lists and whose sizes are all numbers."""
        sizes = {name: tuple(n for n in shapes[name] if isinstance(n, int)) for name in names if name in shapes}
        fixed = {name: size for name, size in sizes.items() if len(size) == len(shapes[name])}
        return cls({name: np.zeros(size, np.float32) for name, size in fixed.items()}, {})

    def run(self) -> None:
        """Do nothing."""


class Language:
    """Describes targets to the search network of one tracker."""

    def __init__(
        self,
        spec: LanguageSpec,
        home: LanguageHome,
        engine: Engine,
        graphs: Mapping[str, GraphFile],
        sessions: Iterable[Session],
    ) -> None:
        """Find the inputs that text feeds; the text graph is opened when the first text is given.

        Args:
            spec: from the manifest.
            home: where the vocabulary lies.
            engine: opens the text graph.
            graphs: by role; "text" may be missing, then targets are described by packs alone.
            sessions: the tracker's open ones; each that has an input of `spec.feeds` is fed.

        Raises:
            ArtifactError: no session has such an input, or two have it in different shapes.
        """
        self.spec = spec
        self.model = ModelIdentity(home.variant, home.checkpoint_sha256, spec.encoder_sha256)
        self.text_ms = 0.0
        self.spent_ms = 0.0
        """Milliseconds that all descriptions took together, those of `init` and any other."""
        self.image: NDArray[np.float32] | None = None
        """What the describing graphs are shown of the target; None where they are shown nothing, or not yet."""
        self._home = home
        self._chain = Chain(spec.chain, graphs, engine, spec.noise_seed)
        self._fed = _find_fed(spec.feeds, list(sessions))
        self._tokenizer: ClipTokenizer | None = None
        self._kept: dict[str, TargetPack] = {}

    @property
    def sees_image(self) -> bool:
        """Whether a target is described by its picture too, by graphs that are here."""
        return self._chain.sees_image

    @property
    def encodes(self) -> bool:
        """Whether this artifact turns text into target data; if not, a pack has to be given."""
        return self.spec.rules is not None and self._chain.complete

    @property
    def at_work(self) -> str:
        """Which of several describing graphs runs just now, see `Chain.at_work`; any thread may ask."""
        return self._chain.at_work

    def made_up(self) -> TargetPack:
        """Return target data for timing a tracker that cannot encode text; they describe nothing.

        Where the artifact has the rest of a chain whose beginning runs elsewhere, they are what that makes of noise,
        the same that the export's gate gave both sides. Otherwise they are noise themselves.

        Raises:
            ArtifactError: see `run`.
            EngineUnavailable: see `run`.
        """
        if self.spec.rules is None and self._chain.complete and not self.sees_image:
            return self.run(self._chain.made_up(), "")
        arrays = {
            name: standard_normal(f"target.{name}", inputs[0].shape).astype(
                np.float16 if self.spec.half else np.float32
            )
            for name, inputs in self._fed.items()
        }
        return TargetPack(self.model, "", arrays)

    def encode(self, text: Text | None, image: NDArray[np.float32] | None = None) -> TargetPack:
        """Return what the text side makes of a description; None: what the tracker does without one.

        Args:
            text: a sentence; or, for trackers that read phrases, a mapping of "category", "appearance", "action" and
                "location" to phrases, of which any may be left out.

            image: the template's crop (1, 3, T, T), normalised, where the describing graphs are shown the target; None:
                the one that the tracker was started with.

        Raises:
            InputError: the text cannot be used, text or picture are needed and missing, or the artifact has no text
                encoder.
            ArtifactError: the vocabulary or the text graph does not fit.
            EngineUnavailable: the device cannot run the text graph, or the package tokenizers is missing.
        """
        began = time.perf_counter()
        said: str | Phrases | None = text if text is None else _checked(text)
        name = json.dumps(said)
        pack = None if self.sees_image else self._kept.get(name)
        if pack is None:
            pack = self.run(self._inputs(said), said if isinstance(said, str) else name if said else "", image)
        if not self.sees_image:
            if len(self._kept) >= _MAX_KEPT and name not in self._kept:
                del self._kept[next(iter(self._kept))]
            self._kept[name] = pack
        self.text_ms = 1e3 * (time.perf_counter() - began)
        self.spent_ms += self.text_ms
        return pack

    def split(self, text: Text | None, splitter: Splitter) -> Phrases:
        """Return the phrases that a user's splitter makes of a sentence, see `split_with`.

        Raises:
            InputError: the tracker reads whole sentences, the text is none, or the splitter's answer cannot be used.
        """
        if self.spec.form != "phrases":
            raise InputError("this tracker reads a sentence as it is, without phrases; leave out splitter")
        if not isinstance(text, str):
            raise InputError("a splitter is given, but no sentence to split; give text='...', or leave out splitter")
        return split_with(splitter, text)

    def accept(self, pack: TargetPack, source: str) -> TargetPack:
        """Return a pack after checking that it is one of this model; `source` says where it is from.

        Raises:
            InputError: another model made it, or its arrays are not those that the search graph is fed.
        """
        pack.check_model(self.model, source)
        shapes = {name: inputs[0].shape for name, inputs in self._fed.items()}
        found = {name: array.shape for name, array in pack.arrays.items()}
        if found != shapes:
            raise InputError(
                f"{source} holds {_listed(found)}, this tracker is fed {_listed(shapes)}; "
                "make one with `edgetrack encode` and this artifact"
            )
        return pack

    def target(self, text: Text | None, pack: Pack | None, image: NDArray[np.float32] | None = None) -> TargetPack:
        """Return the target data of a text or of a pack; of neither, what the tracker does without a text.

        Raises:
            InputError: both are given, or see `encode` and `accept`.
            ArtifactError: see `encode`.
            EngineUnavailable: see `encode`.
        """
        if text is not None and pack is not None:
            raise InputError("both a text and a target pack are given; give text='...' or pack='...'")
        if pack is None:
            return self.encode(text, image)
        if isinstance(pack, TargetPack):
            return self.accept(pack, "the target pack")
        try:
            path = os.fspath(pack)
        except TypeError as error:
            raise InputError(f"pack is a {type(pack).__name__}; give a target pack or the path of one") from error
        return self.accept(read_pack(path), f"target pack {path}")

    def put(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Copy target data into the search network's inputs."""
        for name, inputs in self._fed.items():
            for buffer in inputs:
                buffer[...] = arrays[name]

    def run(
        self, inputs: Mapping[str, NDArray[Any]], text: str, image: NDArray[np.float32] | None = None
    ) -> TargetPack:
        """Run the describing graphs.

        Args:
            inputs: of these graphs, as the tokenizer's rules make them.
            text: what the pack is called.
            image: see `encode`.

        Raises:
            InputError: the artifact has no text encoder, or the target's picture is needed and missing.
            ArtifactError: the text graph does not fit the inputs or the search graph, or gives values not finite.
            EngineUnavailable: the device cannot run the text graph.
        """
        shown = self._shown(image)
        made = self._chain.run({**inputs, **shown})
        if missing := [name for name in self._fed if name not in made]:
            raise ArtifactError(f"the text graph gives no {', '.join(missing)}; export the artifact again")
        arrays = {name: np.array(made[name]) for name in self._fed}
        for name, inputs_of in self._fed.items():
            if arrays[name].shape != inputs_of[0].shape:
                raise ArtifactError(
                    f"the text graph gives {name!r} of shape {list(arrays[name].shape)}, the search graph is fed "
                    f"{list(inputs_of[0].shape)}; export the artifact again"
                )
        if self.spec.half:
            with np.errstate(over="ignore"):
                arrays = {name: array.astype(np.float16) for name, array in arrays.items()}
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ArtifactError("the text graph gives values that are not finite; export the artifact again")
        return TargetPack(self.model, text, arrays)

    def _shown(self, image: NDArray[np.float32] | None) -> Inputs:
        if not self.sees_image:
            return {}
        shown = self.image if image is None else image
        if shown is None:
            raise InputError("this tracker describes a target by its picture too; give the frame and the target's box")
        return {IMAGE: shown}

    def _inputs(self, text: str | Phrases | None) -> Inputs:
        """Return the text graph's inputs for a description."""
        spec = self.spec
        return described(self._opened_tokenizer(), text, form=spec.form, without_text=spec.without_text)

    def _opened_tokenizer(self) -> ClipTokenizer:
        if self.spec.rules is None or not self.encodes:
            raise InputError(NO_ENCODER)
        if self._tokenizer is None:
            path = self._home.folder / self.spec.file
            try:
                vocabulary = read_vocabulary(path, size=self.spec.tokens)
                self._tokenizer = ClipTokenizer(vocabulary, self.spec.rules)
            except InputError as error:
                raise ArtifactError(f"{error}; or export the artifact again") from error
        return self._tokenizer


def _find_fed(feeds: tuple[str, ...], sessions: list[Session]) -> dict[str, list[NDArray[Any]]]:
    """Return, for each name, the input buffers of that name."""
    fed: dict[str, list[NDArray[Any]]] = {}
    for name in feeds:
        found = [session.inputs[name] for session in sessions if name in session.inputs]
        if len({buffer.shape for buffer in found}) != 1:
            raise ArtifactError(
                f"the manifest says that text feeds an input {name!r}, which {len(found)} graphs have, must be at "
                "least one, all of one shape; export the artifact again"
            )
        fed[name] = found
    return fed


def _checked(text: Text) -> str | Phrases:
    return checked_phrases(text) if isinstance(text, Mapping) else checked_text(text)


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name[:40]} {list(shape)}" for name, shape in shapes.items())
