"""Values: packing, missing and undetected numbers, valid ranges, signs; and what no radar can have measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.encoding import ENCODINGS
from data_prep.errors import RadarFileError
from data_prep.frames import RadarFrame
from tests.data_prep.readers.cf.memory import RATE, TIME, MemoryDataset, frames

DBZ = {"standard_name": "equivalent_reflectivity_factor", "units": "dBZ"}
NAN = np.nan


def frame(stored: NDArray[Any], attributes: dict[str, Any] | None = None, **more: Any) -> RadarFrame:
    """Of a file whose only row has these numbers."""
    dataset = MemoryDataset()
    dataset.add("lat", "lat", [51.0, 50.0], units="degrees_north")
    dataset.add("lon", "lon", np.arange(len(stored), dtype=float), units="degrees_east")
    dataset.add("time", "", 0, **TIME)
    plain = {key: value for key, value in RATE.items() if key != "grid_mapping"} if attributes is None else attributes
    dataset.add("v", "lat lon", np.stack([stored, stored]), **(plain | more))
    [found] = frames(dataset)
    return found


def values(stored: Any, dtype: str, attributes: dict[str, Any] | None = None, **more: Any) -> list[float]:
    found: list[float] = frame(np.array(stored, dtype), attributes, **more).field[0].tolist()
    return found


def same(found: list[float], expected: list[float]) -> bool:
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    return True


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4", "u4", "i8", "f4", "f8"])
def test_packed_numbers_are_scaled_and_their_fill_value_is_missing(dtype: str) -> None:
    packing = {"scale_factor": 0.5, "add_offset": 1.0, "_FillValue": np.array(100, dtype)}
    assert same(values([0, 3, 100], dtype, **packing), [1.0, 2.5, NAN])


def test_integers_of_8_and_16_bits_stay_the_archives_codes() -> None:
    for dtype, kept in (("u1", "u1"), ("i1", "u1"), ("u2", "u2"), ("i2", "u2"), (">i2", "u2")):
        found = frame(np.array([0, 3, 100], dtype).astype(np.dtype(dtype).newbyteorder("=")), _FillValue=100)
        assert found.stored.dtype == np.dtype(kept) and found.codes is not None
        np.testing.assert_array_equal(
            found.encode(ENCODINGS["dbz8"])[0], ENCODINGS["dbz8"].encode(found.field[0], "mm/h")
        )
    assert frame(np.array([0, 3, 100], "i4")).codes is None


def test_two_frames_of_one_meaning_share_their_lookup() -> None:
    first, second = (frame(np.array([0, 3, number], "i2"), scale_factor=0.25) for number in (1, 2))
    assert first.codes is second.codes


def test_unsigned_says_how_a_byte_is_meant() -> None:
    codes = np.array([-1, -2, 5], "i1")
    assert same(values(codes, "i1", _Unsigned="true", _FillValue=np.int8(-1)), [NAN, 254.0, 5.0])
    assert same(values(codes.view("u1"), "u1", _Unsigned="false"), [NAN, NAN, 5.0])  # rain of -1 and -2
    assert same(values([-1, 5], "i2", _Unsigned="true", missing_value=np.int16(-1)), [NAN, 5.0])
    assert same(values([-1, 5], "i4", _Unsigned="true"), [4294967295.0, 5.0])


def test_missing_value_may_be_several_numbers_or_nan() -> None:
    assert same(values([250, 255, 7], "u1", missing_value=np.array([250, 255], "u1")), [NAN, NAN, 7.0])
    assert same(values([NAN, 9999.0, 7], "f4", missing_value=9999.0, _FillValue=NAN), [NAN, NAN, 7.0])
    assert same(values([9.96921e36, 1.0], "f4", _FillValue=np.float64(9.96921e36)), [NAN, 1.0])


def test_a_valid_range_is_of_packed_numbers_unless_its_type_is_the_unpacked_ones() -> None:
    assert same(
        values([0, 1, 200, 201], "u1", valid_range=np.array([1, 200], "u1"), scale_factor=0.5), [NAN, 0.5, 100.0, NAN]
    )
    assert same(
        values([0, 1, 200, 201], "u1", valid_range=np.array([0.5, 100.0]), scale_factor=0.5), [NAN, 0.5, 100.0, NAN]
    )
    assert same(values([0.5, 1, 200, 201], "f4", valid_min=1.0, valid_max=200.0), [NAN, 1.0, 200.0, NAN])


@pytest.mark.parametrize(
    "undetected",
    [
        {"undetect": np.uint8(0)}, {"_Undetect": 0},
        {"flag_values": np.array([0, 255], "u1"), "flag_meanings": "undetect nodata"},
        {"flag_values": np.array([0, 255], "u1"), "flag_meanings": "no_echo out_of_range"},
        {"flag_values": np.array([255, 0], "u1"), "flag_meanings": "not_covered_by_radar below_detection_threshold"},
    ],
)  # fmt: skip
def test_undetected_is_dry_and_not_missing(undetected: dict[str, Any]) -> None:
    packing = {"scale_factor": 0.5, "add_offset": -32.5, "_FillValue": np.uint8(255)}
    assert same(values([0, 1, 85, 255], "u1", DBZ, **packing, **undetected), [-32.0, -32.0, 10.0, NAN])
    assert same(values([0, 1, 255], "u1", add_offset=5.0, _FillValue=255, **undetected), [0.0, 6.0, NAN])


@pytest.mark.parametrize(
    ("units", "factor"), [("kg m-2 s-1", 3600.0), ("m s-1", 3.6e6), ("0.01 mm h-1", 0.01), ("mm/day", 1 / 24)]
)
def test_a_rate_in_another_unit_becomes_mm_per_hour(units: str, factor: float) -> None:
    assert same(values([0.0, 2e-3, NAN], "f4", units=units), [0.0, 2e-3 * factor, NAN])


def test_linear_reflectivity_becomes_dbz_and_none_of_it_no_echo() -> None:
    assert same(values([0.0, 1.0, 1000.0, NAN, -1.0], "f4", DBZ, units="mm6 m-3"), [-32.0, 0.0, 30.0, NAN, NAN])


def test_minus_infinity_dbz_is_no_echo_and_infinity_is_missing() -> None:
    assert same(values([-np.inf, np.inf, 12.5], "f4", DBZ), [-32.0, NAN, 12.5])
    assert same(values([-np.inf, np.inf, 12.5], "f4"), [NAN, NAN, 12.5])


def test_numbers_that_no_radar_measures_are_missing_and_not_dry() -> None:
    assert same(values([-9999.0, -1.0, -0.02, -1e-6, -0.0], "f4"), [NAN, NAN, NAN, 0.0, 0.0])
    assert same(values([-9999.0, -999.0, -99.9, -31.5], "f4", DBZ), [NAN, NAN, -99.9, -31.5])


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"scale_factor": "ten"}, "attribute scale_factor is 'ten', expected numbers"),
        ({"scale_factor": 0.0}, "scale_factor of 'v' is .* expected one finite number, not zero"),
        ({"add_offset": np.array([1.0, 2.0])}, "add_offset of 'v'"),
        ({"scale_factor": np.nan}, "scale_factor of 'v'"),
        ({"valid_range": np.array([1.0])}, "valid_range of 'v' is .*, expected two numbers"),
        ({"missing_value": np.zeros(9999)}, "attribute missing_value holds 9999 numbers"),
    ],
)
def test_a_malformed_attribute_is_named(attributes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RadarFileError, match=reason):
        values([1, 2], "i2", **attributes)


def test_numbers_beyond_a_float_are_no_warning_and_no_value() -> None:
    assert same(values([1e308, 5.0], "f8", scale_factor=1e10), [NAN, 5e10])
    assert same(values([3e38, 5.0], "f4", missing_value=1e300, units="m s-1"), [NAN, 1.8e7])
