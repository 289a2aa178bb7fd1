"""The files of an archive that grows: which are whole by now, and what each holds, looked up once.

A file is taken when its size and time of change have stayed from one look to the next. One that cannot be read may be
whole later, whatever the reason: it is tried again when it has changed, and now and then when it has not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from data_prep.errors import RadarFileError
from data_prep.readers import Each, Item, Result
from data_prep.readers.unpacking import identity
from data_prep.workers import Pool

AGAIN_S = (10.0, 600.0)
"""A file that could not be read is tried again after so long, then after twice that, up to the other."""


@dataclass
class _File:
    identity: tuple[int, int]
    settled: bool = False
    listed: Any = None
    damage: RadarFileError | None = None
    again_at_s: float = 0.0
    wait_s: float = AGAIN_S[0]

    def blame(self, error: RadarFileError, now_s: float) -> None:
        self.damage, self.listed = error, None
        self.again_at_s, self.wait_s = now_s + self.wait_s, min(2 * self.wait_s, AGAIN_S[1])


class Arrivals:
    """The files as of the last look. clock: seconds that only grow."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._files = dict[Path, _File]()

    def look(self, paths: Sequence[Path]) -> bool:
        """Takes in what is there now, and forgets what is not. Whether there is anything to read that was not read yet."""
        before, self._files = self._files, {}
        for path in paths:
            try:
                now = identity(path)
            except OSError:  # it has gone
                continue
            known = before.get(path)
            if known is None or known.identity != now:
                known = _File(now)
            else:
                known.settled = True
            self._files[path] = known
        return any(self._is_new(file) for file in self._files.values())

    @property
    def unsettled(self) -> bool:
        """Whether a file may still be being written."""
        return any(not file.settled for file in self._files.values())

    @property
    def settled(self) -> list[Path]:
        """The files to use."""
        return [path for path, file in self._files.items() if file.settled and not self._rests(file)]

    def damaged(self) -> list[RadarFileError]:
        """The files that could not be read when that was tried last."""
        return [file.damage for file in self._files.values() if file.damage]

    def blame(self, error: RadarFileError) -> bool:
        """A file could not be read: it rests for a while. Whether it is one of these."""
        for path, file in self._files.items():
            if error.path == str(path) or error.path.startswith(f"{path}/"):
                file.blame(error, self._clock())
                return True
        return False

    def each(self, pool: Pool) -> Each:
        """An `Each` that asks the pool only for files that it has not been asked for."""

        def each(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result | RadarFileError]:
            files = [self._files[cast(Path, item)] for item in items]
            asked = [(item, file) for item, file in zip(items, files, strict=True) if file.listed is None]
            answers = pool.each(function, [item for item, _ in asked])
            for (_, file), answer in zip(asked, answers, strict=True):
                if isinstance(answer, RadarFileError):
                    file.blame(answer, self._clock())
                else:
                    file.listed, file.damage = answer, None
            return (file.listed if file.listed is not None else cast(RadarFileError, file.damage) for file in files)

        return each

    def _rests(self, file: _File) -> bool:
        return file.damage is not None and self._clock() < file.again_at_s

    def _is_new(self, file: _File) -> bool:
        return file.settled and file.listed is None and not self._rests(file)
