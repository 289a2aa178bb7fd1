"""What is predicted, against the memory of two ranks on CPUs and the files they write: one launch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ds_nowcast.models import outline_of
from ds_nowcast.planning.activations import Activations
from ds_nowcast.planning.disk import disk
from ds_nowcast.planning.peak import peak
from ds_nowcast.planning.training import Training, training_of
from tests.ds_nowcast.planning.memory_case import BASE, DISK, MEMORY, config_of
from tests.launching import launch

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]  # many cases in one launch
# What is freed goes back at once: what the process holds is then what torch holds
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "1"}
RANKS = 2


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("measured") / "base.json"
    path.write_text(json.dumps(BASE))
    return path


@pytest.fixture(scope="module")
def report(base: Path) -> dict[str, dict[str, int]]:
    ended = launch("tests.ds_nowcast.planning.memory_case", base.parent, ranks=RANKS, env=MALLOC, timeout=560)
    assert ended.code == 0, ended.output[-3000:]
    content: dict[str, dict[str, int]] = json.loads((base.parent / "report.json").read_text())
    return content


def training(base: Path, case: dict[str, Any]) -> Training:
    config = config_of(base, case)
    return training_of(config, outline_of(config.nowcast), RANKS, config.batch(RANKS).accumulation, "cpu")


@pytest.mark.parametrize("name", MEMORY)
def test_the_predicted_peak_of_memory_is_the_measured_one_within_15_percent(
    name: str, base: Path, report: dict[str, dict[str, int]]
) -> None:
    config, size = config_of(base, MEMORY[name]), MEMORY[name]["size"]
    batch, activations = config.batch(RANKS), Activations(config, (size, size), "cpu")
    found = peak(training(base, MEMORY[name]), activations.at(batch.micro), activations.input_bytes(batch.per_rank))
    predicted, measured = found.parts.device + found.parts.host, report["memory"][name]
    print(
        f"{name}: predicted {predicted / 1e6:.0f} MB, measured {measured / 1e6:.0f} MB, {predicted / measured - 1:+.1%}"
    )
    assert measured > 100e6 and predicted == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize("name", DISK)
def test_the_predicted_checkpoint_is_as_large_as_the_files(
    name: str, base: Path, report: dict[str, dict[str, int]]
) -> None:
    predicted = disk(config_of(base, DISK[name]), training(base, DISK[name])).checkpoint
    print(f"{name}: predicted {predicted / 1e6:.2f} MB, measured {report['disk'][name] / 1e6:.2f} MB")
    assert predicted == pytest.approx(report["disk"][name], rel=0.05)
