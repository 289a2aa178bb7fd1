from __future__ import annotations

import numpy as np
import pytest

from data_prep.building.selection import Selection, acceptance, draw, judge
from data_prep.encoding import ENCODINGS
from data_prep.shards.tally import CodeTally, tally_of

ALL = Selection(1.0, 0.0)
DBZ8 = ENCODINGS["dbz8"]


def tally(rain_mm_h: float, wet: float = 1.0, missing: float = 0.0, encoding: str = "dbz8") -> CodeTally:
    """Of 1000 pixels: a share of them without data, of the others a share with that rain."""
    values = np.zeros(1000)
    values[: round(1000 * wet * (1 - missing))] = rain_mm_h
    if missing:
        values[-round(1000 * missing) :] = np.nan
    codes = ENCODINGS[encoding]
    return tally_of(codes.encode(values, "mm/h" if encoding == "dbz8" else "kg/m2"), codes)


@pytest.mark.parametrize(
    ("selection", "counts", "reason"),
    [
        (ALL, tally(5.0), ""),
        (ALL, tally(5.0, missing=1.0), "all missing"),
        (Selection(0.3, 0.0), tally(5.0, missing=0.31), "more missing than 0.3"),
        (Selection(0.3, 0.0), tally(5.0, missing=0.3), ""),
        (Selection(1.0, 0.5), tally(5.0, wet=0.49), "drier than 0.5"),
        (Selection(1.0, 0.5), tally(5.0, wet=0.5, missing=0.9), ""),  # of those with data
        (Selection(1.0, 0.0, importance=0.1, floor=0.0), tally(0.0), "not drawn by importance"),
    ],
)
def test_a_sample_is_kept_or_there_is_a_reason(selection: Selection, counts: CodeTally, reason: str) -> None:
    assert judge("k", counts, "dbz8", selection).reason == reason


@pytest.mark.parametrize("encoding", ["dbz8", "vil255"])
def test_the_probability_is_that_of_the_formula(encoding: str) -> None:
    values = np.random.default_rng(0).gamma(0.3, 4.0, (5, 20, 20))
    values[:, :3] = np.nan
    codes, unit = ENCODINGS[encoding], "mm/h" if encoding == "dbz8" else "kg/m2"
    stored = codes.encode(values, unit)
    exact = np.nan_to_num(1 - np.exp(-codes.decode(stored, unit).astype(np.float64))).mean()  # no data adds nothing
    found = acceptance(tally_of(stored, codes), encoding, Selection(1.0, 0.0, importance=0.4, floor=0.01))
    assert found == pytest.approx(0.01 + 0.4 * exact, rel=1e-6)


def test_a_probability_is_at_most_1_and_all_are_1_without_importance() -> None:
    assert acceptance(tally(50.0), "dbz8", Selection(1.0, 0.0, importance=9.0)) == 1.0
    assert acceptance(tally(0.0), "dbz8", ALL) == 1.0


def test_samples_are_drawn_as_often_as_their_probability_says() -> None:
    selection = Selection(1.0, 0.0, importance=0.5, floor=0.1)
    counts = tally(0.7)
    verdicts = [judge(f"key{number}", counts, "dbz8", selection) for number in range(4000)]
    [probability] = {verdict.probability for verdict in verdicts}
    kept = sum(not verdict.reason for verdict in verdicts)
    assert 0.2 < probability < 0.6
    assert kept == pytest.approx(4000 * probability, abs=4 * np.sqrt(4000 * probability * (1 - probability)))


def test_weights_of_the_inverse_undo_the_choice() -> None:
    rng = np.random.default_rng(1)
    selection = Selection(1.0, 0.0, importance=2.0, floor=0.05)
    rain = rng.gamma(0.3, 1.0, 5000)
    verdicts = [judge(f"s{number}", tally(one), "dbz8", selection) for number, one in enumerate(rain)]
    kept = np.array([not verdict.reason for verdict in verdicts])
    weights = 1 / np.array([verdict.probability for verdict in verdicts])
    biased, undone = rain[kept].mean(), np.average(rain[kept], weights=weights[kept])
    assert biased > 1.5 * rain.mean() and undone == pytest.approx(rain.mean(), rel=0.08)


def test_a_draw_belongs_to_key_and_seed() -> None:
    assert draw("a", 0) == draw("a", 0) != draw("a", 1) != draw("b", 0)
    assert np.mean([draw(str(number), 0) for number in range(2000)]) == pytest.approx(0.5, abs=0.03)
