"""What a TensorRT engine file is tied to, as the manifest's `target.key` says it, against the machine at hand.

Entries: `builder` ("tensorrt" or "tensorrt-rtx"), `version` of it ("10.3.0"; only "10" if the file is version
compatible), `compute_capability` ("8.6", a list "8.0,8.6", or "8.0+" for that and all later), and where the file is
tied to one GPU, `gpu` (its name) and `driver`. What is not there does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

__all__ = ["difference"]


def difference(built: Mapping[str, str], here: Mapping[str, str]) -> str | None:
    """Return the first thing in which a machine differs from what files were built for, or None if none does.

    Args:
        built: the manifest's key.
        here: the same of this machine: one version, one compute capability, the driver ("none" if there is none).
    """
    for name, value in built.items():
        fits = _RULES.get(name, _same)
        found = here.get(name, "unknown")
        if not fits(value, found):
            what = _WORDS.get(name, name)
            return f"built for {what} {value}, here it is {found}"
    return None


def _same(built: str, here: str) -> bool:
    return built == here


def _version_fits(built: str, here: str) -> bool:
    return here == built or ("." not in built and here.startswith(f"{built}."))


def _capability_fits(built: str, here: str) -> bool:
    found = _numbers(here)
    for item in built.split(","):
        least = _numbers(item.strip().removesuffix("+"))
        if least and (found == least or (item.strip().endswith("+") and found > least)):
            return True
    return False


def _numbers(text: str) -> tuple[int, ...]:
    """Return "8.6" as (8, 6), and what is no version as ()."""
    parts = text.split(".")
    good = all(part.isdecimal() and part.isascii() and len(part) <= 6 for part in parts)
    return tuple(map(int, parts)) if good else ()


_RULES: dict[str, Callable[[str, str], bool]] = {"version": _version_fits, "compute_capability": _capability_fits}
_WORDS = {"compute_capability": "compute capability", "gpu": "GPU", "builder": "the builder"}
