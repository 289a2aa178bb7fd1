"""From a combination to what a launch is told, and whether the config takes it, before anything is launched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep.errors import UserError
from data_prep.shards.index import Shards
from ds_nowcast.config import Batch, RunConfig, config_of, load_config
from ds_nowcast.training.start import check_start
from ds_nowcast.tuning.space import ACCUMULATION, MICRO, Combination, Space


class Configs:
    """The configs of a space's combinations."""

    def __init__(self, path: Path, overrides: Sequence[str], shards: Shards, ranks: int) -> None:
        """path, overrides: of the start. Raises UserError where it cannot be trained."""
        self.path, self.overrides = path, list(overrides)
        self.start = load_config(path, overrides)
        self.content: dict[str, Any] = json.loads(path.read_text("utf-8"))  # as it is now: a search takes hours
        self._shards, self.ranks = shards, ranks
        start = check_start(self.start, shards, None, ranks)
        self.batch: Batch = start.batch
        self.index_hash = start.order.index_hash  # of the shards
        self._refused: dict[tuple[str, ...], str] = {}

    def words(self, space: Space, combination: Combination) -> list[str]:
        """What follows the start's own overrides after --set, at the start's samples of an optimizer step.

        Raises UserError where they cannot be cut up so.
        """
        differing = space.differing(combination)
        words = self._batch_words(combination) if {MICRO, ACCUMULATION} & set(differing) else []
        return words + [f"{key}={value}" for key, value in differing.items() if key not in (MICRO, ACCUMULATION)]

    def _batch_words(self, combination: Combination) -> list[str]:
        """Of micro-batch and accumulation the one that is not in the space follows."""
        share = self.batch.per_rank
        given = {key: json.loads(combination[key]) for key in (MICRO, ACCUMULATION) if key in combination}
        for key, value in given.items():
            if type(value) is not int or value < 1 or share % value:
                fitting = ", ".join(map(str, self.batch.micros))
                raise UserError(
                    f"{key}={json.dumps(value)} does not divide the {share} samples of a rank; give {fitting}"
                )
        micro = given.get(MICRO) or share // given[ACCUMULATION]
        accumulation = given.get(ACCUMULATION) or share // micro
        if micro * accumulation != share:
            raise UserError(f"{MICRO}={micro} x {ACCUMULATION}={accumulation} are not the {share} samples of a rank")
        return [f"train_batch_size={self.batch.total}", f"{MICRO}={micro}", f"{ACCUMULATION}={accumulation}"]

    def config(self, words: Sequence[str]) -> RunConfig:
        """The start with these words. Raises UserError."""
        return config_of(self.content, [*self.overrides, *words], str(self.path))

    def refusal(self, space: Space, combination: Combination) -> str:
        """Why a combination cannot be launched, in one line; "" where it can."""
        try:
            words = self.words(space, combination)
        except UserError as error:
            return str(error)
        key = tuple(words)
        if key not in self._refused:
            self._refused[key] = self._why(words)
        return self._refused[key]

    def _why(self, words: Sequence[str]) -> str:
        try:
            check_start(self.config(words), self._shards, None, self.ranks)
        except UserError as error:
            return str(error).splitlines()[0]
        return ""

    def micro(self, combination: Combination) -> int:
        """The micro-batch of a combination that is not refused."""
        if MICRO in combination:
            return int(json.loads(combination[MICRO]))
        if ACCUMULATION in combination:
            return self.batch.per_rank // int(json.loads(combination[ACCUMULATION]))
        return self.batch.micro
