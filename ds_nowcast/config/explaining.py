"""What each setting of a config is, where it comes from, what it does and what it costs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from data_prep.console import positive
from data_prep.errors import UserError
from ds_nowcast.config import RunConfig, load_config
from ds_nowcast.config.costs import COSTS
from ds_nowcast.config.holding import held_by_value
from ds_nowcast.config.schema import Form, every_key, schema
from ds_nowcast.config.settings import Setting, described, settings_of
from ds_nowcast.config.tables import show, shown
from ds_nowcast.config.words import allowed

EXAMPLE = "python -m ds_nowcast.config explain mine.json zero_optimization.stage --gpus 8"
_NOTHING = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares its options."""
    parser.add_argument("file", metavar="FILE", help="config")
    parser.add_argument("key", metavar="KEY", nargs="?", help="a key or a section, such as nowcast.data; default: all")
    parser.add_argument(
        "--gpus", type=positive, metavar="N", help="ranks to tell memory for (default: the most that divide a step)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for a key, else a list of them")


def run(args: argparse.Namespace) -> int:
    """Prints a table, or all of one key."""
    config = load_config(args.file)
    settings = settings_of(config)
    if args.key is not None and not any(_is_in(key, args.key) and key != args.key for key in settings):
        found = _one(config, settings, args.key, args.gpus)
        print(json.dumps(found, indent=1)) if args.json else _tell(found)
        return 0
    chosen = [one for key, one in settings.items() if args.key is None or _is_in(key, args.key)]
    if args.json:
        print(json.dumps([one.to_json() for one in chosen], indent=1))
        return 0
    rows = [[one.key, value_of(one), one.origin, one.about, one.costs or _NOTHING] for one in chosen]
    show(("key", "value", "from", "what it does", "what it costs"), rows)
    return 0


def value_of(setting: Setting) -> str:
    """As in a file, and what the run takes of it where the file leaves that open."""
    own = shown(setting.value)
    return own if setting.holds == setting.value else f"{own} = {shown(setting.holds)}"


def _is_in(key: str, section: str) -> bool:
    return key == section or key.startswith(f"{section}.")


def _one(config: RunConfig, settings: dict[str, Setting], key: str, ranks: int | None) -> dict[str, Any]:
    """All that is known of one key, also of one that does not hold for this config. Raises UserError for an unknown one."""
    setting = settings.get(key)
    form = setting.form if setting else _form_elsewhere(key)
    count, held = held_by_value(config, key, form, ranks) if setting else (1, [])
    own = {} if setting is None else setting.to_json()
    return {
        "key": key,
        **own,
        "in_force": setting is not None,
        "description": described(form),
        "allowed": allowed(form),
        "default": form.get("default", _NO_DEFAULT),
        "costs": COSTS.get(key),
        "ranks": count,
        "held": [one.to_json() for one in held],
    }


_NO_DEFAULT = "must be given"


def _form_elsewhere(key: str) -> Form:
    known: dict[str, Form] = {}
    for name, form in every_key(schema()):
        known.setdefault(name, form)
    if key in known:
        return known[key]
    last = key.rpartition(".")[2]
    same = [name for name in known if name.rpartition(".")[2] == last]
    near = same or get_close_matches(key, known, n=3)
    meant = f"did you mean {' or '.join(near[:3])}?" if near else "leave it out to see all keys"
    raise UserError(f"there is no key {key!r}; {meant}")


def _tell(found: dict[str, Any]) -> None:
    for name, words in _lines(found):
        print(f"{name:<9} {words}")
    if found["held"]:
        print(f"held by a rank of {found['ranks']} between two steps, in GB of 10^9 bytes, without activations:")
        sizes = ("weights", "gradients", "optimizer", "buffers", "device", "host")
        refused = any("refused" in one for one in found["held"])
        rows = [
            [("> " if one["value"] == found["value"] else "  ") + shown(one["value"])]
            + [_NOTHING if "refused" in one else f"{one[name] / 1e9:.3f}" for name in sizes]
            + [one.get("refused", "")] * refused
            for one in found["held"]
        ]
        show(("value", *(f">{name}" for name in sizes), *["refused"] * refused), rows)


def _lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "key", found["key"]
    if found["in_force"]:
        decided = "" if found["holds"] == found["value"] else f" = {shown(found['holds'])}"
        yield "value", f"{shown(found['value'])}{decided} ({found['origin']})"
    else:
        yield "value", "not in force: its section is null, or of another type or name, in this file"
    yield "does", found["description"]
    yield "allowed", found["allowed"]
    yield "default", found["default"] if found["default"] is _NO_DEFAULT else shown(found["default"])
    yield "costs", found["costs"] or _NOTHING
