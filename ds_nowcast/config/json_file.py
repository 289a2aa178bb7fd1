"""A JSON file that a user wrote, strictly: a key that occurs twice is refused, which Python's reader passes over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data_prep.errors import UserError


def read_json(path: Path, what: str, *, give: str, mend: str) -> Any:
    """The content. what: it is called so in errors. give, mend: what to do where there is no file, or it is not JSON.

    Raises UserError.
    """
    try:
        return json.loads(path.read_text("utf-8"), object_pairs_hook=_once)
    except OSError as error:
        raise UserError(f"{what} {path} cannot be read ({error.strerror}); {give}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{what} {path} is not JSON ({error}); {mend}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ValueError(f"key {twice[0]!r} occurs twice")
    return dict(pairs)
