"""Streaming 25-frame windows of 384 x 384 pixels on two threads, files in the page cache, against what bounds it and peers."""

from __future__ import annotations

import math
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import zstandard

from benchmarks import peers
from benchmarks.archive import SPLIT, Archive
from benchmarks.command import Setting, main
from benchmarks.report import Goal, Report
from benchmarks.timing import Contender, in_turns
from data_prep.shards.index import read_idx
from data_prep.shards.samples import FRAMES_MEMBER
from ds_nowcast.config.nowcast_keys import DataKeys
from ds_nowcast.model_space import ModelSpace
from ds_nowcast.stream.order import window_starts
from ds_nowcast.stream.pipeline import CodeStream, training_stream

BATCH, THREADS = 8, 2
DATA = DataKeys(split=SPLIT)  # 13 frames -> 12, windows at frames 0, 12, 24
WINDOWS = 600  # of a round, so many that the stream's start does not weigh
LIMIT, CODES, FLOATS = "decompression alone", "stream of codes", "stream as float32"
WEBDATASET, HDF5 = ("webdataset recipe, float32", "HDF5 Dataset, float32")


def run(setting: Setting) -> Report:
    """Measures all."""
    archive = setting.archive
    windows = [(e, first) for e in range(archive.events) for first in window_starts(archive.shards.index.frames, DATA)]
    passes = 2 if setting.quick else -(-WINDOWS // len(windows))  # over all windows; the slow peers make one
    torch.set_num_threads(1)  # both cores are busy decoding
    with tempfile.TemporaryDirectory() as folder:
        tars = peers.write_npy_tars(archive, windows, DATA.window, Path(folder) / "npy")
        to_floats = into_model_space(archive)
        contenders: dict[str, Contender] = {
            LIMIT: decompression(archive, passes),
            CODES: lambda: stream(archive, len(windows) * passes, lambda codes: None),
            FLOATS: lambda: stream(archive, len(windows) * passes // 2, to_floats),
        }
        for workers in (0, THREADS):
            contenders[f"{WEBDATASET}, {workers} workers"] = epoch(peers.webdataset_loader(tars, BATCH, workers))
            loader = peers.hdf5_loader(archive, windows, DATA.window, BATCH, workers)
            contenders[f"{HDF5}, {workers} workers"] = epoch(loader)
        rates = in_turns(contenders, setting.rounds)
    goals = [
        Goal(CODES, [LIMIT], 0.8),
        Goal(CODES, [name for name in contenders if name.startswith(WEBDATASET)], 5),
        Goal(FLOATS, [name for name in contenders if name.startswith(HDF5)], 5),
    ]
    rows, columns = archive.shards.index.shape
    what = (
        f"{DATA.window}-frame windows of {rows} x {columns} pixels, {archive.what}, compressed {_shrunk(archive):.1f}x, "
        f"batches of {BATCH}, {THREADS} threads"
    )
    return Report("loader", what, "frames/s", rates, goals)


def stream(archive: Archive, windows: int, use: Callable[[torch.Tensor], object]) -> float:
    """Our stream from its start, threads and buffers included, for so many windows."""
    with _opened(archive) as batches:
        for _ in range(windows // BATCH):
            use(next(batches).codes_BTHW)
    return windows // BATCH * BATCH * DATA.window


def _opened(archive: Archive) -> CodeStream:
    return training_stream(archive.shards, DATA, 0, batch=BATCH, rank=0, world=1, start=0, threads=THREADS)


def into_model_space(archive: Archive) -> Callable[[torch.Tensor], object]:
    """Codes by the look-up table into one float32 batch, used again and again as the stream's own memory is."""
    space = ModelSpace(archive.shards.index.codes, DATA.input_frames, torch.device("cpu"))
    batch_BTHW = torch.empty((BATCH, DATA.window, *archive.shards.index.shape))
    return lambda codes_BTHW: space.values(codes_BTHW, batch_BTHW)


def decompression(archive: Archive, passes: int) -> Contender:
    """Each window's chunks of zstd, from memory, `passes` times over, on as many threads as the stream has."""
    windows = _compressed_windows(archive)
    of_thread = threading.local()

    def decompress(chunks: list[bytes]) -> None:
        if not hasattr(of_thread, "zstd"):
            of_thread.zstd = zstandard.ZstdDecompressor()
        for chunk in chunks:
            of_thread.zstd.decompress(chunk)

    def work() -> float:
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(decompress, windows * passes):
                pass
        return len(windows) * passes * DATA.window

    return work


def _compressed_windows(archive: Archive) -> list[list[bytes]]:
    """The chunks that hold a window's frames, for each window. Parses the shards by itself, as any peer could."""
    index, windows = archive.shards.index, []
    for shard in archive.shards.split(SPLIT).shards:
        tar = archive.shards.folder / shard.name
        content = tar.read_bytes()
        for offset, size in read_idx(tar, shard).members[FRAMES_MEMBER]:
            chunks = _chunks(content[offset : offset + size])
            for first in window_starts(index.frames, DATA):
                last = first + DATA.window - 1
                windows.append(chunks[first // index.frames_per_chunk : last // index.frames_per_chunk + 1])
    return windows


def _chunks(member: bytes) -> list[bytes]:
    """The zstd frames of a member in zstd's seekable format: a table of (compressed, raw) sizes, then 9 bytes."""
    count = int.from_bytes(member[-9:-5], "little")
    sizes = np.frombuffer(member, "<u4", 2 * count, len(member) - 9 - 8 * count)[::2]
    ends = np.cumsum(sizes)
    return [member[end - size : end] for size, end in zip(sizes.tolist(), ends.tolist(), strict=True)]


def _shrunk(archive: Archive) -> float:
    """How many times smaller the shards are than their codes."""
    index, split = archive.shards.index, archive.shards.split(SPLIT)
    raw = split.samples * math.prod(archive.shards.shape_THW) * index.codes.dtype.itemsize
    return raw / sum(shard.bytes for shard in split.shards)


def epoch(loader: peers.Loader) -> Contender:
    """One pass over a peer's loader; its workers, once started, stay."""

    def work() -> float:
        return float(sum(batch.shape[0] * batch.shape[1] for batch in loader))

    return work


if __name__ == "__main__":
    sys.exit(main("benchmarks.loader", [run]))
