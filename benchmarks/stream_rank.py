"""Run by `benchmarks.stream_at_scale` in a process of its own: one rank of a huge training begins, and reads; as JSON.

Every shard of the index has the bytes of one real shard: what is read is counted, and read and decoded for true.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.watching import bytes_of
from data_prep.shards.index import open_shards
from data_prep.shards.sources.local import LocalSource
from ds_nowcast.config.nowcast_keys import DataKeys
from ds_nowcast.stream.order import ordered, rank_positions, training_order
from ds_nowcast.stream.windows import Windows

STATUS = Path("/proc/self/status")  # VmRSS: resident now, VmHWM: at most


class CountedTar(LocalSource):
    """Has every shard, all with the bytes of the first, and counts what is read of them."""

    counts: Counter[str]

    def size(self, name: str) -> int:
        return super().size(self._first(name))

    def read_all(self, name: str) -> bytes:
        content = super().read_all(self._first(name))
        self.counts.update({"tables of contents": len(content), "opened": 1, "reads": 1})
        return content

    def read(self, name: str, offset: int, size: int, into: memoryview | None = None) -> memoryview:
        self.counts.update({"bytes of tars": size, "reads": 1})
        return super().read(self._first(name), offset, size, into)

    @staticmethod
    def _first(name: str) -> str:
        return f"train/train-000000.{name.rpartition('.')[2]}"


def main(folder: str, start: int, rank: int, world: int, per_rank: int, group: int, steps: int) -> dict[str, Any]:
    """What it takes to begin at position `start`, then to make so many steps. group: 0 shuffles all."""
    found: dict[str, Any] = {"imported": bytes_of(STATUS.read_text(), "VmRSS")}
    data, clock = DataKeys(shuffle_shards=group or None), time.process_time
    began = clock()
    shards = open_shards(folder, whole=False)
    found |= {"open_s": clock() - began, "opened": bytes_of(STATUS.read_text(), "VmRSS")}
    source = CountedTar(Path(folder))
    source.counts = Counter()
    shards.__dict__["source"] = source
    began = clock()
    order = training_order(shards, data, 0)
    items = ordered(rank_positions(start, rank, world), order)
    windows, out_tHW = Windows(shards, data.split), np.empty((data.window, *shards.index.shape), np.uint8)
    found["items"], places, needed = order.length, set[int](), 0
    for number in range(1, steps * per_rank + 1):
        position, item = next(items)
        sample = windows.read(position, item, out_tHW, None)
        assert not sample.damage, sample
        if number == 1:
            found["first_sample_s"] = clock() - began
        seen = source.counts.copy()
        windows.read(position, item, out_tHW, None)  # where all but the frames is known already
        needed += source.counts["bytes of tars"] - seen["bytes of tars"]
        source.counts = seen
        places.add(item.shard)
        if number in (per_rank, steps * per_rank):
            name = "resume" if number == per_rank else "steady"
            found[name] = {**seen, "needed": needed, "shards": len(places), "samples": number}
    return found | {"ended": bytes_of(STATUS.read_text(), "VmRSS"), "most": bytes_of(STATUS.read_text(), "VmHWM")}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], *map(int, sys.argv[2:]))))
