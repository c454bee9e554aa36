"""A recording stand-in of pyACL: a .om file is an ONNX file, and ONNX Runtime is the device.

It refuses what the real one refuses or crashes on: wrong order, foreign handles, wrong sizes, no context in the thread.
An AIPP configuration among the file's metadata (`AIPP_KEY`) is obeyed: such inputs are uint8 pixels (1, S, S, 3).
"""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path
from types import SimpleNamespace

import aipp
import numpy as np

AIPP_KEY = "of these tests: --insert_op_conf"
FAILURE = 507899
DTYPES = {"tensor(float)": (0, 4), "tensor(float16)": (1, 2), "tensor(int64)": (9, 8), "tensor(double)": (11, 8)}
DTYPES["tensor(uint8)"] = (4, 1)
NUMPY = {0: np.float32, 1: np.float16, 4: np.uint8, 9: np.int64, 11: np.float64}
CODE, VALUE, HANDLE = FAILURE, (0, FAILURE), 0  # what a failing call gives: a code, (value, code), or a null handle


class FakeAcl:
    """Use `install(monkeypatch)`; `fail["acl.rt.malloc"] = 2` makes the second call of it fail."""

    def __init__(self, soc="Ascend310B4", devices=1, extra_bytes=0, output_prefix="node:0:"):
        self.soc, self.devices, self.extra_bytes, self.output_prefix = soc, devices, extra_bytes, output_prefix
        self.log: list[tuple] = []
        self.fail: dict[str, int] = {}
        self.live: dict[int, tuple] = {}  # handle -> (kind, content)
        self.owner: dict[int, int | None] = {}  # handle -> the context it was made in
        self.refused = False  # whether something could not be released
        self.initialised = False
        self.set_devices: set[int] = set()
        self.current: dict[int, int] = {}  # thread -> context
        self.last = 0x1000
        self.message = "EZ9999: Inner Error!\nmore"
        for name in ("init", "finalize", "get_version", "get_soc_name", "create_data_buffer", "destroy_data_buffer"):
            setattr(self, name, self._recorded(f"acl.{name}", getattr(self, f"_{name}")))
        for space in ("rt", "mdl"):
            names = [name for name in dir(self) if name.startswith(f"_{space}_")]
            calls = {
                n[len(space) + 2 :]: self._recorded(f"acl.{n[1:].replace('_', '.', 1)}", getattr(self, n))
                for n in names
            }
            setattr(self, space, SimpleNamespace(**calls))

    def install(self, monkeypatch):
        import sys

        from edgetrack.runtime.engines.ascend_runtime import Acl

        monkeypatch.setitem(sys.modules, "acl", self)
        monkeypatch.setattr(Acl, "_initialised", False)
        Acl._users.clear()
        monkeypatch.setattr("atexit.register", lambda *what: self.log.append(("atexit", what)))
        return self

    def names(self):
        """The functions that were called, in order."""
        return [entry[0] for entry in self.log]

    def leaks(self):
        """What is still held, but for ACL itself."""
        return [kind for kind, _ in self.live.values()] + [f"device {index}" for index in self.set_devices]

    def get_recent_err_msg(self):
        return self.message

    # How calls are recorded, and handles kept.

    def _recorded(self, name, function):
        def call(*arguments):
            self.log.append((name, *arguments))
            if name != "acl.init" and not self.initialised:
                raise AssertionError(f"{name} before acl.init")
            left = self.fail.get(name, 0)
            self.fail[name] = left - 1
            return function(*arguments, failing=left == 1)

        return call

    def _new(self, kind, content=None, handle=None):
        self.last += 0x100
        handle = handle or self.last
        assert handle not in self.live
        self.live[handle] = (kind, content)
        self.owner[handle] = None if kind == "context" else self.current.get(threading.get_ident())
        return handle

    def _of(self, kind, handle):
        assert handle in self.live, f"{kind} {handle:#x} is not there (any more)"
        assert self.live[handle][0] == kind, f"{handle:#x} is a {self.live[handle][0]}, not a {kind}"
        return self.live[handle][1]

    def _drop(self, kind, handle, failing):
        self._of(kind, handle)
        if failing:
            self.refused = True
            return CODE
        del self.live[handle]
        return 0

    def _context(self):
        context = self.current.get(threading.get_ident())
        assert context in self.live, "no context is current in this thread"
        return context

    # acl

    def _init(self, failing):
        if failing:
            return CODE
        if self.initialised:
            return 100002
        self.initialised = True
        return 0

    def _finalize(self, failing):
        self.initialised = False
        return 0

    def _get_version(self, failing):
        return (0, 0, 0, FAILURE) if failing else (1, 12, 0, 0)

    def _get_soc_name(self, failing):
        return self.soc

    def _create_data_buffer(self, device, size, failing):
        memory, allocated = self._of("device memory", device)
        assert size == allocated, f"data buffer of {size} bytes on memory of {allocated}"
        return HANDLE if failing else self._new("data buffer", (device, memory, size))

    def _destroy_data_buffer(self, handle, failing):
        return self._drop("data buffer", handle, failing)

    # acl.rt

    def _rt_get_device_count(self, failing):
        return VALUE if failing else (self.devices, 0)

    def _rt_set_device(self, index, failing):
        if failing or index >= self.devices:
            return CODE
        self.set_devices.add(index)
        return 0

    def _rt_reset_device(self, index, failing):
        assert index in self.set_devices
        assert self.refused or ("context", index) not in self.live.values(), "a context lives there"
        if failing:
            self.refused = True
            return CODE
        self.set_devices.remove(index)
        return 0

    def _rt_create_context(self, index, failing):
        assert index in self.set_devices
        if failing:
            return VALUE
        context = self._new("context", index)
        self.current[threading.get_ident()] = context
        return context, 0

    def _rt_set_context(self, context, failing):
        self._of("context", context)
        if failing:
            return CODE
        self.current[threading.get_ident()] = context
        return 0

    def _rt_destroy_context(self, context, failing):
        inside = [self.live[handle][0] for handle in self.live if handle != context and self.owner[handle] == context]
        assert self.refused or not inside, f"the context still has {inside}"
        return self._drop("context", context, failing)

    def _malloc(self, kind, size, failing):
        self._context()
        assert size > 0
        if failing:
            return VALUE
        memory = (
            (ctypes.c_uint8 * size)(*([0xCD] * size))
            if size < 64
            else ctypes.create_string_buffer(b"\xcd" * size, size)
        )
        return self._new(kind, (memory, size), handle=ctypes.addressof(memory)), 0

    def _rt_malloc(self, size, policy, failing):
        assert policy == 0
        return self._malloc("device memory", size, failing)

    def _rt_malloc_host(self, size, failing):
        return self._malloc("host memory", size, failing)

    def _rt_free(self, address, failing):
        used = any(kind == "data buffer" and held[0] == address for kind, held in self.live.values())
        assert self.refused or not used, "a data buffer is on it"
        return self._drop("device memory", address, failing)

    def _rt_free_host(self, address, failing):
        return self._drop("host memory", address, failing)

    def _rt_memcpy(self, target, room, source, count, kind, failing):
        self._context()
        kinds = {1: ("device memory", "host memory"), 2: ("host memory", "device memory")}[kind]
        (_, target_size), (_, source_size) = self._of(kinds[0], target), self._of(kinds[1], source)
        assert count <= source_size
        assert count <= room <= target_size
        if failing:
            return CODE
        ctypes.memmove(target, source, count)
        return 0

    # acl.mdl

    def _mdl_load_from_file(self, path, failing):
        self._context()
        import onnxruntime

        if failing or not Path(path).is_file():
            return VALUE
        try:
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001 (a damaged file, whatever the package calls it)
            return VALUE
        return self._new("model", session), 0

    def _mdl_unload(self, model, failing):
        self._context()
        return self._drop("model", model, failing)

    def _mdl_create_desc(self, failing):
        return HANDLE if failing else self._new("description", {})

    def _mdl_destroy_desc(self, desc, failing):
        return self._drop("description", desc, failing)

    def _mdl_get_desc(self, desc, model, failing):
        described, session = self._of("description", desc), self._of("model", model)
        if failing:
            return CODE
        described.update(input=_inputs(session), output=session.get_outputs())
        return 0

    def _port(self, desc, side, index):
        return self._of("description", desc)[side][index]

    def _mdl_get_num_inputs(self, desc, failing):
        return len(self._of("description", desc)["input"])

    def _mdl_get_num_outputs(self, desc, failing):
        return len(self._of("description", desc)["output"])

    def _mdl_get_input_name_by_index(self, desc, index, failing):
        return self._port(desc, "input", index).name

    def _mdl_get_output_name_by_index(self, desc, index, failing):
        return self.output_prefix + self._port(desc, "output", index).name

    def _dims(self, desc, side, index, failing):
        port = self._port(desc, side, index)
        dims = [size if isinstance(size, int) else -1 for size in port.shape]
        return ({}, FAILURE) if failing else ({"name": port.name, "dimCount": len(dims), "dims": dims}, 0)

    def _mdl_get_input_dims(self, desc, index, failing):
        return self._dims(desc, "input", index, failing)

    def _mdl_get_output_dims(self, desc, index, failing):
        return self._dims(desc, "output", index, failing)

    def _mdl_get_input_data_type(self, desc, index, failing):
        return DTYPES[self._port(desc, "input", index).type][0]

    def _mdl_get_output_data_type(self, desc, index, failing):
        return DTYPES[self._port(desc, "output", index).type][0]

    def _size(self, desc, side, index):
        port = self._port(desc, side, index)
        return (
            int(np.prod([size if isinstance(size, int) else 1 for size in port.shape])) * DTYPES[port.type][1]
            + self.extra_bytes
        )

    def _mdl_get_input_size_by_index(self, desc, index, failing):
        return self._size(desc, "input", index)

    def _mdl_get_output_size_by_index(self, desc, index, failing):
        return self._size(desc, "output", index)

    def _mdl_create_dataset(self, failing):
        return HANDLE if failing else self._new("data set", [])

    def _mdl_destroy_dataset(self, dataset, failing):
        held = self._of("data set", dataset)
        assert self.refused or not any(buffer in self.live for buffer in held), "its data buffers must go first"
        return self._drop("data set", dataset, failing)

    def _mdl_add_dataset_buffer(self, dataset, buffer, failing):
        self._of("data buffer", buffer)
        if failing:
            return dataset, FAILURE
        self._of("data set", dataset).append(buffer)
        return dataset, 0

    def _mdl_execute(self, model, inputs, outputs, failing):
        self._context()
        session = self._of("model", model)
        if failing:
            return CODE
        feeds = {}
        operators = aipp.by_rank(session.get_modelmeta().custom_metadata_map.get(AIPP_KEY, ""))
        for rank, (node, buffer) in enumerate(zip(_inputs(session), self._of("data set", inputs), strict=True)):
            given = self._array(node, buffer).copy()
            if rank in operators:
                given = aipp.normalised(operators[rank], given, np.float16).astype(np.float32)
            feeds[node.name] = given
        results = session.run(None, feeds)
        for node, buffer, result in zip(session.get_outputs(), self._of("data set", outputs), results, strict=True):
            self._array(node, buffer)[...] = result
        return 0

    def _array(self, node, buffer):
        _, memory, _ = self._of("data buffer", buffer)
        dtype = np.dtype(NUMPY[DTYPES[node.type][0]])
        count = int(np.prod(node.shape))
        return np.frombuffer(memory, dtype, count).reshape(node.shape)


def _inputs(session):
    """The inputs as a model with static AIPP describes them."""
    operators = aipp.by_rank(session.get_modelmeta().custom_metadata_map.get(AIPP_KEY, ""))
    found = []
    for rank, node in enumerate(session.get_inputs()):
        if rank in operators:
            batch, channels, height, width = node.shape
            node = SimpleNamespace(name=node.name, type="tensor(uint8)", shape=[batch, height, width, channels])  # noqa: PLW2901
        found.append(node)
    return found
