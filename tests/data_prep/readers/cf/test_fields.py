"""Fields: which variables are radar pictures, of which product, their dimensions and intervals; and why others are not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from data_prep.errors import RadarFileError
from data_prep.readers import LeftOut, Product
from data_prep.readers.file_reader import Entry
from tests.data_prep.readers.cf.memory import RATE, TIME, MemoryDataset, X, frames, listed, on_a_grid

FIELD = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
SUM = {"standard_name": "precipitation_amount", "units": "kg m-2", "grid_mapping": "crs"}


def products(**attributes: Any) -> list[Product]:
    """Of a file with one variable of such attributes, and a field beside it that is not listed here."""
    dataset = on_a_grid()
    dataset.add("sure", "time y x", FIELD, **RATE)
    dataset.add(attributes.pop("name", "v"), "time y x", FIELD, grid_mapping="crs", **attributes)
    found = {one.product for one in listed(dataset) if isinstance(one, Entry)}
    return [product for product in found if product.name != "sure"]


@pytest.mark.parametrize(
    ("standard_name", "units", "unit"),
    [
        ("rainfall_rate", "m s-1", "mm/h"), ("lwe_precipitation_rate", "mm h-1", "mm/h"), ("precipitation_flux", "kg m-2 s-1", "mm/h"),
        ("equivalent_reflectivity_factor", "dBZ", "dBZ"), ("equivalent_reflectivity_factor", "mm6 m-3", "dBZ"),
        ("atmosphere_mass_content_of_liquid_precipitation", "kg m-2", "kg/m2"),
    ],
)  # fmt: skip
def test_a_field_is_known_by_its_standard_name(standard_name: str, units: str, unit: Any) -> None:
    assert products(standard_name=standard_name, units=units) == [Product("v", unit)]


@pytest.mark.parametrize(
    ("name", "long_name", "units", "unit"),
    [
        ("rr", "Rain rate", "mm/h", "mm/h"), ("precip_rate", "", "mm/h", "mm/h"), ("refl", "", "dBZ", "dBZ"),
        ("z", "linear reflectivity", "mm6 m-3", "dBZ"),
        ("vil", "", "kg m-2", "kg/m2"), ("q", "Vertically Integrated Liquid", "kg/m2", "kg/m2"),
    ],
)  # fmt: skip
def test_without_a_standard_name_units_and_words_tell_a_field(name: str, long_name: str, units: str, unit: Any) -> None:
    assert products(name=name, long_name=long_name, units=units) == [Product(name, unit)]


@pytest.mark.parametrize(
    "attributes",
    [
        {"units": "m s-1", "long_name": "wind speed"}, {"units": "1", "long_name": "rain quality"}, {},
        {"units": "kg m-2", "long_name": "snow load"}, {"standard_name": "air_temperature", "units": "K"},
        {"standard_name": "rainfall_rate status_flag", "units": "1"},
    ],
)  # fmt: skip
def test_other_variables_are_no_fields(attributes: dict[str, Any]) -> None:
    assert products(**attributes) == []


def test_a_field_whose_units_do_not_fit_is_left_out_with_the_reason_and_the_others_stay() -> None:
    dataset = on_a_grid()
    dataset.add("good", "time y x", FIELD, **RATE)
    dataset.add("bad", "time y x", FIELD, **(RATE | {"units": "K"}))
    found = listed(dataset)
    assert (
        LeftOut(
            "memory.nc",
            "unusable variable",
            "'bad' has units 'K', which are no rain rate or sum, such as mm h-1, kg m-2 s-1 or mm",
        )
        in found
    )
    assert len(found) == 3


def test_a_file_without_a_field_is_refused() -> None:
    with pytest.raises(RadarFileError, match=r"memory\.nc: holds no radar field in its root group"):
        listed(on_a_grid())
    dataset = on_a_grid()
    dataset.add("bad", "time y x", FIELD, **(RATE | {"units": "K"}))
    with pytest.raises(RadarFileError, match="'bad' has units 'K'"):
        listed(dataset)


@pytest.mark.parametrize("dims", ["time y x", "y x time", "x time y", "y time x"])
def test_dimensions_may_be_in_any_order(dims: str) -> None:
    dataset = on_a_grid()
    axes = [["time", "y", "x"].index(dim) for dim in dims.split()]
    dataset.add("rain", dims, FIELD.transpose(axes), **RATE)
    found = frames(dataset)
    assert [frame.time.minute for frame in found] == [0, 5]
    for step, frame in enumerate(found):
        np.testing.assert_array_equal(frame.field, FIELD[step, ::-1])


def test_dimensions_of_length_one_are_passed_over_and_others_refused() -> None:
    dataset = on_a_grid()
    dataset.add("rain", "time height y x member", FIELD[:, None, :, :, None], **RATE)
    np.testing.assert_array_equal(frames(dataset)[1].field, FIELD[1, ::-1])
    dataset = on_a_grid()
    dataset.add("rain", "member time y x", np.stack([FIELD] * 3), **RATE)
    with pytest.raises(
        RadarFileError, match="has the dimensions member=3, time=2 beside y and x, expected at most time"
    ):
        listed(dataset)


def test_a_field_without_a_time_dimension_has_the_scalar_time_or_the_files() -> None:
    dataset = on_a_grid()
    del dataset.variables["time"]
    dataset.add("reference", "", 0, standard_name="forecast_reference_time", units=TIME["units"])
    dataset.add("valid", "", 10, **TIME)
    dataset.add("rain", "y x", FIELD[0], **RATE, coordinates="reference valid")
    assert [frame.time for frame in frames(dataset)] == [datetime(2020, 6, 1, 12, 10, tzinfo=UTC)]
    dataset = on_a_grid(time_coverage_end="2020-06-01T12:15:00Z")
    del dataset.variables["time"]
    dataset.add("rain", "y x", FIELD[0], **RATE)
    assert [frame.time.minute for frame in frames(dataset)] == [15]


def test_a_field_without_any_time_is_refused() -> None:
    dataset = on_a_grid()
    del dataset.variables["time"]
    dataset.add("rain", "y x", FIELD[0], **RATE)
    with pytest.raises(RadarFileError, match="'rain' has no time: no dimension or scalar coordinate with units like"):
        listed(dataset)
    dataset.add("rain", "time y x", FIELD, **RATE)
    dataset.closed = 0
    other = on_a_grid()
    del other.variables["time"]
    other.add("rain", "time y x", FIELD, **RATE)
    with pytest.raises(RadarFileError, match="'rain' has no times along its dimension 'time'"):
        listed(other)


def test_along_a_dimension_of_leads_the_valid_time_counts() -> None:
    dataset = on_a_grid()
    del dataset.variables["time"]
    dataset.add("lead", "lead", [5, 10], units="minutes", standard_name="forecast_period")
    dataset.add("issued", "lead", [0, 0], units=TIME["units"], standard_name="forecast_reference_time")
    dataset.add("valid_time", "lead", [5, 10], units=TIME["units"], standard_name="time")
    dataset.add("rain", "lead y x", FIELD, **RATE, coordinates="issued valid_time")
    assert [frame.time.minute for frame in frames(dataset)] == [5, 10]


def test_a_sum_becomes_a_rate_by_the_bounds_of_each_step() -> None:
    dataset = on_a_grid()
    dataset.add("time", "time", [0, 5], **TIME, bounds="b")
    dataset.add("b", "time nv", [[0, 5], [5, 15]])
    dataset.add("rain", "time y x", np.ones((2, 3, 4), np.int16), **SUM, scale_factor=0.01)
    entries = [one for one in listed(dataset) if isinstance(one, Entry)]
    assert [(one.time.minute, one.interval_s) for one in entries] == [(5, 300), (15, 600)]
    assert [frame.field[0, 0] for frame in frames(dataset)] == pytest.approx([0.12, 0.06])


def test_a_sum_becomes_a_rate_by_the_interval_of_its_cell_methods() -> None:
    dataset = on_a_grid()
    dataset.add("rain", "time y x", FIELD, **SUM, cell_methods="time: sum (interval: 5 minutes)")
    np.testing.assert_allclose(frames(dataset)[1].field, FIELD[1, ::-1] * 12.0)


@pytest.mark.parametrize(
    ("cell_methods", "reason"),
    [
        ("", "'rain' is a sum over no stated interval; add bounds to its time"),
        ("time: sum (interval: 1 minute)", "states an interval of 60 s, its times are 300 s apart; add bounds"),
    ],
)
def test_a_sum_over_no_certain_interval_is_refused(cell_methods: str, reason: str) -> None:
    dataset = on_a_grid()
    dataset.add("rain", "time y x", FIELD, **SUM, cell_methods=cell_methods)
    with pytest.raises(RadarFileError, match=reason):
        listed(dataset)


def test_steps_without_a_time_or_an_interval_are_left_out_one_by_one() -> None:
    dataset = on_a_grid()
    dataset.add("time", "time", [np.nan, 5, 10], **TIME, bounds="b")
    dataset.add("b", "time nv", [[np.nan, 0], [5, 5], [5, 10]])
    dataset.add("rain", "time y x", np.ones((3, 3, 4)), **SUM)
    first, second, third = listed(dataset)
    assert (first, second) == (
        LeftOut("memory.nc: rain, step 0", "has no time that can be read"),
        LeftOut("memory.nc: rain, step 1", "is a sum over no stated interval"),
    )
    assert isinstance(third, Entry) and third.item == 2
    assert len(frames(dataset)) == 1


def test_a_forged_shape_is_refused_before_anything_of_it_is_read() -> None:
    dataset = on_a_grid()
    huge = np.broadcast_to(np.float32(1.0), (2, 1 << 20, 1 << 20))
    dataset.add("rain", "time y x", huge, **RATE)
    with pytest.raises(RadarFileError, match="'rain' declares 1048576 x 1048576 pixels, expected 1 to"):
        listed(dataset)
    dataset = on_a_grid()
    dataset.add("x", "x", np.broadcast_to(1.0, 1 << 23), **X)
    dataset.add("rain", "time y x", np.broadcast_to(np.float32(1.0), (2, 3, 1 << 23)), **RATE)
    with pytest.raises(RadarFileError, match="coordinate 'x' is not of at most 4194304 numbers"):
        listed(dataset)
    assert (
        isinstance(dataset, MemoryDataset) and dataset.reads and max(np.prod(shape) for _, shape in dataset.reads) < 10
    )
