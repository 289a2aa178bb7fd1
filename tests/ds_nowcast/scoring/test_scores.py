"""All scores together: any split of the samples gives the same integers, and the result is what `scores.json` holds."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.encoding import ENCODINGS
from ds_nowcast.config.nowcast_keys import Thresholds
from ds_nowcast.scoring.scores import SEVIR_CODES, Scores, sevir_labels
from tests.ds_nowcast.scoring.fields import LEADS, Fields, fields, setting, summed

ALL = setting()
SEVIR = Thresholds(unit="code", values=list(map(float, SEVIR_CODES)))


def part_of(batch: Fields, samples: list[int]) -> Fields:
    prediction, target, valid, weight = (field[samples] for field in batch)
    return prediction, target, valid, weight


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 7), max_size=4), st.randoms(use_true_random=False))
def test_any_partition_in_any_order_merges_to_identical_sums(seed: int, cuts: list[int], random: Any) -> None:
    batch = fields(seed, batch=7)
    whole, merged = summed(ALL, batch), Scores(ALL)
    order = list(range(7))
    random.shuffle(order)
    for start, stop in pairwise([0, *sorted(cuts), 7]):
        merged.merge(summed(ALL, part_of(batch, order[start:stop])))
    assert torch.equal(merged.to_vector(), whole.to_vector())


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_added_vectors_of_ranks_are_the_sums_of_one_rank(seed: int, ranks: int) -> None:
    batch = fields(seed, batch=7)
    shares = [summed(ALL, part_of(batch, list(range(rank, 7, ranks)))) for rank in range(ranks)]
    vector = torch.stack([share.to_vector() for share in reversed(shares)]).sum(0)
    shares[0].load_vector(vector)
    whole = summed(ALL, batch)
    assert torch.equal(shares[0].to_vector(), whole.to_vector())
    assert shares[0].compute() == whole.compute()


def test_many_large_vectors_merge_to_the_same_integers_as_one() -> None:
    """What 3000 ranks send that have each seen a batch 4096 times: more than 2e10 pixels."""
    batch = fields(2, batch=7)
    alone = summed(ALL, batch)
    many = Scores(ALL)
    many.merge(alone)
    for total in many._tensors():
        total.mul_(2**12)
    many.load_vector(many.to_vector().expand(3000, -1).sum(0))
    assert all(
        torch.equal(large, small * 2**12 * 3000) for large, small in zip(many._tensors(), alone._tensors(), strict=True)
    )
    large, small = many.compute(), alone.compute()
    assert sum(large.pop("counts")["pixels"]) > 2e10 > sum(small.pop("counts")["pixels"])
    assert large == small


def test_padding_samples_and_pixels_without_data_count_nothing() -> None:
    prediction, target, valid, weight = fields(4)
    nothing = summed(
        ALL, (prediction, target, torch.zeros_like(valid), weight), (prediction, target, valid, weight * 0)
    )
    assert not nothing.to_vector().any()
    counted = summed(ALL, (prediction, target, valid, weight)).to_vector()
    assert torch.equal(summed(ALL, (prediction, target, valid, weight.bool())).to_vector(), counted)


def test_what_the_fields_hold_where_nothing_was_seen_does_not_matter() -> None:
    prediction, target, valid, weight = fields(5)
    spoiled = torch.where(valid, prediction, float("nan")), torch.where(valid, target, 0.9), valid, weight
    assert torch.equal(summed(ALL, spoiled).to_vector(), summed(ALL, (prediction, target, valid, weight)).to_vector())


def test_a_pixel_at_the_threshold_is_an_event_in_every_score_of_events() -> None:
    made_for = setting(thresholds=Thresholds(unit="code", values=[74, 75]), leads=1, shape=(4, 4))
    at = torch.full((1, 1, 4, 4), 74.0) / 255
    scores = summed(made_for, (at, at, at > 0, torch.ones(1))).compute()
    assert scores["counts"]["hits"] == [[16, 0]]
    for name in ("csi_pooled", "csi_pool4", "csi_pool16"):
        assert scores[name] == {"74": 1.0, "75": None}
    assert scores["fss"] == {"74": {"1": 1.0}, "75": {"1": None}}


def test_each_lead_time_has_the_same_scores_from_its_own_sums() -> None:
    batch = fields(6)
    scores = summed(ALL, batch).compute()
    for lead, alone in enumerate(scores["by_lead"]):
        assert alone.keys() == scores.keys() - {"by_lead", "counts", "quantiles"}
        only = tuple(field[:, lead : lead + 1] for field in batch[:3])
        expected = summed(setting(leads=1), (*only, batch[3])).compute()
        assert alone == {name: expected[name] for name in alone}


def test_without_full_there_are_counts_and_errors_alone_and_they_are_the_same() -> None:
    batch = fields(7)
    full, short = summed(ALL, batch).compute(), summed(setting(full=False), batch).compute()
    by_threshold = {"csi_pooled", "csi_lead_mean", "pod", "far", "sucr", "bias", "hss", "ets"}
    assert short.keys() == by_threshold | {"mse", "mae", "rmse", "mean", "by_lead", "counts"}
    assert short["mean"].keys() == {"csi_pooled", "csi_lead_mean"}
    assert all(short[name] == full[name] for name in short.keys() - {"mean", "by_lead"})
    assert full.keys() - short.keys() == {"physical", "csi_pool4", "csi_pool16", "ssim", "fss", "spectrum", "quantiles"}
    assert full["mean"] == short["mean"] | {
        name: pytest.approx(sum(full[name].values()) / 3) for name in ("csi_pool4", "csi_pool16")
    }


def test_scores_are_json_even_for_predictions_that_are_not_finite() -> None:
    prediction, target, valid, weight = fields(8)
    sound = summed(ALL, (prediction, target, valid, weight)).compute()
    prediction[0] = float("nan")
    scores = summed(ALL, (prediction, target, valid, weight)).compute()
    for name in ("mse", "mae", "rmse"):
        assert scores[name] is scores["physical"][name] is None
    assert scores["counts"]["pixels"] == sound["counts"]["pixels"]  # nothing vanishes: NaN is no event
    assert sum(map(sum, scores["counts"]["misses"])) > sum(map(sum, sound["counts"]["misses"]))
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_nothing_scored_is_none_everywhere() -> None:
    scores = Scores(setting(shape=(70, 70))).compute()
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert scores["counts"]["pixels"] == [0] * LEADS
    assert scores["mse"] is scores["ssim"] is scores["mean"]["csi_pooled"] is scores["fss"]["16"]["65"] is None
    assert set(scores["spectrum"]["power"]) == set(scores["quantiles"]["forecast"]) == {None}


def test_undefined_scores_are_left_out_of_means_over_thresholds() -> None:
    made_for = setting(thresholds=Thresholds(unit="code", values=[74, 255]))  # nothing reaches 255
    scores = summed(made_for, fields(9)).compute()
    assert scores["csi_pooled"]["255"] is None and 0.0 < scores["csi_pooled"]["74"] < 1.0
    assert scores["mean"]["csi_pooled"] == scores["csi_pooled"]["74"]


def test_csi_m_is_the_mean_over_sevirs_six_thresholds_whatever_others_there_are() -> None:
    more = Thresholds(unit="code", values=[8.0, *SEVIR.values, 230.0])
    scores = summed(setting(thresholds=more), fields(10)).compute()
    six = [scores["csi_pooled"][str(code)] for code in SEVIR_CODES]
    assert scores["csi_m"]["csi_pooled"] == pytest.approx(sum(six) / 6)
    assert scores["csi_m"].keys() == scores["mean"].keys()
    assert scores["csi_m"] == summed(setting(thresholds=SEVIR), fields(10)).compute()["mean"]
    assert scores["by_lead"][0]["csi_m"]["csi_pooled"] is not None


def test_csi_m_is_absent_where_the_six_are_not_all_there() -> None:
    vil = ENCODINGS["vil255"].values["kg/m2"]
    in_kg = Thresholds(unit="kg/m2", values=[float(vil[code]) for code in SEVIR_CODES])
    assert sevir_labels(setting(thresholds=in_kg)) == [repr(value) for value in in_kg.values]
    five = Thresholds(unit="code", values=SEVIR.values[1:])
    assert sevir_labels(setting(thresholds=five)) is sevir_labels(setting("dbz8", "dBZ", SEVIR)) is None
    assert "csi_m" not in summed(setting(thresholds=five), fields(11)).compute()


def test_fields_of_another_shape_are_a_mistake_of_the_caller() -> None:
    prediction, target, valid, weight = fields(1, shape=(12, 18))
    with pytest.raises(AssertionError):
        Scores(ALL).update(prediction, target, valid, weight)


def test_images_worked_on_together_as_on_a_gpu_give_what_they_give_one_by_one() -> None:
    batches = fields(12), fields(13, batch=1)
    together = Scores(ALL)
    for kind in together._kinds:
        kind.on_cpu = False
    for batch in batches:
        together.update(*batch)
    ours, expected = together.compute(), summed(ALL, *batches).compute()
    for name in ours.keys() - {"spectrum", "by_lead"}:  # several transforms together may differ in the last bit
        assert ours[name] == expected[name], name
    for name, values in ours["spectrum"].items():
        assert values == pytest.approx(expected["spectrum"][name], rel=1e-6)


@pytest.mark.slow  # torch imports much for its meta device
def test_an_update_waits_for_no_device() -> None:
    """Tensors of torch's meta device have no values: whatever looked at one would fail."""
    prediction, target, valid, weight = (field.to("meta") for field in fields(1))
    for full in (True, False):
        Scores(setting(full=full), "meta").update(prediction, target, valid, weight)
