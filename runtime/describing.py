"""The graphs that turn a description into target data, one after the other, once per target.

Most trackers with language have one, the text encoder. GLAD has a chain of them through a diffusion model, which is
shown the target too; that may run on another machine than the one that tracks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import ArtifactError, InputError
from edgetrack.runtime.engine import Engine, Session
from edgetrack.runtime.graph_file import GraphFile
from edgetrack.runtime.noise import standard_normal

__all__ = ["IMAGE", "NO_ENCODER", "Chain"]

IMAGE = "image"
"""Input of a describing graph that is the template's crop, normalised as the tracker's own."""
NO_ENCODER = (
    "this artifact has no text encoder; give a target pack that `edgetrack encode` made with one that has (pack=..., "
    "--pack)"
)
_NOISE = "noise_"
_Arrays = dict[str, NDArray[Any]]


class Chain:
    """Describing graphs in the order in which they run.

    An input is what the caller gives under its name; or the template's crop; or, of an input `noise_*`, standard normal
    numbers that follow from the name and a seed; or else what an earlier graph gave.
    """

    def __init__(self, roles: Sequence[str], graphs: Mapping[str, GraphFile], engine: Engine, noise_seed: int) -> None:
        """Open nothing yet.

        Args:
            roles: of the graphs, in order.
            graphs: by role; those of `roles` may be missing.
            engine: opens them.
            noise_seed: of inputs `noise_*`.
        """
        self._roles = tuple(roles)
        self._graphs = graphs
        self._engine = engine
        self._seed = noise_seed
        self._kept: dict[str, Session] = {}
        self.at_work = ""
        """Which of several graphs runs just now, as "unet (3 of 4)", for any thread; "" if none does."""

    @property
    def complete(self) -> bool:
        """Whether there is a chain, and all its graphs are here."""
        return bool(self._roles) and all(role in self._graphs for role in self._roles)

    @property
    def sees_image(self) -> bool:
        """Whether a graph that is here is shown the target."""
        return any(IMAGE in self._graphs[role].inputs for role in self._roles if role in self._graphs)

    def made_up(self) -> dict[str, NDArray[np.float64]]:
        """Return noise for the first graph, which follows from the names of its inputs; those have fixed shapes."""
        shapes = self._graphs[self._roles[0]].inputs
        fixed = {name: tuple(size for size in shape if isinstance(size, int)) for name, shape in shapes.items()}
        return {name: standard_normal(name.replace("_", ".", 1), size) for name, size in fixed.items()}

    def open(self, role: str) -> Session:
        """Return a session of one graph.

        One alone stays open, so that the next description costs no start. Of several none does: those of a diffusion
        model take gigabytes, which the tracking that follows should not hold.

        Raises:
            ArtifactError: the file does not fit.
            EngineUnavailable: the device cannot run it.
        """
        if role not in self._kept:
            session = self._engine.open(self._graphs[role].path, {})
            if len(self._roles) > 1:
                return session
            self._kept[role] = session
        return self._kept[role]

    def run(self, given: Mapping[str, NDArray[Any]]) -> _Arrays:
        """Run all graphs; return what was given and what each made, by name.

        Raises:
            InputError: a graph is missing here.
            ArtifactError: a graph has an input that nothing gives, or of another shape.
            EngineUnavailable: the device cannot run a graph.
        """
        if not self.complete:
            raise InputError(NO_ENCODER)
        made: _Arrays = dict(given)
        read: set[str] = set()
        try:
            for number, role in enumerate(self._roles, 1):
                if len(self._roles) > 1:
                    self.at_work = f"{role} ({number} of {len(self._roles)})"
                read |= self._run_one(role, made)
        finally:
            self.at_work = ""
        if unread := sorted(set(given) - read):
            raise ArtifactError(
                f"the {' and '.join(self._roles)} graph has no input {unread[0]!r}, as its tokenizer's rules need; "
                "export the artifact again"
            )
        return made

    def _run_one(self, role: str, made: _Arrays) -> set[str]:
        """Run a graph on what was made so far, add what it makes, and return the names of its inputs."""
        session = self.open(role)
        for name, buffer in session.inputs.items():
            self._fill(role, name, buffer, made)
        session.run()
        made |= {name: np.array(array) for name, array in session.outputs.items()}
        return set(session.inputs)

    def _fill(self, role: str, name: str, buffer: NDArray[Any], made: Mapping[str, NDArray[Any]]) -> None:
        if name in made:
            if made[name].shape != buffer.shape:
                raise ArtifactError(
                    f"the {role} graph has no input {name!r} of shape {list(made[name].shape)} but of "
                    f"{list(buffer.shape)}; export the artifact again"
                )
            buffer[...] = made[name]
        elif name.startswith(_NOISE):
            key = f"noise.{name.removeprefix(_NOISE)}"
            buffer[...] = standard_normal(key, buffer.shape, self._seed)
        else:
            raise ArtifactError(f"nothing gives the {role} graph its input {name!r}; export the artifact again")
