"""Builds the C++ core `edgetrack._core`; everything else is in pyproject.toml."""

from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup

# Listed, not globbed: a file is built because someone decided so. cpp/CMakeLists.txt names the same list.
CORE_SOURCES = [
    "cpp/src/centre_head.cpp",
    "cpp/src/centre_maps.cpp",
    "cpp/src/crop.cpp",
    "cpp/src/crop_loop.cpp",
    "cpp/src/crop_task.cpp",
    "cpp/src/decode.cpp",
    "cpp/src/fartrack.cpp",
    "cpp/src/fartrack_spec.cpp",
    "cpp/src/geometry.cpp",
    "cpp/src/image.cpp",
    "cpp/src/image_port.cpp",
    "cpp/src/margin_gate.cpp",
    "cpp/src/mvlm.cpp",
    "cpp/src/score.cpp",
    "cpp/src/template_memory.cpp",
]
BINDING_SOURCES = [
    "cpp/python/bind_centre_head.cpp",
    "cpp/python/bind_fartrack.cpp",
    "cpp/python/bind_graph.cpp",
    "cpp/python/bind_loop.cpp",
    "cpp/python/bind_memory.cpp",
    "cpp/python/bind_mvlm.cpp",
    "cpp/python/bind_numeric.cpp",
    "cpp/python/module.cpp",
    "cpp/python/numpy_image.cpp",
    "cpp/python/spec.cpp",
    "cpp/python/spec_section.cpp",
]
HEADERS = sorted(str(path) for path in Path("cpp").rglob("*.hpp") if "tests" not in path.parts)


def is_stale(object_file: str, source: str) -> bool:
    """Say whether an object is missing, or older than its source or any header."""
    built = Path(object_file)
    newest = max(Path(path).stat().st_mtime for path in [source, *HEADERS])
    return not built.exists() or built.stat().st_mtime < newest


ParallelCompile("EDGETRACK_BUILD_JOBS", needs_recompile=is_stale).install()

setup(
    ext_modules=[
        Pybind11Extension(
            "edgetrack._core",
            CORE_SOURCES + BINDING_SOURCES,
            include_dirs=["cpp/include"],
            depends=HEADERS,
            cxx_std=17,
            # On Arm, compilers fuse multiplications and additions unless told not to, and a fused one can shift a
            # resize weight: the crop would no longer be the published one, byte for byte.
            extra_compile_args=["-O3", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-Wextra"],
        )
    ]
)
