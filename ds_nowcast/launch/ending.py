"""What the commands that run under a launcher share: options it adds, and how a rank ends when something is wrong."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from data_prep.console import ends_politely
from data_prep.errors import ExpectedError
from ds_nowcast.launch.environment import environment_rank, host
from ds_nowcast.ranks import leave

_HEAD_START_S = 5.0


def parser(prog: str, about: str, example: str) -> argparse.ArgumentParser:
    """A parser with an example in its --help and the options of every command."""
    result = argparse.ArgumentParser(
        prog=prog,
        description=about,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--quiet", action="store_true", help="show no progress")
    result.add_argument("--local_rank", type=int, default=0, help=argparse.SUPPRESS)  # DeepSpeed's launcher passes it
    return result


def ends_as_a_rank(run: Callable[[], int]) -> int:
    """The exit code of `run`. What all ranks find wrong is said once, by rank 0."""
    code = ends_politely(run if environment_rank() == 0 else lambda: _behind_the_first(run))
    leave_quietly()
    return code


def _behind_the_first(run: Callable[[], int]) -> int:
    """`run` on another rank than 0, which speaks late: the launcher ends us once rank 0 is gone, who found the same."""
    try:
        return run()
    except ExpectedError as error:
        time.sleep(_HEAD_START_S)
        print(f"error on rank {environment_rank()} ({host()}): {error}", file=sys.stderr)
        return error.exit_code


def leave_quietly() -> None:
    """Ends the process group where that can still be done."""
    with suppress(RuntimeError):
        leave()
