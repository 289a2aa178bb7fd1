"""Run by test_pipeline in a process of its own: memory of a stream over an index of 100,000 shards, as JSON."""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from data_prep.shards.index import open_shards
from data_prep.shards.sources.local import LocalSource
from ds_nowcast.config.nowcast_keys import DataKeys
from ds_nowcast.stream.pipeline import training_stream
from tests.shard_maker import make_shards, moving_blobs

SHARDS, SAMPLES, BATCH, BUFFER_MB = 100_000, 32, 16, 32


class OneTar(LocalSource):
    """Has every shard, all with the bytes of the first."""

    def size(self, name: str) -> int:
        return super().size(self._first(name))

    def read_all(self, name: str) -> bytes:
        return super().read_all(self._first(name))

    def read(self, name: str, offset: int, size: int, into: memoryview | None = None) -> memoryview:
        return super().read(self._first(name), offset, size, into)

    def _first(self, name: str) -> str:
        return name if name == "index.json" else f"train/train-000000.{name.rpartition('.')[2]}"


def resident_mb() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss / 2**20)


def write_index(folder: Path) -> None:
    """The made folder's, with a hundred thousand lines."""
    path = folder / "index.json"
    index: dict[str, Any] = json.loads(path.read_text())
    [shard] = index["splits"]["train"]["shards"]
    index["splits"]["train"]["shards"] = [shard | {"name": f"train/train-{i:06d}.tar"} for i in range(SHARDS)]
    path.write_text(json.dumps(index))


def main(folder: Path) -> None:
    rng = np.random.default_rng(0)
    made = make_shards(folder / "s", {"train": [moving_blobs(rng, frames=9, size=96) for _ in range(SAMPLES)]}, SAMPLES)
    data = DataKeys(input_frames=3, output_frames=2, window_stride=2, buffer_mb=BUFFER_MB)
    with training_stream(open_shards(made), data, 0, batch=1, rank=0, world=1, start=0, threads=1) as warm:
        next(warm)  # imports, threads
    write_index(made)
    mb: dict[str, float] = {"buffer_mb": BUFFER_MB, "before": resident_mb()}
    started = time.monotonic()
    shards = open_shards(made, whole=False)
    shards.__dict__["source"] = OneTar(made)
    mb |= {"seconds to open": time.monotonic() - started, "opened": resident_mb()}
    with training_stream(shards, data, 0, batch=BATCH, rank=0, world=1, start=0, threads=2) as stream:
        for samples in (10_000, 24_000):
            while not (batch := next(stream)).positions[0] >= samples:
                assert not batch.bad
            mb[f"read {samples:,}"] = resident_mb()
    print(json.dumps(mb))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
