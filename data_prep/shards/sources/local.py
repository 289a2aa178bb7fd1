"""A folder on a disk."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path

from data_prep.files import sha256_of


class LocalSource:
    """Open files, the least recently used closed beyond a number."""

    local = True

    def __init__(self, location: str | Path) -> None:
        self.location = str(location)
        self._files: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        self._of_thread = threading.local()

    def size(self, name: str) -> int | None:
        return os.stat(f"{self.location}/{name}").st_size

    def read_all(self, name: str) -> bytes:
        return Path(self.location, name).read_bytes()

    def sha256(self, name: str) -> str:
        return sha256_of(Path(self.location, name))

    def read(self, name: str, offset: int, size: int) -> memoryview:
        with self._lock:
            if name not in self._files:
                if len(self._files) >= 64:
                    os.close(self._files.popitem(last=False)[1])
                self._files[name] = os.open(f"{self.location}/{name}", os.O_RDONLY)
            self._files.move_to_end(name)
            handle = os.dup(self._files[name])
        try:
            blob = self._memory(size)
            got = 0
            while got < size and (more := os.preadv(handle, [blob[got:]], offset + got)):
                got += more
        finally:
            os.close(handle)
        if got != size:
            raise ValueError(f"the shard ends {size - got} bytes too early")
        return blob

    def _memory(self, size: int) -> memoryview:
        if len(getattr(self._of_thread, "memory", b"")) < size:
            self._of_thread.memory = memoryview(bytearray(size))
        memory: memoryview = self._of_thread.memory
        return memory[:size]

    def close(self) -> None:
        with self._lock:
            while self._files:
                os.close(self._files.popitem()[1])
