"""Forecasts as frames arrive, until somebody ends it.

A look at the files every few seconds; a forecast when the newest run of frames, complete, ends later than that of the
forecast before. What is wrong with files, archive or disk is told once, in one line, and looked at again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from data_prep.building.sequences import Sequence as Run
from data_prep.errors import DataError, RadarFileError, UserError, printable
from data_prep.readers import Scan
from data_prep.readers.file_reader import FileReader
from data_prep.times import iso, utc
from ds_nowcast.exported import ModelCard
from ds_nowcast.forecasting.arrivals import Arrivals
from ds_nowcast.forecasting.newest import Observed, guarded, latest_run, read_run

SETTLED_S = 2.0  # a file that has not changed for so long is whole
_AHEAD = timedelta(hours=1)  # of our clock; a time farther ahead is wrong, and would be the newest for good

Make = Callable[[Observed, float], None]


@dataclass
class Watch:
    """An archive that grows. card: of the model, which says what frames it takes. product: which, where there are several.

    clock: seconds that only grow.
    """

    reader: FileReader
    sources: Sequence[str]
    card: ModelCard
    product: str | None = None
    clock: Callable[[], float] = time.monotonic
    _arrivals: Arrivals = field(init=False)
    _done: datetime | None = field(init=False, default=None)
    _again: bool = field(init=False, default=False)
    _told: set[str] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self._arrivals = Arrivals(self.clock)

    def run(self, every_s: float, make: Make) -> None:
        """Looks every so many seconds, without end. Raises what `make` raises, but for DataError."""
        while True:
            self.look(make)
            time.sleep(min(every_s, SETTLED_S) if self._arrivals.unsettled else every_s)

    def look(self, make: Make) -> None:
        """One look. `make` is given the newest frames, where they are new, and when reading them began, by the clock.

        What is wrong is told where it was not in the look before; so is a DataError of `make`, of a full disk, say, after
        which the next look tries again.
        """
        began_s = self.clock()
        try:
            if not (self._arrivals.look(self._paths()) or self._again):
                return
            past, wrong = self._newest()
            self._again = False
        except (UserError, DataError) as error:
            self._again = isinstance(error, DataError)
            return self._tell([str(error)])
        try:
            if past is not None:
                make(past, began_s)
                self._done = utc(past.times[-1])
        except DataError as error:
            self._again = True
            wrong.append(str(error))
        self._tell(wrong)

    def _paths(self) -> list[Path]:
        paths = self.reader.files(self.sources)
        for path in paths:
            if path.is_dir() or not path.exists():
                raise UserError(f"{path} is not an ordinary file; --watch looks at files: give files, or their folder")
        return paths

    def _newest(self) -> tuple[Observed | None, list[str]]:
        """The newest frames where they are complete and newer than those of the last forecast; and what is wrong."""
        with guarded() as pool:
            while settled := self._arrivals.settled:
                scan = self.reader.scan([str(path) for path in settled], self.product, self._arrivals.each(pool))
                scan, wrong = _of_now(scan)
                run = (
                    latest_run(scan.recordings, self.card.input_frames, self.card.cadence_s)
                    if scan.recordings
                    else None
                )
                if run is None or (self._done is not None and utc(run.times[-1]) <= self._done):
                    return None, wrong + self._damaged()
                if len(run.times) < self.card.input_frames:
                    return None, [*wrong, self._waits(scan, run), *self._damaged()]
                try:
                    past = read_run(self.reader, scan, run, self.card, " ".join(self.sources), pool)
                    return past, wrong + self._damaged()
                except RadarFileError as error:
                    if not self._arrivals.blame(error):
                        raise
        return None, self._damaged()

    def _damaged(self) -> list[str]:
        return [str(error) for error in self._arrivals.damaged()]

    def _waits(self, scan: Scan, run: Run) -> str:
        frames, cadence_s = self.card.input_frames, self.card.cadence_s
        says = f"waits: frames are without a gap from {iso(run.times[0])} only, the model takes {frames}"
        if len(scan.recordings) < frames or scan.cadence_s == cadence_s:
            return says
        return f"{says} at {cadence_s} s from one to the next, where the archive's are mostly {scan.cadence_s} s apart"

    def _tell(self, wrong: list[str]) -> None:
        for line in wrong:
            if line not in self._told:
                print(printable(line), file=sys.stderr, flush=True)
        self._told = set(wrong)


def _of_now(scan: Scan) -> tuple[Scan, list[str]]:
    """Without frames of times to come, and what is wrong with those and others that are left out."""
    limit = datetime.now(UTC) + _AHEAD
    ahead = [one for one in scan.recordings if utc(one.times[-1]) > limit]
    wrong = [f"{item.what}: {item.detail or item.reason}" for item in scan.left_out if item.reason != "unreadable"]
    wrong += [f"{one.label}: is of {iso(one.times[-1])}, which is yet to come" for one in ahead]
    return (replace(scan, recordings=[one for one in scan.recordings if one not in ahead]) if ahead else scan), wrong
