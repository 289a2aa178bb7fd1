"""From positions to code batches: a webdataset pipeline of small stages, running ahead of the training step.

    positions -> ordered (which window of which sequence) -> batches (read, decoded into reused memory) -> ahead (a thread)

A sample that cannot be read keeps its place in the batch as all missing and is named in `StepCodes.bad`.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import torch
import webdataset as wds

from data_prep.errors import UserError
from data_prep.shards.index import Shards
from ds_nowcast.config.nowcast_keys import DataKeys
from ds_nowcast.stream.order import Item, SampleOrder, ordered, rank_positions, training_order, window_starts
from ds_nowcast.stream.windows import Sample, Windows

_MOST_BATCHES = 8  # more in hand serve nothing


@dataclass
class StepCodes:
    """One rank's samples: codes (B, T, H, W); rows beyond the samples are padding. Valid until the next is taken."""

    codes_BTHW: torch.Tensor
    samples: list[Sample] = field(default_factory=list)

    @property
    def bad(self) -> list[Sample]:
        """Those that could not be read and count as all missing."""
        return [sample for sample in self.samples if sample.damage]

    @property
    def positions(self) -> list[int]:
        """(B,) place of each sample in the order, -1 for padding."""
        rows = [sample.position for sample in self.samples]
        return rows + [-1] * (len(self.codes_BTHW) - len(rows))


# Stages: each a generator of the one before


def batched(
    items: Iterable[tuple[int, Item]],
    *,
    size: int,
    buffers: queue.Queue[torch.Tensor],
    fill: Callable[[int, Item, torch.Tensor], Sample],
    pool: ThreadPoolExecutor,
    missing: int,
) -> Iterator[StepCodes]:
    """Reads and decodes `size` samples side by side into each of `buffers`; the last batch is padded.

    All free buffers are given to the pool before the oldest is waited for: no thread idles at the end of a batch.
    """
    iterator = iter(items)
    in_hand: deque[tuple[torch.Tensor, list[Future[Sample]]]] = deque()
    chosen = list(islice(iterator, size))
    while chosen or in_hand:
        codes_BTHW = _free(buffers, wait=not in_hand) if chosen else None
        if codes_BTHW is not None:
            rows = zip(chosen, codes_BTHW, strict=False)
            in_hand.append((codes_BTHW, [pool.submit(fill, *item, row_tHW) for item, row_tHW in rows]))
            codes_BTHW[len(chosen) :] = missing
            chosen = list(islice(iterator, size))
        else:
            codes_BTHW, futures = in_hand.popleft()
            yield StepCodes(codes_BTHW, [future.result() for future in futures])


def _free(buffers: queue.Queue[torch.Tensor], *, wait: bool) -> torch.Tensor | None:
    try:
        return buffers.get(block=wait)
    except queue.Empty:
        return None


def ahead(
    batches: Iterable[StepCodes], *, depth: int, stop: threading.Event, threads: list[threading.Thread]
) -> Iterator[StepCodes]:
    """Runs the stages before it in a thread, `depth` batches ahead; their exception is raised here.

    The thread is left in `threads`: whoever sets `stop` joins it. One that outlived the interpreter would abort it.
    """
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

    threads.append(threading.Thread(target=run, name="stream", daemon=True))
    threads[-1].start()
    while True:
        item = ready.get()
        if isinstance(item, BaseException):
            raise item
        if item is None:
            return
        yield item


class CodeStream:
    """Iterates StepCodes of one rank; what reading or decoding raises is raised there. Close it to end its threads."""

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
        self._windows = Windows(shards, split, verify=data.verify_hashes)
        codes = shards.index.codes
        self._missing, dtype = codes.missing, getattr(torch, codes.dtype.name)
        depth = batches_that_fit(data, batch, shards)
        self._buffers: queue.Queue[torch.Tensor] = queue.Queue()
        for _ in range(depth):
            self._buffers.put(torch.empty((batch, data.window, *shards.index.shape), dtype=dtype, pin_memory=pinned))
        # reads of far shards wait for the network, many at once, while few threads decode
        far = not shards.source.local
        self._decoding = threading.Semaphore(threads) if far else None
        self._pool = ThreadPoolExecutor(max(threads, data.requests) if far else threads, "decode")
        self._stop, self._threads = threading.Event(), list[threading.Thread]()
        self._taken: torch.Tensor | None = None
        self._batches = iter(
            wds.DataPipeline(
                lambda: positions,
                lambda source: ordered(source, order),
                lambda source: batched(
                    source, size=batch, buffers=self._buffers, fill=self._fill, pool=self._pool, missing=self._missing
                ),
                lambda source: ahead(source, depth=depth, stop=self._stop, threads=self._threads),
            )
        )

    def _fill(self, position: int, item: Item, codes_tHW: torch.Tensor) -> Sample:
        """Reads and decodes one window into its row; a damaged one becomes all missing."""
        sample = self._windows.read(position, item, codes_tHW.numpy(), self._decoding)
        if sample.damage:
            codes_tHW.fill_(self._missing)
        return sample

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
        """Ends the threads."""
        self._stop.set()
        self._buffers.put(torch.empty(0))  # wakes the thread where it waits for a buffer
        self._pool.shutdown(cancel_futures=True)
        for thread in self._threads:
            thread.join()

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
    return min(fitting, _MOST_BATCHES)


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
    order = SampleOrder(counts, window_starts(shards.index.frames, data), shuffled=False)
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
