"""The search itself: Optuna's TPE over categories, its pruner, its journal on disk. The one door to Optuna (extra `tune`)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from data_prep.errors import UserError, not_installed
from data_prep.files import writing
from ds_nowcast.tuning.space import Combination, Space
from ds_nowcast.tuning.trial import Result

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.trial import Trial as OptunaTrial

JOURNAL = "optuna.journal"
_NAME = "tune"
_NUMBER = "trial"  # ours, of those that were launched
_USABLE = "usable"  # the constraint: 0 where what was tried may be used, else above
STARTUP = 6  # results before TPE takes over from chance


class Halving(NamedTuple):
    """Successive halving: of what reached a rung, the best 1/factor go on to the next, factor times as many steps."""

    first: int  # steps of the first rung
    factor: int


class Proposal:
    """A combination that the search proposed, until it is told what came of it."""

    def __init__(self, study: OptunaStudy, trial: OptunaTrial) -> None:
        self._study, self._trial = study, trial
        self.combination: Combination = dict(trial.params)

    @property
    def number(self) -> int | None:
        """Our number of it; None where it was not launched."""
        number = self._trial.user_attrs.get(_NUMBER)
        return None if number is None else int(number)

    def launch(self, number: int) -> None:
        """It will be launched under this number: if that is cut off, it is done again."""
        if self.number is None:
            self._trial.set_user_attr(_NUMBER, number)

    def report(self, step: int, value: float) -> bool:
        """Tells the pruner what a trial has at a step; whether it should end there."""
        with _quiet():
            self._trial.report(value, step)
            return bool(self._trial.should_prune())

    def forget(self) -> None:
        """As if it had not been proposed."""
        self._study.tell(self._trial, state=_states().FAIL)

    def refuse(self) -> None:
        """It cannot be launched, or would not fit: like it there is nothing."""
        self._tell(0.0, 1.0)

    def tell(self, result: Result) -> None:
        """What came of it. What failed counts as outside of what is allowed, however fast it was."""
        if result.ended == "slow":
            with _quiet():
                self._trial.set_constraint(_USABLE, 0.0)
                self._study.tell(self._trial, state=_states().PRUNED)
        else:
            self._tell(result.value or 0.0, 0.0 if result.counts else 1.0)

    def _tell(self, value: float, violation: float) -> None:
        with _quiet():
            self._trial.set_constraint(_USABLE, violation)
            self._study.tell(self._trial, value)


class Search:
    """Proposes combinations from what came of those before. Only one process at a time may use a journal."""

    def __init__(self, folder: Path, space: Space, seed: int, halving: Halving | None = None) -> None:
        """Opens or begins the journal in the folder. Raises UserError where Optuna is missing or cannot read it."""
        self._space, self._seed = space, seed
        path = folder / JOURNAL
        with writing(path):
            _mend(path)
        self._study = _opened(path, _pruner(halving))
        self._distributions = _distributions(space)

    def unfinished(self) -> list[Proposal]:
        """Those that were proposed and have no result: the process ended."""
        from optuna.trial import Trial

        while self._study.get_trials(deepcopy=False, states=(_states().WAITING,)):  # asked for, and never begun
            Proposal(self._study, self._study.ask(self._distributions)).forget()
        running = self._study.get_trials(deepcopy=False, states=(_states().RUNNING,))
        proposals = []
        for frozen in running:
            if set(frozen.params) == set(self._distributions):
                proposals.append(Proposal(self._study, Trial(self._study, frozen._trial_id)))
            else:  # ended while it was drawn
                self._study.tell(frozen.number, state=_states().FAIL)
        return proposals

    def propose(self, combination: Combination | None = None) -> Proposal:
        """The next one, or the given one. What is drawn hangs on the seed and what came before alone, however it was begun."""
        with _quiet():
            from optuna.samplers import TPESampler

            if combination is not None:
                self._study.enqueue_trial(dict(combination))
            before = len(self._study.get_trials(deepcopy=False))
            self._study.sampler = TPESampler(
                n_startup_trials=STARTUP, multivariate=True, seed=(self._seed * 100_003 + before) % 2**32
            )
            return Proposal(self._study, self._study.ask(self._distributions))


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    from optuna.distributions import CategoricalDistribution

    return {setting.key: CategoricalDistribution(setting.values) for setting in space.settings}


def _pruner(halving: Halving | None) -> BasePruner:
    with _quiet():
        from optuna.pruners import NopPruner, SuccessiveHalvingPruner

        if halving is None:
            return NopPruner()
        return SuccessiveHalvingPruner(min_resource=halving.first, reduction_factor=halving.factor)


def _opened(path: Path, pruner: BasePruner) -> OptunaStudy:
    try:
        import optuna
    except ModuleNotFoundError as missing:
        raise not_installed("tuning", missing.name or "optuna", "tune") from missing
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with _quiet(), writing(path):
            storage = JournalStorage(JournalFileBackend(str(path)))
            return optuna.create_study(
                storage=storage, study_name=_NAME, direction="maximize", pruner=pruner, load_if_exists=True
            )
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); give another --out, or --anew to start anew") from None


def _mend(path: Path) -> None:
    """What a kill in the middle of a line left: half of it, and the lock that Optuna makes around it."""
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)


def _states() -> Any:
    from optuna.trial import TrialState

    return TrialState


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's warnings that something of it is new."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
