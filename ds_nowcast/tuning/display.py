"""What a search shows: on a terminal a live table, elsewhere a line a trial."""

from __future__ import annotations

import time

from rich import box
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ds_nowcast.training.display import Screen, Shown
from ds_nowcast.tuning.space import Space, shown
from ds_nowcast.tuning.trial import Result, Trial

_ROWS = 20  # of a live table, the newest


class Display(Shown):
    """Of a search."""

    def __init__(self, space: Space, unit: str, digits: int, *, quiet: bool) -> None:
        self._space, self._unit, self._digits = space, unit, digits
        self._console = Screen(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._trials: list[Trial] = []
        self._best: Trial | None = None
        self._now: tuple[str, float] | None = None
        shown_live = not quiet and self._console.is_terminal
        self._live = (
            Live(get_renderable=self._render, console=self._console, refresh_per_second=2) if shown_live else None
        )

    def goes_on(self, trials: list[Trial], best: Trial | None) -> None:
        """Trials of before."""
        self._trials, self._best = list(trials), best

    def begins(self, number: int, differing: dict[str, str]) -> None:
        """A trial is launched."""
        self.doing(f"trial {number}: {shown(differing) or 'the start'}")

    def doing(self, what: str) -> None:
        """What goes on now."""
        self._now = what, time.monotonic()

    def ended(self, trial: Trial, best: Trial | None) -> None:
        """It ended."""
        self._trials.append(trial)
        self._best, self._now = best, None
        if self._live is None:
            self._console.print(self._line(trial), markup=False)

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, markup=False)

    def _line(self, trial: Trial) -> str:
        result = trial.result
        settings = shown(self._space.differing(trial.combination)) or "the start"
        parts = [f"trial {trial.number}: {settings}", result.told]
        if result.value is not None:
            parts.append(f"{result.value:.{self._digits}f} {self._unit}")
        if result.memory_bytes is not None:
            parts.append(f"{result.memory_bytes / 1e9:.2f} GB")
        if result.waiting is not None:
            parts.append(f"waits {result.waiting:.0%}")
        if trial is self._best:
            parts.append("the best so far")
        return "; ".join([*parts, f"{result.seconds:.0f} s"])

    def _render(self) -> Table:
        whole = Table.grid()
        whole.add_row(self._table())
        if self._now is not None:
            what, since = self._now
            whole.add_row(Text.assemble((what, "bold"), (f"  {time.monotonic() - since:.0f} s", "dim")))
        return whole

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("trial", self._unit, "x start", "GB", "waits", "s"):
            table.add_column(name, justify="right")
        table.add_column("outcome")
        table.add_column("settings", overflow="fold")
        start = next((trial.result for trial in self._trials if trial.number == 1), None)
        for trial in self._trials[-_ROWS:]:
            style = "bold green" if trial is self._best else "" if trial.result.counts else "dim"
            table.add_row(*self._cells(trial, start), style=style)
        return table

    def _cells(self, trial: Trial, start: Result | None) -> list[Text]:
        result = trial.result
        outcome = result.told
        return [
            Text(text)
            for text in (
                str(trial.number),
                "" if result.value is None else f"{result.value:.{self._digits}f}",
                "" if result.value is None or start is None or not start.value else f"{result.value / start.value:.2f}",
                "" if result.memory_bytes is None else f"{result.memory_bytes / 1e9:.2f}",
                "" if result.waiting is None else f"{result.waiting:.0%}",
                f"{result.seconds:.0f}",
                outcome if len(outcome) <= 60 else f"{outcome[:57]}...",
                shown(self._space.differing(trial.combination)) or "the start",
            )
        ]
