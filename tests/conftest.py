"""What all tests share: where real radar files lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("busy machine", deadline=None)  # a time limit would test the machine
settings.load_profile("busy machine")


@pytest.fixture(scope="session")
def radar_data() -> Path:
    """The folder of real radar files named by NOWCAST_RADAR_DATA; skips without it, fails if NOWCAST_REQUIRE_DATA=1."""
    folder = os.environ.get("NOWCAST_RADAR_DATA", "")
    if folder and Path(folder).is_dir():
        return Path(folder)
    message = "set NOWCAST_RADAR_DATA to a folder of real radar files"
    if os.environ.get("NOWCAST_REQUIRE_DATA") == "1":
        pytest.fail(message)
    pytest.skip(message)
