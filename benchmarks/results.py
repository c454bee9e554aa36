"""Measures everything and writes RESULTS.md: `python -m edgetrack.benchmarks.results`.

Every part runs in a process of its own and leaves one JSON file in `results/`; a part whose file was measured under
the same configuration, with the same code and clip, is not measured again. The page is made from these files alone.
Takes about half an hour; run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgetrack
from edgetrack import errors, export
from edgetrack.artifact import MANIFEST_NAME, read_artifact, sha256_of
from edgetrack.benchmarks import bench, exporting, footprint, growth, outside, precisions, profile, startup
from edgetrack.benchmarks.clip_head import clip_head_words
from edgetrack.benchmarks.device import describe_machine
from edgetrack.benchmarks.files import read_document, write_document
from edgetrack.benchmarks.goals import CENTRE_VARIANTS, LANGUAGE_VARIANTS, VARIANTS
from edgetrack.benchmarks.results_page import render
from edgetrack.benchmarks.sources import sources_sha256
from edgetrack.benchmarks.wheel import build_wheel, source_tree
from edgetrack.cli import console
from edgetrack.video.boxes import write_text

__all__ = ["CENTRE_VARIANTS", "ENGINES", "SCHEMA", "VARIANTS", "Effort", "Part", "effort_of", "main", "parts"]

SCHEMA = "edgetrack-result/1"
ENGINES = {"onnx": "onnxruntime", "openvino": "openvino"}

_HERE = Path(__file__).parent
_INTERRUPTED = 130


@dataclass(frozen=True)
class Effort:
    """How much is done for a variant, in frames; large networks get by with few, for their times vary less.

    Attributes:
        bench: updates of each contender that are timed.
        warmup: updates before, at most.
        profile: updates that are profiled.
        gate: frames of the clip that the export is proven on; None: all. `edgetrack export` always takes all.
    """

    bench: int
    warmup: int
    profile: int
    gate: int | None


_EFFORT = {
    **dict.fromkeys(("ostrack-256", "ostrack-256-ce", "grm-256"), Effort(48, 16, 16, 9)),
    "ostrack-384-ce": Effort(32, 16, 8, 9),
    "grm-l320": Effort(6, 2, 4, 9),
    **dict.fromkeys(("mvlm-tf", "mvlm-bbox"), Effort(48, 16, 16, 9)),
    # Templates are renewed from frame 10 on.
    "atstrack-256-t2": Effort(32, 12, 8, 13),
    "atstrack-384": Effort(16, 4, 4, 13),
    "glad-b256": Effort(32, 12, 8, 9),
    "glad-l384": Effort(6, 2, 4, 9),
}
MEASURED = (*VARIANTS, *LANGUAGE_VARIANTS)


def effort_of(variant: str) -> Effort:
    """Return how much is done for a variant."""
    return _EFFORT.get(variant, Effort(320, 64, 128, None))


@dataclass(frozen=True)
class Part:
    """One process and the file it leaves.

    Attributes:
        name: of the file.
        schema: of the document that the process writes.
        module: whose function `main` is run.
        words: its command line, without `--output`.
        artifacts: what it measures.
        wheel: file to report the size of.
        builds_wheel: build the wheel first, where this is a source tree.
    """

    name: str
    schema: str
    module: str
    words: tuple[str, ...]
    artifacts: tuple[Path, ...] = ()
    wheel: Path | None = None
    builds_wheel: bool = False

    def configuration(self) -> dict[str, Any]:
        """Return what has to be the same for a stored result to stand."""
        from edgetrack import _core

        machine = describe_machine()
        return {
            "words": [word if not Path(word).is_absolute() else Path(word).name for word in self.words],
            "edgetrack": edgetrack.__version__,
            "core_sha256": sha256_of(Path(_core.__file__)),
            "sources_sha256": sources_sha256(),
            "wheel_sha256": None if self.wheel is None else sha256_of(self.wheel),
            "builds_wheel": self.builds_wheel,
            "packages": {name: _version(name) for name in ("numpy", "onnxruntime", "openvino", "torch")},
            "machine": {key: machine[key] for key in ("system", "cpu", "cores", "simd", "python")},
            "artifacts": {path.name: _checksums(path) for path in self.artifacts},
        }


def main(words: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    try:
        _run(_parser().parse_args(sys.argv[1:] if words is None else list(words)))
    except errors.EdgetrackError as error:
        console.error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        console.error("interrupted; the parts that are done are kept")
        return _INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edgetrack.benchmarks.results", description=__doc__)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of engines and PyTorch")
    parser.add_argument(
        "--only", nargs="+", metavar="WORD", help="measure just the parts with one of these in the name"
    )
    parser.add_argument("--force", action="store_true", help="measure again what is stored")
    parser.add_argument("--render", action="store_true", help="measure nothing, write the page from what is stored")
    parser.add_argument("--wheel", type=Path, help="a built wheel, to report its size; default: build it")
    parser.add_argument("--calib", type=Path, help="clips to calibrate int8 with; without it precisions are left out")
    parser.add_argument("--data", type=Path, help="other clips with boxes, to compare precisions on")
    parser.add_argument("--folder", type=Path, default=_HERE, help="where results/ and RESULTS.md are")
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"), help="where artifacts are exported to")
    return parser


def _run(options: argparse.Namespace) -> None:
    stored = options.folder / "results"
    if not options.render:
        stored.mkdir(parents=True, exist_ok=True)
        options.work.mkdir(parents=True, exist_ok=True)
        work = options.work.resolve()
        if options.wheel is not None and not options.wheel.is_file():
            raise errors.InputError(f"wheel {options.wheel} does not exist; leave --wheel out to have it built")
        every = [*parts(work, options.threads, options.wheel), *_precisions(options, work)]
        chosen = [part for part in every if any(word in part.name for word in options.only or [""])]
        if not chosen:
            raise errors.InputError(f"no part has {' or '.join(options.only)} in its name; leave --only out for all")
        for path in sorted({path for part in chosen for path in part.artifacts}):
            _export(path, options.threads)
        for part in chosen:
            _measure(part, stored / f"{part.name}.json", force=options.force)
    results = {path.stem: read_document(path, SCHEMA)["document"] for path in sorted(stored.glob("*.json"))}
    if not results:
        raise errors.InputError(f"there are no results in {stored}; measure first, without --render")
    write_text(options.folder / "RESULTS.md", render(results))
    console.line(f"wrote {options.folder / 'RESULTS.md'} from {len(results)} files in {stored}")


def parts(work: Path, threads: int, wheel: Path | None = None) -> Iterator[Part]:
    """Yield all parts; artifacts are in the folder `work`."""
    yield Part("outside", outside.SCHEMA, "edgetrack.benchmarks.outside", ())
    yield Part("outside-centre-head", outside.SCHEMA, "edgetrack.benchmarks.outside", ("--family", "centre-head"))
    yield Part("growth", growth.SCHEMA, "edgetrack.benchmarks.growth", ())
    pico = tuple(_artifact(work, VARIANTS[0], target) for target in ENGINES)
    words = (*map(str, pico), "--threads", str(threads))
    wheel = None if wheel is None else wheel.resolve()
    module = "edgetrack.benchmarks.startup"
    yield Part("startup", startup.SCHEMA, module, words, pico, wheel=wheel, builds_wheel=wheel is None)
    for variant in MEASURED:
        paths = tuple(_artifact(work, variant, target) for target in ENGINES)
        effort = effort_of(variant)
        words = ("bench", *map(str, paths), "--compare", "--reference", "stand-in")
        words += ("--threads", str(threads), "--frames", str(effort.bench), "--warmup", str(effort.warmup))
        if variant in (*CENTRE_VARIANTS, *LANGUAGE_VARIANTS):
            words += ("--no-fresh",)  # their memory is a part of its own; their cold start is reading the weights
        yield Part(f"bench-{variant}", bench.SCHEMA, "edgetrack.cli", words, paths)
    for variant in MEASURED:
        for target, engine in ENGINES.items():
            path = _artifact(work, variant, target)
            words = (str(path), "--threads", str(threads), "--updates", str(effort_of(variant).profile))
            yield Part(f"profile-{variant}-{engine}", profile.SCHEMA, "edgetrack.benchmarks.profile", words, (path,))
    for variant in MEASURED:
        paths = tuple(_artifact(work, variant, target) for target in ENGINES)
        words = (*map(str, paths), "--threads", str(threads))
        yield Part(f"footprint-{variant}", footprint.SCHEMA, "edgetrack.benchmarks.footprint", words, paths)


def _precisions(options: argparse.Namespace, work: Path) -> Iterator[Part]:
    """Yield the part that needs data, which is not in the repository, if that is given."""
    if (options.calib is None) != (options.data is None):
        raise errors.InputError(
            "give both or neither: --calib, clips to calibrate with, and --data, others to judge on"
        )
    if options.calib is not None:
        data = ("--calib", str(options.calib.resolve()), "--data", str(options.data.resolve()))
        words = (*data, "--threads", str(options.threads), "--work", str(work / "precisions"))
        yield Part("precisions", precisions.SCHEMA, "edgetrack.benchmarks.precisions", words)


def _artifact(work: Path, variant: str, target: str) -> Path:
    return work / f"{variant}-{target}-fp32"


def _export(path: Path, threads: int) -> None:
    """Export with stand-in weights, unless that was done with the exporter as it is now."""
    manifest, note = path / MANIFEST_NAME, exporting.note_of(path)
    newest = max(file.stat().st_mtime for file in Path(export.__path__[0]).rglob("*.py"))
    if manifest.is_file() and note.is_file() and manifest.stat().st_mtime > newest:
        return
    variant, target, _ = path.name.rsplit("-", 2)
    console.line(f"{path.name}: exporting")
    words = ["export", variant, "--weights", "stand-in", "--target", target, "--threads", str(threads)]
    words += clip_head_words(path.parent, effort_of(variant).gate)
    _process("edgetrack.benchmarks.exporting", [str(note), *words, "--force", "--json", "--output", str(path)])


def _measure(part: Part, stored: Path, *, force: bool) -> None:
    configuration = part.configuration()
    if stored.is_file() and not force and read_document(stored, SCHEMA).get("configuration") == configuration:
        console.line(f"{part.name}: stored")
        return
    console.line(f"{part.name}: measuring")
    with tempfile.TemporaryDirectory(prefix="edgetrack-bench-") as folder:
        written = Path(folder) / "document.json"
        words = [*part.words, *_wheel_words(part, Path(folder))]
        _process(part.module, [*words, "--json", "--output", str(written)])
        document = read_document(written, part.schema)
    write_document(stored, {"schema": SCHEMA, "configuration": configuration, "document": document})


def _wheel_words(part: Part, folder: Path) -> list[str]:
    wheel = part.wheel
    if part.builds_wheel:
        tree = source_tree()
        if tree is None:
            console.warn("the wheel is not measured: this is no source tree; give a built one with --wheel")
        else:
            console.line("wheel: building")
            wheel = build_wheel(tree, folder)
    return [] if wheel is None else ["--wheel", str(wheel)]


def _process(module: str, words: Sequence[str]) -> None:
    """Run a module's `main` in a process of its own; progress and errors go to this one's stderr.

    Raises:
        EdgetrackError: it failed; it has said why.
    """
    code = f"import sys; from {module} import main; sys.exit(main())"
    with tempfile.TemporaryDirectory(prefix="edgetrack-bench-") as folder:
        command = [sys.executable, "-c", code, *words]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=False)
    if done.returncode == _INTERRUPTED:
        raise KeyboardInterrupt
    if done.returncode:
        raise errors.EngineUnavailable(f"{module} {' '.join(words[:2])} failed with code {done.returncode}; see above")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _checksums(path: Path) -> dict[str, str]:
    artifact = read_artifact(path, verify_checksums=False)
    return {name: digest for entry in artifact.graphs for name, digest in entry.sha256.items()}


if __name__ == "__main__":
    sys.exit(main())
