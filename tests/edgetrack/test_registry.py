"""Names, aliases and import paths."""

from __future__ import annotations

import math

import pytest

from edgetrack.errors import InputError
from edgetrack.registry import Registry


@pytest.fixture
def registry() -> Registry:
    registry: Registry = Registry("number", InputError)
    registry.register("pi", "math:pi", aliases=("circle", "archimedes"))
    registry.register("e", "math:e")
    return registry


def test_get_by_name_and_alias(registry):
    assert registry.get("pi") == registry.get("circle") == math.pi
    assert registry.resolve("archimedes") == "pi"
    assert registry.aliases_of("pi") == ("archimedes", "circle")
    assert list(registry) == ["pi", "e"]
    assert "circle" in registry
    assert "tau" not in registry


def test_unknown_name_lists_those_there_are(registry):
    with pytest.raises(InputError, match="unknown number 'tau'; known: e, pi"):
        registry.get("tau")


@pytest.mark.parametrize(("name", "aliases"), [("pi", ()), ("circle", ()), ("tau", ("e",)), ("tau", ("circle",))])
def test_a_name_cannot_be_registered_twice(registry, name, aliases):
    with pytest.raises(ValueError, match="registered twice"):
        registry.register(name, "math:tau", aliases=aliases)
