"""What decides how shards are compressed and read: codec, frames in a chunk, threads or processes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from benchmarks import peers
from benchmarks.archive import Archive
from benchmarks.command import Setting, main
from benchmarks.loader import BATCH, DATA, RING, THREADS, epoch, stream
from benchmarks.report import Report
from benchmarks.timing import Contender, in_turns
from data_prep.shards import codecs
from data_prep.shards.codecs import CODECS, Codec
from data_prep.shards.index import open_shards
from data_prep.shards.samples import Packing
from ds_nowcast.stream.order import window_starts
from ds_nowcast.stream.pipeline import training_stream

EVENTS, COPIES = 4, 4  # packed, and of what is packed: together more than the caches hold
DECODED, STREAMED = 320, 1600  # windows of a round


def variants() -> list[Codec]:
    """Every codec at several levels, and none."""
    lz4 = [replace(CODECS["lz4"], name=f"lz4 level {level}", compress=codecs._lz4(level)) for level in (0, 3, 9)]
    zstd = [replace(CODECS["zstd"], name=f"zstd level {level}", compress=codecs._zstd(level)) for level in (1, 3, 9)]
    return [*lz4, *zstd, CODECS["raw"]]


def decoding(setting: Setting) -> Report:
    """Windows at frames 0, 12, 24 of events in memory, on two threads."""
    events = [codes_THW for codes_THW, _ in zip(setting.archive.codes(), range(EVENTS), strict=False)]
    contenders: dict[str, Contender] = {}
    notes = {}
    for codec in variants():
        CODECS[codec.name] = codec
        for frames in (1, 4):
            name = f"{codec.name}, {frames} frame{'s' * (frames > 1)} a chunk"
            packing = Packing(codec.name, events[0].shape, events[0].dtype, frames)
            started = time.perf_counter()
            packed = [packing.pack(codes_THW) for codes_THW in events[: 1 if setting.quick else None]]
            megabytes = len(packed) * events[0].nbytes / 1e6
            speed = megabytes / (time.perf_counter() - started)
            notes[name] = f"{megabytes * 1e6 / sum(map(len, packed)):.2f}x smaller, packs {speed:,.0f} MB/s"
            contenders[name] = decoder(packing, packed, BATCH if setting.quick else DECODED)
    rates = in_turns(contenders, setting.rounds)
    what = f"{_windows(setting.archive)}, decoded from memory on {THREADS} threads"
    return Report("codecs", what, "windows/s", rates, [], notes)


def _windows(archive: Archive) -> str:
    rows, columns = archive.shards.index.shape
    return f"{DATA.window}-frame windows of {rows} x {columns} pixels, {archive.what}"


def decoder(packing: Packing, packed: list[bytes], windows: int) -> Contender:
    """Decodes random windows, on each thread into a ring of memory."""
    members = [memoryview(bytearray(member)) for member in packed * COPIES]
    rings = [np.empty((RING, DATA.window, *packing.shape_THW[1:]), packing.dtype) for _ in range(THREADS)]

    def decode(number: int) -> None:
        draw, starts = np.random.default_rng(number), window_starts(packing.shape_THW[0], DATA)
        chosen = zip(
            draw.choice(len(members), windows // THREADS), draw.choice(starts, windows // THREADS), strict=True
        )
        for (which, start), out_THW in zip(chosen, cycle(rings[number]), strict=False):
            packing.unpack(members[which], int(start), out_THW)

    def work() -> float:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(decode, range(THREADS)))
        return windows // THREADS * THREADS

    return work


class InProcesses(IterableDataset[torch.Tensor]):
    """A stream of one thread in each worker process of a DataLoader, as another rank's would be."""

    def __init__(self, archive: Archive, windows: int) -> None:
        self._folder, self._windows = archive.shards.folder, windows

    def __iter__(self) -> Iterator[torch.Tensor]:
        worker = get_worker_info()
        assert worker
        rank, world = worker.id, worker.num_workers
        with training_stream(
            open_shards(self._folder), DATA, 0, batch=BATCH, rank=rank, world=world, start=0, threads=1
        ) as batches:
            for _ in range(self._windows // BATCH // world):
                yield from next(batches).codes_BTHW  # copied into shared memory, a batch at a time, before it goes on


def handing_over(setting: Setting) -> Report:
    """The whole stream on threads, and in processes that hand their batches over through shared memory."""
    archive, windows = setting.archive, BATCH * 2 if setting.quick else STREAMED
    processes = DataLoader(InProcesses(archive, windows), BATCH, **peers.in_processes(THREADS))
    contenders: dict[str, Contender] = {
        "1 thread": lambda: stream(archive, windows, 1),
        "2 threads": lambda: stream(archive, windows, 2),
        "4 threads": lambda: stream(archive, windows, 4),
        f"{THREADS} processes": epoch(processes),
    }
    rates = in_turns(contenders, setting.rounds)
    what = f"{_windows(archive)}, streamed to batches of {BATCH} in the training process"
    return Report("threads", what, "windows/s", rates, [])


if __name__ == "__main__":
    sys.exit(main("benchmarks.codecs", {"codecs": decoding, "threads": handing_over}))
