"""What the tests of training share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

# The folder above holds fartrack_case, which its own tests find by themselves.
sys.path.append(str(Path(__file__).parent.parent))


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks are tiny here: on a busy machine threads that wait for one another cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def no_flush(monkeypatch):
    """States are many here and power does not fail in tests: do not wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
