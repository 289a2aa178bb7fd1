"""The order in which samples are seen: a pure function of the order's identity and a position.

Legend: an item is (sequence, window). Position p counts items seen since the start of training over all ranks; epoch
e = p // N, and q = p mod N is the place within the epoch. No state, no files, no world size enters, and no array is as
long as the number of items: one number per shard is all that is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.hashing import permutation, random_bits, shuffled
from data_prep.shards.index import Shards
from ds_nowcast.config.nowcast_keys import DataKeys

_AT_ONCE = 256  # positions whose items are computed together
_DRAWN_WINDOW = 0x57494E444F57  # keeps the draw of windows apart from the permutations under the same seed


@dataclass(frozen=True)
class OrderIdentity:
    """All that decides the order; a resume under another identity would see other samples."""

    seed: int
    shuffle_shards: int | None
    windows: str
    window: int  # frames of a window
    window_stride: int
    split: str
    index_hash: str

    def differences(self, other: dict[str, Any]) -> list[str]:
        """`name: theirs -> ours` for each field in which a saved identity differs."""
        return [
            f"{name}: {other.get(name)!r} -> {value!r}"
            for name, value in asdict(self).items()
            if other.get(name) != value
        ]


class Item(NamedTuple):
    """One training sample: which window of which sequence of which shard."""

    shard: int  # number of the shard in the index's list
    sample: int  # number of the sequence in the shard
    start: int  # first frame of the window


class SampleOrder:
    """Items by position. shuffled=False gives shard order, once (evaluation); shuffled, epoch after epoch for ever.

    starts: first frames of a sequence's windows. draw: an epoch shows one of them of each sequence, drawn anew, instead
    of all. shuffle_shards: G, whose items are shuffled together; None shuffles all.
    """

    def __init__(
        self,
        samples_per_shard: list[int],
        starts: list[int],
        *,
        seed: int = 0,
        shuffle_shards: int | None = None,
        draw: bool = False,
        shuffled: bool = True,
    ) -> None:
        assert starts and all(count > 0 for count in samples_per_shard) and samples_per_shard
        self._starts, self._draw = np.array(starts, np.int64), draw
        self._windows = 1 if draw else len(starts)  # of a sequence in an epoch
        self._items = np.array(samples_per_shard, np.int64) * self._windows  # per shard
        self._seed, self._shuffled = seed, shuffled
        self._group = min(shuffle_shards or len(samples_per_shard), len(samples_per_shard))
        self.length = int(self._items.sum())  # N: items of an epoch
        self._laid: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None

    def item(self, position: int) -> Item:
        """The item at a position >= 0."""
        return self.items([position])[0]

    def items(self, positions: Iterable[int]) -> list[Item]:
        """The items at positions >= 0."""
        return [Item(*row) for row in self.table(np.fromiter(positions, np.int64)).tolist()]

    def table(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n, 3) shard, sample and first frame at n positions >= 0: the same items without an object for each."""
        epochs = positions // self.length
        result = np.empty((len(positions), 3), np.int64)
        for epoch in np.unique(epochs).tolist():
            result[epochs == epoch] = self._in_epoch(epoch, positions[epochs == epoch] - epoch * self.length)
        return result

    def _in_epoch(self, epoch: int, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n, 3) shard, sample and first frame at the places q of an epoch."""
        shards, ends = self._laid_out(epoch)
        if self._shuffled:
            places = self._shuffle(epoch, places, ends)
        which = np.searchsorted(ends, places, "right")
        within = places - (ends[which] - self._items[shards[which]])
        sample, window = within // self._windows, within % self._windows
        if self._draw:
            window = self._drawn(epoch, shards[which], sample)
        return np.stack([shards[which], sample, self._starts[window]], axis=1)

    def _laid_out(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The epoch's permutation of the shards, and where each one's items end when they are laid end to end."""
        key = epoch if self._shuffled else 0
        if self._laid is None or self._laid[0] != key:
            count = len(self._items)
            shards = permutation(count, self._seed, epoch) if self._shuffled else np.arange(count)
            self._laid = key, shards, np.cumsum(self._items[shards])
        return self._laid[1], self._laid[2]

    def _shuffle(self, epoch: int, places: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places among the items laid end to end, each moved within its group of shards."""
        last = np.minimum(np.arange(self._group, len(ends) + self._group, self._group), len(ends)) - 1
        group_ends = ends[last]
        groups = np.searchsorted(group_ends, places, "right")
        moved = np.empty_like(places)
        for group in np.unique(groups).tolist():
            begin = int(group_ends[group - 1]) if group else 0
            mine, length = groups == group, int(group_ends[group]) - begin
            moved[mine] = begin + shuffled(places[mine] - begin, length, self._seed, epoch, group)
        return moved

    def _drawn(self, epoch: int, shards: NDArray[np.int64], samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which window an epoch shows of each of these sequences."""
        bits = random_bits(shards << 32 | samples, self._seed, epoch, _DRAWN_WINDOW)
        return (bits >> np.uint64(32)).astype(np.int64) * len(self._starts) >> 32


def window_starts(frames: int, data: DataKeys) -> list[int]:
    """First frames of a sequence's fixed windows. Raises UserError when no window fits."""
    if data.window > frames:
        raise UserError(
            f"input_frames={data.input_frames} + output_frames={data.output_frames} = {data.window} frames are more than the {frames} "
            f"of a sequence in these shards; give fewer, or build with --frames {data.window} or more"
        )
    return list(range(0, frames - data.window + 1, data.window_stride))


def training_order(shards: Shards, data: DataKeys, seed: int) -> SampleOrder:
    """The shuffled endless order of the training split."""
    counts = [shard.samples for shard in shards.split(data.split).shards]
    starts, draw = window_starts(shards.index.frames, data), data.windows == "one"
    if draw:
        starts = list(range(shards.index.frames - data.window + 1))
    return SampleOrder(counts, starts, seed=seed, shuffle_shards=data.shuffle_shards, draw=draw)


def identity(shards: Shards, data: DataKeys, seed: int) -> OrderIdentity:
    """The identity of `training_order`."""
    return OrderIdentity(
        seed, data.shuffle_shards, data.windows, data.window, data.window_stride, data.split, shards.hash
    )


def rank_positions(start: int, rank: int, world: int, stop: int | None = None) -> Iterator[int]:
    """The positions from `start` (a multiple of `world`) that fall to a rank: p mod world = rank, for ever or below stop."""
    assert start % world == 0
    position = start + rank
    while stop is None or position < stop:
        yield position
        position += world


def ordered(positions: Iterable[int], order: SampleOrder) -> Iterator[tuple[int, Item]]:
    """Each position with its item: the stream's first stage."""
    iterator = iter(positions)
    while chunk := list(islice(iterator, _AT_ONCE)):
        yield from zip(chunk, order.items(chunk), strict=True)
