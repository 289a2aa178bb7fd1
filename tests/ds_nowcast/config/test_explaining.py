"""`explain` and `diff`: what they print of configs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.ds_nowcast.config.config_file import written
from tests.ds_nowcast.config_files import scaled
from tests.ds_nowcast.conftest import TINY
from tests.launching import ROOT

Run = Any


# explain


def test_all_settings_are_a_line_each_where_there_is_no_terminal(run: Run, tmp_path: Path) -> None:
    lines = run("explain", written(tmp_path)).splitlines()
    assert lines[0].split() == ["key", "value", "from", "what", "it", "does", "what", "it", "costs"]
    settings = json.loads(run("explain", tmp_path / "config.json", "--json"))["settings"]
    assert len(lines) == len(settings) + 1 > 150
    (stage,) = [line for line in lines if line.startswith("zero_optimization.stage ")]
    assert "2" in stage and "given" in stage and "3 half as much again" in stage
    assert not any(line.startswith("$schema") for line in lines)


def test_a_key_is_explained_with_what_is_allowed_and_what_each_value_needs(run: Run) -> None:
    words = ("explain", scaled("large", "node"), "zero_optimization.stage", "--gpus", "8")
    told = run(*words)
    for line in ("value     1 (given)", "allowed   0, 1, 2 or 3", "default   0", "GB (10^9 bytes) of each of 8 GPUs"):
        assert line in told
    found = json.loads(run(*words, "--json"))
    parameters = 266_375_616
    of_stage = {one["value"]: one for one in found["memory"]["by_value"]}
    assert of_stage[0]["optimizer"] == (4 + 8 + 4) * parameters  # fp32 copy, moments, the mean of ema
    assert of_stage[1]["optimizer"] == 16 * parameters / 8 and of_stage[1]["weights"] == 2 * parameters
    assert of_stage[3]["device"] < of_stage[1]["device"] < of_stage[0]["device"]


def test_the_page_shows_what_is_printed(run: Run) -> None:
    page = (ROOT / "docs/configuring.md").read_text()
    assert (
        run("explain", scaled("large", "node"), "zero_optimization.stage", "--gpus", "8").partition("GB (")[2] in page
    )


@pytest.mark.parametrize("width", [100, 150])
def test_on_a_terminal_nothing_is_cut_off(run: Run, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": str(width), "TTY_COMPATIBLE": "1", "FORCE_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", run("explain", scaled("tiny", "gpu"), "zero_optimization"))
    table = plain[plain.index(" key ") :].splitlines()
    assert "─" in table[1] and all(len(line) <= width for line in table)
    assert "…" not in plain, "columns are folded"


def test_a_value_that_is_refused_is_shown_with_the_reason(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path, torch_autocast={"enabled": True, "dtype": "bfloat16"})
    found = json.loads(run("explain", path, "bf16.enabled", "--json"))
    assert found["memory"]["by_value"] == [], "one value of two is refused: there is nothing to compare"
    path = written(tmp_path, zero_optimization={"stage": 2, "offload_optimizer": {"device": "cpu"}})
    stages = json.loads(run("explain", path, "zero_optimization.stage", "--json"))["memory"]["by_value"]
    assert "needs stage 1, 2 or 3" in stages[0]["refused"] and stages[1]["host"] > 0


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("nowcast.steps", "default   none, it must be given"),
        ("nowcast.data.augment.crop", "allowed   a whole number (at least 1) or null"),
        ("optimizer.params.betas", "allowed   a list of 2 items, each a number (at least 0, less than 1)"),
        ("scheduler.params.total_num_steps", 'value     "auto" = 12 (given)'),
        ("optimizer.params.momentum", "value     not in force in this file"),
        ("zero_optimization.offload_param.device", "value     not in force in this file"),
        ("nowcast.model.temporal_width", "value     not in force in this file"),
        ("nowcast.data", "nowcast.data.window_stride "),
        ("zero_optimization.offload_optimizer", '  {"device": "cpu"} '),
    ],
)
def test_keys_and_sections_are_explained_in_force_or_not(run: Run, tmp_path: Path, key: str, expected: str) -> None:
    assert expected in run("explain", written(tmp_path), key)


def test_an_unknown_key_is_refused_with_those_like_it(run: Run, tmp_path: Path) -> None:
    told = run("explain", written(tmp_path), "stage", code=2)
    assert told == "error: there is no key 'stage'; did you mean zero_optimization.stage?\n"
    assert "did you mean nowcast.data.buffer_mb" in run(
        "explain", tmp_path / "config.json", "nowcast.data.bufer_mb", code=2
    )


# diff


def test_two_configs_differ_where_they_do(run: Run) -> None:
    found = json.loads(run("diff", scaled("base", "gpu"), scaled("base", "node"), "--json"))
    assert not found["same"]
    assert {one["key"]: [value["holds"] for value in one["values"]] for one in found["differences"]} == {
        "train_micro_batch_size_per_gpu": [64, 8],
        "zero_optimization.overlap_comm": [False, True],
    }
    assert all(one["description"] for one in found["differences"])
    lines = run("diff", scaled("base", "gpu"), scaled("base", "node")).splitlines()
    assert len(lines) == 3 and "64 (given)" in lines[1] and "8 (given)" in lines[1]


def test_configs_that_say_the_same_in_other_words_are_the_same_run(run: Run, tmp_path: Path) -> None:
    one = written(tmp_path, "one.json")
    params = {"total_num_steps": 12, "warmup_num_steps": 2, "warmup_type": "log"}
    other = written(
        tmp_path,
        "other.json",
        scheduler={"type": "WarmupCosineLR", "params": params},
        zero_optimization={"stage": 2, "overlap_comm": False},
        **{"$schema": "schema.json"},
    )
    assert run("diff", one, other) == f"{one} and {other} are the same run: every setting is the same\n"
    assert json.loads(run("diff", one, other, "--json")) | {"same": True, "differences": []} == json.loads(
        run("diff", one, other, "--json")
    )
    model = {"name": "convnext_unet", "preset": "tiny"}
    preset = written(tmp_path, "preset.json", nowcast={**TINY["nowcast"], "model": model})
    spelled = {"name": "convnext_unet", **_options("tiny")}
    options = written(tmp_path, "options.json", nowcast={**TINY["nowcast"], "model": spelled})
    assert "are the same run" in run("diff", preset, options)


def _options(preset: str) -> dict[str, Any]:
    from ds_nowcast.models.convnext_unet import PRESETS

    return dict(PRESETS[preset])


def test_one_config_is_compared_with_all_defaults_and_three_with_each_other(run: Run, tmp_path: Path) -> None:
    found = json.loads(run("diff", written(tmp_path), "--json"))
    differing = {one["key"]: one["values"] for one in found["differences"]}
    assert found["files"][0] == "all defaults"
    assert [value["value"] for value in differing["nowcast.model.width"]] == [32, 8]
    assert differing["nowcast.steps"][0] is None and differing["nowcast.steps"][1]["value"] == 12
    assert "optimizer.params.lr" not in differing, "it is the default's"
    three = json.loads(run("diff", *(scaled("base", scale) for scale in ("gpu", "node", "cluster")), "--json"))
    (total,) = [one for one in three["differences"] if one["key"] == "train_batch_size"]
    assert [value["value"] for value in total["values"]] == [64, 64, 512]


def test_a_file_that_cannot_be_read_is_one_sentence(run: Run, tmp_path: Path) -> None:
    for command in ("check", "explain", "diff"):
        told = run(command, tmp_path / "none.json", code=2)
        assert told.startswith(f"error: config {tmp_path / 'none.json'} cannot be read") and told.count("\n") == 1
