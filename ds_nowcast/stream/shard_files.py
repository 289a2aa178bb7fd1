"""Reading members out of many tars by their byte ranges, from many threads."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict

from data_prep.errors import DataError
from data_prep.shards.index import Member, Shard, ShardMembers, Shards, read_idx

_OPEN_SHARDS = 64  # file handles and member tables kept


class ShardFiles:
    """Open tars and their tables of contents, the least recently used closed beyond a number. Used by many threads."""

    def __init__(self, shards: Shards, split: str, capacity: int = _OPEN_SHARDS) -> None:
        self._folder, self._shards, self._capacity = shards.folder, shards.split(split).shards, capacity
        self._members: OrderedDict[int, ShardMembers | DataError] = OrderedDict()
        self._files: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        self._of_thread = threading.local()

    def shard(self, number: int) -> Shard:
        """The shard's line in the index."""
        return self._shards[number]

    def members(self, number: int) -> ShardMembers:
        """The shard's table of contents. Raises DataError, each time anew, where it cannot be read."""
        with self._lock:
            if number not in self._members:
                if len(self._members) >= self._capacity:
                    self._members.popitem(last=False)
                try:
                    self._members[number] = read_idx(self._folder / self._shards[number].name, self._shards[number])
                except DataError as error:
                    self._members[number] = error
            self._members.move_to_end(number)
            members = self._members[number]
        if isinstance(members, DataError):
            raise DataError(*members.args)
        return members

    def read(self, shard: str, place: Member) -> memoryview:
        """The bytes at that place of a tar, valid until this thread reads others. Raises OSError or ValueError."""
        with self._lock:
            if shard not in self._files:
                if len(self._files) >= self._capacity:
                    os.close(self._files.popitem(last=False)[1])
                self._files[shard] = os.open(self._folder / shard, os.O_RDONLY)
            self._files.move_to_end(shard)
            handle = os.dup(self._files[shard])  # so that another thread's eviction cannot close it under us
        try:
            blob = self._memory(place.size)
            size = 0
            while size < place.size and (more := os.preadv(handle, [blob[size:]], place.offset + size)):
                size += more  # network disks may give less than asked for
        finally:
            os.close(handle)
        if size != place.size:
            raise ValueError(f"the shard ends {place.size - size} bytes too early")
        return blob

    def _memory(self, size: int) -> memoryview:
        """This thread's, the same at each call: fresh pages would cost more than reading into them."""
        if len(getattr(self._of_thread, "memory", b"")) < size:
            self._of_thread.memory = memoryview(bytearray(size))
        memory: memoryview = self._of_thread.memory
        return memory[:size]

    def close(self) -> None:
        """Closes the tars."""
        with self._lock:
            while self._files:
                os.close(self._files.popitem()[1])
