"""Times of CF files: "minutes since 2017-08-16 00:55:00" in the calendars that count real days, and their bounds.

A time with bounds is the end of its interval, wherever between them the coordinate itself lies (CF conventions 1.11,
sections 4.4 and 7.1); one without is taken as that end, as radar composites use to be stamped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from data_prep.readers.cf.dataset import Dataset, Variable, text
from data_prep.readers.cf.units import parsed, seconds
from data_prep.readers.stamps import YEARS

_SINCE = re.compile(r"\s*(?P<unit>.+?)\s+since\s+(?P<start>.+)", re.IGNORECASE)
_DATE = re.compile(
    r"(\d{1,4})-(\d{1,2})-(\d{1,2})(?:[T\s]+(\d{1,2})(?::(\d{1,2})(?::(\d{1,2}(?:\.\d*)?))?)?)?"
    r"\s*(?:Z|UTC|GMT|([-+])(\d{1,2}):?(\d{2})?)?",
    re.IGNORECASE,
)
_GREGORIAN_FROM = (1582, 10, 15)
_MIXED, _PROLEPTIC = ("standard", "gregorian", ""), ("proleptic_gregorian",)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_S, _END_S = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (YEARS.start, YEARS.stop))


@dataclass(frozen=True, eq=False)
class Times:
    """Ends of the intervals, seconds since 1970 UTC, float64 (steps,), NaN where a step has none.

    interval_s: of each step, (steps,), NaN where it is not known.
    """

    ends: NDArray[np.float64]
    interval_s: NDArray[np.float64]

    def end(self, step: int) -> datetime | None:
        """The end of a step's interval, UTC, to the millisecond; None where that is not in `YEARS`."""
        end = float(self.ends[step])
        return _EPOCH + timedelta(milliseconds=round(end * 1000.0)) if _FIRST_S <= end < _END_S else None

    def interval(self, step: int) -> float | None:
        """Seconds of a step's interval; None where that is not known."""
        found = float(self.interval_s[step])
        return found if 0.0 < found < 1e9 else None


def is_time(variable: Variable) -> bool:
    """Whether a variable's units are those of a time."""
    return variable.is_numeric and bool(_SINCE.fullmatch(variable.text("units")))


def times_of(dataset: Dataset, variable: Variable) -> Times:
    """The times of a coordinate, (steps,), one where it is a scalar. Raises RadarFileError."""
    raw = np.atleast_1d(dataset.coordinate(variable))
    unit_s, start_s = _units(dataset, variable)
    bounds = dataset.variables.get(variable.text("bounds"))
    if bounds is None:
        ends = raw * unit_s + start_s
        return Times(ends, np.full(len(ends), np.nan))
    if bounds.shape not in ((len(raw), 2), (2,) if not variable.shape else ()):
        raise dataset.error(f"bounds {bounds.name!r} of {variable.name!r} have shape {bounds.shape}, expected (n, 2)")
    if bounds.text("units"):
        unit_s, start_s = _units(dataset, bounds)
    edges = dataset.coordinate(bounds).reshape(-1, 2) * unit_s + start_s
    return Times(edges.max(axis=1), np.abs(edges[:, 1] - edges[:, 0]))


def time_of_file(dataset: Dataset) -> Times | None:
    """The time of a file that holds one: its attributes time_coverage_end and _start (ACDD 1.3)."""
    end = _seconds_since_1970(text(dataset.attributes, "time_coverage_end"), _PROLEPTIC[0])
    start = _seconds_since_1970(text(dataset.attributes, "time_coverage_start"), _PROLEPTIC[0])
    if end is None:
        return None
    return Times(np.array([end]), np.array([np.nan if start is None else end - start]))


def _units(dataset: Dataset, variable: Variable) -> tuple[float, float]:
    """Seconds of one unit, and the start of the count in seconds since 1970."""
    units, calendar = variable.text("units"), variable.text("calendar").lower()
    match = _SINCE.fullmatch(units)
    if calendar not in (*_MIXED, *_PROLEPTIC):
        raise dataset.error(
            f"time {variable.name!r} is in the calendar {calendar!r}, expected standard or proleptic_gregorian"
        )
    unit_s = seconds(match["unit"]) if match else None
    start_s = _seconds_since_1970(match["start"], calendar) if match else None
    if unit_s is None or start_s is None:
        raise dataset.error(
            f"time {variable.name!r} has units {units!r}, expected the form minutes since 2017-08-16 00:55:00"
        )
    return unit_s, start_s


def _seconds_since_1970(stamp: str, calendar: str) -> float | None:
    match = _DATE.fullmatch(stamp.strip())
    if not match:
        return None
    year, month, day, hour, minute = (int(part or 0) for part in match.groups()[:5])
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour <= 24 and minute < 60):
        return None
    try:
        days = _days_since_1970(year, month, day, julian=calendar in _MIXED and (year, month, day) < _GREGORIAN_FROM)
    except ValueError:  # 31 February
        return None
    ahead = (int(match[8] or 0) * 60 + int(match[9] or 0)) * (-60.0 if match[7] == "-" else 60.0)
    return days * 86400.0 + hour * 3600.0 + minute * 60.0 + float(match[6] or 0.0) - ahead


def _days_since_1970(year: int, month: int, day: int, julian: bool) -> int:
    """By the calendar of that day; the Julian one's day number after Richards (2013), for "days since 1-1-1"."""
    if not julian:
        return date(year, month, day).toordinal() - date(1970, 1, 1).toordinal()
    before = (14 - month) // 12
    years, months = year + 4800 - before, month + 12 * before - 3
    return day + (153 * months + 2) // 5 + 365 * years + years // 4 - 32083 - 2440588


_CELL = re.compile(r"time\s*:\s*(?P<method>\w+)[^()]*\((?:[^()]*?)interval\s*:\s*(?P<length>[\d.]+\s*\w+)")


def cell_interval_s(cell_methods: str) -> float | None:
    """The length that `time: sum (interval: 5 minutes)` states, seconds; None where there is none."""
    match = _CELL.search(cell_methods)
    quantity = parsed(match["length"]) if match else None
    return quantity.scale if quantity and quantity[1:] == (0, 0, 1) and quantity.scale > 0 else None
