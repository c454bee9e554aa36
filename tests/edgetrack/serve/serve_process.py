"""`edgetrack serve` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager


@contextmanager
def server(folder, *words: object):
    """Yield the process and what it printed when it was ready; its temporary files go below `folder`."""
    command = [sys.executable, "-m", "edgetrack", "serve", "--port", "0", "--json", *map(str, words)]
    environment = os.environ | {"TMPDIR": str(folder)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        lines = []
        while not lines or lines[-1] != "}\n":
            lines.append(process.stdout.readline())
            assert lines[-1], process.communicate()[1]
        yield process, json.loads("".join(lines))
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
