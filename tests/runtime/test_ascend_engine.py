"""Engine `ascend` on a recording stand-in of pyACL: order of calls, sizes, errors at every call, nothing left."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
from fake_acl import FAILURE, FakeAcl

from edgetrack.errors import ArtifactError, EngineUnavailable, WrongMachine
from edgetrack.runtime.engines import ENGINES
from edgetrack.runtime.engines.ascend_runtime import Acl, finalise
from edgetrack.runtime.static_files import all_sizes, file_for, sized_name

pytest.importorskip("onnx")
import tiny_artifact

SETUP = [
    "acl.init",
    "acl.rt.set_device",
    "acl.rt.create_context",
    "acl.rt.set_context",
    "acl.mdl.load_from_file",
    "acl.mdl.create_desc",
    "acl.mdl.get_desc",
    "acl.mdl.create_dataset",
    "acl.mdl.get_input_dims",
    "acl.rt.malloc",
    "acl.rt.malloc_host",
    "acl.create_data_buffer",
    "acl.mdl.add_dataset_buffer",
    "acl.mdl.get_output_dims",
]
RUN = ["acl.rt.set_context", "acl.rt.memcpy", "acl.mdl.execute", "acl.rt.memcpy"]
CLOSE = [
    "acl.rt.set_context",
    *["acl.destroy_data_buffer", "acl.rt.free_host", "acl.rt.free", "acl.mdl.destroy_dataset"] * 2,
    "acl.mdl.destroy_desc",
    "acl.mdl.unload",
    "acl.rt.destroy_context",
    "acl.rt.reset_device",
]


@pytest.fixture
def acl(monkeypatch):
    return FakeAcl().install(monkeypatch)


@pytest.fixture
def model(tmp_path):
    """The matrix product of `tiny_artifact` at kept = 3, and at 5 beside it, as ATC would have made them."""
    import onnx
    from onnx.tools.update_model_dims import update_inputs_outputs_dims

    tiny_artifact.write_matmul(tmp_path / "matmul.onnx")
    for kept in (3, 5):
        graph = onnx.load(str(tmp_path / "matmul.onnx"))
        sized = update_inputs_outputs_dims(graph, {"x": [1, kept, 8]}, {"y": [1, 8, 8]})
        onnx.save(sized, str(tmp_path / f"matmul.kept-{kept}.om"))
    return tmp_path / "matmul.kept-3.om"


def ascend(device="npu"):
    return ENGINES.get("ascend")(device)


def check(session):
    x = np.random.default_rng(1).standard_normal(session.inputs["x"].shape).astype(np.float32)
    session.inputs["x"][:] = x
    session.run()
    np.testing.assert_allclose(session.outputs["y"], x.transpose(0, 2, 1) @ (2 * x), rtol=1e-5, atol=1e-5)


def test_order_of_calls(acl, model):
    engine = ascend()
    session = engine.open(model, {"kept": 3})
    silent = {
        f"acl.mdl.get_{side}_{what}"
        for side in ("input", "output")
        for what in ("name_by_index", "data_type", "size_by_index")
    }
    silent |= {"acl.mdl.get_num_inputs", "acl.mdl.get_num_outputs", "atexit"}

    def told():
        found = [name for name in acl.names() if name not in silent]
        acl.log.clear()
        return found

    second = ["acl.mdl.create_dataset", "acl.mdl.get_output_dims", *SETUP[9:13]]
    assert told() == [*SETUP[:13], *second]
    check(session)
    assert told() == RUN
    engine.close()
    assert told() == CLOSE
    assert acl.leaks() == []


def test_sizes_of_the_graph_have_a_file_each(acl, model):
    engine = ascend()
    for kept in (3, 5):
        session = engine.open(model, {"kept": kept})
        assert session.inputs["x"].shape == (1, kept, 8)
        check(session)
    with pytest.raises(ArtifactError, match=r"matmul\.kept-4\.om: no such file"):
        engine.open(model, {"kept": 4})
    with pytest.raises(ArtifactError, match="one size of 'kept', and none was asked for"):
        engine.open(model, {})
    engine.close()
    assert acl.leaks() == []


def test_buffers_are_allocated_once_and_padded_sizes_are_respected(monkeypatch, model):
    acl = FakeAcl(extra_bytes=32).install(monkeypatch)
    engine = ascend("npu:0")
    session = engine.open(model, {"kept": 3})
    address = session.outputs["y"].ctypes.data
    assert not session.outputs["y"].any(), "fresh buffers are zero"
    acl.log.clear()
    for _ in range(3):
        check(session)
    assert session.outputs["y"].ctypes.data == address
    assert set(acl.names()) == set(RUN)
    copied = [entry[4] for entry in acl.log if entry[0] == "acl.rt.memcpy"]
    assert copied == [3 * 8 * 4, 8 * 8 * 4] * 3, "only the tensor's own bytes travel"
    engine.close()
    assert acl.leaks() == []


def test_runs_in_another_thread(acl, model):
    engine = ascend()
    session = engine.open(model, {"kept": 3})
    failed = []

    def work():
        try:
            check(session)
        except Exception as error:  # noqa: BLE001 (told to the other thread)
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failed
    closer = threading.Thread(target=engine.close)
    closer.start()
    closer.join()
    assert acl.leaks() == []


def test_every_tracker_has_its_context_and_the_device_goes_with_the_last(acl, model):
    first, second = ascend(), ascend()
    sessions = [engine.open(model, {"kept": 3}) for engine in (first, second)]
    assert sorted(acl.leaks()).count("context") == 2
    first.close()
    assert "acl.rt.reset_device" not in acl.names()
    check(sessions[1])
    with pytest.raises(EngineUnavailable, match="its engine is closed"):
        sessions[0].run()
    second.close()
    second.close()
    assert acl.leaks() == []
    assert acl.names().count("acl.init") == 1


def calls_of_a_whole_life(model):
    """The names of all calls of opening, running once and closing, each with how often it comes."""
    acl = FakeAcl()
    with pytest.MonkeyPatch.context() as patch:
        acl.install(patch)
        engine = ascend()
        check(engine.open(model, {"kept": 3}))
        engine.close()
    return acl.names()


FALLIBLE = list(dict.fromkeys((*SETUP, *RUN, *CLOSE)))


def live(model, engines):
    """A whole life; the engine goes into `engines` as soon as there is one."""
    engines.append(ascend())
    check(engines[0].open(model, {"kept": 3}))
    engines[0].close()


@pytest.mark.parametrize("name", FALLIBLE)
def test_failure_at_every_call_is_one_line_and_leaks_nothing(name, model, monkeypatch):
    times = calls_of_a_whole_life(model).count(name)
    assert times
    for time in range(1, times + 1):
        acl = FakeAcl().install(monkeypatch)
        acl.fail[name] = time
        engines = []
        with pytest.raises((EngineUnavailable, ArtifactError), match=rf"{name} failed with code .*Error!") as caught:
            live(model, engines)
        assert "\n" not in str(caught.value)
        for engine in engines:
            engine.close()
        # What the device refused to release stays; all else must be gone.
        assert len(acl.leaks()) == acl.refused, f"call {time} of {name}: {acl.leaks()}"


def test_an_error_code_is_told_without_a_message(acl, model):
    acl.message = ""
    acl.fail["acl.rt.malloc"] = 1
    engine = ascend()
    with pytest.raises(EngineUnavailable, match=rf"acl\.rt\.malloc failed with code {FAILURE}$"):
        engine.open(model, {"kept": 3})
    engine.close()


def test_missing_cann_names_where_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "acl", None)
    for attempt in (ascend, lambda: ascend("cpu"), ENGINES.get("ascend").devices):
        with pytest.raises(EngineUnavailable, match=r"engine ascend is not usable .*CANN toolkit.*set_env\.sh"):
            attempt()


def test_devices(monkeypatch):
    FakeAcl(devices=2).install(monkeypatch)
    assert ENGINES.get("ascend").devices() == ["npu:0", "npu:1"]
    engine = ascend("NPU:1")
    assert engine.describe() == {"engine": "ascend", "version": "1.12.0", "device": "npu:1"}
    engine.close()
    with pytest.raises(EngineUnavailable, match="no device 'cpu'; give npu"):
        ascend("cpu")
    with pytest.raises(EngineUnavailable, match=r"acl\.rt\.set_device failed"):
        ascend("npu:2")


def test_acl_initialised_by_others_is_left_to_them(acl):
    acl.init()
    ascend().close()
    assert "atexit" not in acl.names()


def test_acl_is_finalised_at_exit(acl):
    ascend().close()
    (registered,) = [entry[1] for entry in acl.log if entry[0] == "atexit"]
    assert registered == (finalise, acl)
    finalise(acl)
    assert not acl.initialised
    assert not Acl._initialised


def test_another_chip_is_refused_before_anything_is_opened(acl):
    engine = ascend()
    engine.check_built_for({"soc": "ascend310b4"})
    engine.check_built_for({})
    with pytest.raises(WrongMachine, match=r"built for Ascend310P3, this device is Ascend310B4: say --soc-version"):
        engine.check_built_for({"soc": "Ascend310P3"})
    acl.soc = None
    engine.check_built_for({"soc": "Ascend310P3"})
    engine.close()


def test_damaged_file(acl, model):
    model.write_bytes(model.read_bytes()[:-40])
    engine = ascend()
    with pytest.raises(ArtifactError, match=r"kept-3\.om: CANN cannot load it .*edgetrack rebuild"):
        engine.open(model, {"kept": 3})
    engine.close()
    assert acl.leaks() == []


def test_file_that_was_not_built(acl, tmp_path):
    (tmp_path / "search.atc.onnx").touch()
    engine = ascend()
    with pytest.raises(EngineUnavailable, match=r"not built for Ascend yet: run `edgetrack rebuild .*build_ascend\.sh"):
        engine.open(tmp_path / "search.atc.onnx", {})
    engine.close()


def test_shapes_that_vary_are_refused(acl, tmp_path):
    tiny_artifact.write_matmul(tmp_path / "search.om")
    engine = ascend()
    with pytest.raises(ArtifactError, match=r"input 'x' has shape \[1, -1, 8\], must be fixed"):
        engine.open(tmp_path / "search.om", {"kept": 3})
    engine.close()
    assert acl.leaks() == []


def test_names_of_sized_files(tmp_path):
    assert list(all_sizes({"kept": (37, 49), "n": (2,)})) == [{"kept": 37, "n": 2}, {"kept": 49, "n": 2}]
    assert list(all_sizes({})) == [{}]
    assert sized_name("search", {"kept": 37, "n": 2}, ".om") == "search.kept-37.n-2.om"
    assert sized_name("template", {}, ".om") == "template.om"
    assert (
        file_for(tmp_path / "search.kept-37.n-2.om", {"kept": 49, "n": 3, "other": 1}).name == "search.kept-49.n-3.om"
    )
    assert file_for(tmp_path / "text-4.om", {}).name == "text-4.om"
