"""`python -m ds_nowcast.config`: configs found, copied, checked, explained, compared, and their JSON Schema."""

from __future__ import annotations

import sys

from data_prep.console import main

COMMANDS = {
    "list": ("ds_nowcast.config.listing", "show the configs that come with this package"),
    "copy": ("ds_nowcast.config.copying", "write one of them, and the schema that editors complete it by"),
    "check": ("ds_nowcast.config.checking", "find what a training would refuse, without starting it"),
    "explain": ("ds_nowcast.config.explaining", "show what each setting is, does and costs"),
    "diff": ("ds_nowcast.config.differing", "show in which settings configs differ, or one from all defaults"),
    "schema": ("ds_nowcast.config.schema", "print the JSON Schema of configs"),
}


def run_command_line() -> int:
    """The program, and its exit code."""
    return main("python -m ds_nowcast.config", "The JSON files that trainings are tuned by.", COMMANDS, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run_command_line())
