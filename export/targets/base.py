"""What a target declares, and what it does: turn typed ONNX graphs into files of one engine."""

from __future__ import annotations

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetrack.errors import EngineUnavailable, InputError

if TYPE_CHECKING:
    from edgetrack.export.models.base import GraphSignature
    from edgetrack.export.precision import TypedGraph

__all__ = ["ExtraFile", "TargetInfo", "TargetOption", "TargetWriter", "require"]


@dataclass(frozen=True)
class TargetOption:
    """One thing that can be said to a target alone; the command line makes `--<name>` of it.

    Attributes:
        name: lower case, words joined by hyphens.
        help: one line.
        kind: str, int, float, bool (a flag, `--<name>`) or Path.
        default: what holds if nothing is said.
        choices: all values there are, if they can be listed.
        required: whether it has to be said.
        pattern: regular expression that a text has to match as a whole, if one must; `help` says what it asks for.
        here_only: it names something of the machine that builds (a file, a device), so that an artifact does not keep
            it for a later `edgetrack rebuild` on another machine.
        precisions: of the artifact, at which it means something; empty: at all.
    """

    name: str
    help: str
    kind: type = str
    default: Any = None
    choices: tuple[str, ...] = ()
    required: bool = False
    pattern: str = ""
    here_only: bool = False
    precisions: tuple[str, ...] = ()

    def holds_at(self, precision: str) -> bool:
        """Return whether the option means something at `precision`."""
        return not self.precisions or precision in self.precisions

    def checked(self, target: str, value: object) -> Any:  # noqa: ANN401 (what `kind` says)
        """Return `value`, or the default for None; InputError if it cannot be."""
        if value is None:
            if self.required:
                raise InputError(f"target {target} needs --{self.name}: {self.help}")
            return self.default
        if self.choices and value not in self.choices:
            raise InputError(f"--{self.name} is {value!r}; give {', '.join(self.choices)}")
        if not isinstance(value, self.kind):
            raise InputError(f"--{self.name} is {value!r}; give a {self.kind.__name__}")
        if self.pattern and not re.fullmatch(self.pattern, str(value)):
            raise InputError(f"--{self.name} is {value!r}; give {self.help}")
        return value


@dataclass(frozen=True)
class TargetInfo:
    """What there is to know about a target without importing anything heavy.

    Attributes:
        name: on the command line and in artifact names.
        aliases: other names the command line takes.
        engine: what runs the files (a name in `edgetrack.runtime.engines`).
        suffix: of a graph's main file.
        precisions: what can be asked for.
        devices: device strings to load the artifact with, as examples.
        extras: pip extras of edgetrack that building and verifying needs.
        note: one line for tables.
        typed: precision that can be asked for -> precision of the typed graph that it is built from, where the two
            differ because the target itself makes the rest.
        options: what can be said to this target alone.
        computes: precision -> kind of device -> what the engine computes in there, where it is not that precision.
    """

    name: str
    aliases: tuple[str, ...]
    engine: str
    suffix: str
    precisions: tuple[str, ...]
    devices: tuple[str, ...]
    extras: tuple[str, ...]
    note: str
    typed: Mapping[str, str] = field(default_factory=dict)
    options: tuple[TargetOption, ...] = ()
    computes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def computed_in(self, precision: str, device: str) -> str:
        """Return what an artifact of `precision` is computed in on `device`, a device string."""
        kind = device.replace(".", ":").split(":")[0].lower()
        return self.computes.get(precision, {}).get(kind, precision)

    @property
    def install(self) -> str:
        """The pip line that makes this target available."""
        return f"pip install 'edgetrack[{','.join(self.extras)}]'"

    def check_precision(self, precision: str) -> None:
        """Raise InputError, naming what there is, unless this target carries `precision`."""
        if precision not in self.precisions:
            raise InputError(f"target {self.name} has no precision {precision!r}; give {' or '.join(self.precisions)}")

    def check_options(self, given: Mapping[str, Any], precision: str | None = None) -> dict[str, Any]:
        """Return the value of every option of this target; None among `given` counts as not said.

        Raises:
            InputError: one is missing, impossible, of another target, or means nothing at `precision`, where that is
                given.
        """
        known = {option.name: option for option in self.options}
        for name, value in given.items():
            option = known.get(name)
            if option and precision and value not in (None, option.default) and not option.holds_at(precision):
                raise InputError(
                    f"--{name} is for precision {' or '.join(option.precisions)}, not {precision}; leave it out"
                )
            if value is not None and name not in known:
                listed = ", ".join(f"--{option}" for option in known) or "none"
                raise InputError(f"target {self.name} has no option --{name}; it has {listed}")
        return {name: option.checked(self.name, given.get(name)) for name, option in known.items()}


@dataclass(frozen=True)
class ExtraFile:
    """A file of an artifact that no engine opens: a build log, a source graph, a script, a plot.

    `kind` is one word ("source", "log", ...); `role` the graph it belongs to, None: the whole artifact.
    """

    file: str
    kind: str
    role: str | None = None


class TargetWriter(ABC):
    """Writes the files of one target for one artifact."""

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        """`options` are those of `TargetInfo.check_options`; None is for asking about the target only."""
        self.options: Mapping[str, Any] = options or {}
        self.say: Callable[[str], None] = _say_nothing
        """Told, in a few words, what a long `write` is doing now; whoever builds sets it."""

    @abstractmethod
    def check(self) -> None:
        """Raise EngineUnavailable, with the pip line, if a package that writing needs is missing."""

    def check_rebuild(self) -> None:
        """Raise EngineUnavailable if something is missing that making files from finished typed graphs needs.

        That may be less than `check` asks for: `edgetrack rebuild` runs on devices without PyTorch and onnx.
        """
        self.check()

    def lacking(self) -> str | None:
        """Return what is missing here that finishes the files, with how to get it, where `check` goes well without."""
        return None

    @abstractmethod
    def version(self) -> str:
        """Return the version of the engine that the files are written for."""

    @abstractmethod
    def write(self, source: TypedGraph, folder: Path) -> tuple[str, ...]:
        """Write one graph into `folder`, an existing folder, and return the names of its files, the main one first.

        Files are named after the graph's role.

        Raises:
            ArtifactError: the engine refuses the graph.
        """

    def pixel_inputs(self, graph: GraphSignature) -> frozenset[str]:  # noqa: ARG002 (most targets' files take none)
        """Return which of a graph's crops its files take as uint8 pixels (1, S, S, 3), RGB, to normalise themselves."""
        return frozenset()

    def finish(self, sources: Sequence[TypedGraph], folder: Path) -> tuple[ExtraFile, ...]:  # noqa: ARG002
        """Write what belongs to the artifact besides, after all graphs, and say what it is; most targets have nothing.

        Args:
            sources: all typed graphs, in the order they were written.
            folder: the artifact's folder.
        """
        return ()

    def facts(self) -> dict[str, Any]:
        """Return keys of the manifest's `target` besides name, engine, version and device.

        `driver` and `soc` (texts or None), and `key`: text -> text, what the running machine must have in common with
        the one that it was built for; the engine compares it before it opens a file.
        """
        return {}


def _say_nothing(_: str) -> None:
    """Stand in until somebody listens."""


def require(package: str, install: str) -> Any:  # noqa: ANN401 (a module)
    """Import a package that exporting needs, or raise EngineUnavailable with the pip line `install`."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise EngineUnavailable(f"exporting needs the package {package}, not installed here: {install}") from error
