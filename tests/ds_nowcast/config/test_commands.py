"""`python -m ds_nowcast.config`: what it prints, writes and refuses."""

from __future__ import annotations

import json
import os
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
from tests.ds_nowcast.config.config_file import written
from tests.ds_nowcast.config_files import CONFIGS, FOLDER, gpus_of
from tests.ds_nowcast.conftest import TINY
from tests.launching import ROOT

Run = Any


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


# $schema is an editor's


def test_the_schemas_place_is_not_told_to_deepspeed_nor_kept_with_the_run(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, **{"$schema": "schema.json"}))
    assert config.to_dict() == load_config(written(tmp_path)).to_dict()
    assert not {"$schema", "schema_"} & {*config.to_dict(), *config.for_deepspeed(config.batch(1))}
