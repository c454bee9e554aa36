"""The NVIDIA driver's version as the system tells it."""

from __future__ import annotations

import pytest

from edgetrack.runtime.cuda import driver

DESKTOP = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\nGCC version:  gcc\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.3.0  Release Build  (buildbrain)\n"
JETSON = "# R36 (release), REVISION: 3.0, GCID: 36923193, BOARD: generic, EABI: aarch64, DATE: Fri Jul 19\n"


@pytest.mark.parametrize(
    ("version", "jetson", "expected"),
    [
        (DESKTOP, None, "550.54.14"),
        (OPEN, JETSON, "540.3.0"),
        (None, JETSON, "L4T 36.3.0"),
        (None, None, None),
        ("nothing known", None, None),
    ],
)
def test_version(tmp_path, monkeypatch, version, jetson, expected):
    for name, text in (("_VERSION_FILE", version), ("_JETSON_FILE", jetson)):
        path = tmp_path / name
        if text is not None:
            path.write_text(text)
        monkeypatch.setattr(driver, name, path)
    assert driver.driver_version() == expected
