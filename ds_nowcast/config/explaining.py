"""What each setting of a config is, where it comes from, what it does and what it costs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from data_prep.console import positive
from data_prep.errors import UserError
from ds_nowcast.config import RunConfig, load_config
from ds_nowcast.config.costs import COSTS
from ds_nowcast.config.holding import held_by_value, ranks_of, show_held
from ds_nowcast.config.schema import Form, every_key, schema
from ds_nowcast.config.settings import Setting, described, settings_of
from ds_nowcast.config.tables import show, shown
from ds_nowcast.config.words import allowed

EXAMPLE = "python -m ds_nowcast.config explain mine.json zero_optimization.stage --gpus 8"
_COLUMNS = ("key", "value", "from", "what it does", "what it costs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares its options."""
    parser.add_argument("file", metavar="FILE", help="config")
    parser.add_argument("key", metavar="KEY", nargs="?", help="a key or a section, such as nowcast.data; default: all")
    parser.add_argument(
        "--gpus", type=positive, metavar="N", help="ranks to tell memory for (default: the most that divide a step)"
    )
    parser.add_argument("--json", action="store_true", help="a JSON object: settings, and of a key what else is known")


def run(args: argparse.Namespace) -> int:
    """Prints a table of all, or what is known of one key or section."""
    config = load_config(args.file)
    settings = settings_of(config)
    if args.key is None:
        _print(args.json, [*settings.values()])
    else:
        _explain(args.key, config, settings, ranks_of(config, args.gpus), args.json)
    return 0


def _explain(key: str, config: RunConfig, settings: Mapping[str, Setting], ranks: int, as_json: bool) -> None:
    form, setting = _form(key, settings), settings.get(key)
    within = [one for name, one in settings.items() if name.startswith(f"{key}.")]
    in_force = bool(within) or setting is not None
    held = held_by_value(config, key, form, ranks) if in_force else []
    if as_json:
        rows = [one.to_json() for one in within or filter(None, [setting])]
        memory = {"ranks": ranks, "by_value": [one.to_json() for one in held]}
        about = {"description": described(form), "allowed": allowed(form), "costs": COSTS.get(key)}
        about |= {"default": form["default"]} if "default" in form else {}
        print(json.dumps({"key": key, "in_force": in_force, **about, "settings": rows, "memory": memory}, indent=1))
        return
    for name, words in _lines(key, form, setting, in_force):
        print(f"{name:<9} {words}")
    if within:
        _print(False, within)
    if held:
        show_held(held, ranks)


def value_of(setting: Setting) -> str:
    """As in a file, and what the run takes of it where the file leaves that open."""
    own = shown(setting.value)
    return own if setting.holds == setting.value else f"{own} = {shown(setting.holds)}"


def _print(as_json: bool, chosen: list[Setting]) -> None:
    if as_json:
        print(json.dumps({"settings": [one.to_json() for one in chosen]}, indent=1))
    else:
        show(_COLUMNS, [[one.key, value_of(one), one.origin, one.about, one.costs or "-"] for one in chosen])


def _lines(key: str, form: Form, setting: Setting | None, in_force: bool) -> Iterator[tuple[str, str]]:
    yield "key", key
    if setting is not None:
        yield "value", f"{value_of(setting)} ({setting.origin})"
    elif not in_force:
        yield "value", "not in force in this file, by what stands above or beside it"
    yield "does", described(form)
    yield "allowed", allowed(form)
    yield "default", shown(form["default"]) if "default" in form else "none, it must be given"
    yield "costs", COSTS.get(key, "-")


def _form(key: str, settings: Mapping[str, Setting]) -> Form:
    """The key's schema, also where it does not hold for this config. Raises UserError for an unknown one."""
    if key in settings:
        return settings[key].form
    known: dict[str, Form] = {}
    for name, form in every_key(schema()):
        known.setdefault(name, form)
    if key in known:
        return known[key]
    same = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    near = same or get_close_matches(key, known, n=3)
    meant = f"did you mean {' or '.join(near[:3])}?" if near else "leave it out to see all keys"
    raise UserError(f"there is no key {key!r}; {meant}")
