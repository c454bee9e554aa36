"""A stand-in of ATC: it records how it is called, and its .om file is the ONNX file, which `fake_acl` runs."""

from __future__ import annotations

import json
import os
import sys

from fake_acl import AIPP_KEY

# Behaves as its environment says; its .om file is the ONNX file, which the stand-in of pyACL runs.
STAND_IN = """\
#!{python}
import json, os, subprocess, sys, time
given = dict(word[2:].split("=", 1) for word in sys.argv[1:])
with open(os.environ["ATC_CALLS"], "a") as calls:
    calls.write(json.dumps([os.getcwd(), given]) + "\\n")
print("ATC start working now, please wait for a moment.")
open("fusion_result.json", "w").close()
mode = os.environ.get("ATC_MODE", "")
if mode == "fail":
    print("Traceback (most recent call last):", file=sys.stderr)
    print("E40000: Value [" + given["soc_version"] + "] for parameter [soc_version] is invalid.", file=sys.stderr)
    print("ATC run failed, Please check the detail log, Try 'atc --help' for more information")
    sys.exit(255)
if mode == "nothing":
    sys.exit(0)
if mode == "hang":
    subprocess.Popen(["sleep", "600"])
    time.sleep(600)
if "insert_op_conf" in given:
    import onnx
    model = onnx.load(given["model"])
    onnx.helper.set_model_props(model, {{{aipp_key!r}: open(given["insert_op_conf"]).read()}})
    onnx.save(model, given["output"] + ".om")
    sys.exit(0)
with open(given["model"], "rb") as model, open(given["output"] + ".om", "wb") as made:
    made.write(model.read())
print("ATC run success, welcome to the next use.")
"""


def install_atc(folder, monkeypatch):
    """Put it on the PATH, in `folder`; returns a function that reads its calls: (working folder, arguments) of each."""
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "atc"
    program.write_text(STAND_IN.format(python=sys.executable, aipp_key=AIPP_KEY))
    program.chmod(0o755)
    calls = folder / "calls"
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ATC_CALLS", str(calls))
    return lambda: [json.loads(line) for line in calls.read_text().splitlines()]
