"""What the tests of the config commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data_prep.console import main
from ds_nowcast.config.__main__ import COMMANDS


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def asked(*words: str | Path, code: int = 0) -> str:
        """What a command prints: to stdout where it succeeds, else to stderr."""
        assert main("config", "", COMMANDS, [str(word) for word in words]) == code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    return asked
