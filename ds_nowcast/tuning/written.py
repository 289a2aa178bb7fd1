"""What a search leaves: the config to take, a table of what it changes and why, and a picture of all that ran."""

from __future__ import annotations

import copy
import json
import os
import statistics
from collections import Counter
from pathlib import Path

from data_prep.files import write_atomically
from data_prep.pictures.frontier import Labels, Point, frontier_chart
from ds_nowcast.config.overrides import override_in
from ds_nowcast.tuning.search import Searching, Verdict, median
from ds_nowcast.tuning.trial import NAMES, Result, Trial

_WHY = {
    "train_micro_batch_size_per_gpu": "samples of one forward pass: more keep a device busier and take more memory",
    "gradient_accumulation_steps": "forward passes of an optimizer step: fewer are larger ones",
    "zero_optimization.stage": "what the ranks divide among them, against what they send each other",
    "zero_optimization.offload_optimizer": "the optimizer's state in the host's memory, against its way there",
    "zero_optimization.offload_param": "weights in the host's memory, against their way there",
    "nowcast.compute.activation_checkpointing": "activations kept, or computed again: a forward pass against memory",
    "nowcast.compute.compile": "fewer, larger kernels, against a slow start",
    "nowcast.compute.channels_last": "the order of axes that convolutions read",
    "nowcast.data.threads": "threads that decode samples, beside those that compute",
    "optimizer.params.lr": "the length of a step",
    "nowcast.model.width": "what the model can hold, against how fast it learns",
}


def write_config(path: Path, searching: Searching, verdict: Verdict) -> None:
    """The config to take: the user's own file, in which only what was overridden and what was chosen differ. Raises OSError."""
    configs = searching.configs
    content = copy.deepcopy(configs.content)
    for word in [*configs.overrides, *configs.words(searching.space, verdict.chosen)]:
        override_in(content, word)
    schema = configs.path.parent / str(content.get("$schema", ""))
    if schema.is_file():  # beside the user's file, and found from the new one's place too; no address on the web
        content["$schema"] = os.path.relpath(schema, path.parent)
    write_atomically(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def write_table(path: Path, searching: Searching, verdict: Verdict, command: str) -> None:
    """`tuned.md`, beside the config, which can hold no comments."""
    lines = [
        f"# {path.with_suffix('.json').name}",
        f"Tuned for {searching.objective.unit} from {searching.configs.path} at {searching.configs.ranks} rank(s), by",
        "```",
        command,
        "```",
        *_gain(searching, verdict),
        "",
        *_changes(searching, verdict),
        "## Trials",
        *_trials(searching),
    ]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def gain(verdict: Verdict) -> tuple[float, float, float] | None:
    """The best over the start, turn by turn: median, least and most ratio; None where they cannot be held together."""
    pairs = [
        best.value / start.value
        for start, best in zip(verdict.start, verdict.best, strict=False)
        if best.counts and start.counts and best.value is not None and start.value
    ]
    return (statistics.median(pairs), min(pairs), max(pairs)) if pairs else None


def told_gain(searching: Searching, verdict: Verdict) -> str:
    """In one line."""
    objective, start = searching.objective, searching.space.start
    if verdict.chosen == start:
        beside = "; the best of the trials did not hold what it promised" if verdict.best else ""
        return f"nothing that was tried is better than the start{beside}"
    if (ratios := gain(verdict)) is None:
        return f"{median(verdict.best):.{objective.digits}f} {objective.unit}; the start could not be measured: {verdict.start[-1].told}"
    middle, least, most = ratios
    values = (
        f"{median(verdict.start):.{objective.digits}f} -> {median(verdict.best):.{objective.digits}f} {objective.unit}"
    )
    return f"{values}, x {middle:.3f} (x {least:.3f} to x {most:.3f} in {len(verdict.best)} turns)"


def _gain(searching: Searching, verdict: Verdict) -> list[str]:
    objective = searching.objective
    lines = [f"**{told_gain(searching, verdict)}.**", "", "Measured again at the end, in turns:", ""]
    lines += [f"| turn | start, {objective.unit} | best, {objective.unit} |", "|---:|---:|---:|"]
    for turn, start in enumerate(verdict.start):
        best = verdict.best[turn] if turn < len(verdict.best) else None
        lines.append(f"| {turn + 1} | {_value(start, objective.digits)} | {_value(best, objective.digits)} |")
    return lines


def _value(result: Result | None, digits: int) -> str:
    if result is None:
        return "-"
    return f"{result.value:.{digits}f}" if result.counts else NAMES[result.ended]


def _changes(searching: Searching, verdict: Verdict) -> list[str]:
    differing = searching.space.differing(verdict.chosen)
    if not differing:
        return []
    unit = searching.objective.unit
    lines = ["## What it changes", f"| key | from | to | what it trades | worth, {unit} |", "|---|---|---|---|---|"]
    for key, value in differing.items():
        worth = _worth(searching, verdict, key)
        lines.append(f"| `{key}` | `{searching.space.start[key]}` | `{value}` | {_WHY.get(key, '')} | {worth} |")
    lines += [
        "",
        "*Worth* is the trial with all of these settings against the one where this key alone is as in the start, once each.",
        "",
    ]
    return lines


def _worth(searching: Searching, verdict: Verdict, key: str) -> str:
    """What the trials say of one key: the chosen ones beside the same with the start's value."""
    without = {**verdict.chosen, key: searching.space.start[key]}
    chosen, other = (searching.trial_of(combination) for combination in (verdict.chosen, without))
    if other is None:
        reason = searching.unwanted(without)
        return f"without it: {reason}" if reason else "not tried alone"
    if not other.result.counts or chosen is None or not other.result.value or chosen.result.value is None:
        return f"without it: {NAMES[other.result.ended]}"
    ratio = chosen.result.value / other.result.value
    return f"x {ratio:.3f} (trial {chosen.number} against {other.number})"


def _trials(searching: Searching) -> list[str]:
    objective = searching.objective
    lines = [
        f"| trial | {objective.unit} | GB of a rank | waits for samples | outcome | settings |",
        "|---:|---:|---:|---:|---|---|",
    ]
    for trial in searching.trials:
        result = trial.result
        settings = ", ".join(f"`{k}={v}`" for k, v in searching.space.differing(trial.combination).items())
        value = "" if result.value is None else f"{result.value:.{objective.digits}f}"
        memory = "" if result.memory_bytes is None else f"{result.memory_bytes / 1e9:.3f}"
        waiting = "" if result.waiting is None else f"{result.waiting:.0%}"
        lines.append(
            f"| {trial.number} | {value} | {memory} | {waiting} | {_in_cell(result.told)} | {_in_cell(settings) or 'the start'} |"
        )
    return lines


def _in_cell(text: str) -> str:
    return text.replace("|", "\\|")


def write_picture(path: Path, searching: Searching, verdict: Verdict) -> None:
    """`tuned.png`: samples/s against memory. Raises UserError where matplotlib is not installed."""
    points = [
        Point(
            _name(searching, verdict, t),
            t.result.memory_bytes / 1e9,
            t.result.value,
            NAMES[t.result.ended],
            t.result.counts,
        )
        for t in searching.trials
        if t.result.value is not None and t.result.memory_bytes is not None
    ]
    without = Counter(NAMES[t.result.ended] for t in searching.trials if t.result.value is None)
    failed = [", ".join(f"{count} {name}" for name, count in without.items()) + ": not drawn"] if without else []
    limit = searching.limits.memory
    labels = Labels(
        "What memory buys", f"{len(searching.trials)} trials; {told_gain(searching, verdict)}",
        "memory of the fullest rank, GB", searching.objective.unit, "limit",
    )  # fmt: skip
    frontier_chart(path, points, labels, limit=None if limit is None else limit / 1e9, failed=failed)


def _name(searching: Searching, verdict: Verdict, trial: Trial) -> str:
    if trial.combination == searching.space.start:
        return "start"
    return "chosen" if trial.combination == verdict.chosen else ""
