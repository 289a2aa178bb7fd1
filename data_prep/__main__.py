"""`python -m data_prep`: radar archives to shards, from the command line."""

from __future__ import annotations

import sys

from data_prep.console import main

COMMANDS = {
    "simulate": ("data_prep.simulate", "write a SEVIR-like archive of simulated storms, to try everything with"),
    "build": ("data_prep.build", "turn a radar archive into WebDataset shards"),
    "inspect": ("data_prep.inspect", "show what an archive or a shards folder holds"),
    "verify": ("data_prep.verify", "check every byte of a shards folder"),
    "stats": ("data_prep.stats", "show value statistics, and mend those in a shards folder's index"),
}


def run_command_line() -> int:
    """The program, and its exit code."""
    return main("python -m data_prep", "Radar archives to WebDataset tar shards.", COMMANDS, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run_command_line())
