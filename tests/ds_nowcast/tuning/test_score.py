"""Trainings for a score, rung by rung, where training is a fake that writes metrics.jsonl."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ds_nowcast.measuring.outcomes import Outcome
from ds_nowcast.tuning.objective import Launches
from ds_nowcast.tuning.score import Score


class Trainer:
    """Trains to the step asked for; its score is that step over 100, undefined at those that say so."""

    def __init__(self, undefined: Sequence[int] = (), ends: str = "measured") -> None:
        self.undefined, self.ends, self.made = undefined, ends, list[tuple[int, int]]()

    def __call__(self, module: str, arguments: Sequence[str], folder: Path, timeout_s: float, **more: Any) -> Outcome:
        assert module == "ds_nowcast.train" and (timeout_s, more["ranks"]) == (60.0, 2)
        step = int(arguments[arguments.index("--until") + 1])
        seed = next(int(word.split("=")[1]) for word in arguments if word.startswith("nowcast.seed="))
        self.made.append((step, seed))
        run = Path(arguments[arguments.index("--run") + 1])
        (run / "checkpoints").mkdir(parents=True, exist_ok=True)
        if self.ends == "measured":
            score = None if step in self.undefined else step / 100
            line = {"step": step, "evaluation": {"model": {"csi_pooled": score}}}
            with (run / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
        return Outcome(self.ends, "", None, 2.0, folder / "log", 0)  # type: ignore[arg-type]


def score(trainer: Callable[..., Outcome]) -> Score:
    return Score(Launches(Path("c.json"), "shards", [], 2, None, 60.0), 5, 9, trainer)


def test_what_is_promoted_goes_on_in_its_run_folder_to_the_last_rung(tmp_path: Path) -> None:
    trainer = Trainer()
    result = score(trainer).try_once([], tmp_path, lambda step, value: False, None)
    assert trainer.made == [(1, 5), (3, 5), (9, 5)]
    assert (result.ended, result.value, result.steps, result.seconds) == ("measured", 0.09, 9, 6.0)
    assert result.rungs == {"1": 0.01, "3": 0.03, "9": 0.09} and not (tmp_path / "run/checkpoints").exists()
    score(trainer).try_once([], tmp_path, lambda step, value: False, None)  # what was trained is not trained again
    assert len(trainer.made) == 3


def test_what_is_not_among_the_best_ends_at_its_rung(tmp_path: Path) -> None:
    trainer = Trainer()
    result = score(trainer).try_once([], tmp_path, lambda step, value: step == 3, None)
    assert trainer.made == [(1, 5), (3, 5)] and (result.ended, result.value, result.steps) == ("slow", 0.03, 3)


def test_a_last_rung_is_never_too_bad(tmp_path: Path) -> None:
    assert score(Trainer()).try_once([], tmp_path, lambda step, value: step == 9, None).ended == "measured"


@pytest.mark.parametrize(("trainer", "ended"), [(Trainer([3]), "crashed"), (Trainer(ends="timed_out"), "timed_out")])
def test_a_score_that_is_not_there_is_a_result(tmp_path: Path, trainer: Trainer, ended: str) -> None:
    assert score(trainer).try_once([], tmp_path, lambda step, value: False, None).ended == ended


def test_the_best_is_trained_again_with_other_seeds(tmp_path: Path) -> None:
    trainer = Trainer()
    for turn in range(2):
        assert score(trainer).try_again([], tmp_path / str(turn), turn).value == 0.09
    assert trainer.made == [(9, 6), (9, 7)]
