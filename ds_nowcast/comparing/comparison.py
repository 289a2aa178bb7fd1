"""A comparison: the scores of runs and baselines, differences to the first run and skill, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.errors import UserError, counted
from ds_nowcast.comparing.bootstrap import FEWEST, Blocks, Estimate, blocks_of, estimate, resampled
from ds_nowcast.comparing.evaluated import Floats, read_runs
from ds_nowcast.comparing.matching import Matched, matched
from ds_nowcast.comparing.scores import Score, blocks_behind, difference, events_in, score_list, scores_of, skill
from ds_nowcast.model_space import threshold_labels

RESAMPLES, FEWEST_RESAMPLES, MOST_RESAMPLES = 1000, 100, 100_000
REFERENCES = ("persistence", "extrapolation")  # for skill
_MEAN = -3  # the place of the mean among the scores: after the thresholds, before the errors


@dataclass(frozen=True)
class Comparison:
    """S forecasts, runs first and then baselines, by M scores."""

    matched: Matched
    blocks: Blocks
    resamples: int
    seed: int
    columns: list[Score]
    scores_SM: Estimate
    difference_SM: Estimate  # to the first run
    skill_SM: dict[str, Estimate]  # by reference, of those there are

    @property
    def names(self) -> list[str]:
        """Of the forecasts."""
        return self.matched.names

    @property
    def notes(self) -> list[str]:
        """What a reader should know."""
        return [*([self.blocks.note] if self.blocks.note else []), *self.matched.notes]

    @property
    def title(self) -> str:
        """What was scored."""
        task = self.matched.runs[0].task
        return (
            f"{counted(task.windows, 'window')} of split {task.split}, "
            f"{counted(task.leads, 'lead time')} of {task.cadence_s / 60:g} min"
        )

    @property
    def method(self) -> str:
        """Where the intervals come from."""
        if self.blocks.count < FEWEST:
            return "no intervals"
        return f"95 % intervals: {self.resamples} resamples of {self.blocks.in_words}"


def compare(folders: Sequence[Path], resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Reads and compares runs. Raises UserError where one is missing or damaged, or they do not belong together."""
    if not FEWEST_RESAMPLES <= resamples <= MOST_RESAMPLES:
        raise UserError(
            f"--resamples {resamples} is out of range; give {FEWEST_RESAMPLES} (fewer have no tails) to {MOST_RESAMPLES}"
        )
    return compared(matched(read_runs(folders)), resamples, seed)


def compared(forecasts: Matched, resamples: int, seed: int) -> Comparison:
    """Compares runs that belong together."""
    thresholds = forecasts.runs[0].task.thresholds
    columns = score_list(threshold_labels(thresholds), thresholds.unit)
    perfect_M = np.array([column.perfect for column in columns])
    blocks = blocks_of(forecasts.windows)
    found = _Found(blocks.sums(forecasts.sums_WSF), resamples, seed)
    references = [name for name in REFERENCES if name in forecasts.baselines]
    return Comparison(
        forecasts,
        blocks,
        resamples,
        seed,
        columns,
        found.scores(),
        found.difference_to(0),
        {name: found.skill_against(forecasts.names.index(name), perfect_M) for name in references},
    )


class _Found:
    """Scores of all blocks, and of each resample of them."""

    def __init__(self, sums_NSF: Floats, resamples: int, seed: int) -> None:
        total_SF = sums_NSF.sum(0)
        self._scored_SK = events_in(total_SF) > 0
        self._value_SM = scores_of(total_SF, self._scored_SK)
        self._replicates_RSM = scores_of(resampled(sums_NSF, resamples, seed), self._scored_SK)
        self._blocks_SM = blocks_behind(sums_NSF)

    def scores(self) -> Estimate:
        return estimate(self._value_SM, self._replicates_RSM, self._blocks_SM)

    def difference_to(self, reference: int) -> Estimate:
        value_SM = difference(self._value_SM, self._value_SM[reference])
        replicates_RSM = difference(self._replicates_RSM, self._replicates_RSM[:, reference])
        return self._paired(value_SM, replicates_RSM, reference)

    def skill_against(self, reference: int, perfect_M: Floats) -> Estimate:
        value_SM = skill(self._value_SM, self._value_SM[reference], perfect_M)
        replicates_RSM = skill(self._replicates_RSM, self._replicates_RSM[:, reference], perfect_M)
        return self._paired(value_SM, replicates_RSM, reference)

    def _paired(self, value_SM: Floats, replicates_RSM: Floats, reference: int) -> Estimate:
        """Means over different thresholds are not compared."""
        differs_S = (self._scored_SK != self._scored_SK[reference]).any(-1)
        value_SM[differs_S, _MEAN] = np.nan
        return estimate(value_SM, replicates_RSM, np.minimum(self._blocks_SM, self._blocks_SM[reference]))
