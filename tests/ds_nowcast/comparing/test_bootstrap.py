"""The block bootstrap against loops, and whether its intervals hold what they promise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from ds_nowcast.comparing import bootstrap
from ds_nowcast.comparing.bootstrap import blocks_of, estimate, multiplicities, resampled
from ds_nowcast.comparing.scores import blocks_behind, scores_of

START = datetime(2021, 6, 1, tzinfo=UTC)


def random_sums(random: np.random.Generator, blocks: int, forecasts: int, thresholds: int) -> np.ndarray:
    """(N, S, 3 K + 3) sums; whole numbers, so that both ways of adding are exact."""
    return random.integers(0, 50, (blocks, forecasts, 3 * thresholds + 3)).astype(np.float64)


def looped_csi(sums_NSF: np.ndarray, drawn: np.ndarray, forecast: int, threshold: int, thresholds: int) -> float:
    hits = misses = false_alarms = 0.0
    for block, times in enumerate(drawn):
        for _ in range(int(times)):
            hits += sums_NSF[block, forecast, threshold]
            misses += sums_NSF[block, forecast, thresholds + threshold]
            false_alarms += sums_NSF[block, forecast, 2 * thresholds + threshold]
    return hits / (hits + misses + false_alarms)


def looped_error(sums_NSF: np.ndarray, drawn: np.ndarray, forecast: int, which: int) -> float:
    error = pixels = 0.0
    for block, times in enumerate(drawn):
        error += times * sums_NSF[block, forecast, which]
        pixels += times * sums_NSF[block, forecast, -1]
    return error / pixels


@pytest.mark.parametrize("seed", range(3))
def test_every_resample_scores_as_loops_over_its_blocks_do(seed: int) -> None:
    sums_NSF = random_sums(np.random.default_rng(seed), 17, 3, 2)
    drawn_RN = multiplicities(np.random.default_rng(seed), 17, 20)
    scores_RSM = scores_of(resampled(sums_NSF, 20, seed), np.ones((3, 2), bool))
    for r, drawn in enumerate(drawn_RN):
        assert drawn.sum() == 17
        for s in range(3):
            csi = [looped_csi(sums_NSF, drawn, s, k, 2) for k in range(2)]
            errors = [looped_error(sums_NSF, drawn, s, which) for which in (-3, -2)]
            assert scores_RSM[r, s].tolist() == pytest.approx([*csi, sum(csi) / 2, *errors], rel=1e-13)


def test_blocks_are_drawn_with_replacement_and_alike_often() -> None:
    drawn_RN = multiplicities(np.random.default_rng(0), 20, 5000)
    assert drawn_RN.mean(0) == pytest.approx(np.ones(20), abs=0.06)
    assert drawn_RN.var(0) == pytest.approx(np.full(20, 0.95), abs=0.12)  # a binomial of 20 draws


def test_resamples_do_not_depend_on_how_many_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sums_NSF = random_sums(np.random.default_rng(1), 13, 2, 1)
    whole = resampled(sums_NSF, 50, 7)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 4 * 13)
    assert np.array_equal(resampled(sums_NSF, 50, 7), whole)
    assert not np.array_equal(resampled(sums_NSF, 50, 8), whole)


def test_the_interval_is_that_of_the_ordered_replicates() -> None:
    replicates = np.random.default_rng(0).permutation(np.arange(1.0, 1001.0))
    found = estimate(np.array(500.0), replicates, np.array(10))
    assert (found.low, found.high) == (25.0, 975.0)


def test_of_fewer_than_ten_blocks_there_is_no_interval() -> None:
    value, replicates_R2 = np.zeros(2), np.zeros((100, 2))
    assert np.isnan(estimate(value, replicates_R2, np.array([9, 10])).low).tolist() == [True, False]


def coverage(days: int, as_blocks: bool) -> float:
    """How many of 300 made data sets have the true CSI inside its interval.

    Days differ in how wet and how predictable they are, with eight windows each. as_blocks: days are drawn, else windows.
    """
    random, inside = np.random.default_rng(5), 0
    truth = 0.4 / (1.0 + 0.3)  # hits over observed events and false alarms, of the means over all days that could be
    for repetition in range(300):
        wet_N, share_N = random.gamma(2.0, 100.0, days), random.beta(4.0, 6.0, days)  # the mean share is 0.4
        wet_W, share_W = wet_N.repeat(8), share_N.repeat(8)
        events_W = random.poisson(wet_W)
        hits_W = random.binomial(events_W, share_W)
        false_W, ones = random.poisson(0.3 * wet_W), np.ones((3, len(events_W)))
        sums_NF = np.stack([hits_W, events_W - hits_W, false_W, *ones], -1).astype(np.float64)
        if as_blocks:
            sums_NF = sums_NF.reshape(days, 8, -1).sum(1)
        sums_NSF, scored = sums_NF[:, None], np.ones((1, 1), bool)
        replicates = scores_of(resampled(sums_NSF, 400, repetition), scored)
        found = estimate(scores_of(sums_NSF.sum(0), scored), replicates, blocks_behind(sums_NSF))
        inside += bool(found.low[0, 0] <= truth <= found.high[0, 0])
    print(f"{days} days of 8 windows, {'days' if as_blocks else 'windows'} drawn: {inside / 300:.0%} hold the truth")
    return inside / 300


@pytest.mark.slow
def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    assert 0.90 <= coverage(40, as_blocks=True) <= 0.99
    assert 0.92 <= coverage(100, as_blocks=True) <= 0.99


@pytest.mark.slow
def test_of_few_days_it_holds_the_truth_more_rarely_and_of_single_windows_much_more_rarely() -> None:
    assert 0.75 <= coverage(10, as_blocks=True) < coverage(40, as_blocks=True)
    assert coverage(40, as_blocks=False) < 0.7


def test_windows_of_a_day_of_utc_are_one_block() -> None:
    late = datetime(2021, 6, 2, 1, 0, tzinfo=timezone(timedelta(hours=2)))  # still June 1 in UTC
    windows = [("a", START + timedelta(hours=3 * i)) for i in range(8 * 12)]
    blocks = blocks_of([*windows, ("b", late)])
    assert blocks.by == "day" and blocks.count == 12 and blocks.note is None
    assert np.bincount(blocks.of_window_W).tolist() == [9, *[8] * 11]
    ones = blocks.sums(np.ones((97, 2)))
    assert ones.shape == (12, 2) and ones.sum(0).tolist() == [97, 97] and ones[0, 0] == 9


def test_of_few_days_events_are_the_blocks_and_of_few_events_nothing_is_promised() -> None:
    many = blocks_of([(f"event{i}", START) for i in range(10)])
    assert (many.by, many.count) == ("event", 10)
    assert many.note is not None and "only 1 day: events are drawn instead" in many.note
    few = blocks_of([(f"event{i}", START + timedelta(days=i)) for i in range(9)])
    assert few.note is not None and "only 9 days and 9 events: no interval can be trusted" in few.note
