"""One way to register things behind a seam: a name, and where the thing lives.

A registration holds an import path, not the thing itself, so that listing the names costs no heavy import.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Generic, TypeVar

T = TypeVar("T")

__all__ = ["Registry"]


class Registry(Generic[T]):
    """Names of one kind of thing ("engine", "target", ...) and the import paths of their implementations."""

    def __init__(self, kind: str, error: type[Exception] = KeyError) -> None:
        """`kind` is used in messages; `error` is raised by `get` for an unknown name."""
        self.kind = kind
        self._error = error
        self._paths: dict[str, str] = {}
        self._aliases: dict[str, str] = {}

    def register(self, name: str, path: str, *, aliases: tuple[str, ...] = ()) -> None:
        """Register `name` as the object at `path` ("package.module:attribute").

        Raises:
            ValueError: the name or an alias is taken.
        """
        for key in (name, *aliases):
            if key in self._paths or key in self._aliases:
                raise ValueError(f"{self.kind} {key!r} is registered twice")
        self._paths[name] = path
        self._aliases.update(dict.fromkeys(aliases, name))

    def resolve(self, name: str) -> str:
        """Return the registered name that `name` or an alias stands for, or raise the registry's error."""
        name = self._aliases.get(name, name)
        if name not in self._paths:
            raise self._error(f"unknown {self.kind} {name!r}; known: {', '.join(sorted(self._paths))}")
        return name

    def get(self, name: str) -> T:
        """Import and return the thing registered as `name` (or an alias of it)."""
        module, _, attribute = self._paths[self.resolve(name)].partition(":")
        found: Any = getattr(import_module(module), attribute)
        return found  # type: ignore[no-any-return]

    def aliases_of(self, name: str) -> tuple[str, ...]:
        """Return the aliases of a registered name, sorted."""
        return tuple(sorted(alias for alias, target in self._aliases.items() if target == name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __contains__(self, name: object) -> bool:
        return name in self._paths or name in self._aliases
