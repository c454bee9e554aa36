"""Options of single targets on the command line, made from the targets' own declarations."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from edgetrack.export.targets import TARGETS, TargetOption

__all__ = ["with_target_options"]


def with_target_options(run: Callable[..., None]) -> Callable[..., None]:
    """Return the command `run` with one more command-line option for every option that a target declares.

    What was said arrives in `run` as the keyword argument `options`, name -> value; its own signature must have it.
    An option that several targets declare is one option.
    """
    declared: dict[str, tuple[TargetOption, list[str]]] = {}
    for target in TARGETS.values():
        for option in target.options:
            declared.setdefault(option.name, (option, []))[1].append(target.name)
    spelled = {name.replace("-", "_"): name for name in declared}

    @wraps(run)
    def command(**arguments: Any) -> None:  # noqa: ANN401 (whatever the options are)
        said = {name: arguments.pop(word) for word, name in spelled.items()}
        run(**arguments, options={name: value for name, value in said.items() if value is not None})

    parameters = dict(inspect.signature(run, eval_str=True).parameters)
    del parameters["options"]
    for word, name in spelled.items():
        parameters[word] = _parameter(word, *declared[name])
    command.__signature__ = inspect.Signature(list(parameters.values()), return_annotation=None)  # type: ignore[attr-defined]
    command.__annotations__ = {name: value.annotation for name, value in parameters.items()}
    # typer would look at the function inside.
    del command.__wrapped__
    return command


def _parameter(word: str, option: TargetOption, targets: list[str]) -> inspect.Parameter:
    values = f" ({', '.join(option.choices)})" if option.choices else ""
    described = typer.Option(f"--{option.name}", help=f"Target {', '.join(targets)}: {option.help}{values}")
    kind: Any = option.kind
    annotation = Annotated[kind | None, described]
    return inspect.Parameter(word, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
