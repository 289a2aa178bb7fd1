"""Times in names and metadata: forms that occur are read, numbers that are no time are passed over."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from data_prep.readers.stamps import time_by, times_in

TIME = datetime(2016, 9, 28, 14, 45, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "201609281445_fmi.radar.composite",
        "20160928144500.tif",
        "OPERA@20160928T1445@0@DBZH",
        "a_20160928-1445_b",
        "2016-09-28T14:45:00Z",
        "2016-09-28 14:45:00.000000",
        "2016:09:28 14:45:00",
        "2016-09-28T16:45+02:00",
        "2016-09-28T10:15:00-0430",
        "rain 2016-09-28T14:45:00Z (+5 min)",
    ],
)
def test_a_time_is_found_in_its_usual_forms(text: str) -> None:
    assert times_in(text) == {TIME}


@pytest.mark.parametrize(
    "text",
    ["", "20160928", "2016092814", "2016092814450", "20160928144500123", "201613281445", "999901011200", "x" * 50],
)
def test_other_numbers_are_no_time(text: str) -> None:
    assert times_in(text) == set()


def test_each_of_several_times_is_found() -> None:
    assert len(times_in("20160928-1440_20160928-1445")) == 2


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("%Y%m%d%H%M", "201609281445"),
        ("*_%Y%m%d_x*_%H%M%S", "a_b_20160928_x77_144500"),
        ("r%y%j%H%M.*", "r162721445.v2"),
        ("[%d]%m.%Y+%Hh%M", "[28]09.2016+14h45"),
    ],
)
def test_a_form_finds_the_time_in_a_name(form: str, name: str) -> None:
    assert time_by(form, name) == TIME


def test_a_name_of_another_form_or_without_a_real_time_has_none() -> None:
    assert time_by("a_%Y%m%d%H%M", "b_201609281445") is None
    assert time_by("a_%Y%m%d%H%M", "a_201613281445") is None
    assert time_by("%Y%j%H", "000099914") is None


@pytest.mark.parametrize("form", ["", "*", "%Y%m%d", "%H%M", "%m%d%H", "%Y%m%d%H%H", "%Y%H"])
def test_a_form_without_a_whole_time_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match="is not one like"):
        time_by(form, "201609281445")
