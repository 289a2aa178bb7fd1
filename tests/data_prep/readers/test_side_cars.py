"""Side-cars: one vocabulary for rasters and arrays, in which the older words still count."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from data_prep.readers.side_cars import ArraySideCar, RasterSideCar, SideCar, parse

ARRAY = {
    "unit": "dBZ",
    "axes": "HW",
    "rows": "north_first",
    "proj": "+proj=longlat",
    "pixel": [1, 1],
    "west": 0,
    "north": 0,
}
KINDS = [(RasterSideCar, {}), (ArraySideCar, ARRAY)]
TIME = datetime(2024, 5, 1, 12, 5, tzinfo=UTC)


@pytest.mark.parametrize(("kind", "more"), KINDS)
@pytest.mark.parametrize(("missing", "name_time"), [("missing", "name_time"), ("nodata", "time")])
def test_rasters_and_arrays_say_the_same_in_the_same_words(
    kind: type[SideCar], more: dict[str, Any], missing: str, name_time: str
) -> None:
    says = {missing: 255, "undetect": [0, 1], "interval_s": 300, name_time: "a_%Y%m%d%H%M.x"}
    side_car = parse(kind, json.dumps(more | says), "side-car")
    assert (side_car.missing, side_car.undetect, side_car.whole_interval_s) == ([255.0], [0.0, 1.0], 300)
    assert side_car.time_in("a_202405011205.x") == TIME


@pytest.mark.parametrize("form", ["a_%Y%m%d%H%M.x", "a_%Y%m%d%H%M", "*_%Y%m%d%H%M*", "a_%d%b%Y_%I%M%p.x"])
def test_a_name_may_be_told_whole_or_without_its_ending_or_with_stars(form: str) -> None:
    name = "a_01May2024_1205PM.x" if "%b" in form else "a_202405011205.x"
    assert RasterSideCar(name_time=form).time_in(name) == TIME


@pytest.mark.parametrize("form", ["b_%Y%m%d%H%M", "%Y%m%d", "a_%Y%Y%m%d%H%M.x", "%", "*" * 9])
def test_a_form_that_a_name_is_not_of_gives_no_time(form: str) -> None:
    with pytest.raises(ValueError, match=r"is not of the side-car's form|time format '.*' (is not one like|has more)"):
        RasterSideCar(name_time=form).time_in("a_202405011205.x")
