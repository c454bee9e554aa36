"""Reads a pickle as data: calls in it are written down and never made, so nothing of the file can run.

Published checkpoints carry pickled training objects beside the weights, and a pickle is a program for a small
stack machine. This module runs that machine with every dangerous instruction made inert: a name is a `Global`
(never imported), a call is a `Call` (never called), state set on an object is dropped, unless it is a module of
TorchScript. The reader of the result decides which calls mean a tensor. The instructions are those of the standard
library's `pickletools`.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import IO, Any

__all__ = [
    "MAX_INSTRUCTIONS",
    "Call",
    "Global",
    "Persistent",
    "PickleFormatError",
    "brief",
    "is_plain_key",
    "is_script_module",
    "read_pickle",
]

MAX_INSTRUCTIONS = 500_000
"""A checkpoint of a thousand tensors has about fifty thousand; ten times that is read. An instruction of one byte
makes an object of up to a hundred bytes in about a microsecond, so this bounds what a small file can cost."""

_CONSTANTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_LITERALS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_PLAIN_KEYS = (str, int, float, bool, bytes, type(None))
# Larger integers can be chosen to share one hash value, which makes a dict of them slow.
_MAX_KEY = 1 << 40
_MAX_MEMO = 1 << 32
_BRIEF = 80


class PickleFormatError(ValueError):
    """The bytes are not a well-formed pickle."""


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the pickle refers to; never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, slots=True, repr=False)
class Call:
    """A call or an object, written down: what was called, with which arguments, and items set on it, if any."""

    function: object
    arguments: tuple[Any, ...]
    items: dict[Any, Any] | None = None


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Persistent:
    """A reference to something outside the pickle (in torch's files: a storage)."""

    identifier: object


class _Mark:
    """Start of a group of stack items."""


def brief(value: object) -> str:
    """Name a value of a file in one line of about 80 characters; structures only by their type.

    A small file can describe a structure whose text would fill the memory, so it is never spelled out.
    """
    if isinstance(value, Global):
        # Cut first: the parts may be long.
        return repr(f"{value.module[:_BRIEF]}.{value.name[:_BRIEF]}"[:_BRIEF])[1:-1]
    if isinstance(value, str | bytes):
        return repr(value[:_BRIEF])
    if value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < _MAX_KEY):
        return repr(value)
    return f"a {type(value).__name__}"


def is_plain_key(value: object) -> bool:
    """Tell whether `value` may be the key of a dict: a plain value, cheap to hash."""
    return isinstance(value, _PLAIN_KEYS) and (not isinstance(value, int) or abs(value) < _MAX_KEY)


def is_script_module(value: object) -> bool:
    """Tell whether `value` is a module as TorchScript pickles it: an object of a class of the archive's own code."""
    return (
        isinstance(value, Call) and isinstance(value.function, Global) and value.function.module.startswith("__torch__")
    )


def read_pickle(stream: IO[bytes], references: list[Persistent] | None = None) -> object:
    """Read one pickle from `stream` (left just behind it) without executing any of it.

    Args:
        stream: where the pickle starts.
        references: gets every `Persistent` of the pickle, also those inside dropped state.

    Returns:
        Plain Python values, lists, tuples and dicts; `Global`, `Call` and `Persistent` for the rest. Dict
        entries whose key is not a plain value are left out.

    Raises:
        PickleFormatError: truncated or malformed bytes, or more than MAX_INSTRUCTIONS.
    """
    machine = _Machine(references if references is not None else [])
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > MAX_INSTRUCTIONS:
                raise PickleFormatError(f"more than {MAX_INSTRUCTIONS} instructions")
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.step(opcode.name, argument)
    except PickleFormatError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise PickleFormatError(f"malformed pickle: {reason}") from error
    raise PickleFormatError("the pickle has no end")


class _Machine:
    """The stack, the memo, and one method `op_<name>` per instruction that is neither constant nor memo."""

    def __init__(self, references: list[Persistent]) -> None:
        self.stack: list[Any] = []
        self.memo: dict[object, Any] = {}
        self.references = references

    def step(self, name: str, argument: object) -> None:
        if name in _CONSTANTS:
            self.stack.append(argument)
        elif name in _LITERALS:
            self.stack.append(_LITERALS[name])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            if not isinstance(argument, int) or argument >= _MAX_MEMO:
                raise PickleFormatError("a memo number is too large")
            self.memo[argument] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name not in ("PROTO", "FRAME"):
            handler = getattr(self, f"op_{name.lower()}", None)
            if handler is None:
                raise PickleFormatError(f"instruction {name} is not used by checkpoints")
            if handler.__code__.co_argcount == 2:
                handler(argument)
            else:
                handler()

    def _group(self) -> list[Any]:
        """Pop everything above the last mark, and the mark."""
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _Mark:
                group = self.stack[index + 1 :]
                del self.stack[index:]
                return group
        raise PickleFormatError("a group has no start")

    def _last(self, count: int) -> list[Any]:
        """Pop the last `count` items, in order."""
        if len(self.stack) < count:
            raise PickleFormatError("the stack is too short")
        group = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return group

    def op_memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def op_mark(self) -> None:
        self.stack.append(_Mark)

    def op_pop(self) -> None:
        self.stack.pop()

    def op_pop_mark(self) -> None:
        self._group()

    def op_dup(self) -> None:
        self.stack.append(self.stack[-1])

    def op_empty_tuple(self) -> None:
        self.stack.append(())

    def op_empty_list(self) -> None:
        self.stack.append([])

    def op_empty_dict(self) -> None:
        self.stack.append({})

    def op_empty_set(self) -> None:
        self._record(Global("builtins", "set"), ())

    def op_frozenset(self) -> None:
        self._record(Global("builtins", "frozenset"), tuple(self._group()))

    def op_tuple(self) -> None:
        self.stack.append(tuple(self._group()))

    def op_tuple1(self) -> None:
        self.stack.append(tuple(self._last(1)))

    def op_tuple2(self) -> None:
        self.stack.append(tuple(self._last(2)))

    def op_tuple3(self) -> None:
        self.stack.append(tuple(self._last(3)))

    def op_list(self) -> None:
        self.stack.append(self._group())

    def op_dict(self) -> None:
        pairs = self._group()
        self.stack.append({})
        self._set_items(pairs)

    def op_append(self) -> None:
        self._extend(self._last(1))

    def op_appends(self) -> None:
        self._extend(self._group())

    def op_additems(self) -> None:
        self._extend(self._group())

    def op_setitem(self) -> None:
        self._set_items(self._last(2))

    def op_setitems(self) -> None:
        self._set_items(self._group())

    def _extend(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)

    def _set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Call):
            target.items = items = target.items if target.items is not None else {}
        else:
            items = target
        if isinstance(items, dict):
            for key, value in zip(pairs[0::2], pairs[1::2], strict=True):
                if is_plain_key(key):
                    items[key] = value

    def op_global(self, argument: str) -> None:
        self.stack.append(_global_of(argument))

    def op_stack_global(self) -> None:
        module, name = self._last(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleFormatError("a name is not text")
        self.stack.append(Global(module, name))

    def op_reduce(self) -> None:
        function, arguments = self._last(2)
        self._record(function, arguments if isinstance(arguments, tuple) else ())

    op_newobj = op_reduce

    def op_newobj_ex(self) -> None:
        self.stack.pop()  # keyword arguments
        self.op_reduce()

    def op_obj(self) -> None:
        function, *arguments = self._group()
        self._record(function, tuple(arguments))

    def op_inst(self, argument: str) -> None:
        self._record(_global_of(argument), tuple(self._group()))

    def op_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        # The state of an object is dropped, but for what a module of TorchScript holds: its parameters and submodules.
        if isinstance(target, Call) and is_script_module(target) and isinstance(state, dict):
            target.items = state

    def op_persid(self, argument: object) -> None:
        self.references.append(Persistent(argument))
        self.stack.append(self.references[-1])

    def op_binpersid(self) -> None:
        self.op_persid(self.stack.pop())

    def _record(self, function: object, arguments: tuple[Any, ...]) -> None:
        self.stack.append(Call(function, arguments))


def _global_of(argument: str) -> Global:
    """Split pickletools' "module name"."""
    module, _, name = argument.partition(" ")
    return Global(module, name)
