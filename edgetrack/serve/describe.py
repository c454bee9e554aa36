"""What turns a description into target data, in a thread of its own, so that tracking goes on meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgetrack.errors import InputError
from edgetrack.serve.errors import naming
from edgetrack.serve.frames import Frame
from edgetrack.serve.worker import THREADS, Worker

if TYPE_CHECKING:
    from edgetrack.artifact import Artifact
    from edgetrack.runtime.language import Language
    from edgetrack.runtime.language_spec import LanguageSpec
    from edgetrack.runtime.target_pack import TargetPack

__all__ = ["Describer", "View", "describes"]

_NO_PACK = (
    "this artifact carries nothing that describes a target; choose a target pack that `edgetrack encode` made"
    "{picture}, or serve the artifact that describes too: the same model, exported with {with_what}"
)


@dataclass(frozen=True)
class View:
    """A picture of the target: a frame, and its box (x, y, w, h) in pixels."""

    frame: Frame
    box: tuple[float, float, float, float]


def describes(artifact: Artifact) -> bool:
    """Tell whether an artifact has all graphs that turn a text into target data; ArtifactError."""
    spec = _language_of(artifact)
    roles = {entry.role for entry in artifact.graphs}
    return spec is not None and spec.rules is not None and roles.issuperset(spec.chain)


def _language_of(artifact: Artifact) -> LanguageSpec | None:
    from edgetrack.fields import Fields
    from edgetrack.runtime.language_spec import read_language_spec

    return read_language_spec(Fields(dict(artifact.tracker), str(artifact.path), "tracker"))


class Describer:
    """Describes targets with the text side of one artifact, which may be another one than the tracker's.

    Attributes:
        complete: whether it can; if not, it takes target packs alone.
        name: of the artifact.
    """

    def __init__(
        self, artifact: Artifact, *, device: str = "auto", engine: str | None = None, threads: int | None = None
    ) -> None:
        """Open nothing yet; see `edgetrack.load` for the arguments."""
        self.name = artifact.path.resolve().name
        self.complete = describes(artifact)
        self._artifact = artifact
        self._where: Mapping[str, Any] = {"device": device, "engine": engine, "threads": threads}
        self._open = ExitStack()
        self._language: Language | None = None
        self._latest: Future[TargetPack] | None = None
        self._worker = Worker(lambda: None, f"{THREADS}text")
        self._worker.start()

    @property
    def at_work(self) -> str:
        """Which of several graphs runs just now; any thread may ask."""
        language = self._language
        return "" if language is None else language.at_work

    def describe(self, text: str | None, pack: TargetPack | None, view: View | None) -> Future[TargetPack]:
        """Start to describe a target; one that was given before and waits is given up.

        Args:
            text: the sentence.
            pack: instead of a text, what was made of one; the tracker checks it.
            view: for trackers that describe a target by its picture too.

        Returns:
            A future that raises the errors of `Language.target`.

        Raises:
            InputError: there is neither a pack nor anything that makes one.
        """
        if pack is None and not self.complete:
            raise InputError(self._what_is_missing())
        if self._latest is not None:
            self._latest.cancel()
        self._latest = self._worker.submit(lambda: self._described(text, pack, view))
        return self._latest

    def close(self) -> None:
        """Have released what was opened, after the description at work; neither is waited for, one can take minutes."""
        if self._latest is not None:
            self._latest.cancel()
        self._worker.submit(self._open.close)
        self._worker.close(0)

    def _described(self, text: str | None, pack: TargetPack | None, view: View | None) -> TargetPack:
        if pack is not None:
            if text is not None:
                raise InputError("both a text and a target pack are given; give one of them")
            return pack
        with naming(self._artifact.path):
            language = self._opened()
            return language.target(text, None, self._picture(view) if language.sees_image else None)

    def _opened(self) -> Language:
        from edgetrack.loading import open_text_side

        if self._language is None:
            self._language = self._open.enter_context(open_text_side(self._artifact, **self._where))
        return self._language

    def _picture(self, view: View | None) -> Any:  # noqa: ANN401 (an array of the crop, or None)
        from edgetrack.runtime.template_crop import template_crop

        crop = template_crop(self._artifact.tracker)
        return None if view is None or crop is None else crop.of(view.frame, view.box, "bgr")

    def _what_is_missing(self) -> str:
        from edgetrack.runtime.language_spec import TEXT_ROLE

        spec = _language_of(self._artifact)
        pictured = spec is not None and spec.chain != (TEXT_ROLE,)
        return _NO_PACK.format(
            picture=" with --image and --box" if pictured else "",
            with_what="--diffusion" if pictured else "--text-encoder and --vocabulary",
        )
