"""Samples that cannot be read: named once, counted over all ranks, and too many at some number."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from data_prep.errors import DataError
from ds_nowcast.ranks import Ranks
from ds_nowcast.stream.windows import Sample


def note_damage(
    known: dict[str, str], samples: Sequence[Sample], most: int, where: str, ranks: Ranks, warn: Callable[[str], None]
) -> None:
    """Adds this rank's and all others' damaged samples to `known` (reasons by name), with a warning for each new one.

    A sample counts once, however often and in however many windows it is met. Every rank must call; all have the same
    `known` afterwards. Raises DataError, on all ranks, where it holds more than `most`. where: the shards' place.
    """
    parts = ranks.gather(list(samples))
    everywhere = sorted(sample for part in parts for sample in part)
    for sample in everywhere:
        if (name := f"{sample.shard} {sample.key}") not in known:
            known[name] = sample.damage
            warn(f"unreadable sample counts as all missing: {sample}")
    if len(known) > most:
        raise DataError(
            f"{len(known)} unreadable samples are more than nowcast.data.max_bad_samples={most} (the last: {everywhere[-1]}); "
            f"run `python -m data_prep verify {where}` and copy or build the shard again"
        ).at(next(rank for rank, part in enumerate(parts) if everywhere[-1] in part))
