"""CANN's runtime as the Ascend engine uses it: calls by name whose error codes become errors, devices in use."""

from __future__ import annotations

import atexit
import importlib
import threading
from collections import Counter
from functools import reduce
from typing import Any, ClassVar

from edgetrack.errors import EngineUnavailable
from edgetrack.runtime.engine import first_line

__all__ = ["Acl", "devices_here"]

_INSTALL = (
    "install the CANN toolkit or runtime (https://www.hiascend.com/software/cann) and source its set_env.sh, "
    "which makes the Python module acl importable"
)
_ALREADY_INITIALISED = 100002  # ACL_ERROR_REPEAT_INITIALIZE: other code of this process did it


def _import() -> Any:  # noqa: ANN401 (the module has no types)
    try:
        return importlib.import_module("acl")
    except ImportError as error:
        raise EngineUnavailable(f"engine ascend is not usable ({first_line(error)}): {_INSTALL}") from error


class Acl:
    """The module `acl`, initialised; functions are called by their dotted names.

    ACL is initialised once per process, with the first of these, and finalised at exit: an application may do that once
    only. A device is reset when its last user leaves it, for that also destroys what others have there.
    """

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _initialised: ClassVar[bool] = False
    _users: ClassVar[Counter[int]] = Counter()

    def __init__(self) -> None:
        """Import and initialise ACL.

        Raises:
            EngineUnavailable: CANN is not installed, or does not start.
        """
        self.module = _import()
        with Acl._lock:
            if not Acl._initialised:
                code = self.module.init()
                if code not in (0, _ALREADY_INITIALISED):
                    raise EngineUnavailable(self._failure("acl.init", code))
                Acl._initialised = True
                if code == 0:
                    atexit.register(finalise, self.module)

    def value(self, name: str, *arguments: object) -> Any:  # noqa: ANN401 (an int, a text or a dict)
        """Call a function that returns (value, code) or, like all `create_...`, a handle that is 0 on failure.

        Raises:
            EngineUnavailable: it failed.
        """
        result = self._function(name)(*arguments)
        value, code = result if isinstance(result, tuple) else (result, 0 if result else -1)
        if code != 0:
            raise EngineUnavailable(self._failure(name, code))
        return value

    def call(self, name: str, *arguments: object) -> None:
        """Call a function that returns a code; EngineUnavailable if that is not 0."""
        code = self._function(name)(*arguments)
        if code != 0:
            raise EngineUnavailable(self._failure(name, code))

    def ask(self, name: str, *arguments: object) -> Any:  # noqa: ANN401
        """Call a function that cannot fail and return what it says."""
        return self._function(name)(*arguments)

    def release(self, failures: list[str], name: str, *arguments: object) -> None:
        """Call a function that releases something; a failure goes into `failures`, so that the next thing goes too."""
        code = self._function(name)(*arguments)
        if code != 0:
            failures.append(self._failure(name, code))

    def take_device(self, index: int) -> None:
        """Make a device this thread's; EngineUnavailable if it is not there."""
        with Acl._lock:
            self.call("acl.rt.set_device", index)
            Acl._users[index] += 1

    def leave_device(self, index: int, failures: list[str]) -> None:
        """Undo `take_device`."""
        with Acl._lock:
            Acl._users[index] -= 1
            if not Acl._users[index]:
                self.release(failures, "acl.rt.reset_device", index)

    def version(self) -> str:
        """Return the version of the ACL interface, as in "1.12.0"."""
        *numbers, code = self.module.get_version()
        return ".".join(map(str, numbers)) if code == 0 else "unknown"

    def soc_name(self) -> str | None:
        """Return the chip as `atc --soc_version` calls it; None if CANN does not know."""
        name = self.module.get_soc_name()
        return name if isinstance(name, str) and name else None

    def _function(self, name: str) -> Any:  # noqa: ANN401
        return reduce(getattr, name.split(".")[1:], self.module)

    def _failure(self, name: str, code: int) -> str:
        told = self.module.get_recent_err_msg() if hasattr(self.module, "get_recent_err_msg") else ""
        said = f": {first_line(Exception(told))}" if isinstance(told, str) and told.strip() else ""
        return f"{name} failed with code {code}{said}"


def devices_here() -> int:
    """Return how many NPUs CANN sees; EngineUnavailable if it is not installed."""
    return int(Acl().value("acl.rt.get_device_count"))


def finalise(module: Any) -> None:  # noqa: ANN401 (the module acl)
    """End ACL for this process; no engine may be open."""
    Acl._initialised = False
    module.finalize()
