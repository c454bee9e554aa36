"""CANN's converter `atc`: its command line, a script for machines that have it, and running it here.

Options as in the ATC manual, edition canncommercial 8.5.0, for example --precision_mode:
https://www.hiascend.com/document/detail/en/canncommercial/850/devaids/atctool/atlasatcparam_16_0067.html
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgetrack.errors import ArtifactError

__all__ = ["PRECISION_MODES", "TOOLKIT", "cann_version", "command", "find_atc", "run", "script"]

PRECISION_MODES = (
    "must_keep_origin_dtype",
    "allow_fp32_to_fp16",
    "force_fp16",
    "force_fp32",
    "cube_fp16in_fp32out",
    "allow_mix_precision",
    "allow_mix_precision_fp16",
)
"""Those of ATC that need no bfloat16, which no Ascend 310 has."""

TOOLKIT = "install the CANN toolkit (https://www.hiascend.com/software/cann) and source its set_env.sh"
"""What to do where ATC is missing."""

_ONNX = 5  # --framework
_TELLING = re.compile(r"^(?:\[ERROR\]\s*)?E[A-Z0-9]\d{4}\b")  # ATC's own error codes, as in E10001
_INFO_FILE = "ascend_toolkit_install.info"


def find_atc() -> str | None:
    """Return the path of `atc`, or None where it is not on the PATH."""
    return shutil.which("atc")


def cann_version() -> str:
    """Return the version of the CANN toolkit that set_env.sh made current, or "unknown"."""
    home = os.environ.get("ASCEND_TOOLKIT_HOME")
    for path in sorted(Path(home).glob(f"*/{_INFO_FILE}")) if home else ():
        match = re.search(r"^version=(\S+)$", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        if match:
            return match.group(1)
    return "unknown"


def command(
    model: str,
    output: str,
    shapes: Mapping[str, Sequence[int]],
    *,
    soc_version: str,
    precision_mode: str,
    aipp: str | None = None,
) -> list[str]:
    """Return what is run for one graph, without the program itself.

    Args:
        model: the .onnx file.
        output: the .om file without its suffix, which ATC appends.
        shapes: of the inputs.
        soc_version: the chip, as "Ascend310B4".
        precision_mode: one of `PRECISION_MODES`.
        aipp: the file that configures AIPP, if it is to be had.
    """
    given = ";".join(f"{name}:{','.join(map(str, shape))}" for name, shape in shapes.items())
    return [
        f"--framework={_ONNX}",
        f"--model={model}",
        f"--output={output}",
        f"--input_format={'NCHW' if aipp else 'ND'}",
        f"--input_shape={given}",
        f"--soc_version={soc_version}",
        f"--precision_mode={precision_mode}",
        *([f"--insert_op_conf={aipp}"] if aipp else []),
        "--log=error",
    ]


def script(commands: Sequence[Sequence[str]]) -> str:
    """Return a shell script that runs ATC in its own folder, once for each of `commands`."""
    lines = [shlex.join(["atc", *arguments]) for arguments in commands]
    return "\n".join([_SCRIPT_HEAD, *lines, ""])


def run(atc: str, model: Path, output: Path, arguments: Sequence[str], *, beside: Sequence[Path] = ()) -> str:
    """Run ATC and return its command line and what it printed.

    It runs in a folder of its own, for it leaves files about, and is killed with all that it started if this is
    interrupted.

    Args:
        atc: the program.
        model: named in `arguments` by its file name.
        output: where the .om file goes; `arguments` name it without its suffix.
        arguments: from `command`.
        beside: other files that they name.

    Raises:
        ArtifactError: ATC fails, or says that it succeeded and gave no file.
    """
    with tempfile.TemporaryDirectory(prefix="edgetrack-atc-") as scratch:
        for path in (model, *beside):
            shutil.copyfile(path, Path(scratch) / path.name)
        code, printed = _run_in(scratch, [atc, *arguments])
        made = Path(scratch) / output.name
        if code != 0:
            raise ArtifactError(f"atc cannot convert {model.name} (exit code {code}): {_reason(printed)}")
        if not made.is_file() or made.stat().st_size == 0:
            raise ArtifactError(f"atc gave no {output.name}, though it ended well: {_reason(printed)}")
        shutil.move(made, output)
    return f"$ {shlex.join(['atc', *arguments])}\n{printed.rstrip()}\n"


def _run_in(folder: str, words: list[str]) -> tuple[int, str]:
    """Run a program in `folder`; return its exit code and what it printed, both streams together."""
    process = subprocess.Popen(
        words,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # ATC starts compilers: they have to go with it
    )
    try:
        printed, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return process.returncode, printed


def _reason(printed: str) -> str:
    """Return the line of ATC's output that says most, in at most 300 characters."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    coded = [line for line in lines if _TELLING.match(line)]
    failed = [line for line in lines if "error" in line.lower()]
    return (coded or failed or lines[-1:] or ["it printed nothing"])[0][:300]


_SCRIPT_HEAD = """\
#!/bin/sh
# Converts the graphs of this artifact with CANN's atc, which was not on the PATH when it was exported.
# `edgetrack rebuild` runs the same commands and makes the artifact loadable.
set -eu
cd "$(dirname "$0")"
command -v atc >/dev/null || { echo "atc is not on the PATH: source the CANN toolkit's set_env.sh" >&2; exit 4; }
"""
