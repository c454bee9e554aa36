"""ONNX Runtime's execution providers, by kind of device. Adding one is one registration here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgetrack.errors import EngineUnavailable

__all__ = ["CPU", "PROVIDERS", "Provider", "parse_device", "register"]


@dataclass(frozen=True)
class Provider:
    """One execution provider and how its inputs are kept fresh.

    Attributes:
        kind: of device, as users write it ("cuda"); an index may follow a colon. Also what `OrtValue` calls its memory.
        name: ONNX Runtime's own.
        install: what to do where the package lacks it.
        check: what to look at where the package has it but it does not start.
        aliases: other names of the kind.
        options: device index -> the provider's options.
        in_place: whether a device copy of an input can be refreshed in place (`OrtValue.update_inplace`); where it
            cannot, inputs are bound again before every run, which copies them.
    """

    kind: str
    name: str
    install: str = ""
    check: str = ""
    aliases: tuple[str, ...] = ()
    options: Callable[[int], Mapping[str, Any]] = lambda _index: {}
    in_place: bool = True


CPU = Provider("cpu", "CPUExecutionProvider", aliases=("auto",))

PROVIDERS: dict[str, Provider] = {}
"""Providers by kind of device, in the order of registration."""


def register(provider: Provider) -> None:
    """Add a provider.

    Raises:
        ValueError: its kind or an alias is taken.
    """
    taken = {name for known in PROVIDERS.values() for name in (known.kind, *known.aliases)}
    for name in (provider.kind, *provider.aliases):
        if name in taken:
            raise ValueError(f"device {name!r} of ONNX Runtime is registered twice")
    PROVIDERS[provider.kind] = provider


def parse_device(device: str, available: Sequence[str]) -> tuple[Provider, int]:
    """Return the provider that a device string names, and the device's index.

    Args:
        device: a kind or an alias, in any case, with an index after a colon if there may be several.
        available: names of the providers that the installed package has.

    Raises:
        EngineUnavailable: there is no such device, or the package lacks its provider.
    """
    match = re.fullmatch(r"([a-z]+)(?::(\d{1,3}))?", device.lower())
    named = {name: known for known in PROVIDERS.values() for name in (known.kind, *known.aliases)}
    provider = named.get(match.group(1)) if match else None
    if match is None or provider is None or (provider is CPU and match.group(2)):
        here = ", ".join(known.kind for known in PROVIDERS.values() if known.name in available)
        raise EngineUnavailable(f"engine onnxruntime has no device {device!r}; available: {here}")
    if provider.name not in available:
        raise EngineUnavailable(
            f"device {device!r}: this build of ONNX Runtime has no {provider.kind.upper()} provider; "
            f"{provider.install}, or use device cpu"
        )
    return provider, int(match.group(2) or 0)


register(CPU)
register(
    Provider(
        kind="cuda",
        name="CUDAExecutionProvider",
        install="pip install onnxruntime-gpu (in place of onnxruntime)",
        check="the NVIDIA driver and CUDA libraries",
        aliases=("gpu",),
        # TF32 would round every matrix product's factors to 10 bits of mantissa.
        options=lambda index: {"device_id": index, "use_tf32": 0},
    )
)
register(
    Provider(
        kind="cann",
        name="CANNExecutionProvider",
        install="pip install onnxruntime-cann (in place of onnxruntime) beside the CANN toolkit",
        check="the Ascend driver, the CANN toolkit and that its set_env.sh was sourced",
        aliases=("npu",),
        # Left alone, the provider computes in float16 wherever an operator has both.
        options=lambda index: {
            "device_id": index,
            "enable_cann_graph": True,
            "precision_mode": "must_keep_origin_dtype",
        },
        # `update_inplace` knows CPU and GPU memory only (onnxruntime_pybind_ortvalue.cc).
        in_place=False,
    )
)
