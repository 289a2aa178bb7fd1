"""How many samples a build will keep and how large they will be, from a few frames."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from data_prep.building.layout import AnotherGridError, Layout, read_recording
from data_prep.building.selection import Selection, acceptance, unfit
from data_prep.building.sequences import Sequence
from data_prep.encoding import encoding_named
from data_prep.readers import Reader, Recording
from data_prep.shards.samples import Packing
from data_prep.shards.tally import tally_of
from data_prep.workers import Pool

_FRAMES = 8


@dataclass(frozen=True)
class Estimate:
    """kept_per_sequence: samples; bytes_per_sample: compressed. From `frames` frames, as if each stood for its sequence."""

    kept_per_sequence: float
    bytes_per_sample: float
    frames: int


class _Seen(NamedTuple):
    kept: float
    bytes: float  # of the kept ones' frames


def estimate(
    reader: Reader,
    recordings: list[Recording],
    sequences: Items[Sequence],
    layout: Layout,
    packing: Packing,
    selection: Selection,
    pool: Pool,
) -> Estimate | None:
    """From the middle frames of a few sequences; None where none of them can be read."""
    chosen = {(i * (len(sequences) - 1)) // (_FRAMES - 1) for i in range(_FRAMES)}
    refs = [sequences[number].frames[len(sequences[number].frames) // 2] for number in sorted(chosen)]
    read = {ref.recording: (recordings[ref.recording], ref.step) for ref in refs}
    look = partial(_look, reader, layout, packing, selection)
    seen = [one for one in pool.each(look, list(read.values())) if isinstance(one, _Seen)]
    if not seen:
        return None
    kept = sum(one.kept for one in seen)
    size = sum(one.bytes for one in seen) / kept * packing.shape_THW[0] if kept else 0.0
    return Estimate(kept / len(seen), size, len(seen))


def _look(
    reader: Reader, layout: Layout, packing: Packing, selection: Selection, place: tuple[Recording, int]
) -> _Seen | None:
    recording, step = place
    encoding, (rows, columns) = encoding_named(layout.encoding), layout.shape
    frame = read_recording(reader, recording)[step]
    try:
        layout.check(frame)
    except AnotherGridError:
        return None
    codes = layout.mean([frame]).encode(encoding)
    kept, size = 0.0, 0.0
    for row, column in layout.cuts:
        part = codes[row : row + rows, column : column + columns]
        tally = tally_of(part, encoding)
        if unfit(tally, selection):
            continue
        probability = acceptance(tally, layout.encoding, selection)
        kept += probability
        size += probability * len(packing.chunk([part])[0])
    return _Seen(kept, size)
