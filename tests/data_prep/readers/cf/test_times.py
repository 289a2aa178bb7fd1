"""Times: units, calendars, bounds; against cftime, the library of netCDF's times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from data_prep.errors import RadarFileError
from data_prep.readers.cf.times import Times, cell_interval_s, is_time, time_of_file, times_of
from data_prep.readers.stamps import YEARS
from tests.data_prep.readers.cf.memory import MemoryDataset

cftime = pytest.importorskip("cftime")


def times(values: Any, units: str, calendar: str = "standard", **attributes: Any) -> Times:
    dataset = MemoryDataset()
    dims = "time" if np.ndim(values) else ""
    dataset.add("time", dims, values, units=units, **({"calendar": calendar} if calendar else {}), **attributes)
    return times_of(dataset, dataset.variables["time"])


@pytest.mark.parametrize("calendar", ["standard", "gregorian", "proleptic_gregorian"])
@pytest.mark.parametrize(
    ("value", "units"),
    [
        (150, "minutes since 2017-08-16 00:55:00"),
        (1.5e9, "seconds since 1970-01-01"),
        (1.5, "hours since 2020-02-29T23:30:00Z"),
        (43_900.25, "days since 1900-1-1 0:0:0.0"),
        (737_000.5, "days since 0001-01-01"),
        (738_000.25, "days since 1-1-1 00:00:00"),
        (160_000.5, "days since 1582-10-04"),
        (160_000.5, "days since 1582-10-15"),
        (12, "h since 2020-06-01 00:00:00 +02:00"),
        (12, "hours since 2020-06-01 00:00:00 -0330"),
        (90_061.5, "seconds since 2020-06-01 12:00 UTC"),
        (1_590_000_000_123, "milliseconds since 1970-01-01 00:00:00.000000"),
    ],
)
def test_a_time_is_the_one_cftime_reads(value: float, units: str, calendar: str) -> None:
    expected = cftime.num2date(value, units, calendar, only_use_cftime_datetimes=True)
    end = times(value, units, calendar).end(0)
    assert end is not None and end.tzinfo is UTC
    assert end.isoformat()[:19] == expected.isoformat()[:19] and end.microsecond == expected.microsecond


def test_nanoseconds_in_64_bits_are_right_to_the_millisecond() -> None:
    found = times(np.array([1_600_000_000_123_000_000]), "nanoseconds since 1970-01-01")
    assert found.end(0) == datetime(2020, 9, 13, 12, 26, 40, 123_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("units", "calendar"),
    [
        ("minutes after 2020", "standard"), ("months since 2020-01-01", "standard"), ("m since 2020-01-01", "standard"),
        ("days since yesterday", "standard"), ("days since 2021-02-29", "proleptic_gregorian"),
        ("days since 2020-13-01", "standard"), ("days since 0-1-1", "proleptic_gregorian"),
        ("days since 2020-01-01", "noleap"), ("days since 2020-01-01", "360_day"),
    ],
)  # fmt: skip
def test_a_time_of_no_real_day_is_refused(units: str, calendar: str) -> None:
    with pytest.raises(RadarFileError, match=r"minutes since 2017-08-16|expected standard or proleptic_gregorian"):
        times([1.0], units, calendar)


@pytest.mark.parametrize("at", [0, 2.5, 5])
def test_with_bounds_a_time_is_the_end_of_its_interval_wherever_the_coordinate_lies(at: float) -> None:
    dataset = MemoryDataset()
    dataset.add("time", "time", [at, at + 5], units="minutes since 2020-06-01 12:00:00", bounds="time_bnds")
    dataset.add("time_bnds", "time nv", [[0, 5], [5, 10]])
    found = times_of(dataset, dataset.variables["time"])
    assert [found.end(step) for step in (0, 1)] == [datetime(2020, 6, 1, 12, minute, tzinfo=UTC) for minute in (5, 10)]
    assert [found.interval(step) for step in (0, 1)] == [300.0, 300.0]


def test_bounds_may_have_units_of_their_own_and_a_scalar_time_bounds_of_two() -> None:
    dataset = MemoryDataset()
    dataset.add("time", "", 0, units="hours since 2020-06-01 12:00:00", bounds="b")
    dataset.add("b", "nv", [10, 0], units="minutes since 2020-06-01 12:00:00")
    found = times_of(dataset, dataset.variables["time"])
    assert found.end(0) == datetime(2020, 6, 1, 12, 10, tzinfo=UTC) and found.interval(0) == 600.0


def test_bounds_of_another_shape_are_refused() -> None:
    dataset = MemoryDataset()
    dataset.add("time", "time", [0, 1], units="hours since 2020-06-01", bounds="b")
    dataset.add("b", "time nv", np.zeros((3, 2)))
    with pytest.raises(RadarFileError, match=r"bounds 'b' of 'time' have shape \(3, 2\), expected \(n, 2\)"):
        times_of(dataset, dataset.variables["time"])


def test_a_time_that_is_missing_or_of_no_radar_is_none() -> None:
    found = times(np.array([-9999, 10**9, 5]), "days since 2020-01-01", _FillValue=-9999)
    assert [found.end(step) for step in range(3)] == [None, None, datetime(2020, 1, 6, tzinfo=UTC)]
    assert found.interval(2) is None


def test_a_time_counts_in_the_same_years_as_of_every_format() -> None:
    found = times([-7306.0, -7305.0, 47_481.5, 47_482.0], "days since 1970-01-01")
    ends = [found.end(step) for step in range(4)]
    assert [end and end.year for end in ends] == [None, YEARS[0], YEARS[-1], None]


def test_a_time_is_known_by_its_units() -> None:
    dataset = MemoryDataset()
    dataset.add("a", "a", [1.0], units="days since 2020-01-01")
    dataset.add("b", "b", [1.0], units="days")
    dataset.add("c", "c", ["x"], units="days since 2020-01-01")
    assert [is_time(dataset.variables[name]) for name in "abc"] == [True, False, False]


def test_a_file_of_one_time_may_state_it_in_its_attributes() -> None:
    stated = {"time_coverage_start": "2020-06-01T12:00:00Z", "time_coverage_end": "2020-06-01T12:05:00Z"}
    found = time_of_file(MemoryDataset(**stated))
    assert found is not None and found.end(0) == datetime(2020, 6, 1, 12, 5, tzinfo=UTC) and found.interval(0) == 300
    assert time_of_file(MemoryDataset(time_coverage_end="soon")) is None


@pytest.mark.parametrize(
    ("cell_methods", "interval_s"),
    [
        ("time: sum (interval: 5 minutes)", 300.0), ("area: mean time: sum (interval: 1 hr comment: gauges)", 3600.0),
        ("time: sum (interval: 0.5 h)", 1800.0), ("time: sum", None), ("area: mean (interval: 1 km)", None),
        ("time: sum (interval: 1 km)", None), ("", None),
    ],
)  # fmt: skip
def test_cell_methods_state_the_interval(cell_methods: str, interval_s: float | None) -> None:
    assert cell_interval_s(cell_methods) == interval_s
