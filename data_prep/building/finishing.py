"""The index of a folder whose tasks are done."""

from __future__ import annotations

from data_prep.building.left_out import LeftOuts
from data_prep.building.plan import Plan
from data_prep.building.splits import SPLITS
from data_prep.building.task import TaskRecord
from data_prep.encoding import ENCODINGS, Encoding
from data_prep.shards.index import FORMAT_VERSION, Shard, ShardsIndex, Split
from data_prep.shards.statistics import statistics_of
from data_prep.shards.tally import CodeTally


def index_of(plan: Plan, records: list[TaskRecord], placed: dict[str, list[Shard]], left_out: LeftOuts) -> ShardsIndex:
    """What the index says: of a folder that is added to, with what it said before. placed: shards of each split."""
    layout, earlier = plan.layout, plan.earlier
    splits = dict(earlier.splits) if earlier else {}
    for name, shards in placed.items():
        new = [record for task, record in zip(plan.tasks, records, strict=True) if task.split == name and record.shards]
        splits[name] = _split(splits.get(name), new, shards, ENCODINGS[layout.encoding])
    before = LeftOuts(counts=dict(earlier.left_out)) if earlier else LeftOuts()
    before.merge(left_out)
    return ShardsIndex(
        format_version=FORMAT_VERSION,
        archive=plan.options.format,
        encoding=layout.encoding,
        unit=plan.unit,
        cadence_s=plan.cadence_s,
        frames=plan.frames,
        shape=layout.shape,
        pixel=layout.pixel,
        pixel_unit=layout.pixel_unit,
        codec=plan.packing.form,
        frames_per_chunk=plan.packing.frames_per_chunk,
        splits={name: splits[name] for name in sorted(splits, key=_customary)},
        archive_shape=layout.archive_shape,
        archive_pixel=layout.archive_pixel,
        importance=plan.options.importance is not None,
        guard_s=round(plan.options.guard.total_seconds()),
        left_out=before.by_count(),
        builds=[*(earlier.builds if earlier else ()), plan.note],
    )


def _customary(split: str) -> tuple[int, str]:
    return (SPLITS.index(split), "") if split in SPLITS else (len(SPLITS), split)


def _split(before: Split | None, records: list[TaskRecord], shards: list[Shard], encoding: Encoding) -> Split:
    tally = before.tally if before else CodeTally()
    firsts, lasts = ([before.first_time], [before.last_time]) if before else ([], [])
    for record in records:
        tally.add(record.tally)
        firsts.append(record.first_time)
        lasts.append(record.last_time)
    return Split(
        shards=[*(before.shards if before else ()), *shards],
        first_time=min(firsts),
        last_time=max(lasts),
        code_counts=tally.code_counts,
        pixels=tally.pixels,
        missing=tally.missing,
        wet=tally.wet,
        statistics=statistics_of(tally, encoding),
    )
