"""Looks inside OpenVINO IR: the model with more results, compiled for the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetrack.errors import ArtifactError
from edgetrack.export.bisect.probes import Feeds, Layer, Probe, check_sizes
from edgetrack.export.targets.base import require
from edgetrack.runtime.engine import first_line

__all__ = ["OpenVinoProbe"]

_INSTALL = "pip install 'edgetrack[export,openvino]'"
_NO_LAYERS = {"Parameter", "Constant", "Result"}


class OpenVinoProbe(Probe):
    """One .xml file with its .bin on the CPU, computing in float32 as the engine does.

    Tensors have the names that they had in the ONNX file; those that OpenVINO made itself have none, and cannot be
    compared.
    """

    def __init__(self, path: Path, feeds: Feeds, threads: int | None = None) -> None:
        """See `Probe`."""
        super().__init__(path, feeds, threads)
        self._ov = require("openvino", _INSTALL)
        self._core = self._ov.Core()
        self._model = self._load()
        operations = [op for op in self._model.get_ordered_ops() if op.get_type_name() not in _NO_LAYERS]
        self._ports = {name: port for op in operations for port in op.outputs() for name in port.get_names()}
        self._layers = [self._layer(op) for op in operations]
        self._outputs = tuple(_name_of(port) for port in self._model.outputs)

    def _load(self) -> Any:  # noqa: ANN401 (an openvino.Model)
        try:
            model = self._core.read_model(str(self.path))
            found = {port.get_any_name() for port in model.inputs}
            if found != set(self.feeds):
                raise ArtifactError(
                    f"{self.path}: its inputs are {', '.join(sorted(found))}, must be {', '.join(sorted(self.feeds))}"
                )
            model.reshape({name: list(array.shape) for name, array in self.feeds.items()})
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(f"{self.path}: OpenVINO cannot load it ({first_line(error)})") from error
        return model

    @staticmethod
    def _layer(op: Any) -> Layer:  # noqa: ANN401 (an openvino.Node)
        sources = [port.get_source_output() for port in op.inputs()]
        return Layer(
            op.get_friendly_name(),
            op.get_type_name(),
            tuple(_name_of(port) for port in sources if port.get_node().get_type_name() != "Constant"),
            tuple(_name_of(port) for port in op.outputs()),
        )

    @property
    def layers(self) -> Sequence[Layer]:
        """See `Probe.layers`."""
        return self._layers

    @property
    def outputs(self) -> Sequence[str]:
        """See `Probe.outputs`."""
        return self._outputs

    @property
    def names(self) -> frozenset[str]:
        """See `Probe.names`; only tensors of floating point."""
        return frozenset(name for name, port in self._ports.items() if port.get_element_type().is_real())

    def run(self, wanted: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """See `Probe.run`."""
        shapes = {name: self._ports[name].get_partial_shape() for name in wanted}
        check_sizes(
            self.path, ((name, list(shape.to_shape()) if shape.is_static else None) for name, shape in shapes.items())
        )
        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if self.threads is not None:
            config["INFERENCE_NUM_THREADS"] = str(self.threads)
        try:
            model = self._model.clone()
            known = {name for port in model.outputs for name in port.get_names()}
            model.add_outputs([name for name in wanted if name not in known])
            results = self._core.compile_model(model, "CPU", config)(dict(self.feeds))
            return {name: np.array(results[name], np.float32) for name in wanted}
        except (RuntimeError, KeyError) as error:
            raise ArtifactError(f"{self.path}: OpenVINO cannot run it ({first_line(error)})") from error

    def describe(self) -> str:
        """See `Probe.describe`."""
        return f"openvino {self._ov.get_version()}"


def _name_of(port: Any) -> str:  # noqa: ANN401 (an openvino.Output)
    """Return one name of a tensor, always the same; of one without a name what cannot be one."""
    names = sorted(port.get_names())
    return names[0] if names else f"{port.get_node().get_friendly_name()}:{port.get_index()}"
