"""`edgetrack eval`: how well a tracker follows annotated sequences, in the figures of the published toolkits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgetrack.cli import console
from edgetrack.cli.options import MAX_SEED, DeviceOption, EngineOption, JsonOption, ThreadsOption
from edgetrack.cli.text_options import (
    BESIDE_CHECKPOINT,
    DiffusionOption,
    LoraOption,
    TextEncoderOption,
    VocabularyOption,
)
from edgetrack.demo import DEMO, resolve_weights

if TYPE_CHECKING:
    from edgetrack.benchmarks.accuracy.subjects import Subject

__all__ = ["DataOption", "JobsOption", "OnlyOption", "print_evaluation", "run"]

_STAND_IN = "stand-in"

DataOption = Annotated[
    list[str],
    typer.Option(
        "--data",
        help="Annotated sequences: KIND:PATH or PATH (kinds as `edgetrack pack` reads them), or demo: the clip of "
        "edgetrack. May be given several times.",
    ),
]
JobsOption = Annotated[
    int, typer.Option("--jobs", "-j", min=1, max=256, help="Sequences tracked at the same time, each in a process.")
]
OnlyOption = Annotated[
    str | None, typer.Option("--only", help="Take the sequences whose names match this pattern, as in 'otb_*'.")
]


def run(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="ARTIFACT_OR_CHECKPOINT",
            help="A folder that `edgetrack export` wrote; or, with --model, a checkpoint, demo or stand-in, which "
            "then runs in the published loop in PyTorch.",
        ),
    ],
    *,
    data: DataOption,
    model: Annotated[
        str | None, typer.Option("--model", help="With a checkpoint: its network, as `edgetrack models` lists it.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Of stand-in weights.")] = 0,
    text_encoder: TextEncoderOption = None,
    vocabulary: VocabularyOption = None,
    diffusion: DiffusionOption = None,
    lora: LoraOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of results; default: eval-<name>. A run that is there goes on."),
    ] = None,
    jobs: JobsOption = 1,
    only: OnlyOption = None,
    device: DeviceOption = "auto",
    engine: EngineOption = None,
    threads: ThreadsOption = None,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Write success.png and precision.png.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Track annotated sequences and score the boxes as pytracking and GOT-10k do.

    Finished sequences are kept in the output folder: run the same line again to go on after an interruption.
    """
    from edgetrack.benchmarks.accuracy.evaluation import evaluate, threads_per_job
    from edgetrack.benchmarks.accuracy.sequences import read_sequences

    sequences = read_sequences(data, only)
    share = threads_per_job(threads, jobs)
    files = {"text_encoder": text_encoder, "vocabulary": vocabulary, "diffusion": diffusion, "lora": lora}
    chosen = _subject(subject, model, seed, files, device=device, engine=engine, threads=share)
    folder = output if output is not None else Path(f"eval-{chosen.spec.name}")
    frames = sum(len(sequence.boxes) for sequence in sequences)
    with console.progress(frames, f"eval {chosen.spec.name}") as bar:
        document, _ = evaluate(chosen, sequences, folder, data=data, jobs=jobs, progress=bar, plots=plots)
    if as_json:
        console.emit_json(document)
        return
    print_evaluation(document)
    console.line(f"wrote {folder}")


def _subject(
    subject: str,
    model: str | None,
    seed: int,
    files: Mapping[str, Path | None],
    *,
    device: str,
    engine: str | None,
    threads: int | None,
) -> Subject:
    """Return what the command line names, or raise what is wrong with its options."""
    from edgetrack.benchmarks.accuracy.subjects import artifact_subject, reference_subject

    if subject not in (DEMO, _STAND_IN) and (Path(subject).is_dir() or not Path(subject).exists()):
        if model is not None:
            raise typer.BadParameter("is for a checkpoint; an artifact knows its network", param_hint="--model")
        if any(files.values()):
            raise typer.BadParameter("are for a checkpoint; an artifact has its own", param_hint=BESIDE_CHECKPOINT)
        return artifact_subject(Path(subject), device=device, engine=engine, threads=threads)
    if model is None:
        raise typer.BadParameter(f"{subject} is no artifact; say which network it is", param_hint="--model")
    if engine is not None or device not in ("auto", "cpu"):
        raise typer.BadParameter("a checkpoint runs in PyTorch on the CPU", param_hint="--engine, --device")
    from edgetrack.cli.export import check_torch, usage_error
    from edgetrack.export.models import find_variant

    with usage_error("--model"):
        find_variant(model)
        subject = resolve_weights(model, subject)
    check_torch()
    return reference_subject(subject, model, seed=seed, threads=threads, beside=files)


def print_evaluation(document: dict[str, Any]) -> None:
    """Write the table of an evaluation and the conventions its figures follow."""
    from edgetrack.benchmarks.accuracy.report import COLUMNS, table_rows

    spec = document["subject"]
    threads = "threads left to the engine" if spec["threads"] is None else f"{spec['threads']} threads"
    title = f"{spec['name']}: {spec['variant']} {spec['precision']} on {spec['engine']}, {threads}"
    console.table(COLUMNS, list(table_rows(document)), title=title)
    console.line(f"AUC, OP50, OP75, P, NP in percent as pytracking: {document['conventions']['pytracking']}")
    console.line(f"AO, SR50, SR75 as GOT-10k: {document['conventions']['got10k']}")
    by_sequence = document["overall"]["got10k_ao_by_sequence"]
    if by_sequence is not None and len(document["sequences"]) > 1:
        console.line(f"AO as the mean over sequences, each counting the same: {by_sequence:.3f}")
    console.line(f"lost and uncertain (unc.) in percent: {document['conventions']['loss']}")
    if document["jobs"] > 1:
        console.line(f"{document['jobs']} sequences ran at a time: updates/s is not the tracker's own speed")
    if spec["weights"] == _STAND_IN:
        console.warn("these are stand-in weights: they follow no target")
