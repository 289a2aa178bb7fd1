"""`python -m ds_nowcast.config`: what it prints, writes and refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from data_prep.console import main
from ds_nowcast.config import load_config
from ds_nowcast.config.__main__ import COMMANDS
from ds_nowcast.config.listing import names
from tests.ds_nowcast.config_files import CONFIGS, FOLDER, gpus_of, scaled
from tests.ds_nowcast.conftest import TINY
from tests.launching import ROOT

Run = Any


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def asked(*words: str | Path, code: int = 0) -> str:
        """What a command prints: to stdout where it succeeds, else to stderr."""
        assert main("config", "", COMMANDS, [str(word) for word in words]) == code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    return asked


def written(folder: Path, name: str = "config.json", **keys: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps({**TINY, **keys}))
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_an_example_in_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main("config", "", COMMANDS, [command, "--help"])
    assert f"example:\n  python -m ds_nowcast.config {command}" in capsys.readouterr().out


# list and copy


@pytest.mark.slow
def test_the_list_says_of_each_config_what_it_trains(run: Run) -> None:
    entries = {entry["name"]: entry for entry in map(json.loads, run("list", "--json").splitlines())}
    assert list(entries) == [path.stem for path in CONFIGS] == names()
    assert entries["demo"] | {"model": "evolution_unet", "precision": "fp32", "most_ranks": 8} == entries["demo"]
    assert entries["unet_fp32"]["parameters"] == 16_556_044
    for path in CONFIGS:
        assert entries[path.stem]["most_ranks"] >= gpus_of(path)[-1], path.stem
        assert entries[path.stem]["zero_stage"] == load_config(path).zero_optimization.stage
    places = {entry["place"] for name, entry in entries.items() if name.startswith("convnext")}
    assert places == {"one GPU", "one host", "many hosts"}
    table = run("list").splitlines()
    assert len(table) == len(CONFIGS) + 2
    assert "convnext_unet xl" in table[1 + names().index("convnext_unet_xl_node")]


def test_a_copy_is_the_config_with_the_schema_beside_it(run: Run, tmp_path: Path) -> None:
    assert "mine.json; " in run("copy", "demo", tmp_path / "mine.json")
    assert (tmp_path / "mine.json").read_bytes() == (FOLDER / "demo.json").read_bytes()
    beside = tmp_path / json.loads((tmp_path / "mine.json").read_text())["$schema"]
    assert beside.read_bytes() == (FOLDER / "schema.json").read_bytes()
    Draft7Validator(json.loads(beside.read_text())).validate(json.loads((tmp_path / "mine.json").read_text()))
    run("copy", "unet_fp32.json", tmp_path)
    assert load_config(tmp_path / "unet_fp32.json") == load_config(FOLDER / "unet_fp32.json")


def test_a_copy_renews_an_old_schema_and_writes_over_nothing_else(run: Run, tmp_path: Path) -> None:
    old = json.loads((FOLDER / "schema.json").read_text())
    (tmp_path / "schema.json").write_text(json.dumps({"title": old["title"]}))
    run("copy", "demo", tmp_path)
    assert json.loads((tmp_path / "schema.json").read_text()) == old
    assert "demo.json is there already; give another name" in run("copy", "demo", tmp_path, code=2)
    other = tmp_path / "other"
    other.mkdir()
    (other / "schema.json").write_text("{}")
    assert "is a file of yours" in run("copy", "demo", other, code=2)
    assert [path.name for path in other.iterdir()] == ["schema.json"] and (other / "schema.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("name", "dest", "message"),
    [
        ("demmo", ".", "there is no config 'demmo'; did you mean demo?"),
        ("../demo", ".", "there is no config '../demo'"),
        ("schema", ".", "there is no config 'schema'"),
        ("demo", "none/mine.json", "is not a folder; make it first"),
        ("demo", "mine.txt", "give a name that ends in .json"),
        ("demo", "schema.json", "give the config another name"),
    ],
)
def test_a_copy_that_cannot_be_is_refused(run: Run, tmp_path: Path, name: str, dest: str, message: str) -> None:
    assert message in run("copy", name, tmp_path / dest, code=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_installed_package_holds_the_configs_and_their_schema(tmp_path: Path) -> None:
    source, installed = tmp_path / "source", tmp_path / "installed"
    for name in ("data_prep", "ds_nowcast", "ds_configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    words = [
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--target",
        str(installed),
        str(source),
    ]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, cwd=tmp_path)
    alone = {**os.environ, "PYTHONPATH": str(installed)}
    where = [sys.executable, "-c", "import ds_configs, ds_nowcast; print(ds_configs.__file__, ds_nowcast.__file__)"]
    found = subprocess.run(where, check=True, cwd=tmp_path, env=alone, capture_output=True, text=True).stdout
    assert all(path.startswith(str(installed)) for path in found.split())
    copying = [sys.executable, "-m", "ds_nowcast.config", "copy", "demo", "mine.json"]
    subprocess.run(copying, check=True, cwd=tmp_path, env=alone)
    assert (tmp_path / "mine.json").read_bytes() == (FOLDER / "demo.json").read_bytes()
    assert (tmp_path / "schema.json").read_bytes() == (FOLDER / "schema.json").read_bytes()


# check


def test_a_good_config_is_one_line(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path)
    line = f"{path}: good: unet, ZeRO 2, fp32; 4 samples a step = micro-batch 2 x accumulation 1 x 2 ranks; 12 steps\n"
    assert run("check", path, "--gpus", "2") == line


def test_every_committed_config_is_good_and_the_schema_is_told_from_them(run: Run) -> None:
    lines = run("check", *sorted(FOLDER.glob("*.json"))).splitlines()
    assert len(lines) == len(CONFIGS) + 1
    assert sum(": good: " in line for line in lines) == len(CONFIGS)
    assert f"{FOLDER / 'schema.json'}: the schema of configs, not a config" in lines


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "bf16.enabled=true", "fp16.enabled=true"], "bf16.enabled and fp16.enabled are both true"),
        (["--set", "nowcast.model.widht=3"], "in nowcast.model: unknown key 'widht'; did you mean 'width'?"),
        (["--set", "$schem=schema.json"], "unknown key '$schem'; did you mean '$schema'?"),
        (["--gpus", "3"], "train_batch_size=4 does not divide over 3 ranks"),
        (["--set", "nowcast.data.augment.crop=10"], "images of 10 x 10 pixels do not fit a model of stride 4"),
        (["--shards", "nowhere"], "nowhere"),
        (["--set", f"nowcast.model.width={8 * 10**9}"], "has more weights than can be numbered"),
        (["--set", f"nowcast.model.width={8 * 10**20}"], "has more weights than can be numbered"),
        (["--set", f"nowcast.model.levels={10**20}"], "give at most 16"),
        (
            ["--set", f"train_batch_size={10**18 + 1}"],
            "train_batch_size is 1000000000000000001; give at most 1000000000",
        ),
    ],
)
def test_what_a_training_would_refuse_is_refused_in_its_words(
    run: Run, tmp_path: Path, words: list[str], message: str
) -> None:
    told = run("check", written(tmp_path), *words, code=2)
    assert told.startswith("error: ") and message in told and "Traceback" not in told


def test_shards_are_held_against_the_config(run: Run, tmp_path: Path, shards: Path) -> None:
    assert "good" in run("check", written(tmp_path), "--shards", shards)
    told = run("check", written(tmp_path), "--shards", shards, "--set", "nowcast.evaluation.split=none", code=2)
    assert "none" in told
    told = run("check", written(tmp_path), "--shards", shards, "--set", "nowcast.data.input_frames=40", code=2)
    assert "40" in told or "43" in told


def test_of_several_files_each_bad_one_is_named_and_cautions_are_told(run: Run, tmp_path: Path) -> None:
    nowcast = {**TINY["nowcast"], "loss": {"weights": {"fourier_amplitude": 1}}}
    beware = written(tmp_path, "beware.json", nowcast=nowcast)
    odd, bad = written(tmp_path, "odd.json", train_batch_size=3), written(tmp_path, "bad.json", bf17={})
    assert main("config", "", COMMANDS, ["check", str(beware), str(odd), str(bad), "--gpus", "2"]) == 2
    assert f"{beware}: beware: nowcast.loss has fourier_amplitude alone" in run("check", beware)
    told = run("check", beware, odd, bad, "--gpus", "2", code=2)
    assert f"{odd}: train_batch_size=3 does not divide over 2 ranks" in told
    assert f"{bad}: unknown key 'bf17'; did you mean 'bf16'" in told


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


# $schema is an editor's


def test_the_schemas_place_is_not_told_to_deepspeed_nor_kept_with_the_run(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, **{"$schema": "schema.json"}))
    assert config.to_dict() == load_config(written(tmp_path)).to_dict()
    assert not {"$schema", "schema_"} & {*config.to_dict(), *config.for_deepspeed(config.batch(1))}
