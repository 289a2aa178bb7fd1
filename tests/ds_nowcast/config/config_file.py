"""A small config for a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.ds_nowcast.conftest import TINY


def written(folder: Path, name: str = "config.json", **keys: Any) -> Path:
    """A file of the smallest training, with other top-level keys."""
    path = folder / name
    path.write_text(json.dumps({**TINY, **keys}))
    return path
