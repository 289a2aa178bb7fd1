"""The order in which samples are seen: a pure function of the order's identity and a position.

Legend: an item is (sequence, window). Position p counts items seen since the start of training over all ranks; epoch
e = p // N, and q = p mod N is the place within the epoch. No state, no files, no world size enters.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.hashing import permutation
from data_prep.shards.index import Shards
from ds_nowcast.config.nowcast_keys import DataKeys

_CACHED_GROUPS = 4


@dataclass(frozen=True)
class OrderIdentity:
    """All that decides the order; a resume under another identity would see other samples."""

    seed: int
    shuffle_shards: int | None
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
    window: int  # number of the window in the sequence


class SampleOrder:
    """Items by position. shuffled=False gives shard order, once (evaluation); shuffled, epoch after epoch for ever."""

    def __init__(
        self,
        samples_per_shard: list[int],
        windows: int,
        *,
        seed: int = 0,
        shuffle_shards: int | None = None,
        shuffled: bool = True,
    ) -> None:
        assert windows > 0 and all(count > 0 for count in samples_per_shard) and samples_per_shard
        self._items = np.array(samples_per_shard, np.int64) * windows  # per shard
        self._windows, self._seed, self._shuffled = windows, seed, shuffled
        self._group = min(shuffle_shards or len(samples_per_shard), len(samples_per_shard))
        self.length = int(self._items.sum())  # N: items of an epoch
        self._epoch: tuple[int, NDArray[np.int64], NDArray[np.int64]] = (-1, self._items, self._items)
        self._groups: OrderedDict[tuple[int, int], NDArray[np.int64]] = OrderedDict()

    def item(self, position: int) -> Item:
        """The item at a position >= 0."""
        if not self._shuffled:
            return self._place(np.arange(len(self._items)), position)
        epoch, place = divmod(position, self.length)
        shards, starts = self._shard_order(epoch)
        group = int(np.searchsorted(starts, place, "right")) - 1
        members = shards[group * self._group : (group + 1) * self._group]
        return self._place(members, int(self._group_order(epoch, group, members)[place - starts[group]]))

    def _shard_order(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The epoch's permutation of the shards, and the place at which each group begins."""
        if self._epoch[0] != epoch:
            shards = permutation(len(self._items), self._seed, epoch)
            per_group = np.add.reduceat(self._items[shards], np.arange(0, len(shards), self._group))
            self._epoch = (epoch, shards, np.concatenate([[0], np.cumsum(per_group)[:-1]]))
        return self._epoch[1], self._epoch[2]

    def _group_order(self, epoch: int, group: int, members: NDArray[np.int64]) -> NDArray[np.int64]:
        key = (epoch, group)
        if key not in self._groups:
            if len(self._groups) >= _CACHED_GROUPS:
                self._groups.popitem(last=False)
            self._groups[key] = permutation(int(self._items[members].sum()), self._seed, epoch, group)
        return self._groups[key]

    def _place(self, members: NDArray[np.int64], number: int) -> Item:
        """Item `number` of the shards `members` laid end to end."""
        ends = np.cumsum(self._items[members])
        which = int(np.searchsorted(ends, number, "right"))
        within = number - int(ends[which] - self._items[members[which]])
        return Item(int(members[which]), within // self._windows, within % self._windows)


def window_starts(frames: int, data: DataKeys) -> list[int]:
    """First frames of a sequence's windows. Raises UserError when no window fits."""
    if data.window > frames:
        raise UserError(
            f"input_frames={data.input_frames} + output_frames={data.output_frames} = {data.window} frames are more than the {frames} "
            f"of a sequence in these shards; give fewer, or build with --frames {data.window} or more"
        )
    return list(range(0, frames - data.window + 1, data.window_stride))


def training_order(shards: Shards, data: DataKeys, seed: int) -> SampleOrder:
    """The shuffled endless order of the training split."""
    counts = [shard.samples for shard in shards.split(data.split).shards]
    windows = len(window_starts(shards.index.frames, data))
    return SampleOrder(counts, windows, seed=seed, shuffle_shards=data.shuffle_shards)


def identity(shards: Shards, data: DataKeys, seed: int) -> OrderIdentity:
    """The identity of `training_order`."""
    return OrderIdentity(seed, data.shuffle_shards, data.window, data.window_stride, data.split, shards.hash)


def rank_positions(start: int, rank: int, world: int, stop: int | None = None) -> Iterator[int]:
    """The positions from `start` (a multiple of `world`) that fall to a rank: p mod world = rank, for ever or below stop."""
    assert start % world == 0
    position = start + rank
    while stop is None or position < stop:
        yield position
        position += world
