"""From positions to code batches: a webdataset pipeline of small stages, running ahead of the training step.

    positions -> located (shard, key, byte range) -> batches (read, decoded into reused memory) -> ahead (a thread)

A sample that cannot be read keeps its place in the batch as all missing and is named in `StepCodes.bad`.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import torch
import webdataset as wds

from data_prep.errors import DataError, UserError
from data_prep.shards.index import Member, Shards
from data_prep.shards.samples import FRAMES_MEMBER, unpack_from
from ds_nowcast.config.nowcast_keys import DataKeys
from ds_nowcast.stream.order import SampleOrder, rank_positions, training_order, window_starts
from ds_nowcast.stream.shard_files import ShardFiles


class Located(NamedTuple):
    """A sample by name: where it is in the order, and where its bytes are."""

    position: int
    shard: str
    key: str
    start: int  # first frame of the window
    place: Member | None  # None where the shard's table of contents cannot be read
    reason: str = ""


class BadSample(NamedTuple):
    """A sample that counts as all missing, and why."""

    shard: str
    key: str
    reason: str

    def __str__(self) -> str:
        return f"{self.shard} {self.key}: {self.reason}"


@dataclass
class StepCodes:
    """One rank's samples: codes (B, T, H, W); where a position is -1 the row is padding. Valid until the next is taken."""

    codes_BTHW: torch.Tensor
    samples: list[Located] = field(default_factory=list)
    bad: list[BadSample] = field(default_factory=list)

    @property
    def positions(self) -> list[int]:
        """(B,) place of each sample in the order, -1 for padding."""
        rows = [sample.position for sample in self.samples]
        return rows + [-1] * (len(self.codes_BTHW) - len(rows))


# Stages: each a generator of the one before


def located(positions: Iterable[int], *, order: SampleOrder, files: ShardFiles, starts: list[int]) -> Iterator[Located]:
    """Positions to names and byte ranges."""
    for position in positions:
        item = order.item(position)
        shard, start = files.shard(item.shard).name, starts[item.window]
        try:
            members = files.members(item.shard)
            yield Located(
                position, shard, members.keys[item.sample], start, members.members[FRAMES_MEMBER][item.sample]
            )
        except (DataError, KeyError) as error:
            reason = str(error) if isinstance(error, DataError) else f"no member {FRAMES_MEMBER}"
            yield Located(position, shard, f"sample {item.sample}", start, None, reason)


def batched(
    samples: Iterable[Located],
    *,
    size: int,
    buffers: queue.Queue[torch.Tensor],
    fill: Callable[[Located, torch.Tensor], BadSample | None],
    pool: ThreadPoolExecutor,
    missing: int,
) -> Iterator[StepCodes]:
    """Reads and decodes `size` samples side by side into each of `buffers`; the last batch is padded.

    All free buffers are given to the pool before the oldest is waited for: no thread idles at the end of a batch.
    """
    iterator = iter(samples)
    in_hand: deque[tuple[StepCodes, Iterator[BadSample | None]]] = deque()
    chosen = list(islice(iterator, size))
    while chosen or in_hand:
        codes = _free(buffers, wait=not in_hand) if chosen else None
        if codes is not None:
            in_hand.append((StepCodes(codes, chosen), pool.map(fill, chosen, codes)))
            codes[len(chosen) :] = missing
            chosen = list(islice(iterator, size))
        else:
            batch, bad = in_hand.popleft()
            batch.bad = [sample for sample in bad if sample is not None]
            yield batch


def _free(buffers: queue.Queue[torch.Tensor], *, wait: bool) -> torch.Tensor | None:
    try:
        return buffers.get(block=wait)
    except queue.Empty:
        return None


def ahead(batches: Iterable[StepCodes], *, depth: int, stop: threading.Event) -> Iterator[StepCodes]:
    """Runs the stages before it in a thread, `depth` batches ahead; their exception is raised here."""
    ready: queue.Queue[StepCodes | BaseException | None] = queue.Queue(depth)

    def hand_over(item: StepCodes | BaseException | None) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def run() -> None:
        try:
            for batch in batches:
                hand_over(batch)
                if stop.is_set():
                    return
            hand_over(None)
        except BaseException as error:  # whatever ends the thread must reach the training loop, not leave it waiting
            hand_over(error)

    threading.Thread(target=run, name="stream", daemon=True).start()
    while True:
        item = ready.get()
        if isinstance(item, BaseException):
            raise item
        if item is None:
            return
        yield item


class CodeStream:
    """Iterates StepCodes of one rank. Close it (or use `with`) to end its threads."""

    def __init__(
        self,
        shards: Shards,
        split: str,
        order: SampleOrder,
        positions: Iterable[int],
        data: DataKeys,
        *,
        batch: int,
        threads: int,
        pinned: bool = False,
    ) -> None:
        starts = window_starts(shards.index.frames, data)
        self._shape_THW, self._files = shards.shape_THW, ShardFiles(shards, split)
        codes = shards.index.codes
        self._missing, self._chunk = codes.missing, shards.index.frames_per_chunk
        dtype = getattr(torch, codes.dtype.name)
        depth = batches_that_fit(data, batch, shards)
        self._buffers: queue.Queue[torch.Tensor] = queue.Queue()
        for _ in range(depth):
            self._buffers.put(torch.empty((batch, data.window, *shards.index.shape), dtype=dtype, pin_memory=pinned))
        self._pool, self._stop = ThreadPoolExecutor(threads, "decode"), threading.Event()
        self._taken: torch.Tensor | None = None
        self._batches = iter(
            wds.DataPipeline(
                lambda: positions,
                lambda source: located(source, order=order, files=self._files, starts=starts),
                lambda source: batched(
                    source, size=batch, buffers=self._buffers, fill=self._fill, pool=self._pool, missing=self._missing
                ),
                lambda source: ahead(source, depth=depth, stop=self._stop),
            )
        )

    def _fill(self, sample: Located, codes_tHW: torch.Tensor) -> BadSample | None:
        """Reads and decodes one window into its row; a damaged one becomes all missing."""
        try:
            if sample.place is None:
                raise ValueError(sample.reason)
            shard, (begin, length) = sample.shard, sample.place

            def read(offset: int, size: int) -> memoryview:
                return self._files.read(shard, Member(begin + offset, size))

            unpack_from(read, length, self._shape_THW, sample.start, codes_tHW.numpy(), self._chunk)
            return None
        except (OSError, ValueError) as error:
            codes_tHW.fill_(self._missing)
            return BadSample(sample.shard, sample.key, str(error))

    def __iter__(self) -> Iterator[StepCodes]:
        return self

    def __next__(self) -> StepCodes:
        if self._taken is not None:
            self._buffers.put(self._taken)
            self._taken = None
        batch: StepCodes = next(self._batches)
        self._taken = batch.codes_BTHW
        return batch

    def close(self) -> None:
        """Ends the threads and closes the shards."""
        self._stop.set()
        self._buffers.put(torch.empty(0))  # wakes the thread where it waits for a buffer
        self._pool.shutdown(cancel_futures=True)
        self._files.close()

    def __enter__(self) -> CodeStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def batches_that_fit(data: DataKeys, batch: int, shards: Shards) -> int:
    """How many batches of codes `buffer_mb` holds: one in use, the others ahead. Raises UserError below two."""
    rows, columns = shards.index.shape
    size = batch * data.window * rows * columns * shards.index.codes.dtype.itemsize
    fitting = data.buffer_mb * 2**20 // size
    if fitting < 2:
        needed = -(-2 * size // 2**20)
        raise UserError(
            f"nowcast.data.buffer_mb={data.buffer_mb} holds less than two steps of {batch} samples; "
            f"give {needed} or more, or a smaller batch"
        )
    return min(fitting, 8)


def training_stream(
    shards: Shards,
    data: DataKeys,
    seed: int,
    *,
    batch: int,
    rank: int,
    world: int,
    start: int,
    threads: int,
    pinned: bool = False,
) -> CodeStream:
    """The endless stream of one rank's samples from position `start` (the engine's global_samples)."""
    order = training_order(shards, data, seed)
    positions = rank_positions(start, rank, world)
    return CodeStream(shards, data.split, order, positions, data, batch=batch, threads=threads, pinned=pinned)


def evaluation_stream(
    shards: Shards,
    split: str,
    data: DataKeys,
    *,
    batch: int,
    rank: int,
    world: int,
    threads: int,
    max_windows: int | None = None,
    pinned: bool = False,
) -> tuple[CodeStream, int, int]:
    """Each window of a split once over all ranks: (the rank's stream, steps that every rank makes, windows in all).

    A rank whose windows are used up goes on with `padding`, so that all make equally many steps.
    """
    counts = [shard.samples for shard in shards.split(split).shards]
    order = SampleOrder(counts, len(window_starts(shards.index.frames, data)), shuffled=False)
    windows = min(order.length, max_windows or order.length)
    # spread over the split: the first windows alone would be those of the first shard's storms
    positions = (number * order.length // windows for number in rank_positions(0, rank, world, windows))
    stream = CodeStream(shards, split, order, positions, data, batch=batch, threads=threads, pinned=pinned)
    return stream, -(-windows // (world * batch)), windows


def padding(shards: Shards, data: DataKeys, batch: int) -> StepCodes:
    """A batch of no samples, all missing."""
    codes = shards.index.codes
    shape = (batch, data.window, *shards.index.shape)
    return StepCodes(torch.full(shape, codes.missing, dtype=getattr(torch, codes.dtype.name)))
