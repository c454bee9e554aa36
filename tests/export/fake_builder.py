"""A recording stand-in of the building half of full `tensorrt` 10 or 11, which tests cannot install."""

from __future__ import annotations

from types import SimpleNamespace

MIB = 1 << 20


class Config:
    def __init__(self, package):
        self.package = package
        self.flags = {"TF32"}
        self.limits, self.profiles, self.cache = {}, [], None
        self.progress_monitor = self.profiling_verbosity = self.hardware_compatibility_level = None

    def set_flag(self, flag):
        self.flags.add(flag)

    def clear_flag(self, flag):
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool, size):
        self.limits[pool] = size

    def add_optimization_profile(self, profile):
        self.profiles.append(profile.shapes)

    def create_timing_cache(self, data):
        return None if data.startswith(b"garbage") else SimpleNamespace(serialize=lambda: data + b"more")

    def set_timing_cache(self, cache, ignore_mismatch):
        assert ignore_mismatch is False
        self.cache = cache
        return True

    def get_timing_cache(self):
        return self.cache


class Profile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, name, least, best, most):
        assert least == best == most
        self.shapes[name] = least


class Builder:
    def __init__(self, logger):
        self.package = logger.package
        self.logger = logger

    def create_network(self, flags):
        self.package.network_flags = flags
        tensors = [SimpleNamespace(name="seen", shape=(1, 4)), SimpleNamespace(name="old", shape=(1, -1, 4))]
        layer = SimpleNamespace(
            type=SimpleNamespace(name="SOFTMAX"),
            get_output=lambda _: SimpleNamespace(dtype=SimpleNamespace(name="FLOAT")),
        )
        return SimpleNamespace(num_inputs=2, get_input=tensors.__getitem__, num_layers=1, get_layer=lambda index: layer)

    def create_builder_config(self):
        self.package.config = Config(self.package)
        return self.package.config

    def create_optimization_profile(self):
        return Profile()

    def build_serialized_network(self, network, config):
        monitor = config.progress_monitor
        monitor.phase_start("Building engine", None, 2)
        go_on = monitor.step_complete("Building engine", 0)
        monitor.phase_finish("Building engine")
        self.logger.log(SimpleNamespace(name="INFO"), "Engine generation completed")
        self.logger.log(SimpleNamespace(name="VERBOSE"), "Engine Layer Information:\nLayer(gemm): a -> b\n")
        if not go_on or self.package.build_error:
            self.logger.log(SimpleNamespace(name="ERROR"), self.package.build_error or "stopped")
            return None
        return b"plan"


class Parser:
    def __init__(self, network, logger):
        self.num_errors = 0

    def parse_from_file(self, path):
        return True


def fake_builder(version="10.3.0"):
    """Return a module-like object; `config` and `network_flags` are what the last build was given."""
    package = SimpleNamespace(__version__=version, build_error="", config=None, network_flags=None)

    class Base:
        def __init__(self):
            self.package = package

    package.ILogger = package.IProgressMonitor = Base
    package.Builder, package.OnnxParser = Builder, Parser
    package.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    package.BuilderFlag = SimpleNamespace(TF32="TF32", VERSION_COMPATIBLE="VERSION_COMPATIBLE")
    package.HardwareCompatibilityLevel = SimpleNamespace(AMPERE_PLUS="AMPERE_PLUS")
    package.MemoryPoolType = SimpleNamespace(WORKSPACE="WORKSPACE")
    package.ProfilingVerbosity = SimpleNamespace(DETAILED="DETAILED")
    return package
