from __future__ import annotations

import numpy as np
import pytest

from data_prep.encoding import ENCODINGS, Encoding
from data_prep.shards.statistics import Statistics, statistics_of
from data_prep.shards.tally import CodeTally, tally_of

DBZ8, VIL255 = ENCODINGS["dbz8"], ENCODINGS["vil255"]


def some_codes(count: int = 20_011) -> np.ndarray:
    """Mostly dry, a tail of rain, some missing."""
    rng = np.random.default_rng(3)
    codes = np.clip(rng.gamma(0.4, 40.0, count), 0, 254).astype(np.uint8)
    codes[rng.random(count) < 0.1] = 255
    return codes


@pytest.mark.parametrize("encoding", [DBZ8, VIL255], ids=lambda encoding: encoding.name)
def test_statistics_from_counts_are_those_of_the_pixels_themselves(encoding: Encoding) -> None:
    codes = some_codes()
    found, seen = statistics_of(tally_of(codes, encoding), encoding), codes[codes != 255]
    assert found.count == len(seen) and found.missing_share == pytest.approx(1 - len(seen) / len(codes), abs=1e-6)
    assert set(found.values) == set(encoding.units)
    for unit, stated in found.values.items():
        values = encoding.values[unit][seen]
        assert stated.mean == pytest.approx(values.mean()) and stated.std == pytest.approx(values.std())
        assert (stated.min, stated.max) == pytest.approx((values.min(), values.max()))
        for share, quantile in stated.quantiles.items():
            assert quantile == pytest.approx(np.quantile(values, float(share), method="inverted_cdf")), share
    model = encoding.model_table()[seen].astype(np.float64)
    assert (found.model_mean, found.model_std) == pytest.approx((model.mean(), model.std()))


def test_a_threshold_is_reached_by_the_codes_that_scores_count() -> None:
    codes = some_codes()
    seen = codes[codes != 255]
    vil = statistics_of(tally_of(codes, VIL255), VIL255).at_or_above["code"]
    assert vil == {str(t): pytest.approx(np.mean(seen >= t)) for t in (16, 74, 133, 160, 181, 219)}
    dbz = statistics_of(tally_of(codes, DBZ8), DBZ8).at_or_above
    assert dbz["dBZ"] == {str(t): pytest.approx(np.mean(seen >= 2 * (t + 32))) for t in (20, 30, 40)}
    assert dbz["mm/h"]["2"] == pytest.approx(np.mean(DBZ8.values["mm/h"][seen] >= 2.0))


def test_a_quantile_is_the_smallest_value_that_enough_pixels_do_not_exceed() -> None:
    counts = [0] * 256
    counts[0], counts[100], counts[200] = 998, 1, 1
    dbz = statistics_of(CodeTally(code_counts=counts, pixels=1000), DBZ8).values["dBZ"]
    assert dbz.quantiles == {"0.5": -32.0, "0.9": -32.0, "0.99": -32.0, "0.999": 18.0}
    counts[0] = 10**15  # as many as a continent's archive has
    assert statistics_of(CodeTally(code_counts=counts, pixels=10**15 + 2), DBZ8).values["dBZ"].max == 68.0


def test_of_nothing_but_missing_pixels_nothing_is_said() -> None:
    found = statistics_of(tally_of(np.full(9, 255, np.uint8), DBZ8), DBZ8)
    assert found.count == 0 and found.missing_share == 1.0
    assert (found.values, found.at_or_above, found.model_mean, found.model_std) == ({}, {}, None, None)


def test_wide_codes_are_told_by_the_means_of_their_bins_without_what_is_missing() -> None:
    values = np.arange(65535) / 100.0
    rain16 = Encoding("rain16", np.dtype(np.uint16), {"mm/h": values}, 0, {"mm/h": (2.56,)}, 10)
    codes = np.array([0, 256, 300, 512, 65535, 65535], np.uint16)
    found = statistics_of(tally_of(codes, rain16), rain16)
    assert found.count == 4 and found.values["mm/h"].max == pytest.approx(values[512:768].mean())
    assert found.at_or_above["mm/h"]["2.56"] == 0.75


def test_what_was_rounded_elsewhere_does_not_differ() -> None:
    found = statistics_of(tally_of(some_codes(), DBZ8), DBZ8)
    assert not found.differs_from(Statistics.model_validate_json(found.model_dump_json()))
    assert found.model_mean is not None
    assert not found.differs_from(found.model_copy(update={"model_mean": found.model_mean * (1 + 1e-9)}))
    assert found.differs_from(found.model_copy(update={"model_mean": found.model_mean * 1.001}))
    assert found.differs_from(found.model_copy(update={"at_or_above": {}}))
