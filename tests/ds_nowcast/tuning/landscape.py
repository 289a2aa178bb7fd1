"""A measurer that launches nothing: samples/s and memory of settings by formulas, so that the best is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ds_nowcast.measuring.launching import Job
from ds_nowcast.measuring.outcomes import Outcome
from ds_nowcast.tuning.combinations import Configs
from ds_nowcast.tuning.folder import TrialsFolder
from ds_nowcast.tuning.objective import Launches
from ds_nowcast.tuning.search import Limits, Searching
from ds_nowcast.tuning.space import Space, made_space
from ds_nowcast.tuning.speed import Speed
from ds_nowcast.tuning.study import Search
from ds_nowcast.tuning.trial import Trial

RANKS, TOTAL = 2, 64
CANDIDATES: dict[str, list[Any]] = {
    "train_micro_batch_size_per_gpu": [1, 2, 4, 8, 16, 32],
    "zero_optimization.stage": [0, 1, 2, 3],
    "nowcast.compute.activation_checkpointing": [False, True],
    "nowcast.compute.channels_last": [False, True],
    "nowcast.data.threads": [1, 2, 4],
}
START = [
    f"train_batch_size={TOTAL}", "train_micro_batch_size_per_gpu=2", "gradient_accumulation_steps=16",
    "nowcast.data.buffer_mb=64",
]  # fmt: skip
DEVICE = 40.0  # GB


def settings_of(overrides: list[str]) -> dict[str, Any]:
    """The values that a launch is given, the last of a key."""
    found = {}
    for word in overrides:
        key, _, text = word.partition("=")
        found[key] = json.loads(text)
    return found


def memory_gb(given: dict[str, Any]) -> float:
    """More with the micro-batch, less where activations are computed again, and less at higher stages."""
    activations = 2.0 if given.get("nowcast.compute.activation_checkpointing") else 4.0
    weights = {0: 16.0, 1: 10.0, 2: 8.0, 3: 5.0}[given.get("zero_optimization.stage", 2)]
    return float(weights + activations * given["train_micro_batch_size_per_gpu"])


def rate(given: dict[str, Any]) -> float:
    """Samples/s: larger micro-batches are faster, what saves memory is slower; threads beyond two are of no use."""
    micro = given["train_micro_batch_size_per_gpu"]
    slower = 0.8 if given.get("nowcast.compute.activation_checkpointing") else 1.0
    stage = {0: 1.0, 1: 0.99, 2: 0.97, 3: 0.7}[given.get("zero_optimization.stage", 2)]
    layout = 1.15 if given.get("nowcast.compute.channels_last") else 1.0
    return float(100 * micro / (micro + 4) * slower * stage * layout)


class KilledError(BaseException):
    """Ends the search as a kill would: nothing that comes after it happens."""


@dataclass
class Landscape:
    """Takes the place of `measured`."""

    device: float = DEVICE
    dies_at: int | None = None  # launch before whose end the process is killed, from 1
    strange: Callable[[dict[str, Any]], Outcome | None] = lambda given: None  # an outcome instead of the formulas'
    launches: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, job: Job, folder: Path, timeout_s: float) -> Outcome:
        """As `measured`."""
        given = settings_of(list(job.overrides))
        self.launches.append(given)
        if len(self.launches) == self.dies_at:
            raise KilledError
        log = folder / "log"
        folder.mkdir(parents=True, exist_ok=True)
        log.write_text("nothing was launched")
        if (outcome := self.strange(given)) is not None:
            return outcome
        if memory_gb(given) > self.device:
            return Outcome("out_of_memory", "CUDA out of memory", None, 3.0, log, 1)
        return Outcome("measured", "", _result(given, list(job.arguments)), 3.0, log, 0)


def _result(given: dict[str, Any], arguments: list[str]) -> dict[str, Any]:
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    step_s, steps = TOTAL / rate(given), int(options["--steps"])
    if "--seconds" in options:
        steps = min(steps, max(3, int(float(options["--seconds"]) / step_s)))
    return {
        "samples_per_s": rate(given),
        "steps": steps,
        "memory_bytes": int(memory_gb(given) * 1e9),
        "split_s": {"data_wait": 0.01 * step_s},
        "step_s": {"median": step_s},
    }


class Silent:
    """Watches a search and keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.seen: list[Trial] = []

    def begins(self, number: int, differing: dict[str, str]) -> None:
        """Nothing."""

    def doing(self, what: str) -> None:
        """Nothing."""

    def ended(self, trial: Trial, best: Trial | None) -> None:
        """Kept."""
        self.seen.append(trial)

    def say(self, text: str) -> None:
        """Kept."""
        self.said.append(text)


@dataclass
class Case:
    """A search over the landscape in a folder; each `process` is one process's part in it."""

    configs: Configs
    out: Path
    candidates: dict[str, list[Any]] = field(default_factory=lambda: CANDIDATES)
    memory: int | None = int(DEVICE * 1e9)
    seed: int = 0

    @property
    def space(self) -> Space:
        """What is tried."""
        return made_space(self.configs.start, self.configs.batch, self.candidates)

    def process(self, landscape: Landscape, trials: int) -> tuple[Searching, Trial | None]:
        """Searches on, to so many trials; the best."""
        folder = TrialsFolder(self.out)
        try:
            folder.begin({"space": self.space.to_json()}, anew=False)
            launches = Launches(self.configs.path, "shards", self.configs.overrides, RANKS, None, 60.0)
            objective = Speed(launches, TOTAL, measure=landscape)
            search = Search(folder.path, self.space, self.seed)
            limits = Limits(trials, None, self.memory)
            searching = Searching(self.configs, self.space, objective, folder, search, limits, Silent())
            return searching, searching.run()
        finally:
            folder.leave()
