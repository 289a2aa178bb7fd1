from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_prep.encoding import ENCODINGS, Encoding, dbz_to_rain, encoding_named, plausible, rain_to_dbz, vil_of_code
from data_prep.errors import UserError

UNITS = [(encoding, unit) for encoding in ENCODINGS.values() for unit in encoding.units]
each_unit = pytest.mark.parametrize(("encoding", "unit"), UNITS, ids=lambda part: getattr(part, "name", part))


def test_rain_rate_and_reflectivity_follow_marshall_and_palmer() -> None:
    # Z = 200 R^1.6: 1 mm/h is 10 log10(200) dBZ, 10 mm/h 16 dB more
    np.testing.assert_allclose(rain_to_dbz([1.0, 10.0]), [23.0103, 39.0103], atol=1e-4)
    np.testing.assert_allclose(dbz_to_rain(rain_to_dbz([0.1, 1.0, 50.0])), [0.1, 1.0, 50.0])
    assert rain_to_dbz(0.0) == -np.inf and np.isnan(rain_to_dbz(np.nan))


def test_what_cannot_have_been_measured_is_missing_and_a_packed_zero_is_dry() -> None:
    values = np.array([-np.inf, -9999.0, -0.02, -0.01, 0.0, 3.5, np.inf, np.nan], np.float32)
    for unit, expected in (
        ("mm/h", [np.nan, np.nan, np.nan, 0.0, 0.0, 3.5, np.nan, np.nan]),
        ("kg/m2", [np.nan, np.nan, np.nan, 0.0, 0.0, 3.5, np.nan, np.nan]),
        ("dBZ", [-32.0, np.nan, -0.02, -0.01, 0.0, 3.5, np.nan, np.nan]),
    ):
        np.testing.assert_array_equal(plausible(values.copy(), unit), np.array(expected, np.float32))
        assert np.isnan(plausible(np.array([1e39]), unit)).all()  # which float32 has as infinity


def test_vil_of_the_published_threshold_codes() -> None:
    vil = vil_of_code([16, 74, 133, 160, 181, 219])
    np.testing.assert_allclose(vil, [0.154, 0.775, 3.53, 7.07, 12.1, 32.2], rtol=5e-3)
    np.testing.assert_array_equal(vil_of_code([0, 5]), [0.0, 0.0])


@each_unit
def test_missing_stays_missing_and_nothing_else_becomes_so(encoding: Encoding, unit: str) -> None:
    values = np.array([np.nan, 0.0, -np.inf, np.inf, -1e9, 1e9])
    codes = encoding.encode(values, unit)
    assert codes.dtype == encoding.dtype
    np.testing.assert_array_equal(codes == encoding.missing, np.isnan(values))
    np.testing.assert_array_equal(np.isnan(encoding.decode(codes, unit)), np.isnan(values))


@each_unit
def test_decoding_a_code_and_encoding_it_again_gives_the_same_value(encoding: Encoding, unit: str) -> None:
    codes = np.arange(encoding.missing + 1).astype(encoding.dtype)
    values = encoding.decode(codes, unit)
    np.testing.assert_array_equal(encoding.decode(encoding.encode(values, unit), unit), values)
    if np.all(np.diff(encoding.values[unit]) > 0):
        np.testing.assert_array_equal(encoding.encode(values.astype(np.float64), unit), codes)


@each_unit
@given(value=st.floats(-100, 300))
def test_a_value_gets_the_nearest_code(encoding: Encoding, unit: str, value: float) -> None:
    table = encoding.values[unit]
    code = int(encoding.encode(np.array([value]), unit)[0])
    assert abs(table[code] - value) == pytest.approx(np.min(np.abs(table - value)))


WITHIN_REACH = st.lists(
    st.one_of(st.floats(-200, 500, width=32), st.just(float("nan"))), min_size=1, max_size=30
).map(lambda values: np.array(values, np.float32))  # fmt: skip


@each_unit
@given(values=WITHIN_REACH)
def test_a_larger_value_never_gets_a_smaller_code(encoding: Encoding, unit: str, values: NDArray[np.float32]) -> None:
    codes = encoding.encode(np.sort(values), unit)  # NaN comes last, and so does its code
    assert np.all(np.diff(codes.astype(int)) >= 0)


@each_unit
@given(values=WITHIN_REACH)
def test_decoded_values_are_within_half_a_step_or_at_an_end_of_the_table(
    encoding: Encoding, unit: str, values: NDArray[np.float32]
) -> None:
    table = encoding.values[unit]
    decoded = encoding.decode(encoding.encode(values, unit), unit).astype(np.float64)
    np.testing.assert_array_equal(np.isnan(decoded), np.isnan(values))
    seen = np.clip(values[~np.isnan(values)].astype(np.float64), table[0], table[-1])
    above = np.clip(np.searchsorted(table, seen, "right"), 1, len(table) - 1)
    step = table[above] - table[above - 1]
    assert np.all(np.abs(decoded[~np.isnan(values)] - seen) <= step / 2 + 1e-6 * np.abs(seen) + 1e-9)


@each_unit
def test_a_threshold_a_hair_above_a_code_is_not_reached_by_it(encoding: Encoding, unit: str) -> None:
    model, values = encoding.model_table()[: encoding.missing], encoding.values[unit]
    for hair in (1e-8, 1e-7, 1e-5):
        for value in np.unique(values)[:-1]:
            threshold = value + hair * max(abs(value), 1.0)
            reached = model >= np.float32(encoding.to_model(threshold, unit))
            np.testing.assert_array_equal(reached, values >= threshold, err_msg=str(threshold))


def test_no_rain_has_the_code_of_no_echo() -> None:
    dbz8, vil255 = ENCODINGS["dbz8"], ENCODINGS["vil255"]
    assert dbz8.encode(np.array([0.0]), "mm/h")[0] == dbz8.no_echo == 0
    assert vil255.encode(np.array([0.0]), "kg/m2")[0] == vil255.no_echo == 0
    assert dbz8.decode(np.array([0], np.uint8), "mm/h")[0] == 0.0


def test_dbz8_is_half_a_decibel_from_minus_32() -> None:
    np.testing.assert_array_equal(
        ENCODINGS["dbz8"].decode(np.array([0, 1, 64, 254], np.uint8), "dBZ"), [-32, -31.5, 0, 95]
    )


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=lambda encoding: encoding.name)
def test_model_space_is_0_to_1_and_missing_lies_at_0(encoding: Encoding) -> None:
    table = encoding.model_table()
    assert table.dtype == np.float32 and len(table) == np.iinfo(encoding.dtype).max + 1
    assert table[0] == 0 and 0.99 < table[: encoding.missing].max() < 1 and not table[encoding.missing :].any()
    assert np.all(np.diff(table[: encoding.missing]) > 0)


@each_unit
def test_a_threshold_in_model_space_parts_the_same_codes_as_in_its_unit(encoding: Encoding, unit: str) -> None:
    codes = np.arange(encoding.missing).astype(encoding.dtype)
    model, values = encoding.model_table()[codes], encoding.values[unit]
    steps = np.unique(values)
    for threshold in (*encoding.thresholds.get(unit, ()), *steps[1:], *(steps[:-1] + 0.1 * np.diff(steps))):
        at_least = model >= np.float32(encoding.to_model(float(threshold), unit))
        np.testing.assert_array_equal(at_least, values >= threshold - 1e-9 * abs(threshold), err_msg=str(threshold))


@each_unit
def test_from_model_gives_the_value_of_each_code_back(encoding: Encoding, unit: str) -> None:
    codes = np.arange(encoding.missing).astype(encoding.dtype)
    values = encoding.from_model(encoding.model_table()[codes], unit)
    np.testing.assert_allclose(values, encoding.values[unit], rtol=1e-4, atol=1e-4)
    assert np.isnan(encoding.from_model(np.array([np.nan]), unit)[0])
    assert encoding.from_model(np.array([2.0]), unit)[0] == np.float32(encoding.values[unit][-1])


def test_the_unit_code_is_the_code_itself() -> None:
    vil255 = ENCODINGS["vil255"]
    np.testing.assert_array_equal(vil255.decode(np.array([7, 254], np.uint8), "code"), [7.0, 254.0])
    assert vil255.to_model(74, "code") == np.float32(74 / 255)


def test_an_unknown_encoding_or_unit_names_those_there_are() -> None:
    with pytest.raises(UserError, match="choose one of vil255, dbz8"):
        encoding_named("dbz9")
    with pytest.raises(UserError, match="encoding vil255 holds kg/m2, not 'mm/h'"):
        ENCODINGS["vil255"].encode(np.zeros(1), "mm/h")
