"""`python -m edgetrack`: the same program as the command `edgetrack`, for launchers such as torchrun."""

from __future__ import annotations

import sys

from edgetrack.cli import main

sys.exit(main())
