"""Samples a second, by real steps: a few of each combination, fewer of what is far behind, more of the start and the best."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ds_nowcast.measuring.launching import Job, measured
from ds_nowcast.measuring.outcomes import Outcome
from ds_nowcast.tuning.objective import Launches, Report, failed
from ds_nowcast.tuning.study import Halving
from ds_nowcast.tuning.trial import Result

STEPS = 8  # of a trial, unless the command line says otherwise
_FAR = 2.0  # times slower than the best is far behind
_WARMUP = 3  # steps that are not counted: memory is taken, and what is compiled is
_AGAIN = 2  # times as many steps where the start and the best are measured again


class Speed:
    """Measures with `ds_nowcast.measure`."""

    name, unit, digits = "samples_per_s", "samples/s", 2
    halving: Halving | None = None
    turns_back = True

    def __init__(
        self,
        launches: Launches,
        total: int,
        steps: int = STEPS,
        measure: Callable[[Job, Path, float], Outcome] = measured,
    ) -> None:
        """total: samples of an optimizer step, the same in all trials. steps: measured of each."""
        self._launches, self._total, self._steps, self._measure = launches, total, steps, measure

    def try_once(self, words: Sequence[str], folder: Path, report: Report, best: float | None) -> Result:
        """Ends early what in its first steps turns out far slower than the best."""
        seconds = None if best is None else self._total / best * self._steps * _FAR
        result = self._result(words, folder, self._steps, seconds)
        if result.value is not None:
            report(result.steps, result.value)
            if best is not None and result.steps < self._steps and result.value * _FAR < best:
                reason = f"{best / result.value:.1f} times slower than the best in its first {result.steps} steps"
                return replace(result, ended="slow", reason=reason)
        return result

    def try_again(self, words: Sequence[str], folder: Path, turn: int) -> Result:
        """More steps of the same."""
        return self._result(words, folder, _AGAIN * self._steps, None)

    def _result(self, words: Sequence[str], folder: Path, steps: int, seconds: float | None) -> Result:
        shared = self._launches
        options = ["--steps", str(steps), "--warmup", str(_WARMUP)]
        if seconds is not None:
            options += ["--seconds", f"{seconds:.3f}"]
        job = Job(
            shared.config,
            shared.shards,
            [*shared.overrides, *words],
            shared.ranks,
            shared.hostfile,
            options,
            shared.environment,
        )
        outcome = self._measure(job, folder, shared.timeout_s)
        if outcome.ended != "measured" or outcome.result is None:
            return failed(outcome)
        return _read(outcome, outcome.result)


def _read(outcome: Outcome, found: dict[str, Any]) -> Result:
    try:
        return Result(
            "measured",
            value=float(found["samples_per_s"]),
            steps=int(found["steps"]),
            memory_bytes=int(found["memory_bytes"]),
            waiting=float(found["split_s"]["data_wait"]) / float(found["step_s"]["median"]),
            seconds=outcome.seconds,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        says = f"its result cannot be read ({type(error).__name__}: {error}): {json.dumps(found)[:80]}"
        return Result("crashed", says, seconds=outcome.seconds)
