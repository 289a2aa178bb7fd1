"""Small files that hosts leave for each other in a folder, to learn whether they share it. What was left is removed."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock

from data_prep.errors import UserError
from ds_nowcast.doctor.protocol import Outcomes
from ds_nowcast.launch.shared_disk import unseen

PREFIX = ".nowcast-doctor-"
_left: list[Path] = []
_lock, _ended = Lock(), Event()


def leave(place: str, name: str) -> Outcomes:
    """Writes a file and locks it, as a training does with its run folder. Raises UserError."""
    with _lock:
        if not _ended.is_set():
            _leave(Path(place) / name)
    return Outcomes([""])


def _leave(path: Path) -> None:
    place = path.parent
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {place}")
    _left.append(path)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    except OSError as error:
        raise UserError(f"nothing can be written in {place} ({error.strerror})") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.fsync(handle)
    except OSError as error:
        raise UserError(f"files in {place} cannot be locked ({error.strerror})") from None
    finally:
        os.close(handle)


def see(place: str, names: list[str]) -> Outcomes:
    """Which of the files are seen, "" each, else the name."""
    missing = {path.name for path in unseen([Path(place) / name for name in names])}
    return Outcomes([name if name in missing else "" for name in names])


def remove(*, ends: bool = False) -> Outcomes:
    """Removes what was left here. ends: nothing is left any more, whatever is under way."""
    with _lock:
        if ends:
            _ended.set()
        while _left:
            with suppress(OSError):
                _left.pop().unlink(missing_ok=True)
    return Outcomes([])
