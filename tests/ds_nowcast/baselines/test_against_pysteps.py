"""Our extrapolation beside pysteps' (dense Lucas-Kanade, semi-Lagrangian), on real rain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.baselines import INPUT, LEADS, Skill, pysteps_forecast, pysteps_motion, skill_of
from data_prep.encoding import ENCODINGS
from data_prep.readers.file_reader import FileReader
from data_prep.readers.knmi import KnmiReader
from data_prep.readers.mrms import MrmsReader
from ds_nowcast.baselines import extrapolation, persistence
from ds_nowcast.model_space import ModelSpace, Windows
from ds_nowcast.motion.flow import motion_of

DBZ8 = ENCODINGS["dbz8"]
TILE = 128
EAST = slice(1920, 1920 + 7 * TILE), slice(4224, 4224 + 8 * TILE)  # of MRMS's rows and columns: showers and a squall
THRESHOLDS = torch.tensor([DBZ8.to_model(rain, "mm/h") for rain in (0.5, 2.0, 8.0)])

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def pysteps() -> None:
    pytest.importorskip("pysteps")
    pytest.importorskip("cv2")


def codes_of(reader: FileReader, files: list[Path], rows: slice, columns: slice) -> torch.Tensor:
    """Codes (T, H, W) of a part of the files' frames."""
    rain_THW = [reader.frames(file)[0].field[rows, columns] for file in files]
    return torch.from_numpy(DBZ8.encode(np.stack(rain_THW), "mm/h"))


def windows_of(codes_BTHW: torch.Tensor) -> Windows:
    return ModelSpace(DBZ8, INPUT, torch.device("cpu")).windows(codes_BTHW)


@pytest.fixture(scope="module")
def american(radar_data: Path) -> list[Windows]:
    """Tiles in the east of the continent of which a tenth or more is wet."""
    files = sorted((radar_data / "mrms").glob("PrecipRate*20190610*.grib2"))[: INPUT + LEADS]
    codes_THW = codes_of(MrmsReader(), files, *EAST)
    tiles = codes_THW.unfold(1, TILE, TILE).unfold(2, TILE, TILE).flatten(1, 2).transpose(0, 1).contiguous()
    wet = ((tiles > 0) & (tiles < DBZ8.missing)).float().mean((1, 2, 3)) >= 0.1
    return [windows_of(tile[None]) for tile in tiles[wet]]


@pytest.fixture(scope="module")
def dutch(radar_data: Path) -> list[Windows]:
    """A night of fast rain; a fifth of the pixels lies beyond the radars."""
    files = sorted((radar_data / "knmi").glob("*.h5"))
    starts = (0, 25, 50)
    middle = slice(190, 190 + 384), slice(158, 158 + 384)
    return [windows_of(codes_of(KnmiReader(), files[s : s + INPUT + LEADS], *middle)[None]) for s in starts]


def skills(windows: list[Windows]) -> dict[str, Skill]:
    """Of the three forecasts."""
    forecasts = {
        "ours": lambda w: extrapolation.forecast(w, LEADS),
        "pysteps": pysteps_forecast(DBZ8),
        "persistence": lambda w: persistence.forecast(w, LEADS),
    }
    return {name: skill_of(forecast, windows, THRESHOLDS) for name, forecast in forecasts.items()}


@pytest.mark.parametrize("archive", ["american", "dutch"])
def test_its_skill_is_that_of_pysteps_at_least(archive: str, request: pytest.FixtureRequest) -> None:
    found = skills(request.getfixturevalue(archive))
    ours, theirs, still = found["ours"], found["pysteps"], found["persistence"]
    assert all(our >= their - 0.01 for our, their in zip(ours.csi, theirs.csi, strict=True)), found
    assert ours.mse <= theirs.mse and ours.mae <= theirs.mae, found
    assert all(our > persisting for our, persisting in zip(ours.csi, still.csi, strict=True)), found
    assert ours.mse < 0.8 * still.mse, found


def test_its_motion_is_near_that_of_pysteps_where_it_rains(dutch: list[Windows]) -> None:
    """Of rain that moves by several pixels a frame, the median vectors differ by less than a tenth."""
    for w in dutch:
        theirs_2HW = torch.from_numpy(pysteps_motion(w, DBZ8)).float()
        found = motion_of(w.past_BTHW[:, -extrapolation.FRAMES :], w.past_seen[:, -extrapolation.FRAMES :])
        ours_2HW = found.pixels_B2hw[0].repeat_interleave(found.spacing, 1).repeat_interleave(found.spacing, 2)
        rain_HW = w.past_BTHW[0, -1] >= THRESHOLDS[0]
        ours_2, theirs_2 = ours_2HW[:, rain_HW].median(1).values, theirs_2HW[:, rain_HW].median(1).values
        assert theirs_2.norm() > 2
        assert (ours_2 - theirs_2).norm() < 0.1 * theirs_2.norm(), (ours_2, theirs_2)
        off_N = (ours_2HW - theirs_2HW)[:, rain_HW].norm(dim=0)
        assert off_N.median() < 0.2 * theirs_2.norm(), off_N.median()


def test_moved_by_the_same_motion_a_frame_is_that_of_pysteps(dutch: list[Windows]) -> None:
    """Ways integrated and frames interpolated by both from our motion."""
    from pysteps.extrapolation.semilagrangian import extrapolate

    last_BTHW = dutch[0].past_BTHW[:, -1:]
    motion = motion_of(dutch[0].past_BTHW[:, -4:], dutch[0].past_seen[:, -4:])
    field_2HW = extrapolation.resized(motion.pixels_B2hw, *last_BTHW.shape[-2:])[0].double().numpy()
    theirs_THW = extrapolate(last_BTHW[0, 0].double().numpy(), field_2HW, LEADS, map_coordinates_mode="nearest")
    ways = extrapolation.ways_back(motion, LEADS)
    lookup = extrapolation.Lookup(last_BTHW)
    ours_THW = torch.cat([lookup.at(extrapolation.resized(way, *last_BTHW.shape[-2:])) for way in ways], 1)[0]
    assert (ours_THW - torch.from_numpy(theirs_THW)).abs().mean() < 0.005
