"""Counts of events, one pixel at a time, and the scores of Finley's tornado forecasts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ds_nowcast.scoring.contingency import COUNTS, SCORES, Contingency, ContingencyCounts
from tests.ds_nowcast.scoring.fields import CODES, LEADS, Fields, accumulated, fields, setting

FINLEY = Contingency(hits=28, misses=23, false_alarms=72, correct_negatives=2680)


def one_pixel_at_a_time(batch: Fields) -> dict[str, Any]:
    prediction, target, valid, weight = batch
    counts = {name: np.zeros((LEADS, len(CODES.values)), np.int64) for name in COUNTS}
    pixels = np.zeros(LEADS, np.int64)
    for sample, lead, row, column in np.ndindex(*prediction.shape):
        if not weight[sample] or not valid[sample, lead, row, column]:
            continue
        pixels[lead] += 1
        forecast, observed = (field[sample, lead, row, column].item() for field in (prediction, target))
        for k, code in enumerate(CODES.values):
            threshold = float(np.float32(code) / np.float32(255))
            pair = (forecast >= threshold, observed >= threshold)
            names = {(True, True): "hits", (False, True): "misses", (True, False): "false_alarms"}
            counts[names.get(pair, "correct_negatives")][lead, k] += 1
    return {name: numbers.tolist() for name, numbers in {**counts, "pixels": pixels}.items()}


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32))
def test_counts_are_those_of_one_pixel_at_a_time(seed: int) -> None:
    batch = fields(seed)
    assert accumulated(ContingencyCounts(setting()), batch)["counts"] == one_pixel_at_a_time(batch)


def test_scores_of_finleys_tornado_forecasts_are_the_published_ones() -> None:
    rounded = {name: round(getattr(FINLEY, name), 3) for name in ("csi", "pod", "far", "bias", "hss", "ets")}
    assert rounded == {"csi": 0.228, "pod": 0.549, "far": 0.72, "bias": 1.961, "hss": 0.355, "ets": 0.216}
    assert FINLEY.sucr == pytest.approx(1 - 0.72)


def two_leads() -> ContingencyCounts:
    """Finley's table at the first lead time; at the second 10 hits, 30 misses, 2763 correct negatives."""
    counts = ContingencyCounts(setting(leads=2, thresholds=CODES.model_copy(update={"values": [74.0]})))
    for name, values in zip(COUNTS, ([28, 10], [23, 30], [72, 0]), strict=False):
        counts.sums[name].copy_(torch.tensor(values)[:, None])
    counts.sums["pixels"].fill_(2803)
    return counts


def test_both_customs_of_csi_are_told_apart() -> None:
    counts = two_leads()
    scores = counts.scores(counts.fetched(), slice(None))
    assert scores["csi_pooled"] == {"74": 38 / 163}
    assert scores["csi_lead_mean"] == {"74": pytest.approx((28 / 123 + 10 / 40) / 2)}


def test_each_lead_time_has_the_same_scores_from_its_own_counts() -> None:
    counts = two_leads()
    first, second = (counts.scores(counts.fetched(), slice(lead, lead + 1)) for lead in range(2))
    assert first["csi_pooled"] == first["csi_lead_mean"] == {"74": FINLEY.csi}
    assert all(first[name] == {"74": getattr(FINLEY, name)} for name in SCORES)
    assert (second["csi_pooled"], second["far"], second["bias"]) == ({"74": 0.25}, {"74": 0.0}, {"74": 0.25})


def test_a_table_that_leaves_a_score_undefined_says_none() -> None:
    nothing, dry = Contingency(0, 0, 0, 0), Contingency(0, 0, 0, 9)
    assert all(getattr(table, name) is None for table in (nothing, dry) for name in ("csi", *SCORES))
    always = Contingency(4, 0, 0, 0)
    assert (always.csi, always.ets, always.hss) == (1.0, None, None)  # chance hits all of them too


def test_counts_stay_exact_far_beyond_32_bits() -> None:
    counts = ContingencyCounts(setting())
    accumulated(counts, fields(3))
    few = {name: total.clone() for name, total in counts.sums.items()}
    large = {name: total + 2**34 + 1 for name, total in few.items()}
    for name, total in counts.sums.items():
        total.copy_(large[name])
    accumulated(counts, fields(3))
    for name in few:
        assert torch.equal(counts.sums[name] - (2**34 + 1), 2 * few[name])
