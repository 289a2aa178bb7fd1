"""What the tests of a report share: a sample evaluation, scored once, and its report."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from ds_nowcast.scoring.report import Case, write_report
from tests.ds_nowcast.scoring.report.sample import sample_run, sample_scores


@pytest.fixture(scope="package")
def _small() -> dict[str, Any]:
    return sample_scores(1, 2)[0]


@pytest.fixture
def scores(_small: dict[str, Any]) -> dict[str, Any]:
    """Scores of one window with two leads, to be changed as a test likes."""
    return copy.deepcopy(_small)


@pytest.fixture(scope="package")
def evaluation() -> tuple[dict[str, Any], list[Case]]:
    """Scores and cases."""
    return sample_scores()


@pytest.fixture(scope="package")
def written(evaluation: tuple[dict[str, Any], list[Case]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a whole report."""
    folder = tmp_path_factory.mktemp("report")
    return write_report(folder / "report", *evaluation, sample_run(folder / "run"))
