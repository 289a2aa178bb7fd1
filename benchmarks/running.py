"""Modules run as a user would run them, in a process of their own."""

from __future__ import annotations

import subprocess
import sys

from data_prep.errors import UserError


def run_python(*words: object, shown: bool = False) -> str:
    """What `python WORDS` prints on stdout; "" where it is shown as it comes. Raises UserError where it fails."""
    command = [sys.executable, *map(str, words)]
    ended = subprocess.run(command, stdout=None if shown else subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        raise UserError(
            f"{' '.join(command[1:4])} ended with {ended.returncode}; its own message is above, the same command goes on"
        )
    return ended.stdout or ""
