"""CSI of the validation split, by short trainings with successive halving: what is promoted goes on in its run folder.

Each training is one of `steps` optimizer steps from its beginning: the learning rate's course and losses that hang on
progress are those of the whole, and a rung only ends it for a while.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from ds_nowcast.measuring.launching import launched
from ds_nowcast.measuring.outcomes import Outcome
from ds_nowcast.scoring.report.numbers import value_at
from ds_nowcast.scoring.report.training import metric_lines
from ds_nowcast.tuning.objective import Launches, Report, failed
from ds_nowcast.tuning.study import Halving
from ds_nowcast.tuning.trial import Result

FACTOR = 3
_RUNGS = 3  # the last is the whole training
SCORE = "csi_pooled"
Train = Callable[..., Outcome]


class Score:
    """Trains with `ds_nowcast.train`."""

    unit, digits = "CSI", 4
    turns_back = False

    def __init__(self, launches: Launches, seed: int, steps: int, train: Train = launched) -> None:
        """seed: the start's, for all trials. steps: of a whole training."""
        self._launches, self._seed, self._steps, self._train = launches, seed, steps, train
        first = max(1, steps // FACTOR ** (_RUNGS - 1))
        self.halving: Halving | None = Halving(first, FACTOR)
        self.rungs = [rung for rung in (first * FACTOR**i for i in range(_RUNGS - 1)) if rung < steps] + [steps]

    def try_once(self, words: Sequence[str], folder: Path, report: Report, best: float | None) -> Result:
        """Rung by rung, as far as it is promoted."""
        rungs: dict[str, float] = {}
        seconds = 0.0
        for rung in self.rungs:
            result = self._to(rung, words, folder, self._seed)
            seconds += result.seconds
            if result.value is None:
                return Result(result.ended, result.reason, seconds=seconds, rungs=rungs)
            rungs[str(rung)] = result.value
            if report(rung, result.value) and rung < self._steps:
                shutil.rmtree(folder / "run" / "checkpoints", ignore_errors=True)
                reason = f"not among the best third after {rung} steps"
                return Result("slow", reason, result.value, rung, seconds=seconds, rungs=rungs)
        shutil.rmtree(folder / "run" / "checkpoints", ignore_errors=True)
        return Result("measured", "", result.value, self._steps, seconds=seconds, rungs=rungs)

    def try_again(self, words: Sequence[str], folder: Path, turn: int) -> Result:
        """The whole training with another seed."""
        result = self._to(self._steps, words, folder, self._seed + 1 + turn)
        shutil.rmtree(folder / "run" / "checkpoints", ignore_errors=True)
        return result

    def _to(self, step: int, words: Sequence[str], folder: Path, seed: int) -> Result:
        """Trains on to a step, unless that was done before, and reads its score."""
        run, shared = folder / "run", self._launches
        reached = _scores(run).get(step)
        seconds = 0.0
        if reached is None:
            ours = [
                f"nowcast.steps={self._steps}",
                f"nowcast.evaluation.every={step}",
                f"nowcast.checkpoint.every={step}",
            ]
            arguments = [
                "--deepspeed_config", str(shared.config), "--shards", shared.shards, "--run", str(run), "--until", str(step),
                "--set", *shared.overrides, *words, *ours, f"nowcast.seed={seed}",
            ]  # fmt: skip
            outcome = self._train(
                "ds_nowcast.train",
                arguments,
                folder,
                shared.timeout_s,
                ranks=shared.ranks,
                hostfile=shared.hostfile,
                environment=shared.environment,
            )
            seconds = outcome.seconds
            if outcome.ended != "measured":
                return failed(outcome)
            reached = _scores(run).get(step)
        if reached is None:
            return Result("crashed", f"its {SCORE} at step {step} is undefined", seconds=seconds)
        return Result("measured", "", reached, step, seconds=seconds)


def _scores(run: Path) -> dict[int, float]:
    """Score by step, of a run's metrics.jsonl; what is undefined is left out."""
    values = ((value_at(line, "step"), value_at(line, "evaluation", "model", SCORE)) for line in metric_lines(run))
    return {int(step): value for step, value in values if step is not None and value is not None}
