"""The search over a made landscape, in which the best is known: 16 samples at a time, where 32 run out of memory."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ds_nowcast.measuring.outcomes import Outcome
from ds_nowcast.tuning import search as search_module
from ds_nowcast.tuning.folder import TrialsFolder
from ds_nowcast.tuning.search import measured_again, median
from ds_nowcast.tuning.study import JOURNAL, Proposal
from ds_nowcast.tuning.trial import Result
from tests.ds_nowcast.tuning.landscape import DEVICE, Case, KilledError, Landscape, memory_gb, rate, settings_of

pytestmark = pytest.mark.slow  # seconds in all, of searches and processes

TRIALS = 30


def best_rate(case: Case, gigabytes: float) -> float:
    """By trying everything."""
    everything = []
    for values in itertools.product(*case.candidates.values()):
        given = dict(zip(case.candidates, values, strict=True))
        if memory_gb(given) <= gigabytes:
            everything.append(rate(given))
    return max(everything)


def test_the_best_of_a_landscape_with_a_region_out_of_memory_is_found_in_a_tenth_of_its_combinations(
    case: Case,
) -> None:
    found = []
    for seed in range(4):
        case.seed, case.out = seed, case.out.with_name(f"tuned{seed}.json")
        landscape = Landscape()
        _, best = case.process(landscape, TRIALS)
        assert best is not None and best.result.value is not None
        assert len(landscape.launches) <= TRIALS + len(case.candidates)
        found.append(best.result.value / best_rate(case, DEVICE))
    assert sorted(found)[1] == 1.0 and min(found) > 0.75, found  # the start has 0.43, the median of all that fit 0.49


def test_the_start_is_the_first_trial_and_no_combination_is_launched_twice(case: Case) -> None:
    landscape = Landscape()
    searching, _ = case.process(landscape, TRIALS)
    assert searching.trials[0].combination == case.space.start
    assert landscape.launches[0] == settings_of(case.configs.overrides)
    launched = [json.dumps(given, sort_keys=True) for given in landscape.launches]
    assert len(set(launched)) == len(launched) == len(searching.trials)


def test_what_ran_out_of_memory_is_not_tried_with_more_samples_at_a_time_and_nothing_that_saves_memory(
    case: Case,
) -> None:
    landscape = Landscape(device=20.0)
    case.process(landscape, 30)
    too_much: list[dict[str, Any]] = []
    for given in landscape.launches:
        micro = given["train_micro_batch_size_per_gpu"]
        alike = {
            k: v for k, v in given.items() if k not in ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
        }
        for other in too_much:
            same = all(other.get(key) == value for key, value in alike.items()) and len(other) == len(given)
            assert not (same and other["train_micro_batch_size_per_gpu"] <= micro)
        if memory_gb(given) > 20.0:
            too_much.append(given)
    assert len(too_much) > 2


def test_what_takes_more_memory_than_is_allowed_is_never_the_best_however_fast_it_is(case: Case) -> None:
    case.memory = int(24e9)
    searching, best = case.process(Landscape(device=1000.0), TRIALS)
    assert any(trial.result.ended == "over_limit" for trial in searching.trials)
    assert best is not None and best.result.memory_bytes is not None and best.result.value is not None
    assert best.result.memory_bytes <= 24e9
    assert best.result.value > 0.9 * best_rate(case, 24.0)


def test_settings_that_gain_nothing_are_put_back(case: Case) -> None:
    case.candidates = {"nowcast.data.threads": [1, 2, 4], "train_micro_batch_size_per_gpu": [1, 4]}
    searching, best = case.process(Landscape(), 100)
    assert best is not None
    assert searching.space.differing(best.combination) == {"train_micro_batch_size_per_gpu": "4"}


def test_a_small_space_is_tried_out_and_the_search_then_ends(case: Case) -> None:
    case.candidates = {"zero_optimization.stage": [1, 3], "nowcast.compute.compile": [False, True]}
    searching, _ = case.process(Landscape(), 100)
    assert len(searching.trials) == 5  # of 6: the config refuses compile at stage 3


def test_what_is_far_slower_is_ended_early_and_is_not_the_best(case: Case) -> None:
    searching, _ = case.process(Landscape(), TRIALS)
    slow = [trial for trial in searching.trials if trial.result.ended == "slow"]
    assert slow and all(trial.result.steps < 8 for trial in slow)
    assert all("times slower than the best in its first" in trial.result.reason for trial in slow)


@pytest.mark.parametrize(
    ("dies_at", "half_a_line"), [(1, False), (2, True), (5, True), (8, False), (9, True), (12, False)]
)
def test_a_search_that_is_killed_at_any_launch_goes_on_as_if_it_had_not_been(
    case: Case, dies_at: int, half_a_line: bool
) -> None:
    whole = Case(case.configs, case.out.with_name("whole.json"))
    unbroken, best = whole.process(Landscape(), 10)
    with pytest.raises(KilledError):
        case.process(Landscape(dies_at=min(dies_at, len(unbroken.trials))), 10)
    if half_a_line:
        journal = TrialsFolder(case.out).path / JOURNAL
        journal.write_bytes(journal.read_bytes() + b'{"op_code":5,"wor')
    searching, best_again = case.process(Landscape(), 10)
    assert searching.trials == unbroken.trials
    assert best_again == best


def test_a_kill_after_a_trial_was_recorded_and_before_the_search_was_told_loses_nothing(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, _ = Case(case.configs, case.out.with_name("whole.json")).process(Landscape(), 6)

    def dies(proposal: Proposal, result: Result) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(Proposal, "tell", dies)
        with pytest.raises(KilledError):
            case.process(Landscape(), 6)
    landscape = Landscape()
    searching, _ = case.process(landscape, 6)
    assert searching.trials == unbroken.trials
    assert len(landscape.launches) == len(unbroken.trials) - 1


def test_more_trials_may_be_asked_for_later(case: Case) -> None:
    before, _ = case.process(Landscape(), 4)
    landscape = Landscape()
    searching, _ = case.process(landscape, 20)
    assert len(searching.trials) >= 20
    assert len(landscape.launches) == len(searching.trials) - len(before.trials) > 0


def test_crashes_time_outs_and_refusals_are_results_and_the_search_goes_on(case: Case, tmp_path: Path) -> None:
    endings = itertools.cycle(["crashed", "timed_out", "refused", "out_of_memory"])

    def strange(given: dict[str, Any]) -> Outcome | None:
        if given.get("nowcast.compute.channels_last"):
            return Outcome(next(endings), "it went wrong", None, 1.0, tmp_path / "log", 1)  # type: ignore[arg-type]
        return None

    searching, best = case.process(Landscape(strange=strange), TRIALS)
    ended = {trial.result.ended for trial in searching.trials}
    assert {"measured", "crashed", "timed_out", "refused", "out_of_memory"} <= ended
    assert best is not None and best.combination["nowcast.compute.channels_last"] == "false"


def test_the_best_and_the_start_are_measured_again_in_turns_once_each(case: Case) -> None:
    searching, best = case.process(Landscape(), 12)
    assert best is not None
    again = Landscape()
    searching.objective._measure = again  # type: ignore[attr-defined]
    verdict = measured_again(searching, best, 3)
    rates = [rate(given) for given in again.launches]
    assert rates == [rates[0], rates[1], rates[1], rates[0], rates[0], rates[1]] and rates[1] > rates[0]
    assert verdict.chosen == best.combination and median(verdict.best) == rates[1]
    assert measured_again(searching, best, 3) == verdict and len(again.launches) == 6


def test_a_best_that_was_luck_is_not_taken(case: Case) -> None:
    searching, best = case.process(Landscape(), 12)
    assert best is not None

    def unlucky(given: dict[str, Any]) -> Outcome | None:
        is_start = given == settings_of(case.configs.overrides)
        log = case.out.with_name("log")
        return None if is_start else Outcome("crashed", "no luck", None, 1.0, log, 1)

    searching.objective._measure = Landscape(strange=unlucky)  # type: ignore[attr-defined]
    assert measured_again(searching, best, 2).chosen == case.space.start


def test_no_trials_begin_past_the_time(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    searching, _ = case.process(Landscape(), 1)
    clock = itertools.count(start=0.0, step=30.0)
    monkeypatch.setattr(search_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    searching._began, searching.limits = 0.0, search_module.Limits(100, 2.0, None)
    searching.run()
    assert [trial.number for trial in searching.trials] == [1, 2, 3, 4, 5]  # at 0, 30, 60 and 90 of 120 s
