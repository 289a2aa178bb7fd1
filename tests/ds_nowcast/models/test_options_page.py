"""The table of options in docs/models.md names every option of every model, with its default."""

from __future__ import annotations

import json
import re
from importlib import import_module

import pytest

from ds_nowcast.models import MODELS
from tests.launching import ROOT

PAGE = (ROOT / "docs/models.md").read_text()


def rows() -> dict[str, dict[str, str]]:
    """Default by option by model, as the page has them; a row without a model goes on with that of the row above."""
    found: dict[str, dict[str, str]] = {}
    models: list[str] = []
    for line in PAGE.split("## Options")[1].split("\n## ")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        if len(cells) < 4 or not cells[1].startswith("`"):
            continue
        models = re.findall(r"`(\w+)`", cells[0]) or models
        for model in models:
            found.setdefault(model, {})[cells[1].strip("`")] = cells[2].strip("`")
    return found


@pytest.mark.parametrize("model", MODELS)
def test_every_option_stands_there_with_its_default(model: str) -> None:
    fields = import_module(MODELS[model]).Options.model_fields
    assert rows()[model] == {name: json.dumps(field.default) for name, field in fields.items()}
