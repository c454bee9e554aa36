"""What follows from the gate's report: the artifact stays, or its report alone is written beside where it was to be."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from edgetrack.errors import ParityError
from edgetrack.export.parity.report import ParityReport

__all__ = ["judge", "report_path"]


def judge(report: ParityReport, output: Path, allow_mismatch: bool) -> ParityReport:
    """Return the report, marked if its failure is allowed; a failure that is not is written and raised."""
    if not report.failed:
        return report
    if allow_mismatch:
        return replace(report, allowed_mismatch=True)
    beside = report_path(output)
    try:
        _write_report(report, beside)
        written = f"only the report {beside} was written"
    except OSError as error:
        written = f"nothing was written, not even the report {beside} ({error.strerror or error})"
    raise ParityError(
        f"{output.name} does not give its source's results: {'; '.join(report.failures)}; "
        f"{written} (--allow-mismatch keeps the artifact all the same)"
    )


def _write_report(report: ParityReport, path: Path) -> None:
    """Write the report in one step: all of it or nothing."""
    text = json.dumps(report.as_dict(every_frame=True), indent=2) + "\n"
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def report_path(output: Path) -> Path:
    """Return where the report of an export to `output` lies if the gate failed."""
    return output.with_name(f"{output.name}.parity.json")
