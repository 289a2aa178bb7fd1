"""Scores over a split, against a twin that counts codes in numpy, at any number of ranks and any micro-batch."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from data_prep.encoding import ENCODINGS
from data_prep.shards.index import Shards, open_shards
from data_prep.shards.stored import read_sample
from ds_nowcast.baselines import baselines_for
from ds_nowcast.config.nowcast_keys import DataKeys, Thresholds
from ds_nowcast.model_space import threshold_labels
from ds_nowcast.ranks import Ranks
from ds_nowcast.scoring.evaluation import Evaluation, Scored, selected
from ds_nowcast.scoring.records import lines
from tests.shard_maker import Codes, make_shards, moving_blobs

DATA = DataKeys(input_frames=3, output_frames=2, window_stride=3, buffer_mb=16)
FRAMES, WINDOWS = 9, 2  # windows begin at frames 0 and 3
CODES = Thresholds(unit="code", values=[16, 74, 133, 255])  # no code but "no data" is as high as the last
COUNTED = ("hits", "misses", "false_alarms", "correct_negatives")


class OneOf(Ranks):
    """One rank of several whose sums and things stay its own."""

    def sum_tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    def gather(self, thing: Any) -> list[Any]:
        return [thing]


def ranks(rank: int = 0, world: int = 1) -> Ranks:
    return OneOf(rank, world, rank, world, torch.device("cpu"))


def highest(past_BTHW: torch.Tensor) -> torch.Tensor:
    """A forecast that has an exact twin in codes: the highest of the past, at both leads."""
    return past_BTHW.amax(1, keepdim=True).expand(-1, 2, -1, -1)


def sequences_of(encoding: str = "vil255") -> list[Codes]:
    """Echoes with holes that come and go, one sequence nobody saw, one whose last input frame nobody saw."""
    rng = np.random.default_rng(4)
    sequences = [moving_blobs(rng, frames=FRAMES, size=12, missing=0.2 * (i % 2)) for i in range(5)]
    for sequence in sequences[2:]:
        sequence[rng.random(sequence.shape) < 0.15] = ENCODINGS[encoding].missing
    sequences[1][:] = 255
    sequences[4][2] = 255
    return sequences


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    folder = make_shards(tmp_path_factory.mktemp("scored") / "shards", {"test": sequences_of()}, per_shard=2)
    return open_shards(folder)


def evaluate(
    shards: Shards, thresholds: Thresholds = CODES, micro_batch: int = 4, *, full: bool = False, **at: int
) -> Scored:
    return Evaluation(shards, "test", DATA, thresholds, ranks(**at), micro_batch=micro_batch, full=full).run(highest)


def windows_of(*scored: Scored) -> list[int]:
    return sorted(record.window for part in scored for record in part.records)


@cache
def twin(encoding_name: str, unit: str, thresholds: tuple[float, ...], forecast: str) -> dict[str, Any]:
    """Counts (T, K), pixels (T,) and errors (T,) from the codes, a window at a time."""
    encoding = ENCODINGS[encoding_name]
    value = np.append(np.arange(encoding.missing) * 1.0 if unit == "code" else encoding.values[unit], -np.inf)
    counts = {name: np.zeros((2, len(thresholds)), int) for name in COUNTED}
    pixels, squared, absolute = np.zeros(2, int), np.zeros(2), np.zeros(2)
    for sequence in sequences_of(encoding_name):
        for start in (0, 3):
            past, future = sequence[start : start + 3], sequence[start + 3 : start + 5]
            seen_past = np.where(past == encoding.missing, 0, past)
            predicted = seen_past.max(0) if forecast == "model" else seen_past[-1]
            for lead in range(2):
                both = (past[-1] != encoding.missing) & (future[lead] != encoding.missing)
                said, was = predicted[both], future[lead][both]
                pixels[lead] += both.sum()
                error = (said.astype(float) - was) / encoding.missing
                squared[lead] += (error**2).sum()
                absolute[lead] += abs(error).sum()
                for k, threshold in enumerate(thresholds):
                    yes, happened = value[said] >= threshold, value[was] >= threshold
                    table = (yes & happened, ~yes & happened, yes & ~happened, ~yes & ~happened)
                    for name, cell in zip(COUNTED, table, strict=True):
                        counts[name][lead, k] += cell.sum()
    return {**counts, "pixels": pixels, "squared": squared, "absolute": absolute}


def check_counts(scores: dict[str, Any], expected: dict[str, Any]) -> None:
    for name in (*COUNTED, "pixels"):
        assert scores["counts"][name] == expected[name].tolist(), name


def ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None


def check_scores(scores: dict[str, Any], expected: dict[str, Any], leads: list[int], labels: Sequence[str]) -> None:
    """POD, FAR, bias, pooled CSI, MSE and MAE of some leads."""
    for k, label in enumerate(labels):
        hits, misses, false_alarms, _ = (int(expected[name][leads, k].sum()) for name in COUNTED)
        assert scores["csi_pooled"][label] == ratio(hits, hits + misses + false_alarms)
        assert scores["pod"][label] == ratio(hits, hits + misses)
        assert scores["far"][label] == ratio(false_alarms, hits + false_alarms)
        assert scores["bias"][label] == ratio(hits + false_alarms, hits + misses)
    pixels = expected["pixels"][leads].sum()
    assert scores["mse"] == pytest.approx(expected["squared"][leads].sum() / pixels, rel=1e-5)
    assert scores["mae"] == pytest.approx(expected["absolute"][leads].sum() / pixels, rel=1e-5)


@pytest.mark.parametrize("forecast", ["model", "persistence"])
def test_scores_are_those_counted_from_the_codes(shards: Shards, forecast: str) -> None:
    scored, expected = evaluate(shards), twin("vil255", "code", tuple(CODES.values), forecast)
    scores, labels = getattr(scored, forecast), threshold_labels(CODES)
    assert scored.windows == 10 and scored.bad == []
    check_counts(scores, expected)
    check_scores(scores, expected, [0, 1], labels)
    for lead in range(2):
        check_scores(scores["by_lead"][lead], expected, [lead], labels)
    for label in labels:
        by_lead = [lead["csi_pooled"][label] for lead in scores["by_lead"]]
        mean = None if label == "255" else math.fsum(by_lead) / 2
        assert scores["csi_lead_mean"][label] == mean
    assert scores["csi_pooled"]["255"] is None  # never forecast, never seen: undefined, not 0


@pytest.mark.parametrize("unit", ["mm/h", "dBZ"])
def test_thresholds_in_physical_units_count_by_the_codes_values(tmp_path: Path, unit: str) -> None:
    shards = open_shards(make_shards(tmp_path / "shards", {"test": sequences_of("dbz8")}, encoding="dbz8"))
    thresholds = Thresholds(unit=unit, values=list(ENCODINGS["dbz8"].thresholds[unit]))
    scored = evaluate(shards, thresholds)
    for name in ("model", "persistence"):
        check_counts(getattr(scored, name), twin("dbz8", unit, tuple(thresholds.values), name))


@pytest.mark.parametrize(("world", "micro_batch"), [(1, 1), (1, 64), (2, 3), (3, 2), (7, 1), (20, 4)])
def test_counts_are_the_same_integers_at_any_number_of_ranks_and_any_micro_batch(
    shards: Shards, world: int, micro_batch: int
) -> None:
    parts = [evaluate(shards, micro_batch=micro_batch, rank=rank, world=world, full=True) for rank in range(world)]
    for name in ("model", "persistence"):
        expected = twin("vil255", "code", tuple(CODES.values), name)
        for counted in (*COUNTED, "pixels"):
            total = sum(np.array(getattr(part, name)["counts"][counted]) for part in parts)
            assert total.tolist() == expected[counted].tolist()
    assert windows_of(*parts) == list(range(10))  # each window on one rank, padding on none
    assert {part.windows for part in parts} == {10}


@pytest.mark.parametrize(("rank", "world"), [(0, 1), (2, 3), (19, 20)])
def test_every_rank_predicts_equally_often_and_progress_counts_all_windows(
    shards: Shards, rank: int, world: int
) -> None:
    calls: list[torch.Size] = []
    told: list[int] = []

    def predict(past_BTHW: torch.Tensor) -> torch.Tensor:
        calls.append(past_BTHW.shape)
        return highest(past_BTHW)

    Evaluation(shards, "test", DATA, CODES, ranks(rank, world), micro_batch=3).run(predict, told.append)
    assert calls == [torch.Size((3, 3, 12, 12))] * -(-10 // (3 * world))  # also where a rank has no window left
    assert sum(told) == 10


def test_so_many_windows_as_asked_for_are_scored_spread_over_the_split(shards: Shards) -> None:
    scored = Evaluation(shards, "test", DATA, CODES, ranks(), micro_batch=4, max_windows=2, full=True).run(highest)
    assert (scored.windows, windows_of(scored)) == (2, [0, 5])
    chosen = [(sequences_of()[0], 0), (sequences_of()[2], 3)]  # windows 0 and 5 of ten, two of each sequence
    seen = [((codes[s + 2] != 255) & (codes[s + 3 + lead] != 255)).sum() for lead in range(2) for codes, s in chosen]
    assert scored.model["counts"]["pixels"] == [seen[0] + seen[1], seen[2] + seen[3]]


def test_a_split_without_any_data_has_no_scores_but_is_no_error(tmp_path: Path) -> None:
    nothing: list[NDArray[np.uint8]] = [np.full((FRAMES, 12, 12), 255, np.uint8)] * 2
    scored = evaluate(open_shards(make_shards(tmp_path / "shards", {"test": nothing})), full=True)
    for scores in (scored.model, scored.persistence):
        assert scores["counts"]["pixels"] == [0, 0]
        assert scores["mse"] is scores["mae"] is scores["mean"]["csi_pooled"] is scores["pod"]["16"] is None
        assert selected(scores, "csi_pooled") == selected(scores, "mse") == -math.inf
    assert [(record.pixels, record.mean_squared_error("model")) for record in scored.records] == [(0, 0.0)] * 4


def test_a_windows_record_has_the_sums_over_its_own_scored_pixels(shards: Shards) -> None:
    records = {record.window: record for record in evaluate(shards, full=True).records}
    past, future = sequences_of()[2][3:6], sequences_of()[2][6:8]
    both = (past[-1] != 255) & (future != 255)
    said = np.broadcast_to(np.where(past == 255, 0, past).max(0), future.shape)
    record = records[5]
    assert (record.pixels, record.start, record.key) == (both.sum(), 3, sorted({r.key for r in records.values()})[2])
    sums = record.forecasts["model"]
    assert sums.squared_error == pytest.approx(((said / 255 - future / 255)[both] ** 2).sum(), rel=1e-5)
    assert sums.absolute_error == pytest.approx(abs(said / 255 - future / 255)[both].sum(), rel=1e-5)
    for k, threshold in enumerate(CODES.values):
        yes, was = said[both] >= threshold, future[both] >= threshold
        expected = (yes & was).sum(), (~yes & was).sum(), (yes & ~was).sum()
        assert (sums.hits[k], sums.misses[k], sums.false_alarms[k]) == expected
    assert records[2].pixels == records[3].pixels == 0  # nobody saw that sequence


def test_a_record_is_of_the_time_of_the_last_observation(shards: Shards) -> None:
    [record] = [record for record in evaluate(shards, full=True).records if record.window == 5]
    meta, _ = read_sample(shards, "test", 2)
    assert record.time == meta["times"][3 + 2] and record.key == meta["key"]


@pytest.mark.parametrize("forecast", ["model", "persistence"])
def test_records_add_up_to_the_counts(shards: Shards, forecast: str) -> None:
    scored = evaluate(shards, full=True)
    for name in ("hits", "misses", "false_alarms"):
        added = np.sum([getattr(record.forecasts[forecast], name) for record in scored.records], axis=0)
        assert added.tolist() == np.sum(scored.scores[forecast]["counts"][name], axis=0).tolist()
    assert sum(record.pixels for record in scored.records) == sum(scored.model["counts"]["pixels"])


def test_lines_of_records_are_json_in_the_order_of_windows(shards: Shards) -> None:
    records = evaluate(shards, full=True).records
    read = [json.loads(line) for line in lines(reversed(records)).splitlines()]
    assert [line["window"] for line in read] == list(range(10))
    assert read[5]["persistence"]["hits"] == records[5].forecasts["persistence"].hits
    assert read[5].keys() == {"window", "key", "start", "time", "pixels", "model", "persistence"}


def test_a_forecast_without_numbers_has_no_errors_in_its_record(shards: Shards) -> None:
    scored = Evaluation(shards, "test", DATA, CODES, ranks(), micro_batch=4, full=True).run(
        lambda past: torch.full_like(past[:, :2], math.nan)
    )
    line = json.loads(lines(scored.records).splitlines()[0])
    assert line["model"]["squared_error"] is None and line["persistence"]["squared_error"] > 0


def test_while_training_nothing_is_kept_of_single_windows(shards: Shards) -> None:
    assert evaluate(shards).records == [] and "fss" not in evaluate(shards).model


def test_every_baseline_is_scored_on_the_same_pixels(shards: Shards) -> None:
    baselines, absent = baselines_for(shards.index, "test")
    scored = Evaluation(shards, "test", DATA, CODES, ranks(), micro_batch=4, baselines=baselines).run(highest)
    assert list(scored.scores) == ["model", "persistence", "extrapolation", "climatology"] and not absent
    pixels = [scores["counts"]["pixels"] for scores in scored.scores.values()]
    assert pixels == [pixels[0]] * 4 and sum(pixels[0]) > 0
    observed = [np.add(s["counts"]["hits"], s["counts"]["misses"]).tolist() for s in scored.scores.values()]
    assert observed == [observed[0]] * 4


def test_without_the_training_split_climatology_is_absent_with_the_reason(shards: Shards) -> None:
    baselines, absent = baselines_for(shards.index, "train")
    assert "climatology" not in baselines and "no split 'train'" in absent["climatology"]


def test_forecasts_beyond_model_space_count_as_its_ends(shards: Shards) -> None:
    def beyond(past_BTHW: torch.Tensor) -> torch.Tensor:
        return torch.full_like(past_BTHW[:, :2], 7.0)

    scored = Evaluation(shards, "test", DATA, CODES, ranks(), micro_batch=4).run(beyond)
    assert scored.model["mse"] < 1.0
    assert scored.model["pod"]["133"] == 1.0
    assert sum(map(sum, scored.model["counts"]["false_alarms"])) > 0
    assert scored.model["counts"]["false_alarms"][0][3] == 0  # 255 lies above all codes


def test_a_forecast_in_half_precision_is_scored_too(shards: Shards) -> None:
    scored = Evaluation(shards, "test", DATA, CODES, ranks(), micro_batch=4).run(lambda past: highest(past).bfloat16())
    assert scored.model["counts"]["pixels"] == evaluate(shards).model["counts"]["pixels"]


def test_an_unreadable_window_counts_as_all_missing_and_is_named(tmp_path: Path) -> None:
    shards = open_shards(make_shards(tmp_path / "shards", {"test": sequences_of()}, per_shard=2))
    whole = evaluate(shards, full=True)
    (shards.folder / "test/test-000001.idx").unlink()
    scored = evaluate(shards, full=True)
    assert len(scored.bad) == 4 and all(sample.shard == "test/test-000001.tar" for sample in scored.bad)
    assert scored.windows == whole.windows and windows_of(scored) == windows_of(whole)
    assert scored.persistence["counts"]["pixels"][0] < whole.persistence["counts"]["pixels"][0]


def test_the_larger_the_better_whatever_is_selected_by() -> None:
    scores = {"mean": {"csi_pooled": 0.4, "csi_lead_mean": None}, "mse": 0.02, "mae": 0.1}
    assert selected(scores, "csi_pooled") == 0.4
    assert selected(scores, "csi_lead_mean") == -math.inf
    assert selected(scores, "mse") == -0.02 and selected(scores, "mae") == -0.1
