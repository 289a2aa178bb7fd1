"""The figures of ds_configs/README.md are what the plan says of each file, and what it says of smaller cards holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ds_nowcast.config import RunConfig, changed, load_config
from ds_nowcast.models import outline_of
from ds_nowcast.planning.activations import Activations
from ds_nowcast.planning.findings import SIZE
from ds_nowcast.planning.options import usable
from ds_nowcast.planning.peak import peak
from ds_nowcast.planning.training import training_of, weight_dtype
from tests.ds_nowcast.config_files import CONFIGS, FOLDER, PRESETS, gpus_of

README = (FOLDER / "README.md").read_text()
GB, AS_IT_IS = 1_000_000_000, "as it is"
MODELS = [*(f"convnext_unet_{preset}" for preset in PRESETS), "unet", "evolution_unet", "simvp"]


def rows(table: str) -> dict[str, list[str]]:
    """The cells of a README table by the file in their first cell; `table` is the heading above it."""
    _, found, rest = README.partition(f"## {table}\n")
    assert found, f"no heading {table!r}"
    cells = [line.strip("| \n").split(" | ") for line in rest.split("\n## ")[0].splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): [cell.strip() for cell in row[1:]] for row in cells}


FIGURES, SMALLER = rows("The files"), rows("Smaller cards")


def files_of(model: str) -> list[Path]:
    """The files of a model, or of a preset, for GPUs."""
    return [FOLDER / name for name in FIGURES if re.match(rf"{model}_(gpu|node|cluster|zero|bf16|fp)", name)]


_measured: dict[tuple[str, ...], Activations] = {}


def activations_of(config: RunConfig) -> Activations:
    """Measured once for all files that compute alike."""
    keys = config.nowcast
    parts = [part.model_dump_json() for part in (keys.model, keys.loss, keys.compute)]
    alike = (*parts, str(weight_dtype(config)))
    return _measured.setdefault(alike, Activations(config, (SIZE, SIZE), "cuda"))


def planned(config: RunConfig, gpus: int) -> int:
    """Bytes per GPU."""
    batch, activations = config.batch(gpus), activations_of(config)
    training = training_of(config, outline_of(config.nowcast), gpus, batch.accumulation, "cuda")
    return peak(training, activations.at(batch.micro), activations.input_bytes(batch.per_rank)).parts.device


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_table_says_what_the_plan_says_and_all_fit_80_gb(model: str) -> None:
    for path in files_of(model):
        config, gpus = load_config(path), gpus_of(path)[-1]
        batch, memory = config.batch(gpus), planned(config, gpus)
        parameters = sum(parameter.numel() for parameter in outline_of(config.nowcast).parameters())
        stated = [float(cell.removesuffix(" M").replace(",", "")) for cell in FIGURES[path.name][:7]]
        assert stated[1:5] == [gpus, config.zero_optimization.stage, batch.micro, batch.total]
        assert stated[0] == pytest.approx(parameters / 1e6, abs=0.051)
        assert stated[5] == pytest.approx(memory / GB, abs=0.06), path.name
        assert stated[6] == pytest.approx(activations_of(config).flops[1] / 1e9, rel=0.03)
        assert memory <= usable(80 * GB)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("memory", [24, 40])
def test_on_smaller_cards_files_fit_as_the_table_says(model: str, memory: int) -> None:
    for path in files_of(model):
        config, gpus = load_config(path), gpus_of(path)[-1]
        cell = dict(zip((24, 40), SMALLER.get(path.name, [AS_IT_IS] * 2), strict=True))[memory]
        assert (planned(config, gpus) <= usable(memory * GB)) == (cell == AS_IT_IS), path.name
        if cell != AS_IT_IS:
            assert planned(changed(config, cell.strip("`").split()), gpus) <= usable(memory * GB), path.name


def test_every_file_for_gpus_is_one_of_the_models_above() -> None:
    assert {path for model in MODELS for path in files_of(model)} == {path for path in CONFIGS if path.stem != "demo"}


def test_the_demos_size_is_stated() -> None:
    parameters = sum(
        parameter.numel() for parameter in outline_of(load_config(FOLDER / "demo.json").nowcast).parameters()
    )
    assert FIGURES["demo.json"][0] == f"{parameters / 1e6:.1f} M"
