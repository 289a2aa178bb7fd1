"""The evaluate command: the form of scores.json, what it says of the data, what it refuses, and its ranks."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_prep.encoding import ENCODINGS
from ds_nowcast import evaluate
from ds_nowcast.baselines import BASELINES
from ds_nowcast.exported import open_model, write_weights
from tests.ds_nowcast.made_model import made_run
from tests.launching import free_port, launch
from tests.shard_maker import make_shards, moving_blobs

LABELS = ["16", "74", "133", "160", "181", "219"]
COUNTS = ["hits", "misses", "false_alarms", "correct_negatives", "pixels"]
CHARTS = ("blur", "by_threshold", "csi_by_lead", "detection_by_lead", "error_by_lead", "fss_by_scale", "performance",
          "quantiles", "spectra")  # fmt: skip
REPORT = sorted(["index.html", *(f"{name}.png" for name in (*CHARTS, "case_best", "case_median", "case_worst"))])


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """The number of torch's threads is the process's: other tests keep theirs."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "write_report", lambda *_: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, config: Path, shards: Path) -> Path:
    """A model with weights from chance."""
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    made_run(folder, config, shards, ["nowcast.model.residual=false"])
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """The same in a folder of the test's own."""
    return Path(shutil.copytree(made, tmp_path / "run"))


def command(run: Path, shards: Path, split: str = "test", *options: Any) -> int:
    return evaluate.main(
        [str(word) for word in ("--run", run, "--shards", shards, "--split", split, "--quiet", *options)]
    )


def scores_in(folder: Path) -> dict[str, Any]:
    scores: dict[str, Any] = json.loads((folder / "scores.json").read_text())
    return scores


@pytest.mark.slow
def test_scores_and_pictures_stand_in_the_run_folder(
    run: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(run, shards) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("10 windows of split test (held out), 3 leads of 5 min\n") and printed.err == ""
    assert printed.out.endswith(f"scores in {run / 'scores.json'}, report in {run / 'report' / 'index.html'}\n")
    assert sorted(path.name for path in (run / "report").iterdir()) == REPORT


def test_scores_have_the_form_that_others_read(run: Path, shards: Path, no_pictures: None) -> None:
    assert command(run, shards) == 0
    scores = scores_in(run)
    assert list(scores) == ["task", "model", *BASELINES, "skill"]
    task = scores["task"]
    assert (task["frames"], task["leads"], task["cadence_s"], task["windows"], task["split"]) == (4, 3, 300, 10, "test")
    assert task["thresholds"] == {"unit": "code", "values": [16.0, 74.0, 133.0, 160.0, 181.0, 219.0]}
    assert len(task["index_hash"]) == 64
    assert task["model"] == {"name": "unet", "parameters": task["model"]["parameters"], "step": 7, "turned": False}
    assert {"pixel", "pixel_unit", "unit", "versions"} <= task.keys()
    assert list(scores["skill"]) == list(BASELINES)
    better = 1 - scores["model"]["mse"] / scores["persistence"]["mse"]
    assert scores["skill"]["persistence"]["mse"] == pytest.approx(better)
    for name in ("model", *BASELINES):
        found = scores[name]
        for score in ("csi_pooled", "csi_lead_mean", "pod", "far", "bias", "sucr", "hss", "ets", "fss", "csi_pool4"):
            assert list(found[score]) == LABELS
            assert all(list(lead[score]) == LABELS for lead in found["by_lead"])
        assert len(found["by_lead"]) == 3
        assert isinstance(found["mse"], float) and isinstance(found["by_lead"][2]["mae"], float)
        for counted in COUNTS[:-1]:
            table = found["counts"][counted]
            assert np.shape(table) == (3, 6) and all(isinstance(count, int) for lead in table for count in lead)
        assert np.shape(found["counts"]["pixels"]) == (3,)
        total = np.sum([found["counts"][counted] for counted in COUNTS[:-1]], axis=0)
        assert (total == np.array(found["counts"]["pixels"])[:, None]).all()
        assert found["counts"]["pixels"] == scores["model"]["counts"]["pixels"]
    lines = [json.loads(line) for line in (run / "windows.jsonl").read_text().splitlines()]
    assert [line["window"] for line in lines] == list(range(10))
    assert (
        np.sum([line["extrapolation"]["hits"] for line in lines], 0).tolist()
        == np.sum(scores["extrapolation"]["counts"]["hits"], 0).tolist()
    )


def test_of_images_larger_than_trained_on_the_model_is_scored_in_tiles_too(
    tmp_path: Path, config: Path, shards: Path, no_pictures: None, capsys: pytest.CaptureFixture[str]
) -> None:
    made_run(tmp_path / "run", config, shards, ["nowcast.model.residual=false"], shape=(16, 16))
    assert command(tmp_path / "run", shards) == 0
    scores = scores_in(tmp_path / "run")
    assert list(scores) == ["task", "model", *BASELINES, "tiles", "skill"] and "tiles" not in scores["skill"]
    assert scores["tiles"]["counts"]["pixels"] == scores["model"]["counts"]["pixels"]
    assert scores["tiles"]["mse"] != scores["model"]["mse"]  # its norms see a tile, not the image
    assert "in tiles" in capsys.readouterr().out


def test_in_tiles_a_model_of_persistence_is_persistence(
    tmp_path: Path, config: Path, shards: Path, no_pictures: None
) -> None:
    made_run(tmp_path / "run", config, shards, ["nowcast.model.residual=true"], shape=(16, 16))
    assert command(tmp_path / "run", shards) == 0
    scores = scores_in(tmp_path / "run")
    assert scores["tiles"]["mse"] == pytest.approx(scores["persistence"]["mse"], rel=1e-6)


@pytest.mark.slow
def test_over_quarter_turns_another_model_is_scored_and_said_to_be(
    run: Path, shards: Path, no_pictures: None, tmp_path: Path
) -> None:
    assert command(run, shards) == command(run, shards, "test", "--turned", "--out", tmp_path / "turned") == 0
    plain, turned = scores_in(run), scores_in(tmp_path / "turned")
    assert not plain["task"]["model"].pop("turned") and turned["task"]["model"].pop("turned")
    assert turned["model"]["mse"] < plain["model"]["mse"]  # of a mean: noise is what these weights are
    assert {**turned, "model": 0, "skill": 0} == {**plain, "model": 0, "skill": 0}


@pytest.mark.parametrize(
    ("split", "relation"), [("train", "training data"), ("val", "used to choose the best step"), ("test", "held out")]
)
def test_scores_say_whether_the_model_was_trained_on_the_data(
    split: str, relation: str, run: Path, shards: Path, no_pictures: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(run, shards, split) == 0
    assert scores_in(run)["task"]["data"] == relation
    assert f"of split {split} ({relation})" in capsys.readouterr().out


@pytest.mark.slow
def test_of_other_shards_nothing_is_claimed(run: Path, shards: Path, tmp_path: Path, no_pictures: None) -> None:
    other = Path(shutil.copytree(shards, tmp_path / "other"))
    index = json.loads((other / "index.json").read_text())
    (other / "index.json").write_text(json.dumps(index | {"archive": "another"}))
    assert command(run, other, "train") == 0
    assert scores_in(run)["task"]["data"].startswith("other shards than those trained on")


def test_a_file_of_weights_is_scored_beside_itself_or_where_out_says(
    run: Path, shards: Path, tmp_path: Path, no_pictures: None
) -> None:
    model = run / "model.safetensors"
    argv = ["--model", str(model), "--shards", str(shards), "--split", "test", "--quiet"]
    assert evaluate.main(argv) == evaluate.main([*argv, "--out", str(tmp_path / "deep" / "er")]) == 0
    assert scores_in(run) == scores_in(tmp_path / "deep" / "er")


def test_without_matplotlib_the_scores_are_there_and_it_says_so(
    run: Path, shards: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    assert command(run, shards) == 0
    error = capsys.readouterr().err
    assert "no report: " in error and "ds-nowcast[pictures]" in error and len(error.splitlines()) == 1
    assert scores_in(run)["task"]["windows"] == 10


def test_the_same_evaluation_twice_gives_the_same_bytes(run: Path, shards: Path, no_pictures: None) -> None:
    contents = []
    for _ in range(2):
        assert command(run, shards) == 0
        contents.append((run / "scores.json").read_bytes())
    assert contents[0] == contents[1]


def test_a_model_that_gives_no_numbers_is_scored_as_undefined(
    run: Path, shards: Path, config: Path, no_pictures: None
) -> None:
    made_run(run, config, shards, [])
    model, card = open_model(run, None, torch.device("cpu"))
    nothing = {name: torch.full_like(tensor, torch.nan) for name, tensor in model.state_dict().items()}
    write_weights(run / "model.safetensors", nothing, nothing.items(), card)
    assert command(run, shards) == 0
    scores = scores_in(run)
    assert scores["model"]["mse"] is None and scores["model"]["pod"]["16"] == 0.0
    assert scores["persistence"]["mse"] is not None


def test_windows_larger_than_the_usual_buffer_are_scored_too(
    run: Path, shards: Path, no_pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_card(run, micro_batch=40_000)  # two batches are 547 MB of codes, more than the default of 512
    asked: list[int] = []

    class Stop(Exception):
        pass

    def stop(shards: Any, split: Any, data: Any, *_: Any, **__: Any) -> None:
        asked.append(data.buffer_mb)
        raise Stop

    monkeypatch.setattr(evaluate, "Evaluation", stop)
    with pytest.raises(Stop):
        command(run, shards)
    assert asked == [547]


# What is refused


def change_card(run: Path, **changes: Any) -> None:
    (run / "model.json").write_text(json.dumps(json.loads((run / "model.json").read_text()) | changes))


def in_dutch_rain(run: Path) -> None:
    change_card(run, unit="mm/h", encoding="dbz8", thresholds={"unit": "mm/h", "values": [1]})


def test_codes_of_another_encoding_are_refused_though_unit_and_pixels_are_alike(
    run: Path, shards: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENCODINGS, "vil16", replace(ENCODINGS["vil255"], name="vil16"))
    change_card(run, encoding="vil16")
    assert command(run, shards) == 2
    assert "holds vil255 codes, the model takes vil16; build with --encoding vil16" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "split", "message"),
    [
        (lambda run: None, "none", "has no split 'none'; it has train, val, test"),
        (in_dutch_rain, "test", "has unit kg/m2 where the model was trained on mm/h"),
        (lambda run: change_card(run, cadence_s=600), "test", "has cadence 300 s where the model was trained on 600 s"),
        (lambda run: change_card(run, pixel=[500.0, 500.0]), "test", "1000 x 1000 m where the model was trained on 500 x 500 m"),
        (lambda run: change_card(run, output_frames=30), "test", "holds another model's weights"),
        (lambda run: (run / "model.safetensors").unlink(), "test", "does not exist; a training writes it when it first evaluates"),
        (lambda run: (run / "run.json").unlink(), "test", "is not a run folder"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line_and_nothing_is_written(
    run: Path,
    shards: Path,
    change: Callable[[Path], None],
    split: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(run)
    before = sorted(run.rglob("*"))
    assert command(run, shards, split) == 2
    printed = capsys.readouterr()
    assert message in printed.err and len(printed.err.splitlines()) == 1 and printed.out == ""
    assert sorted(run.rglob("*")) == before


def test_sequences_shorter_than_the_models_window_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = [moving_blobs(np.random.default_rng(0), frames=6)]
    assert command(run, make_shards(tmp_path / "short", {"test": short})) == 2
    assert "= 7 frames are more than the 6 of a sequence" in capsys.readouterr().err


def test_images_that_the_model_cannot_take_are_refused_before_any_is_read(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "Evaluation", None)  # not even begun
    odd = [moving_blobs(np.random.default_rng(0), frames=7, size=30)]
    assert command(run, make_shards(tmp_path / "odd", {"test": odd})) == 2
    assert "images of 30 x 30 pixels do not fit a model of stride 4" in capsys.readouterr().err


def test_a_file_is_no_place_for_a_report(
    run: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert command(run, shards, "test", "--out", tmp_path / "file") == 2
    assert capsys.readouterr().err == f"error: --out {tmp_path / 'file'} is a file; give a folder\n"
    assert (tmp_path / "file").read_text() == "mine"


def test_windows_that_cannot_be_read_are_an_error_not_a_score(
    run: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(shards, tmp_path / "copy"))
    (copy / "test/test-000001.idx").unlink()
    assert command(run, copy) == 3
    error = capsys.readouterr().err
    assert "2 windows cannot be read (the first: test/test-000001.tar" in error and len(error.splitlines()) == 1
    assert not (run / "scores.json").exists()


def test_a_full_disk_is_one_sentence(
    run: Path, shards: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert command(run, shards) == 3
    assert (
        capsys.readouterr().err
        == f"error: {run} cannot be written: No space left on device; mend it, then run the same again\n"
    )
    assert not (run / "scores.json").exists() and not list(run.glob(".*partial"))


# Ranks


@pytest.mark.launch
def test_two_and_three_ranks_count_the_same_integers_as_one_process(
    run: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None
) -> None:
    options = ["--run", run, "--shards", shards, "--split", "test"]  # 10 windows: neither 2 nor 3 ranks x 4 divide them
    change_card(run, micro_batch=4)
    ended = launch("tests.ds_nowcast.evaluate_case", free_port(), free_port(), tmp_path, *options, ranks=3)
    assert ended.code == 0, ended.output[-3000:]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})  # one thread, as on the ranks
    one = tmp_path / "1"
    assert command(run, shards, "test", "--out", one) == 0
    found = {world: scores_in(tmp_path / world) for world in ("1", "2", "3")}
    assert 0 < found["1"]["model"]["csi_pooled"]["16"] < 1  # the counts are of a forecast that says something
    for name in ("model", "persistence"):
        assert found["1"][name]["counts"] == found["2"][name]["counts"] == found["3"][name]["counts"]
        assert found["1"][name] == found["2"][name] == found["3"][name]
    assert len(ended.lines("windows of split test (held out)")) == 2  # rank 0's words alone, once each
