"""Looks inside .onnx files: a copy of the graph with more outputs, run by ONNX Runtime."""

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

__all__ = ["OnnxProbe"]

_INSTALL = "pip install 'edgetrack[export]'"
_MAX_BYTES = (1 << 31) - 1  # what protobuf can hold


class OnnxProbe(Probe):
    """One .onnx file on the CPU.

    What is made an output cannot be fused with what follows, so values may differ from those of the engine's own run by
    rounding.
    """

    def __init__(self, path: Path, feeds: Feeds, threads: int | None = None) -> None:
        """See `Probe`."""
        super().__init__(path, feeds, threads)
        self._onnx, self._ort = require("onnx", _INSTALL), require("onnxruntime", _INSTALL)
        self._model = self._load()
        self._fix_shapes()
        graph = self._infer().graph
        self._values = {value.name: value for value in (*graph.value_info, *graph.output)}
        self._outputs = tuple(value.name for value in self._model.graph.output)

    def _load(self) -> Any:  # noqa: ANN401 (an onnx.ModelProto)
        decode_error = require("google.protobuf.message", _INSTALL).DecodeError

        if self.path.stat().st_size > _MAX_BYTES:
            raise ArtifactError(f"{self.path}: larger than {_MAX_BYTES} bytes; export the artifact again")
        try:
            model = self._onnx.load(str(self.path), load_external_data=False)
        except decode_error as error:
            raise ArtifactError(f"{self.path}: no ONNX file ({error}); export the artifact again") from error
        for item in model.graph.initializer:
            if item.data_location == self._onnx.TensorProto.EXTERNAL:
                raise ArtifactError(f"{self.path}: keeps {item.name!r} in another file; export the artifact again")
        return model

    def _fix_shapes(self) -> None:
        """Write the shapes of the feeds into the inputs."""
        found = {value.name: value for value in self._model.graph.input}
        if set(found) != set(self.feeds):
            raise ArtifactError(
                f"{self.path}: its inputs are {', '.join(sorted(found))}, must be {', '.join(sorted(self.feeds))}"
            )
        for name, array in self.feeds.items():
            shape = found[name].type.tensor_type.shape
            shape.ClearField("dim")
            for size in array.shape:
                shape.dim.add().dim_value = size
        for value in self._model.graph.output:
            value.type.tensor_type.ClearField("shape")

    def _infer(self) -> Any:  # noqa: ANN401 (an onnx.ModelProto)
        try:
            return self._onnx.shape_inference.infer_shapes(self._model, data_prop=True)
        except (self._onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
            raise ArtifactError(f"{self.path}: breaks a rule of ONNX ({first_line(error)})") from error

    @property
    def layers(self) -> Sequence[Layer]:
        """See `Probe.layers`."""
        made = {name for node in self._model.graph.node for name in node.output} | set(self.feeds)
        return [
            Layer(
                node.name or node.output[0],
                node.op_type,
                tuple(name for name in node.input if name in made),
                tuple(filter(None, node.output)),
            )
            for node in self._model.graph.node
        ]

    @property
    def outputs(self) -> Sequence[str]:
        """See `Probe.outputs`."""
        return self._outputs

    @property
    def names(self) -> frozenset[str]:
        """See `Probe.names`; only tensors of floating point."""
        kinds = {self._onnx.TensorProto.FLOAT, self._onnx.TensorProto.FLOAT16}
        return frozenset(name for name, value in self._values.items() if value.type.tensor_type.elem_type in kinds)

    def _shape(self, name: str) -> list[int] | None:
        kind = self._values[name].type.tensor_type
        if not kind.HasField("shape") or not all(size.HasField("dim_value") for size in kind.shape.dim):
            return None
        return [size.dim_value for size in kind.shape.dim]

    def run(self, wanted: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """See `Probe.run`."""
        check_sizes(self.path, ((name, self._shape(name)) for name in wanted))
        model = self._onnx.ModelProto()
        model.CopyFrom(self._model)
        del model.graph.output[:]
        model.graph.output.extend(self._values[name] for name in wanted)
        options = self._ort.SessionOptions()
        options.log_severity_level = 4
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
        try:
            session = self._ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
            found = session.run(list(wanted), dict(self.feeds))
        except Exception as error:  # the package's errors have no class of their own in common
            raise ArtifactError(f"{self.path}: ONNX Runtime cannot run it ({first_line(error)})") from error
        return {name: np.asarray(array, np.float32) for name, array in zip(wanted, found, strict=True)}

    def describe(self) -> str:
        """See `Probe.describe`."""
        return f"onnxruntime {self._ort.__version__}"
