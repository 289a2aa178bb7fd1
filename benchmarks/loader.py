"""Streaming 25-frame windows of 384 x 384 pixels on two threads, files in the page cache, against what bounds it and peers."""

from __future__ import annotations

import math
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import cramjam
import torch

from benchmarks import peers
from benchmarks.archive import SPLIT, Archive
from benchmarks.command import Setting, main
from benchmarks.report import Goal, Report
from benchmarks.timing import Contender, in_turns
from ds_nowcast.config.nowcast_keys import DataKeys
from ds_nowcast.model_space import ModelSpace
from ds_nowcast.stream.order import window_starts
from ds_nowcast.stream.pipeline import training_stream

BATCH, THREADS = 8, 2
DATA = DataKeys(split=SPLIT)  # 13 frames -> 12, windows at frames 0, 12, 24
WINDOWS = 2400  # of a round of ours, so many that the stream's start does not weigh
RING = 8  # sequences of memory that a thread decompresses into in turn: more than its cache holds
LIMIT, CODES, FLOATS = "decompression alone", "stream of codes", "stream as float32"
RAW = "stream of codes, raw shards"
WEBDATASET, HDF5 = "webdataset recipe, float32", "HDF5 Dataset, float32"
LITDATA, LITDATA_ZSTD = "litdata uncompressed, codes", "litdata zstd, codes"


def run(setting: Setting) -> Report:
    """Measures all."""
    archive = setting.archive
    torch.set_num_threads(1)  # both cores are busy decoding
    with tempfile.TemporaryDirectory() as folder:
        raw = archive.packed_as("raw", Path(folder) / "raw")
        contenders = ours(archive, raw, BATCH * 2 if setting.quick else WINDOWS)
        contenders |= theirs(archive, Path(folder), 1 if setting.quick else WINDOWS // 10)
        rates = in_turns(contenders, setting.rounds)
        contenders.clear()  # ends the peers' workers, litdata's at the latest with this process: waiting takes them 5 s each

    def named(*beginnings: str) -> list[str]:
        return [name for name in rates if name.startswith(beginnings)]

    goals = [Goal(CODES, [LIMIT], 0.8), Goal(CODES, named(WEBDATASET), 5), Goal(FLOATS, named(HDF5), 5)]
    if peers.has_litdata():
        goals += [Goal(CODES, named(LITDATA_ZSTD), 1), Goal(RAW, named(LITDATA), 1)]
    rows, columns = archive.shards.index.shape
    absent = "" if peers.has_litdata() else "; litdata is not installed"
    what = (
        f"{DATA.window}-frame windows of {rows} x {columns} pixels, {archive.events} {archive.what}, {archive.shards.index.codec} "
        f"compressed {shrunk(archive):.1f}x, batches of {BATCH}, {THREADS} threads{absent}"
    )
    return Report("loader", what, "windows/s", rates, goals)


def ours(archive: Archive, raw: Archive, windows: int) -> dict[str, Contender]:
    """The limit and the stream, as codes and as float32, and as codes of shards that are not compressed."""
    to_floats = into_model_space(archive)
    return {
        LIMIT: decompression(archive, windows),
        CODES: lambda: stream(archive, windows, THREADS),
        RAW: lambda: stream(raw, windows, THREADS),
        FLOATS: lambda: stream(archive, windows // 2, THREADS, to_floats),
    }


def theirs(archive: Archive, folder: Path, windows: int) -> dict[str, Contender]:
    """The peers without and with workers. windows: about so many a round; the slowest half, the fastest five times as many."""
    frames, starts = DATA.window, window_starts(archive.shards.index.frames, DATA)
    chosen = [peers.Window(event, first) for event in range(archive.events) for first in starts]
    passes = -(-windows // len(chosen))
    tars = peers.write_npy_tars(peers.codes_of(archive, chosen, frames), folder / "npy")
    stored = {LITDATA: (None, passes * 5), LITDATA_ZSTD: ("zstd", passes)} if peers.has_litdata() else {}
    for name, (compression, _) in stored.items():
        peers.write_litdata(peers.codes_of(archive, chosen, frames), folder / name, compression)
    loaders: dict[str, peers.Loader] = {}
    for workers in (0, THREADS):
        after = f", {workers} workers"
        loaders[WEBDATASET + after] = peers.webdataset_loader(tars, passes, BATCH, workers)
        hdf5 = peers.HDF5Windows(archive, chosen * -(-passes // 2), frames)
        loaders[HDF5 + after] = peers.hdf5_loader(hdf5, BATCH, workers)
        for name, (_, its_passes) in stored.items():
            loaders[name + after] = peers.litdata_loader(folder / name, its_passes, BATCH, workers)
    return {name: epoch(loader) for name, loader in loaders.items()}


def epoch(loader: peers.Loader) -> Contender:
    """One pass over a peer's loader; its workers, once started, stay."""
    return lambda: float(sum(len(batch_BTHW) for batch_BTHW in loader))


def stream(
    archive: Archive, windows: int, threads: int, use: Callable[[torch.Tensor], object] = lambda codes_BTHW: None
) -> float:
    """Our stream from its start, threads and buffers included, for so many windows."""
    with training_stream(archive.shards, DATA, 0, batch=BATCH, rank=0, world=1, start=0, threads=threads) as batches:
        for _ in range(windows // BATCH):
            use(next(batches).codes_BTHW)
    return windows // BATCH * BATCH


def into_model_space(archive: Archive) -> Callable[[torch.Tensor], object]:
    """Codes to one float32 batch, used again and again as the stream's own memory is."""
    space = ModelSpace(archive.shards.index.codes, DATA.input_frames, torch.device("cpu"))
    batch_BTHW = torch.empty((BATCH, DATA.window, *archive.shards.index.shape))
    return lambda codes_BTHW: space.values(codes_BTHW, batch_BTHW)


def decompression(archive: Archive, windows: int) -> Contender:
    """Whole sequences from memory into memory used again, by the codec's library as anybody calls it, on two threads.

    Every frame once; counted as if the frames were delivered as windows.
    """
    sequences, frames = list(members(archive)), archive.shards.index.frames
    size = math.prod(archive.shards.shape_THW)
    rings = [[bytearray(size) for _ in range(RING)] for _ in range(THREADS)]
    each = -(-windows * DATA.window // (frames * THREADS))

    def decompress(number: int) -> None:
        from_here = islice(cycle(sequences), number * len(sequences) // THREADS, None)
        for _, sequence, out in zip(range(each), from_here, cycle(rings[number]), strict=False):
            assert cramjam.lz4.decompress_into(sequence, out) == size

    def work() -> float:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(decompress, range(THREADS)))
        return each * THREADS * frames / DATA.window

    return work


def members(archive: Archive) -> Iterator[bytes]:
    """The compressed sequences, as any tar tool finds them."""
    for shard in archive.shards.split(SPLIT).shards:
        with tarfile.open(archive.shards.folder / shard.name) as tar:
            for member in tar:
                if member.name.endswith(".lz4") and (content := tar.extractfile(member)):
                    yield content.read()


def shrunk(archive: Archive) -> float:
    """How many times smaller the shards are than their codes."""
    index, split = archive.shards.index, archive.shards.split(SPLIT)
    raw = split.samples * math.prod(archive.shards.shape_THW) * index.codes.dtype.itemsize
    return raw / sum(shard.bytes for shard in split.shards)


if __name__ == "__main__":
    sys.exit(main("benchmarks.loader", {"loader": run}))
