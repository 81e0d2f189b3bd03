"""The environments of these tests are found as a user's are."""

import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="package", autouse=True)
def _worlds():
    """Let modules be looked for in this folder, here and by workers."""
    here = str(Path(__file__).parent)
    sys.path.append(here)
    yield
    sys.path.remove(here)
