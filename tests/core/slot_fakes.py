"""Fake networks of a tracker with template slots, a description and a state, and a slow port of its loop."""

from __future__ import annotations

from typing import Any

import numpy as np
from centre_fakes import GIVEN, CentreNetworks, centre_spec, weights
from numpy.typing import NDArray
from reference_centre import F32, Box, Maps, SlowCentreLoop

from edgetrack import _core

TOLD = (1, 2)
STATE = (1, 6)
KEPT = 3


def slot_spec(count: int = 3, interval: int = 2, at_least: float = 0.6, history: int = 4) -> dict[str, Any]:
    """A spec whose templates are renewed often and whose history is soon full."""
    spec = centre_spec()
    slots = {"count": count, "interval": interval, "at_least": at_least, "history": history}
    spec["template"] = spec["template"] | {"slots": slots}
    spec["told"] = ["carried", "told"]
    spec["state"] = {"output": "carried_next", "input": "carried", "kept": KEPT}
    return spec


class SlotNetworks(CentreNetworks):
    """Networks whose maps and state depend on every slot, the description and the state before."""

    def look_with(self, search: F32, given: dict[str, F32], told: F32, state: F32) -> tuple[Maps, F32]:
        """Return maps and the next state of slots `given` (name -> (1, count * n, ...))."""
        order = np.linspace(1, 2, given["tokens"].shape[1] // GIVEN["tokens"][1])
        mixed = {
            name: np.tensordot(order, values.reshape(len(order), *GIVEN[name]), 1) for name, values in given.items()
        }
        extra = np.concatenate([told.ravel(), state.ravel()]).astype(np.float64)
        mixed["words"] = mixed["words"] + weights(self.seed + 5, 5, extra.size) @ extra
        maps = self.look(search, mixed)
        seen = np.concatenate([*(m.ravel() for m in maps), extra]).astype(np.float64)
        return maps, np.tanh(0.2 * weights(self.seed + 6, 6, seen.size) @ seen).reshape(STATE).astype(np.float32)


class SlowSlotLoop(SlowCentreLoop):
    """Slots, history and state, one step after the other (ATSTrack spec section 4.4)."""

    networks: SlotNetworks

    def __init__(self, spec: dict[str, Any], networks: SlotNetworks) -> None:
        super().__init__(spec, networks)
        self.rule = spec["template"]["slots"]
        self.told, self.first = np.zeros(TOLD, np.float32), np.zeros(STATE, np.float32)

    def describe(self, told: F32, first: F32, *, midway: bool = False) -> None:
        self.told, self.first = told, first
        if midway:
            self.carried = np.concatenate([self.carried[:, :KEPT], first[:, KEPT:]], axis=1)

    def init(self, frame: NDArray[np.uint8], box: Box) -> None:
        super().init(frame, box)
        count = self.rule["count"]
        self.slots, self.shown = [self.given] * count, [0] * count
        self.history: list[tuple[int, F32]] = []
        self.spacing, self.frame_index, self.carried = self.rule["interval"], 0, self.first

    def update(self, frame: NDArray[np.uint8]) -> Box:
        given = {name: np.concatenate([slot[name] for slot in self.slots], axis=1) for name in GIVEN}
        search, _ = self.crop(frame, "search")
        maps, following = self.networks.look_with(search, given, self.told, self.carried)
        self.networks_look, self.networks.look = self.networks.look, lambda *_: maps  # type: ignore[method-assign]
        try:
            super().update(frame)
        finally:
            self.networks.look = self.networks_look  # type: ignore[method-assign]
        self.carried = following
        self.frame_index += 1
        if self.rule["count"] > 1:
            self.renew(frame, float(maps[0].max()))
        return self.state

    def renew(self, frame: NDArray[np.uint8], surest: float) -> None:
        last, now = self.rule["count"] - 1, self.frame_index
        if now % self.rule["interval"] == 0 and surest >= self.rule["at_least"]:
            crop = self.crop(frame, "template")[0]
            self.slots[last], self.shown[last] = self.networks.embed(crop), now
            if len(self.history) == self.rule["history"]:
                self.history, self.spacing = self.history[::2], 2 * self.spacing
            if not self.history or now - self.history[-1][0] >= self.spacing:
                self.history.append((now, crop))
        for slot in range(1, last):
            if self.history:
                number, crop = min(self.history, key=lambda entry: abs(entry[0] * last - slot * now))
                self.slots[slot], self.shown[slot] = self.networks.embed(crop), number


def slot_tracker(spec: dict[str, Any], networks: SlotNetworks) -> tuple[_core.CentreHeadTracker, dict[str, Any]]:
    """Return a C++ tracker on fake networks, and the search graph's inputs by name."""
    grid, size, count = spec["decode"]["grid"], spec["search"]["size"], spec["template"]["slots"]["count"]
    image = np.zeros((1, 3, spec["template"]["size"], spec["template"]["size"]), np.float32)
    gives = {name: np.zeros(shape, np.float32) for name, shape in GIVEN.items()}
    takes = {name: np.zeros((1, count * shape[1], *shape[2:]), np.float32) for name, shape in GIVEN.items()}
    inputs = {"search": np.zeros((1, 3, size, size), np.float32), **takes}
    inputs |= {"told": np.zeros(TOLD, np.float32), "carried": np.zeros(STATE, np.float32)}
    outputs = {n: np.zeros((1, c, grid, grid), np.float32) for n, c in (("score", 1), ("size", 2), ("offset", 2))}
    outputs["carried_next"] = np.zeros(STATE, np.float32)

    def run_template() -> None:
        networks.calls.append("template")
        for name, value in networks.embed(image[0]).items():
            gives[name][...] = value

    def run_search() -> None:
        networks.calls.append("search")
        maps, outputs["carried_next"][...] = networks.look_with(
            inputs["search"][0], takes, inputs["told"], inputs["carried"]
        )
        for name, value in zip(("score", "size", "offset"), maps, strict=True):
            outputs[name][0] = value

    template = _core.Graph({"image": image}, gives, run_template)
    return _core.CentreHeadTracker(spec, template, _core.Graph(inputs, outputs, run_search)), inputs
