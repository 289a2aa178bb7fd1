"""What the keys of `nowcast.compute` gain in speed: the same step without them, with channels last, compiled, with both."""

from __future__ import annotations

import sys
from functools import partial

from benchmarks.command import Setting, main
from benchmarks.report import Report
from benchmarks.timing import Contender, in_turns, spread
from benchmarks.train_step import (
    ACCUMULATION,
    MICRO,
    SIZE,
    check_equal,
    engine_step,
    joined,
    model_of,
    one_step,
    small_config,
    space_of,
)

AS_IT_IS = "as it is"
KEYS = {
    AS_IT_IS: (),
    "channels_last": ("channels_last",),
    "compile": ("compile",),
    "compile, channels_last": ("compile", "channels_last"),
}
MODELS = {
    "unet": "{}",
    "evolution_unet": '{"name": "evolution_unet"}',
    "convnext_unet tiny": '{"name": "convnext_unet", "preset": "tiny"}',
}


def compute(setting: Setting, name: str) -> Report:
    """Times the steps of a model with each of the keys, after a check that all compute the same loss."""
    ranks, takes = joined(), dict[str, Contender]()
    size = 32 if setting.quick else SIZE
    for label, keys in KEYS.items():
        words = [f"nowcast.model={MODELS[name]}", *(f"nowcast.compute.{key}=true" for key in keys)]
        config = small_config(*words)
        space, samples = space_of(setting, config, ranks), one_step(setting.archive.shards, config, size)
        takes[label] = engine_step(model_of(config), config, space, ranks, samples)
    first = {label: take() for label, take in takes.items()}  # compiles
    for loss in first.values():
        check_equal(first[AS_IT_IS], loss)
    rates = in_turns(
        {label: lambda take=take: MICRO * ACCUMULATION * bool(take()) for label, take in takes.items()}, setting.rounds
    )
    base = spread(rates[AS_IT_IS]).median
    gains = {label: f"{spread(found).median / base:.2f} times" for label, found in rates.items() if label != AS_IT_IS}
    what = (
        f"optimizer step of {name}, fp32, {size} x {size} pixels, micro-batch {MICRO}, accumulation {ACCUMULATION}, "
        f"{ranks.threads} threads"
    )
    return Report(f"compute_{name.replace(' ', '_')}", what, "samples/s", rates, [], gains)


if __name__ == "__main__":
    sys.exit(main("benchmarks.compute_keys", {name.replace(" ", "_"): partial(compute, name=name) for name in MODELS}))
