"""From codes to model space: where nothing was seen, and thresholds that part the same pixels as in their unit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from data_prep.encoding import ENCODINGS, Encoding
from data_prep.errors import UserError
from ds_nowcast.config.nowcast_keys import Thresholds
from ds_nowcast.model_space import ModelSpace, in_model_space, threshold_labels, thresholds_of

UNITS = [(encoding, unit) for encoding in ENCODINGS.values() for unit in (*encoding.units, "code")]
each_unit = pytest.mark.parametrize(("encoding", "unit"), UNITS, ids=lambda part: getattr(part, "name", part))
each_encoding = pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=lambda encoding: encoding.name)


def physical(encoding: Encoding, unit: str) -> np.ndarray:
    """The value of each code but `missing`, float64."""
    return np.arange(encoding.missing) * 1.0 if unit == "code" else encoding.values[unit]


def reaching(encoding: Encoding, unit: str, *thresholds: float) -> np.ndarray:
    """(codes, K): whether a pixel of that code is an event, as the scores ask it."""
    threshold_K = in_model_space(encoding, Thresholds(unit=unit, values=list(thresholds)))
    assert threshold_K.dtype == torch.float32
    model = torch.from_numpy(encoding.model_table()[: encoding.missing])
    return (model[:, None] >= threshold_K).numpy()


@each_unit
@given(data=st.data())
def test_a_pixel_reaches_a_threshold_exactly_when_its_codes_value_does(
    encoding: Encoding, unit: str, data: st.DataObject
) -> None:
    values = physical(encoding, unit)
    at = float(values[data.draw(st.integers(0, encoding.missing - 1))])
    aside = data.draw(st.one_of(st.just(0.0), st.floats(-0.5, 0.5), st.sampled_from([1e-7, -1e-7, 1e-5, -1e-5])))
    threshold = data.draw(st.sampled_from([at + aside, at * (1.0 + aside)]))
    # what lies within rounding of a code's value counts as that value
    assume(threshold == at or np.min(np.abs(values - threshold)) > 2e-9 * max(abs(threshold), 1.0))
    np.testing.assert_array_equal(reaching(encoding, unit, threshold)[:, 0], values >= threshold)


@each_unit
def test_a_threshold_at_each_codes_value_is_reached_from_that_value_on(encoding: Encoding, unit: str) -> None:
    values = physical(encoding, unit)
    steps = np.unique(values)
    np.testing.assert_array_equal(reaching(encoding, unit, *steps), values[:, None] >= steps)


@each_unit
def test_a_threshold_above_all_values_is_never_reached_and_one_below_always(encoding: Encoding, unit: str) -> None:
    values = physical(encoding, unit)
    events = reaching(encoding, unit, values[0] - 1.0, values[-1] + 1.0)
    assert events[:, 0].all() and not events[:, 1].any()
    # nor by a forecast at the upper end of model space
    assert float(in_model_space(encoding, Thresholds(unit=unit, values=[values[-1] + 1.0]))) > 1.0


@each_encoding
def test_customary_thresholds_part_codes_as_in_their_unit(encoding: Encoding) -> None:
    for unit, thresholds in encoding.thresholds.items():
        expected = physical(encoding, unit)[:, None] >= np.array(thresholds)
        np.testing.assert_array_equal(reaching(encoding, unit, *thresholds), expected)


@each_encoding
def test_what_was_not_seen_is_masked_and_lies_at_0(encoding: Encoding) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, encoding.missing + 1, (2, 5, 4, 6)).astype(encoding.dtype)
    codes[0, 2, 0] = encoding.missing  # the last input frame
    codes[1, 4, :, 1] = encoding.missing
    windows = ModelSpace(encoding, 3, torch.device("cpu")).windows(torch.from_numpy(codes))
    values = np.where(codes == encoding.missing, 0, codes) / encoding.missing
    assert windows.past_BTHW.dtype == windows.target_BTHW.dtype == torch.float32
    np.testing.assert_allclose(windows.past_BTHW, values[:, :3], rtol=1e-6)
    np.testing.assert_allclose(windows.target_BTHW, values[:, 3:], rtol=1e-6)
    np.testing.assert_array_equal(windows.valid_BTHW, codes[:, 3:] != encoding.missing)
    np.testing.assert_array_equal(windows.seen_BHW, codes[:, 2] != encoding.missing)


def test_the_archives_unit_is_preferred_for_customary_thresholds() -> None:
    vil255, dbz8 = ENCODINGS["vil255"], ENCODINGS["dbz8"]
    assert thresholds_of(vil255, "kg/m2", None) == Thresholds(unit="code", values=[16, 74, 133, 160, 181, 219])
    assert thresholds_of(dbz8, "mm/h", None).unit == "mm/h"
    assert thresholds_of(dbz8, "dBZ", None).unit == "dBZ"


def test_thresholds_that_are_given_are_kept_and_must_be_in_a_unit_of_the_shards() -> None:
    given = Thresholds(unit="kg/m2", values=[0.5])
    assert thresholds_of(ENCODINGS["vil255"], "kg/m2", given) is given
    with pytest.raises(UserError, match="unit is 'mm/h'; shards of encoding vil255 have kg/m2, code"):
        thresholds_of(ENCODINGS["vil255"], "kg/m2", Thresholds(unit="mm/h", values=[1]))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, unique=True))
@example([9999999.999999998, 1e7])
def test_labels_of_different_thresholds_differ(values: list[float]) -> None:
    labels = threshold_labels(Thresholds(unit="code", values=sorted(values)))
    assert len(set(labels)) == len(values)


def test_labels_are_the_thresholds_as_a_person_writes_them() -> None:
    assert threshold_labels(Thresholds(unit="mm/h", values=[0.1, 0.5, 2, 10, 16.25])) == [
        "0.1",
        "0.5",
        "2",
        "10",
        "16.25",
    ]


@each_encoding
def test_every_code_becomes_exactly_its_value_in_the_table(encoding: Encoding) -> None:
    codes = np.arange(np.iinfo(encoding.dtype).max + 1).astype(encoding.dtype).reshape(1, 1, 16, -1)
    values = ModelSpace(encoding, 1, torch.device("cpu")).values(torch.from_numpy(codes))
    np.testing.assert_array_equal(values.numpy().view(np.uint32), encoding.model_table()[codes].view(np.uint32))
