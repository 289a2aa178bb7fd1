"""Our scores against pysteps' own, on the same fields."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from ds_nowcast.scoring.contingency import ContingencyCounts
from ds_nowcast.scoring.fss import FractionsSkill
from ds_nowcast.scoring.spectrum import Spectrum
from tests.ds_nowcast.scoring.fields import CODES, Fields, accumulated, fields, images, setting

pytestmark = pytest.mark.slow
SHAPE = (70, 81)


@pytest.fixture(scope="module")
def pysteps() -> Any:
    with contextlib.redirect_stdout(io.StringIO()):  # it says where its configuration is
        return pytest.importorskip("pysteps")


@pytest.fixture(scope="module")
def batch() -> Fields:
    return fields(1, batch=3, shape=SHAPE)


def masked(batch: Fields) -> list[tuple[Any, Any]]:
    """Forecasts and targets with NaN where nothing was seen, which has no event."""
    return [(np.where(seen, f, np.nan), np.where(seen, o, np.nan)) for f, o, seen in images(batch)]


@pytest.mark.parametrize("column", [0, 1, 2])
def test_scores_of_contingency_tables_are_those_of_detcatscores(pysteps: Any, batch: Fields, column: int) -> None:
    scores = accumulated(ContingencyCounts(setting(shape=SHAPE)), batch)
    # pysteps counts values above the threshold: ours from it on
    below = np.nextafter(np.float64(np.float32(CODES.values[column]) / np.float32(255)), 0.0)
    table = pysteps.verification.detcatscores.det_cat_fct_init(below)
    for forecast, observed, seen in images(batch):  # of seen pixels alone: pysteps takes NaN for a correct negative
        pysteps.verification.detcatscores.det_cat_fct_accum(table, forecast[seen], observed[seen])
    label = ("16", "74", "181")[column]
    names = {"csi_pooled": "CSI", "pod": "POD", "far": "FAR", "bias": "BIAS", "hss": "HSS", "ets": "ETS"}
    for ours, theirs in names.items():
        expected = pysteps.verification.detcatscores.det_cat_fct_compute(table, theirs)[theirs]
        assert scores[ours][label] == pytest.approx(float(np.squeeze(expected)), rel=1e-12), ours
    for name in ("hits", "misses", "false_alarms", "correct_negatives"):
        assert np.sum(scores["counts"][name], axis=0)[column] == table[name], name


@pytest.mark.parametrize("scale", [1, 5, 17, 33, 65])
@pytest.mark.parametrize("column", [0, 2])
def test_fss_is_that_of_spatialscores(pysteps: Any, batch: Fields, scale: int, column: int) -> None:
    skill = pysteps.verification.spatialscores
    accumulating = skill.fss_init(float(np.float32(CODES.values[column]) / np.float32(255)), scale)
    for forecast, observed in masked(batch):
        skill.fss_accum(accumulating, forecast, observed)
    ours = accumulated(FractionsSkill(setting(shape=SHAPE)), batch)["fss"][("16", "74", "181")[column]][str(scale)]
    assert ours == pytest.approx(skill.fss_compute(accumulating), rel=1e-9)


@pytest.mark.parametrize("shape", [(64, 64), (65, 65), (70, 81), (81, 70)])
def test_spectra_are_those_of_rapsd(pysteps: Any, shape: tuple[int, int]) -> None:
    batch = fields(2, batch=2, shape=shape)
    spectrum = accumulated(Spectrum(setting(shape=shape)), batch)["spectrum"]
    rapsd = pysteps.utils.spectral.rapsd
    power, observed = [], []
    for forecast, target, seen in images(batch):
        for field, into in ((forecast, power), (target, observed)):
            result, frequency = rapsd(np.where(seen, field, 0.0), fft_method=np.fft, return_freq=True, d=1.0)
            into.append(result[1:])
    np.testing.assert_allclose(spectrum["power"], np.mean(power, 0), rtol=1e-5)
    np.testing.assert_allclose(spectrum["observed"], np.mean(observed, 0), rtol=1e-5)
    np.testing.assert_allclose(spectrum["wavelength_km"], 1.0 / frequency[1:], rtol=1e-12)


def test_errors_are_those_of_detcontscores(pysteps: Any, batch: Fields) -> None:
    from ds_nowcast.scoring.errors import ModelErrors

    scores = accumulated(ModelErrors(setting(shape=SHAPE)), batch)
    forecast, observed = (np.concatenate([pair[i].ravel() for pair in masked(batch)]) for i in (0, 1))
    seen = np.isfinite(forecast) & np.isfinite(observed)
    theirs = pysteps.verification.detcontscores.det_cont_fct(forecast[seen], observed[seen], ["MSE", "MAE", "RMSE"])
    for name in ("MSE", "MAE", "RMSE"):
        assert scores[name.lower()] == pytest.approx(float(np.squeeze(theirs[name])), rel=1e-5)
