"""What `POST /api/<command>` does, by name: the keys of its body, and the call of the session."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgetrack.errors import InputError
from edgetrack.serve.catalog import camera, stream
from edgetrack.serve.control import SourceChoice
from edgetrack.serve.errors import NotAllowed, NotNow
from edgetrack.serve.model import ModelChoice
from edgetrack.serve.requests import Body, read_settings, read_target, read_thresholds, whole_number

if TYPE_CHECKING:
    from edgetrack.serve.app import Desk

__all__ = ["COMMANDS", "Command"]

_TARGET = ("box", "text", "pack", "frame")
_MOST_NAME = 60


@dataclass(frozen=True)
class Command:
    """Keys that a body may have, and what is done; the future's result, if any, is JSON."""

    keys: tuple[str, ...]
    run: Callable[[Desk, Body], Future[Any]]


def _load(desk: Desk, body: Body) -> Future[Any]:
    device, engine = body.get("device", desk.options.device), body.get("engine", desk.options.engine)
    for name, value in (("device", device), ("engine", engine)):
        if value is not None and (not isinstance(value, str) or len(value) > _MOST_NAME):
            raise InputError(f"{name} is {str(value)[:_MOST_NAME]!r}, must be a name as 'cpu'")
    path = desk.artifacts.path(body.get("artifact"))
    describer = desk.artifacts.describer(path)
    return desk.session.load(ModelChoice(path, device or "auto", engine, desk.options.threads, describer))


def _open(desk: Desk, body: Body) -> Future[Any]:
    if len(body) != 1:
        raise InputError(f"open takes one of {', '.join(_OPENERS)}; give just one")
    ((kind, value),) = body.items()
    return desk.session.open(_OPENERS[kind](desk, value))


def _camera(desk: Desk, value: object) -> SourceChoice:
    if not desk.options.cameras:
        raise NotAllowed("cameras are not allowed here; start with `edgetrack serve --cameras`")
    return camera(value)


def _stream(desk: Desk, value: object) -> SourceChoice:
    if not desk.options.streams:
        raise NotAllowed("streams are not allowed here; start with `edgetrack serve --streams`")
    return stream(value)


_OPENERS: dict[str, Callable[[Desk, object], SourceChoice]] = {
    "media": lambda desk, value: desk.media.choice(value),
    "upload": lambda desk, value: desk.uploads.video(value),
    "camera": _camera,
    "stream": _stream,
}


def _start(desk: Desk, body: Body) -> Future[Any]:
    record = body.get("record", True)
    if not isinstance(record, bool):
        raise InputError(f"record is {str(record)[:40]!r}, must be true or false")
    return desk.session.start(read_target(body, desk.uploads), record=record)


def _locate(desk: Desk, body: Body) -> Future[Any]:
    found = desk.session.locate(read_target(body, desk.uploads))
    told: Future[Any] = Future()
    found.add_done_callback(lambda done: _tell(told, done))
    return told


def _tell(told: Future[Any], done: Future[Any]) -> None:
    error = done.exception()
    if error is not None:
        told.set_exception(error)
    else:
        told.set_result(dataclasses.asdict(done.result()))


def _pin(desk: Desk, body: Body) -> Future[Any]:
    number = whole_number(body, "frame")
    if not desk.session.pin(number):
        raise NotNow(f"frame {number} is not kept any more; draw on a newer one")
    done: Future[Any] = Future()
    done.set_result(None)
    return done


COMMANDS: dict[str, Command] = {
    "load": Command(("artifact", "device", "engine"), _load),
    "open": Command(tuple(_OPENERS), _open),
    "close": Command((), lambda desk, _: desk.session.close_source()),
    "start": Command((*_TARGET, "record"), _start),
    "switch": Command(_TARGET, lambda desk, body: desk.session.switch(read_target(body, desk.uploads))),
    "locate": Command(_TARGET, _locate),
    "pin": Command(("frame",), _pin),
    "pause": Command((), lambda desk, _: desk.session.pause()),
    "resume": Command((), lambda desk, _: desk.session.resume()),
    "step": Command(("count",), lambda desk, body: desk.session.step(whole_number({"count": 1, **body}, "count"))),
    "seek": Command(("frame",), lambda desk, body: desk.session.seek(whole_number(body, "frame"))),
    "stop": Command((), lambda desk, _: desk.session.stop()),
    "restart": Command((), lambda desk, _: desk.session.restart()),
    "settings": Command(
        ("pace", "every"), lambda desk, body: desk.session.set(read_settings(body, desk.session.settings))
    ),
    "thresholds": Command(("values",), lambda desk, body: desk.session.set_thresholds(read_thresholds(body))),
}
