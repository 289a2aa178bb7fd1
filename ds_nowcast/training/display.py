"""What rank 0 shows while it trains: a live panel on a terminal, plain lines elsewhere, nothing on other ranks."""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


class Screen(Console):
    """One that may be closed: a run goes on unseen, rather than end for want of somebody to look at it."""

    def on_broken_pipe(self) -> None:
        """Rich's own would leave the program."""
        self.quiet = True
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), self.file.fileno())


class Shown:
    """Use as a context: the terminal is put back however it ends."""

    _live: Live | None  # None where there is no terminal

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()


class Display(Shown):
    """Of a run."""

    def __init__(self, steps: int, *, speaks: bool, quiet: bool = False) -> None:
        """speaks: this rank speaks for all; quiet: warnings alone, on stderr."""
        shown = speaks and not quiet
        self._console = Screen(quiet=not shown, highlight=False, soft_wrap=True)
        self._aside = Screen(stderr=True, quiet=not speaks, highlight=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("step"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=self._console
        )
        self._task = self._progress.add_task("step", total=steps)
        self._steps, self._started, self._from = steps, time.monotonic(), 0
        self._values: dict[str, str] = {}
        self._live = (
            Live(self._render(), console=self._console, refresh_per_second=4)
            if shown and self._console.is_terminal
            else None
        )

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """A warning, which --quiet does not hide."""
        (self._aside if self._console.quiet else self._console).print(f"warning: {text}", markup=False)

    def begin(self, step: int) -> None:
        """The clock starts at this step, past 0 where a run is resumed."""
        self._started, self._from = time.monotonic(), step
        self._progress.reset(self._task, total=self._steps, completed=step)

    def step(self, step: int, values: dict[str, str]) -> None:
        """The present state: on a terminal the panel, elsewhere one line."""
        self._progress.update(self._task, completed=step)
        self._values = values
        if self._live:
            self._live.update(self._render())
        else:
            left = (time.monotonic() - self._started) / max(step - self._from, 1) * (self._steps - step)
            self.say(
                f"step {step}/{self._steps}  "
                + "  ".join(f"{k} {v}" for k, v in values.items())
                + f"  left {left:.0f} s"
            )

    def _render(self) -> Table:
        table = Table.grid()
        table.add_row(self._progress)
        values = Text("   ").join(Text.assemble((name, "dim"), " ", value) for name, value in self._values.items())
        table.add_row(values)
        return table
