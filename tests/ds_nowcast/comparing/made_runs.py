"""Run folders as an evaluation leaves them, made of random sums."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.times import iso

Line = dict[str, Any]
LEADS, VALUES = 3, (0.5, 2.0, 8.0)
BASELINES = ("persistence", "extrapolation")


def made_lines(
    days: int = 12,
    per_day: int = 3,
    seed: int = 0,
    skill: float = 0.5,
    names: Sequence[str] = ("model", *BASELINES),
    thresholds: int = len(VALUES),
) -> list[Line]:
    """Lines of `windows.jsonl`, some of each day. What was observed, and baselines, are of `seed` alone.

    skill: the share of observed events that the model hits.
    """
    observed = np.random.default_rng(seed)
    randoms = {name: np.random.default_rng([seed, i]) for i, name in enumerate(names)}
    lines = []
    for day in range(days):
        wet = observed.uniform(0.2, 3.0)
        for number in range(per_day):
            time = datetime(2021, 6, 1, tzinfo=UTC) + timedelta(days=day, minutes=60 * number)
            events = observed.poisson(wet * 400 / 3.0 ** np.arange(thresholds))
            line: Line = {"window": len(lines), "key": f"event{day}-{number // 2}", "start": 12 * (number % 2)}
            line |= {"time": iso(time), "pixels": 3000 - number}
            shares = {"model": skill, "persistence": 0.3, "extrapolation": 0.45, "climatology": 0.0}
            for name in names:
                line[name] = _sums(randoms[name], events, shares[name], wet)
            lines.append(line)
    return lines


def _sums(random: np.random.Generator, events: np.ndarray, share: float, wet: float) -> dict[str, Any]:
    hits = random.binomial(events, share)
    error = float(wet * (1.2 - share) * random.uniform(20, 30))
    return {
        "squared_error": error,
        "absolute_error": 2.5 * error,
        "hits": hits.tolist(),
        "misses": (events - hits).tolist(),
        "false_alarms": random.poisson((1.1 - share) * events).tolist(),
    }


def scores_for(lines: Sequence[Line], **task: Any) -> dict[str, Any]:
    """The `scores.json` to which they add up; the counts lie in the first lead time."""
    names = [name for name in ("model", *BASELINES, "climatology") if name in lines[0]]
    thresholds = len(lines[0]["model"]["hits"])
    about = {
        "frames": 13,
        "leads": LEADS,
        "cadence_s": 300,
        "pixel": [1000.0, 1000.0],
        "pixel_unit": "m",
        "unit": "mm/h",
        "thresholds": {"unit": "mm/h", "values": list((*VALUES, 16.0, 32.0, 64.0)[:thresholds])},
        "windows": len(lines),
        "split": "test",
        "data": "held out",
        "index_hash": "0123456789abcdef" * 4,
        "model": {"name": "unet", "parameters": 1000, "step": 50},
        "versions": {"torch": "2.6"},
    }
    scores: dict[str, Any] = {"task": {**about, **task}, "climatology": {"absent": "no training data"}, "skill": {}}
    return {**scores, **{name: {"counts": _counts(lines, name), "ssim": None} for name in names}}


def _counts(lines: Sequence[Line], name: str) -> dict[str, Any]:
    zero = [0] * len(lines[0][name]["hits"])
    counts: dict[str, Any] = {
        count: [np.sum([line[name][count] for line in lines], 0).tolist(), *[zero] * (LEADS - 1)]
        for count in ("hits", "misses", "false_alarms")
    }
    return {**counts, "pixels": [sum(line["pixels"] for line in lines), *[0] * (LEADS - 1)]}


def written_run(
    folder: Path,
    lines: Sequence[Line],
    change: Callable[[dict[str, Any]], None] = lambda scores: None,
    task: Mapping[str, Any] | None = None,
) -> Path:
    """A run folder of these lines. change: is applied to `scores.json` before it is written."""
    folder.mkdir(parents=True, exist_ok=True)
    scores = scores_for(lines, **(task or {}))
    change(scores)
    (folder / "scores.json").write_text(json.dumps(scores))
    (folder / "windows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
