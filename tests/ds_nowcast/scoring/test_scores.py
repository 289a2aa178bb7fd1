from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ds_nowcast.scoring.scores import COUNTS, Contingency, ScoreSums, compute

LABELS = ["low", "mid", "high"]
THRESHOLDS = torch.tensor([16 / 255, 74 / 255, 181 / 255])
FINLEY = Contingency(hits=28, misses=23, false_alarms=72, correct_negatives=2680)
Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def fields(seed: int, batch: int = 5, leads: int = 3, size: int = 6) -> Batch:
    """Codes over 255, so that values fall exactly on thresholds; NaN under the mask; one sample of padding."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, leads, size, size)
    prediction, target = (torch.randint(0, 255, shape, generator=generator) / 255 for _ in range(2))
    valid = torch.rand(shape, generator=generator) < 0.7
    target[~valid] = float("nan")
    weight = torch.ones(batch, dtype=torch.int64)
    weight[-1] = 0
    return prediction, target, valid, weight


def summed(*batches: Batch) -> ScoreSums:
    sums = ScoreSums.zero(batches[0][0].shape[1], len(THRESHOLDS), "cpu")
    for batch in batches:
        sums.update(*batch, THRESHOLDS)
    return sums


def brute_force(prediction: Any, target: Any, valid: Any, weight: Any) -> dict[str, Any]:
    """The sums one pixel at a time."""
    leads = prediction.shape[1]
    counts = {name: np.zeros((leads, len(THRESHOLDS)), np.int64) for name in COUNTS}
    pixels, squared, absolute = np.zeros(leads, np.int64), np.zeros(leads), np.zeros(leads)
    for sample, lead, row, column in np.ndindex(prediction.shape):
        if not weight[sample] or not valid[sample, lead, row, column]:
            continue
        forecast, observed = (field[sample, lead, row, column].item() for field in (prediction, target))
        pixels[lead] += 1
        squared[lead] += (forecast - observed) ** 2
        absolute[lead] += abs(forecast - observed)
        for k, threshold in enumerate(THRESHOLDS.tolist()):
            pair = (forecast >= threshold, observed >= threshold)
            names = {(True, True): "hits", (False, True): "misses", (True, False): "false_alarms"}
            counts[names.get(pair, "correct_negatives")][lead, k] += 1
    return {**counts, "pixels": pixels, "squared_error": squared, "absolute_error": absolute}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_sums_are_those_of_counting_one_pixel_at_a_time(seed: int) -> None:
    batch = fields(seed)
    sums = summed(batch)
    for name, expected in brute_force(*batch).items():
        if expected.dtype == np.int64:
            np.testing.assert_array_equal(getattr(sums, name), expected, name)
        else:
            np.testing.assert_allclose(getattr(sums, name), expected, rtol=1e-5)


def test_a_pixel_at_the_threshold_is_an_event() -> None:
    at = THRESHOLDS[1].reshape(1, 1, 1, 1)
    sums = ScoreSums.zero(1, 3, "cpu")
    sums.update(at, at, torch.ones_like(at, dtype=torch.bool), torch.ones(1), THRESHOLDS)
    assert sums.hits.tolist() == [[1, 1, 0]] and sums.correct_negatives.tolist() == [[0, 0, 1]]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 11), max_size=4), st.randoms(use_true_random=False))
def test_any_partition_in_any_order_merges_to_identical_sums(seed: int, cuts: list[int], random: Any) -> None:
    prediction, target, valid, weight = fields(seed, batch=11)
    whole = summed((prediction, target, valid, weight))
    order = list(range(11))
    random.shuffle(order)
    merged = ScoreSums.zero(3, 3, "cpu")
    edges = [0, *sorted(cuts), 11]
    for start, stop in pairwise(edges):
        part = order[start:stop]
        merged.merge(summed((prediction[part], target[part], valid[part], weight[part])))
    for ours, theirs in zip(merged.tensors(), whole.tensors(), strict=True):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)


def test_very_unequal_errors_add_up_to_the_same_in_any_order() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.rand(8, 1, 64, 64, generator=generator) ** 6
    ones = torch.ones(8)
    sums = [ScoreSums.zero(1, 3), ScoreSums.zero(1, 3)]
    sums[0].update(prediction, torch.zeros_like(prediction), prediction >= 0, ones, THRESHOLDS)
    for part in torch.split(prediction.flip(0), 1):
        sums[1].update(part, torch.zeros_like(part), part >= 0, ones[:1], THRESHOLDS)
    assert torch.equal(sums[0].to_vector(), sums[1].to_vector())
    torch.testing.assert_close(sums[0].squared_error[0], prediction.double().square().sum(), rtol=1e-6, atol=0)


def test_added_vectors_of_ranks_are_the_sums_of_one_rank() -> None:
    first, second = fields(1), fields(2)
    vector = summed(first).to_vector() + summed(second).to_vector()
    merged, whole = ScoreSums.from_vector(vector, 3, 3), summed(first, second)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(merged.tensors(), whole.tensors(), strict=True))


def test_counts_stay_exact_far_beyond_32_bits() -> None:
    large = ScoreSums.zero(1, 1, "cpu")
    for tensor, value in zip(large.tensors(), (2**33 + 1, 2**34 + 3, 2**31 + 7, 2**40 + 1, 2**41, 0, 0), strict=True):
        tensor.fill_(value)
    large.merge(ScoreSums.from_vector(large.to_vector(), 1, 1))
    counts = compute(large, ["x"])["counts"]
    assert (counts["hits"], counts["misses"]) == ([[2**34 + 2]], [[2**35 + 6]])
    assert (counts["false_alarms"], counts["correct_negatives"]) == ([[2**32 + 14]], [[2**41 + 2]])


def test_adding_one_batch_to_large_counts_loses_no_pixel() -> None:
    batch = fields(3)
    sums = ScoreSums.zero(3, 3, "cpu")
    for tensor in (sums.hits, sums.misses, sums.false_alarms):
        tensor += 2**31 + 1
    sums.pixels.fill_(2**34)
    sums.update(*batch, THRESHOLDS)
    assert torch.equal(sums.hits - (2**31 + 1), summed(batch).hits)
    assert torch.equal(sums.pixels - 2**34, summed(batch).pixels)


def test_padding_samples_and_pixels_without_data_count_nothing() -> None:
    prediction, target, valid, weight = fields(4)
    nothing = summed((prediction, target, torch.zeros_like(valid), weight), (prediction, target, valid, weight * 0))
    assert not nothing.to_vector().any()
    assert torch.equal(
        summed((prediction, target, valid, weight)).to_vector(),
        summed((prediction, target, valid, weight.bool())).to_vector(),
    )


def test_what_the_prediction_holds_where_nothing_was_seen_does_not_matter() -> None:
    prediction, target, valid, weight = fields(5)
    spoiled = torch.where(valid, prediction, float("nan"))
    assert torch.equal(
        summed((spoiled, target, valid, weight)).to_vector(), summed((prediction, target, valid, weight)).to_vector()
    )


def test_scores_of_finleys_tornado_forecasts_are_the_published_ones() -> None:
    rounded = {name: round(getattr(FINLEY, name), 3) for name in ("csi", "pod", "far", "bias", "hss")}
    assert rounded == {"csi": 0.228, "pod": 0.549, "far": 0.72, "bias": 1.961, "hss": 0.355}
    assert FINLEY.sucr == pytest.approx(1 - 0.72)


def _two_leads() -> ScoreSums:
    """Finley's table at the first lead time; at the second 10 hits, 30 misses, 2763 correct negatives."""
    sums = ScoreSums.zero(2, 1, "cpu")
    rows = ([28, 10], [23, 30], [72, 0], [2680, 2763])
    for tensor, values in zip(sums.tensors(), rows, strict=False):
        tensor.copy_(torch.tensor(values)[:, None])
    sums.pixels.fill_(2803)
    sums.squared_error.copy_(torch.tensor([28.03, 56.06]))
    sums.absolute_error.copy_(torch.tensor([280.3, 560.6]))
    return sums


def test_both_customs_of_csi_are_told_apart() -> None:
    scores = compute(_two_leads(), ["0.5 mm/h"])
    assert scores["csi_pooled"] == {"0.5 mm/h": 38 / 163}
    assert scores["csi_lead_mean"] == {"0.5 mm/h": pytest.approx((28 / 123 + 10 / 40) / 2)}
    assert scores["mean"] == {"csi_pooled": 38 / 163, "csi_lead_mean": scores["csi_lead_mean"]["0.5 mm/h"]}
    assert (scores["mse"], scores["mae"]) == (pytest.approx(0.015), pytest.approx(0.15))


def test_each_lead_time_has_the_same_scores_from_its_own_counts() -> None:
    scores = compute(_two_leads(), ["x"])
    first, second = scores["by_lead"]
    assert first.keys() == second.keys() == scores.keys() - {"by_lead", "counts"}
    assert first["csi_pooled"] == first["csi_lead_mean"] == {"x": FINLEY.csi}
    assert (second["csi_pooled"], second["far"], second["bias"]) == ({"x": 0.25}, {"x": 0.0}, {"x": 0.25})
    assert (first["mse"], second["mae"]) == (pytest.approx(0.01), pytest.approx(0.2))


def test_undefined_scores_are_null_and_left_out_of_means() -> None:
    sums = ScoreSums.zero(2, 2, "cpu")
    sums.hits[0, 0], sums.misses[0, 0] = 1, 3
    sums.pixels[0] = 4
    sums.correct_negatives[0, 1] = 4
    scores = compute(sums, ["low", "high"])
    assert scores["csi_pooled"] == scores["csi_lead_mean"] == {"low": 0.25, "high": None}
    assert scores["mean"] == {"csi_pooled": 0.25, "csi_lead_mean": 0.25}
    assert scores["by_lead"][1]["mse"] is None and scores["by_lead"][1]["mean"]["csi_pooled"] is None
    assert scores["hss"] == {"low": 0.0, "high": None} and scores["far"] == {"low": 0.0, "high": None}


def test_scores_are_json_even_for_predictions_that_are_not_finite() -> None:
    prediction, target, valid, weight = fields(6)
    prediction[0] = float("nan")
    scores = compute(summed((prediction, target, valid, weight)), LABELS)
    assert scores["mse"] is None and scores["mae"] is None
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_counts_in_the_result_are_integers_by_lead_time_and_threshold() -> None:
    batch = fields(7)
    counts = compute(summed(batch), LABELS)["counts"]
    assert counts["hits"] == summed(batch).hits.tolist() and counts["pixels"] == summed(batch).pixels.tolist()
    total = np.sum([counts[name] for name in COUNTS], axis=0)
    np.testing.assert_array_equal(total, np.repeat(np.array(counts["pixels"])[:, None], 3, axis=1))


@pytest.mark.parametrize("labels", [["a"], ["a", "b", "b"]])
def test_labels_that_do_not_name_the_thresholds_are_refused(labels: list[str]) -> None:
    with pytest.raises(ValueError, match="3 thresholds need as many different labels"):
        compute(ScoreSums.zero(1, 3, "cpu"), labels)
