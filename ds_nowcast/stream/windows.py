"""Windows of frames out of shards, by their byte ranges, from many threads at once."""

from __future__ import annotations

import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import DataError, SourceError, UserError
from data_prep.shards.index import Member, Shard, ShardMembers, Shards, check_size, open_shards, read_idx
from data_prep.shards.samples import META_MEMBER, Table
from data_prep.shards.sources import SourceOptions
from ds_nowcast.config.nowcast_keys import DataKeys
from ds_nowcast.stream.order import Item

Value = TypeVar("Value")

_KEPT_SAMPLES = 65_536  # whose keys and places are kept: some 25 MB
_KEPT_TABLES = 8_192  # whose chunks' sizes and times are kept: some 25 MB
_READ_TOGETHER = 2**16  # a sample's table and JSON are read at once where they lie so near each other


class Sample(NamedTuple):
    """A training sample by name."""

    position: int  # in the order; -1 for padding
    shard: str
    key: str
    start: int  # first frame of the window
    damage: str = ""  # why it could not be read and counts as all missing
    times: str = ""  # of all frames of its sequence, as its JSON has them, with blanks between

    def line(self, batch: int, ranks: int, window: int) -> dict[str, Any]:
        """What `ds_nowcast.order --json` and the samples' log of a training say of it, steps of `batch` samples."""
        return {
            "step": self.position // batch + 1,
            "rank": self.position % ranks,
            "position": self.position,
            "shard": self.shard,
            "key": self.key,
            "first": self.start,
            "last": self.start + window - 1,
        }

    def __str__(self) -> str:
        return f"{self.shard} {self.key}" + (f": {self.damage}" if self.damage else f" from frame {self.start}")


class _Contents(NamedTuple):
    """What is known of a shard."""

    members: ShardMembers | None  # None where its table of contents cannot be used
    damage: str  # why none of its samples can be used


class _Table(NamedTuple):
    """What is known of a sample once its JSON was checked."""

    offset: int  # of its frames in the tar
    chunks: Table
    times: str  # of all frames, with blanks between: in one piece they take less memory


def open_for(location: str, data: DataKeys) -> Shards:
    """The shards of a training, read as its config says. Raises as `open_shards` does.

    Where samples may be bad, a damaged shard is not an error before it is read.
    """
    shards = open_shards(location, source_options(data), whole=data.max_bad_samples == 0)
    if not shards.source.local:
        _check_cache(shards, data)
    return shards


def source_options(data: DataKeys) -> SourceOptions:
    """How a config wants shards to be read."""
    return SourceOptions(
        allow_pipe=data.allow_pipe,
        cache_dir=None if data.cache_dir is None else Path(data.cache_dir),
        cache_mb=data.cache_mb,
        requests=data.requests,
        retries=data.retries,
    )


def _check_cache(shards: Shards, data: DataKeys) -> None:
    """Raises UserError where shards that are shuffled together do not fit the cache they go through, if they do."""
    in_split = shards.split(data.split).shards
    with suppress(FileNotFoundError):  # only asking tells whether a server gives ranges
        shards.source.size(in_split[0].name)
    if shards.source.cache_mb is None:
        return
    sizes = sorted((shard.bytes for shard in in_split), reverse=True)
    together = sum(sizes[: data.shuffle_shards]) / 2**20
    if together > shards.source.cache_mb:
        fitting = int(np.searchsorted(np.cumsum(sizes), shards.source.cache_mb * 2**20, "right"))
        raise UserError(
            f"{shards.source.location} gives no byte ranges, so whole shards go through a cache of nowcast.data.cache_mb="
            f"{shards.source.cache_mb}, and those shuffled together are {math.ceil(together)} MB; give cache_mb={math.ceil(together)}"
            + (f" or nowcast.data.shuffle_shards={fitting} or less" if fitting else "")
        )


class Windows:
    """The windows of a split. Holds a bounded number of tables of contents, whatever the number of shards."""

    def __init__(self, shards: Shards, split: str, *, verify: bool = False) -> None:
        self._source, self._packing, self._verify = shards.source, shards.packing, verify
        self._shards, self._hashed = shards.split(split).shards, shards.hashed
        self._opened: _Kept[_Contents] = _Kept(_KEPT_SAMPLES)
        self._tables: _Kept[_Table] = _Kept(_KEPT_TABLES)

    def named(self, position: int, item: Item) -> Sample:
        """The item by name, found without reading frames. Raises SourceError."""
        contents, name = self._contents(item.shard), self._shards[item.shard].name
        key = f"sample {item.sample}" if contents.members is None else contents.members.keys[item.sample]
        return Sample(position, name, key, item.start, contents.damage)

    def event(self, item: Item) -> str:
        """The storm that the item's sequence is part of. Raises DataError where its JSON cannot be read."""
        sample, members = self.named(-1, item), self._contents(item.shard).members
        try:
            if members is None or sample.damage:
                raise ValueError(sample.damage)
            meta = bytes(self._source.read(sample.shard, *_place(members, META_MEMBER, item.sample)))
            return str(json.loads(meta)["event"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise DataError(f"{sample.shard} {sample.key} cannot be read: {error}") from None

    def stored_bytes(self, item: Item, frames: int) -> int:
        """Compressed bytes that a read of the item's window of so many frames takes. Raises as `read` finds damage: ValueError, OSError."""
        chunks, ends = self._packing.chunks_of(item.start, item.start + frames), self._table(item).chunks.ends
        return ends[chunks.stop] - ends[chunks.start]

    def read(self, position: int, item: Item, out_tHW: NDArray[Any], decoding: threading.Semaphore | None) -> Sample:
        """Decodes the item's window into `out_tHW`. Where it is damaged the sample says so, and `out_tHW` holds anything.

        decoding: how many threads may decode at once, where there are more. Raises SourceError.
        """
        sample = self.named(position, item)
        if sample.damage:
            return sample
        try:
            table = self._table(item)
            self._fill(sample.shard, table, item.start, out_tHW, decoding or nullcontext())
        except (OSError, ValueError) as error:
            return sample._replace(damage=str(error) or repr(error))
        return sample._replace(times=table.times)

    def _fill(
        self, name: str, member: _Table, start: int, out_tHW: NDArray[Any], decoding: AbstractContextManager[Any]
    ) -> None:
        """Reads and decodes frames of a member. Raises ValueError, OSError, SourceError."""
        source, packing, (offset, table, _) = self._source, self._packing, member
        if packing.direct:

            def read(begin: int, into: memoryview) -> None:
                source.read(name, offset + begin, len(into), into)

            packing.read_into(read, table, start, out_tHW, at_once=not source.local)
            return
        chunks = packing.chunks_of(start, start + len(out_tHW))
        first, last = table.ends[chunks.start], table.ends[chunks.stop]
        packed = source.read(name, offset + first, last - first)
        with decoding:
            packing.decode(packed, table, start, out_tHW)

    def _contents(self, number: int) -> _Contents:
        return self._opened.get(number, lambda: self._open(self._shards[number]), self._shards[number].samples)

    def _open(self, shard: Shard) -> _Contents:
        damage = self._damage_of(shard)
        try:
            return _Contents(read_idx(self._source, shard), damage)
        except SourceError:
            raise
        except DataError as error:
            return _Contents(None, damage or str(error))

    def _damage_of(self, shard: Shard) -> str:
        """Why the whole shard cannot be used; "" where it can."""
        try:
            check_size(self._source, shard)
            if self._verify and not self._fits_its_hash(shard):
                return "its sha256 is not the one in the index"
        except SourceError:
            raise
        except (DataError, OSError) as error:
            return str(error) or repr(error)
        return ""

    def _fits_its_hash(self, shard: Shard) -> bool:
        """Found out once, for all streams over these shards."""
        if shard.name not in self._hashed:
            self._hashed[shard.name] = self._source.sha256(shard.name) == shard.sha256
        return self._hashed[shard.name]

    def _table(self, item: Item) -> _Table:
        return self._tables.get((item.shard, item.sample), lambda: self._checked(item))

    def _checked(self, item: Item) -> _Table:
        """A sample's table of chunks, after its JSON was held against the index. Raises ValueError, OSError."""
        shard, members, packing = self._shards[item.shard], self._contents(item.shard).members, self._packing
        assert members is not None
        frames, meta = (_place(members, ext, item.sample) for ext in (packing.member, META_MEMBER))
        tail = Member(frames.offset + max(frames.size - packing.table_bytes, 0), min(frames.size, packing.table_bytes))
        table, text = self._both(shard.name, tail, meta)
        times = _times(text, members.keys[item.sample], list(packing.shape_THW), packing.dtype.name)
        return _Table(frames.offset, packing.table(table, frames.size), times)

    def _both(self, name: str, first: Member, second: Member) -> tuple[bytes, bytes]:
        """The bytes of two places, in one read where the second lies close behind the first."""
        gap = second.offset - first.offset
        if not first.size <= gap < _READ_TOGETHER:
            return bytes(self._source.read(name, *first)), bytes(self._source.read(name, *second))
        span = self._source.read(name, first.offset, gap + second.size)
        return bytes(span[: first.size]), bytes(span[gap:])


def _place(members: ShardMembers, ext: str, number: int) -> Member:
    place = members.members.get(ext, [None] * len(members.keys))[number]
    if place is None:
        raise ValueError(f"it has no {ext}")
    return place


def _times(text: bytes, key: str, shape: list[int], dtype: str) -> str:
    """The times of a sample's frames. Raises ValueError where its JSON is damaged, or of another sample or form than the index says."""
    try:
        meta = json.loads(text)
        frames = meta["frames"]
        said = meta["key"], frames["shape"], frames["dtype"]
        times = " ".join(meta["times"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"its JSON is damaged: {error!r}") from None
    if said != (key, shape, dtype):
        raise ValueError(f"its JSON says {str(said)[:80]}, the index {key}, {shape}, {dtype}")
    return times


class _Kept(Generic[Value]):
    """What was made last, by key, up to a total weight. Threads that ask for the same at once wait for the first of them."""

    def __init__(self, capacity: int) -> None:
        self._capacity, self._weight = capacity, 0
        self._things: OrderedDict[Hashable, tuple[Future[Value], int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value], weight: int = 1) -> Value:
        """The thing, made outside the lock where it is not there; what `make` raises is raised, and nothing kept."""
        with self._lock:
            there = self._things.get(key)
            if there is not None:
                self._things.move_to_end(key)
            else:
                mine: Future[Value] = Future()
                self._things[key] = mine, weight
                self._weight += weight
                while self._weight > self._capacity and len(self._things) > 1:
                    self._weight -= self._things.popitem(last=False)[1][1]
        if there is not None:
            return there[0].result()
        try:
            mine.set_result(make())
        except BaseException as error:
            mine.set_exception(error)
            with self._lock:
                if self._things.get(key, (None,))[0] is mine:
                    self._weight -= self._things.pop(key)[1]
            raise
        return mine.result()
