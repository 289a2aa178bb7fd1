"""The search: the start, what the sampler proposes and the config takes, the best with its settings put back one by one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from data_prep.errors import UserError
from ds_nowcast.tuning.combinations import Configs
from ds_nowcast.tuning.effects import guessed
from ds_nowcast.tuning.folder import TrialsFolder
from ds_nowcast.tuning.objective import Objective
from ds_nowcast.tuning.prior import out_of_memory_too
from ds_nowcast.tuning.space import Combination, Space, shown
from ds_nowcast.tuning.study import STARTUP, Proposal, Search
from ds_nowcast.tuning.trial import Result, Trial, over_limit, read_trial

_DRAWS = 8  # by the sampler, before what is left is gone through in order
NOISE = 0.02  # share of a value: settings that gain no more are put back


class Watching(Protocol):
    """Who is told how it goes."""

    def begins(self, number: int, differing: dict[str, str]) -> None:
        """A trial is launched."""

    def doing(self, what: str) -> None:
        """What goes on now, beside trials."""

    def ended(self, trial: Trial, best: Trial | None) -> None:
        """It ended; `best` is of all so far."""

    def say(self, text: str) -> None:
        """A line that stays."""


@dataclass(frozen=True)
class Limits:
    """How far a search goes."""

    trials: int
    minutes: float | None  # of this process, in which trials begin
    memory: int | None  # bytes of a rank


class Searching:
    """One process's part in a search; what went before is in the folder."""

    def __init__(
        self,
        configs: Configs,
        space: Space,
        objective: Objective,
        folder: TrialsFolder,
        search: Search,
        limits: Limits,
        watching: Watching,
    ) -> None:
        self.configs, self.space, self.objective, self.folder = configs, space, objective, folder
        self.search, self.limits, self.watching = search, limits, watching
        self.trials: list[Trial] = folder.trials()
        self._began = time.monotonic()
        self._reasons: dict[str, str] = {}

    def run(self) -> Trial | None:
        """To the end of trials, time or combinations. The best trial; None where nothing could be measured."""
        self._go_on()
        if not self.trials:
            self._launch(self.search.propose(self.space.start))
        while len(self.trials) < self.limits.trials and self._in_time():
            proposal = self._next()
            if proposal is None:
                self.watching.say("every combination that the config takes and memory may hold was tried")
                break
            self._launch(proposal)
        if self._reasons:
            reasons = sorted(set(self._reasons.values()))
            self.watching.say(f"{len(self._reasons)} combinations were not launched, such as: {reasons[0]}")
        return self._put_back()

    @property
    def best(self) -> Trial | None:
        """The largest value of a trial that counts."""
        counting = [trial for trial in self.trials if trial.result.counts]
        return max(counting, key=lambda trial: (trial.result.value or 0.0, -trial.number), default=None)

    def _in_time(self) -> bool:
        minutes = self.limits.minutes
        return minutes is None or time.monotonic() - self._began < 60 * minutes

    def _go_on(self) -> None:
        """What the last process had begun: told where it ended, else done again."""
        for proposal in self.search.unfinished():
            if proposal.number is None:
                proposal.forget()
            elif (trial := read_trial(self.folder.trial(proposal.number))) is not None:
                proposal.tell(trial.result)
            else:
                self._launch(proposal)

    def _launch(self, proposal: Proposal) -> Trial:
        number = proposal.number or 1 + max((trial.number for trial in self.trials), default=0)
        proposal.launch(number)
        folder, best = self.folder.trial(number), self.best
        self.watching.begins(number, self.space.differing(proposal.combination))
        words = self.configs.words(self.space, proposal.combination)
        value = best.result.value if best else None
        result = over_limit(self.objective.try_once(words, folder, proposal.report, value), self.limits.memory)
        trial = Trial(number, dict(proposal.combination), result)
        trial.write(folder)
        proposal.tell(result)
        self.trials.append(trial)
        self.watching.ended(trial, self.best)
        return trial

    def _next(self) -> Proposal | None:
        """In turns what is likely the best, and what the sampler draws; in the end whatever is left.

        Only what can be launched and was not.
        """
        if len(self.trials) >= STARTUP and len(self.trials) % 2:
            for combination in self._likely():
                if not self.trial_of(combination) and not self.unwanted(combination):
                    return self.search.propose(combination)
        for _ in range(_DRAWS):
            proposal = self.search.propose()
            if self.trial_of(proposal.combination):
                proposal.forget()
            elif self.unwanted(proposal.combination):
                proposal.refuse()
            else:
                return proposal
        for combination in self.space.combinations():
            if not self.trial_of(combination) and not self.unwanted(combination):
                return self.search.propose(combination)
        return None

    def _likely(self) -> Iterator[Combination]:
        """What has not been tried, those first that should be best if each setting had an effect of its own."""
        told = (
            ("measured", "slow") if self.objective.halving is None else ("measured",)
        )  # of a rung: cannot be compared
        tried = [(t.combination, t.result.value or 0.0) for t in self.trials if t.result.ended in told]
        if tried:
            guess = guessed(self.space, tried)
            yield from sorted(self.space.combinations(), key=guess, reverse=True)

    def trial_of(self, combination: Combination) -> Trial | None:
        """The one in which it was tried, if it was."""
        return next((trial for trial in self.trials if trial.combination == combination), None)

    def unwanted(self, combination: Combination) -> str:
        """Why it is not launched: the config refuses it, or what takes no more ran out of memory; else ""."""
        reason = self.configs.refusal(self.space, combination)
        if not reason:
            over = [t for t in self.trials if t.result.ended in ("out_of_memory", "over_limit")]
            failed = out_of_memory_too(combination, [t.combination for t in over], self.configs.micro)
            if failed is not None:
                settings = shown(self.space.differing(failed)) or "the start"
                reason = f"{settings} takes no more memory and was too much"
        if reason:
            self._reasons[str(sorted(combination.items()))] = reason
        return reason

    def _put_back(self) -> Trial | None:
        """The best, each of its settings put back where that costs nothing: what gains nothing should not be changed."""
        best = self.best
        if best is None or not self.objective.turns_back:
            return best
        keys = list(self.space.differing(best.combination))
        for key in keys + keys:  # once more beside those that stay
            if best.combination[key] == self.space.start[key]:
                continue
            combination = {**best.combination, key: self.space.start[key]}
            trial = self.trial_of(combination)
            if trial is None and self._in_time() and not self.unwanted(combination):
                trial = self._launch(self.search.propose(combination))
            if trial is not None and trial.result.counts:
                assert trial.result.value is not None and best.result.value is not None
                if trial.result.value >= best.result.value * (1 - NOISE):
                    best = trial
        return best


@dataclass(frozen=True)
class Verdict:
    """The start and the best measured again, in turns."""

    start: Sequence[Result]
    best: Sequence[Result]  # empty where the start is the best
    chosen: Combination


def measured_again(searching: Searching, best: Trial, turns: int) -> Verdict:
    """Whether the best holds what it promised. What was measured before a kill is not measured again.

    Raises UserError where nothing holds.
    """
    start = searching.space.start
    runs: dict[str, list[Result]] = {"start": [], "best": []}
    for turn in range(turns):
        names = ("start", "best") if turn % 2 == 0 else ("best", "start")  # what drifts meets both alike
        for name in names if best.combination != start else ("start",):
            searching.watching.doing(f"again: {name}, turn {turn + 1} of {turns}")
            combination = start if name == "start" else best.combination
            runs[name].append(_again(searching, combination, name if name == "start" else f"{best.number:04d}", turn))
    chosen = best.combination if _holds(runs["start"], runs["best"]) else start
    if not any(result.counts for result in (runs["start"] if chosen == start else runs["best"])):
        raise UserError(
            "what was measured could not be measured again, nor could the start: see the logs beside, or give --anew"
        )
    return Verdict(runs["start"], runs["best"], chosen)


def _again(searching: Searching, combination: Combination, name: str, turn: int) -> Result:
    folder = searching.folder.again(name, turn)
    before = read_trial(folder)
    if before is not None and before.combination == combination:
        return before.result
    words = searching.configs.words(searching.space, combination)
    result = over_limit(searching.objective.try_again(words, folder, turn), searching.limits.memory)
    Trial(0, dict(combination), result).write(folder)
    return result


def _holds(start: Sequence[Result], best: Sequence[Result]) -> bool:
    """Whether the best, all of whose turns must count, is above the start in the median."""
    if not best or not all(result.counts for result in best):
        return False
    return median(best) > median(start)


def median(results: Sequence[Result]) -> float:
    """Of the values that count; 0 where none does."""
    values = [result.value for result in results if result.counts and result.value is not None]
    return statistics.median(values) if values else 0.0
