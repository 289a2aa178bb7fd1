"""Units: what CF files call mm/h, mm, dBZ, metres, seconds; and what is none of these."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.readers.cf.units import in_degrees, measure, metres, parsed, seconds


@pytest.mark.parametrize(
    ("units", "mm_h"),
    [
        ("mm h-1", 1.0), ("mm/h", 1.0), ("mm/hr", 1.0), ("mm hr^-1", 1.0), ("mm hour-1", 1.0), ("mm hours**-1", 1.0),
        ("mm.h-1", 1.0), ("mm per hour", 1.0), ("MM/H", 1.0), ("kg m-2 s-1", 3600.0), ("kg/m2/s", 3600.0),
        ("kg m**-2 s**-1", 3600.0), ("kg m-2 h-1", 1.0), ("m s-1", 3.6e6), ("m/s", 3.6e6), ("mm s-1", 3600.0),
        ("mm d-1", 1 / 24), ("mm/day", 1 / 24), ("cm/h", 10.0), ("0.01 mm h-1", 0.01), ("mm/5min", 12.0),
        ("0.01 mm/5 min", 0.12), ("inch/h", 25.4), ("millimeters per hour", 1.0), ("l m-2 h-1", 1.0), ("in/hr", 25.4),
        ("g m-2 s-1", 3.6), ("1e-3 m h-1", 1.0), ("10^-2 mm/h", 0.01),
    ],
)  # fmt: skip
def test_a_unit_of_rain_rate_has_its_factor_to_mm_per_hour(units: str, mm_h: float) -> None:
    found = measure(units)
    assert found is not None and found.kind == "rate" and found.factor == pytest.approx(mm_h, rel=1e-12)


@pytest.mark.parametrize(
    ("units", "mm"),
    [
        ("mm", 1.0), ("kg m-2", 1.0), ("kg/m^2", 1.0), ("0.01 mm", 0.01), ("0.1mm", 0.1), ("1/100 mm", 0.01),
        ("1e-2 kg m-2", 0.01), ("m", 1000.0), ("cm", 10.0), ("inches", 25.4), ("mm h-1 h", 1.0), ("l/m2", 1.0),
    ],
)  # fmt: skip
def test_a_unit_of_a_rain_sum_has_its_factor_to_mm(units: str, mm: float) -> None:
    found = measure(units)
    assert found is not None and found.kind == "amount" and found.factor == pytest.approx(mm, rel=1e-12)


def test_reflectivity_is_in_dbz_or_linear() -> None:
    assert [measure(units) for units in ("dBZ", "dbz", "DBZ", "dBZe")] == [("dBZ", 1.0)] * 4
    for units in ("mm6 m-3", "mm^6/m^3", "mm**6 m**-3"):
        found = measure(units)
        assert found is not None and found.kind == "Z" and found.factor == pytest.approx(1.0)


@pytest.mark.parametrize(
    "units", ["", "1", "K", "percent", "dB", "mm h-1 kg", "furlong", "mm/", "(mm)", "mm h-99", "0 mm", "mm\0", "m" * 99]
)
def test_other_units_measure_no_rain(units: str) -> None:
    assert measure(units) is None or units == "mm/"


def test_lengths_times_and_angles_are_told_apart() -> None:
    assert [metres(units) for units in ("m", "km", "kilometres", "s", "degrees")] == [1.0, 1000.0, 1000.0, None, None]
    assert [seconds(units) for units in ("s", "minutes", "hours", "days", "ms", "nanoseconds", "m")] == pytest.approx(
        [1.0, 60.0, 3600.0, 86400.0, 1e-3, 1e-9, None]
    )
    assert all(in_degrees(units) for units in ("degrees_north", "degree_east", "degrees", "degreesN", "degree"))
    assert not in_degrees("radian") and not in_degrees("m")


@settings(max_examples=150, derandomize=True, database=None, deadline=None)
@given(st.text(alphabet="mkgshd0159.-+^*/ eperZB\0é", max_size=40))
def test_any_text_is_a_unit_or_none(units: str) -> None:
    found = parsed(units)
    assert found is None or len(found) == 4
    measure(units)
