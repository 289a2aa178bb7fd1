"""In which settings configs differ, whichever way their files say them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from ds_nowcast.config import RunConfig, load_config
from ds_nowcast.config.explaining import value_of
from ds_nowcast.config.schema import every_key, schema
from ds_nowcast.config.settings import BATCH, Setting, settings_of
from ds_nowcast.config.tables import show

EXAMPLE = "python -m ds_nowcast.config diff ds_configs/unet_zero1_bf16.json mine.json"
_DEFAULTS = "all defaults"
_NAMES_OPTIONS = {"nowcast.model.preset"}  # of these the options are compared
Settings = dict[str, Setting]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares its options."""
    parser.add_argument("files", metavar="FILE", nargs="+", help="configs; one alone is compared with all defaults")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Prints what differs."""
    columns = [settings_of(load_config(file)) for file in args.files]
    names = list(args.files)
    if len(columns) == 1:
        names, columns = [_DEFAULTS, *names], [_of_defaults(load_config(args.files[0])), *columns]
    keys = differing(columns)
    same = set(keys) <= _NAMES_OPTIONS
    if args.json:
        print(
            json.dumps(
                {"files": names, "same": same, "differences": [_to_json(key, columns) for key in keys]}, indent=1
            )
        )
        return 0
    if keys:
        show(("key", *names, "what it does"), [_row(key, columns) for key in keys])
    if same:
        print(f"{' and '.join(names)} are the same run: every setting is the same")
    return 0


def differing(columns: Sequence[Settings]) -> list[str]:
    """The keys that do not hold alike in all, in the order of the schema; one that is absent is as null."""
    order = {key: number for number, (key, _) in enumerate(every_key(schema()))}
    keys = sorted({key for settings in columns for key in settings}, key=order.__getitem__)

    def alike(key: str) -> bool:
        first, *others = (settings[key].holds if key in settings else None for settings in columns)
        return all(one == first and isinstance(one, bool) == isinstance(first, bool) for one in others)

    return [key for key in keys if not alike(key)]


def _of_defaults(config: RunConfig) -> Settings:
    """Of a config that gives the keys alone that must be given, as `config` does."""
    given = {name: value for name in BATCH if (value := getattr(config, name)) is not None}
    least = {**given, "gradient_clipping": config.gradient_clipping, "nowcast": {"steps": config.nowcast.steps}}
    found = settings_of(RunConfig.model_validate(least))
    return {key: one for key, one in found.items() if key not in (*BATCH, "gradient_clipping", "nowcast.steps")}


def _row(key: str, columns: Sequence[Settings]) -> list[str]:
    cells = [f"{value_of(one)} ({one.origin})" if (one := settings.get(key)) else "-" for settings in columns]
    return [key, *cells, _about(key, columns)]


def _to_json(key: str, columns: Sequence[Settings]) -> dict[str, Any]:
    values = [settings[key].to_json() if key in settings else None for settings in columns]
    kept = [value and {name: value[name] for name in ("value", "holds", "origin")} for value in values]
    return {"key": key, "values": kept, "description": _about(key, columns)}


def _about(key: str, columns: Sequence[Settings]) -> str:
    return next(settings[key].about for settings in columns if key in settings)
