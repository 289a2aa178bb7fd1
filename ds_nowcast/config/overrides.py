"""`--set key.path=value`: settings of a config file that one command changes."""

from __future__ import annotations

import argparse
import json
from typing import Any

from data_prep.errors import UserError


def add_set_option(options: argparse.ArgumentParser, about: str = "override settings") -> None:
    """The option `--set`, which may be given more than once and takes several each time."""
    options.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=about)


def override_in(data: dict[str, Any], override: str) -> None:
    """Applies `key.path=value` to what a file holds. Raises UserError."""
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise UserError(f"--set {override!r} is not key=value; write for example --set nowcast.steps=100")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text  # a bare word is a string: --set nowcast.model.name=unet
    *parents, last = name.split(".")
    section = data
    for depth, parent in enumerate(parents, 1):
        if section.get(parent) is None:
            section[parent] = {}
        section = section[parent]
        if not isinstance(section, dict):
            outer = ".".join(parents[:depth])
            raise UserError(
                f"--set {override!r}: {outer} is {json.dumps(section)}, not a section; write --set {outer}=VALUE"
            )
    section[last] = value
