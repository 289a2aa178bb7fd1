"""The forecast command on small archives: exact where the model is persistence, and one sentence where it cannot be."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray
from numpy.typing import NDArray
from PIL import Image

from data_prep.building.sequences import FrameRef
from data_prep.encoding import ENCODINGS
from data_prep.errors import UserError
from data_prep.readers import READERS, Recording
from ds_nowcast import forecast
from ds_nowcast.forecasting.members import Member, forecast_of
from ds_nowcast.forecasting.newest import newest_run
from tests.data_prep import mortal_reader
from tests.data_prep.fake_reader import RAIN
from tests.data_prep.readers.conftest import KNMI_ATTRIBUTES, MakeKnmi, MakeSevir, make_knmi, make_sevir, vil
from tests.ds_nowcast.made_model import THREE_TO_TWO, made_run
from tests.launching import ROOT

__all__ = ["make_knmi", "make_sevir", "vil"]  # fixtures

NEWEST = "2019-05-12T18:35:00Z"  # the last of SEVIR_ROW's three frames


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, config: Path, shards: Path) -> Path:
    """A model of three frames of VIL that forecasts the last frame twice."""
    folder = tmp_path_factory.mktemp("forecast") / "run"
    made_run(folder, config, shards, THREE_TO_TWO)
    return folder


@pytest.fixture
def knmi(make_knmi: MakeKnmi, tmp_path: Path) -> Callable[[int], Path]:
    """Writes the composite that ends so many minutes after 07:30, with the hour's minute in its first pixel."""

    def make(minutes: int) -> Path:
        end = datetime(2010, 8, 26, 7, 30) + timedelta(minutes=minutes)
        words = [(end - timedelta(minutes=ago)).strftime("%d-%b-%Y;%H:%M:%S.000").upper() for ago in (5, 0)]
        times = dict(zip(KNMI_ATTRIBUTES["overview"], (np.array([word.encode()]) for word in words), strict=True))
        codes = ((minutes, 1, 12), (1152, 65534, 65535))
        return make_knmi(f"{1000 + minutes}.h5", codes, **times)

    return make


def command(run: Path, source: Any, out: Path, *options: Any, archive: str = "sevir") -> int:
    argv = ["--run", run, "--format", archive, "--source", source, "--out", out, *options]
    return forecast.main([str(word) for word in argv])


def refusal(capsys: pytest.CaptureFixture[str], out: Path, *args: Any, **words: Any) -> str:
    """The one line on stderr of a command that must refuse and leave nothing."""
    before = sorted(out.parent.rglob("*"))
    assert command(*args, **words) == 2
    printed = capsys.readouterr()
    errors = [line for line in printed.err.splitlines() if not line.startswith(("left out ", "  "))]
    assert len(errors) == 1 and errors[0].startswith("error: ") and printed.out == ""
    assert sorted(out.parent.rglob("*")) == before
    return printed.err


def test_a_model_of_persistence_forecasts_the_newest_frame_in_its_place(
    run: Path, make_sevir: MakeSevir, vil: NDArray[np.uint8], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vil[0, 2, 3, 2] = 255  # not seen in the last frame
    vil[0, 2, 4, 1] = 255  # not seen in the one before
    source = make_sevir({"file_index": "0"})
    out = tmp_path / "f.nc"
    assert command(run, source, out) == 0
    first, latency = capsys.readouterr().out.splitlines()
    assert first == f"forecast from {NEWEST} to 2019-05-12T18:45:00Z: {out}"
    parts = re.fullmatch(
        r"  ([\d.]+) s from the newest frame to the file \(reading ([\d.]+), model ([\d.]+), writing ([\d.]+)\); "
        r"the frame is now [\d.]+ days old",
        latency,
    )
    assert parts and float(parts[1]) == pytest.approx(sum(float(parts[part]) for part in (2, 3, 4)), abs=0.03)
    last_HW = ENCODINGS["vil255"].decode(vil[0, ::-1, :, 2], "kg/m2")  # row 0 in the north
    with xarray.open_dataset(out) as file:
        assert file["vil"].dims == ("time", "y", "x") and file["vil"].shape == (2, 6, 8)  # padded to 8 x 8 and back
        for lead_HW in file["vil"].values:
            np.testing.assert_allclose(lead_HW, last_HW, rtol=1e-5, atol=1e-6)
        assert np.isnan(file["vil"].values).sum() == 2  # one pixel in each lead; seeing it before is no reason to claim
        assert file["vil"].attrs["units"] == "kg m-2"


def test_the_file_has_times_leads_and_projection(run: Path, make_sevir: MakeSevir, tmp_path: Path) -> None:
    assert command(run, make_sevir({}), tmp_path / "f.nc", "--quiet") == 0
    with xarray.open_dataset(tmp_path / "f.nc", decode_timedelta=False) as file:
        times = [str(time)[:16] for time in (*file["time"].values, file["forecast_reference_time"].values)]
        assert times == ["2019-05-12T18:40", "2019-05-12T18:45", "2019-05-12T18:35"]
        assert file["forecast_period"].values.tolist() == [300.0, 600.0]
        assert file["x"].values[[0, -1]].tolist() == pytest.approx([500, 7500])
        assert file["y"].values[[0, -1]].tolist() == pytest.approx([5500, 500])
        mapping = file[file["vil"].encoding.get("grid_mapping") or file["vil"].attrs["grid_mapping"]].attrs
        assert mapping["grid_mapping_name"] == "lambert_azimuthal_equal_area"
        assert "step 7" in file.attrs["source"]


def test_the_event_that_ends_last_is_forecast_whatever_its_place_in_the_catalog(
    run: Path, make_sevir: MakeSevir, vil: NDArray[np.uint8], tmp_path: Path
) -> None:
    later = {"id": "S2", "file_index": "1", "time_utc": "2019-05-13 02:00:00"}
    source = make_sevir(later, {}, {"id": "S3", "file_index": "2", "time_utc": "2018-05-12 18:30:00"})
    assert command(run, source, tmp_path / "f.nc") == 0
    with xarray.open_dataset(tmp_path / "f.nc") as file:
        assert str(file["forecast_reference_time"].values)[:16] == "2019-05-13T02:05"
        expected = ENCODINGS["vil255"].decode(vil[1, ::-1, :, 2], "kg/m2")
        np.testing.assert_allclose(file["vil"].values[0], expected, rtol=1e-5, atol=1e-6)


def test_a_domain_larger_than_the_model_is_covered_by_tiles(
    run: Path, make_sevir: MakeSevir, vil: NDArray[np.uint8], tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    for name in ("run.json", "model.safetensors"):
        (small / name).write_bytes((run / name).read_bytes())
    card = json.loads((run / "model.json").read_text()) | {"shape": [4, 4]}
    (small / "model.json").write_text(json.dumps(card))
    assert command(small, make_sevir({}), tmp_path / "f.nc") == 0
    expected = ENCODINGS["vil255"].decode(vil[0, ::-1, :, 2], "kg/m2")
    with xarray.open_dataset(tmp_path / "f.nc") as file:
        np.testing.assert_allclose(file["vil"].values[1], expected, rtol=1e-4, atol=1e-5)


def test_rain_rates_come_from_the_newest_composites(
    dutch_run: Path, knmi: Callable[[int], Path], tmp_path: Path
) -> None:
    for minutes in (10, 0, 5, 15):
        knmi(minutes)
    out = tmp_path / "f.nc"
    assert command(dutch_run, tmp_path, out, archive="knmi") == 0
    with xarray.open_dataset(out) as file:
        assert str(file["forecast_reference_time"].values)[:16] == "2010-08-26T07:45"
        rain_HW = file["rainfall_rate"].values[0]
    expected = [[15 * 0.12, 0.12, 12 * 0.12], [1152 * 0.12, np.nan, np.nan]]  # hundredths of a mm in five minutes
    np.testing.assert_allclose(rain_HW, expected, rtol=0.04)  # half a step of 0.5 dBZ


def test_a_geotiff_has_the_netcdfs_values_at_its_places(run: Path, make_sevir: MakeSevir, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    assert command(run, make_sevir({}), tmp_path / "f.nc", "--geotiff", tmp_path / "f.tif", "--quiet") == 0
    with xarray.open_dataset(tmp_path / "f.nc") as netcdf, rasterio.open(tmp_path / "f.tif") as geotiff:
        np.testing.assert_array_equal(geotiff.read(), netcdf["vil"].values)
        assert geotiff.xy(2, 3) == pytest.approx((float(netcdf["x"][3]), float(netcdf["y"][2])))
        assert geotiff.units == ("kg/m2", "kg/m2")


def test_of_several_products_the_named_one_is_asked_for(
    dutch_run: Path, knmi: Callable[[int], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for minutes in (0, 5, 10):
        knmi(minutes)
    out = tmp_path / "f.nc"
    message = refusal(capsys, out, dutch_run, tmp_path, out, "--product", "hail", archive="knmi")
    assert "the files hold no product 'hail'; they hold" in message


@pytest.mark.slow
def test_pictures_are_made_where_they_are_asked_for(run: Path, make_sevir: MakeSevir, tmp_path: Path) -> None:
    source = make_sevir({})
    av = pytest.importorskip("av")
    files = [tmp_path / name for name in ("f.nc", "f.png", "f.gif", "f.mp4")]
    assert command(run, source, files[0], "--picture", files[1], "--gif", files[2], "--mp4", files[3]) == 0
    with av.open(files[3]) as film:
        assert len(list(film.decode(video=0))) == 12  # the last of five stays for two seconds
    with Image.open(files[1]) as picture, Image.open(files[2]) as animation:
        assert picture.format == "PNG" and animation.format == "GIF"
        assert animation.n_frames == 5  # type: ignore[attr-defined]
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "CATALOG.csv",
        *(path.name for path in files),
    }


def test_the_history_is_a_command_line(
    run: Path, make_sevir: MakeSevir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_sevir({})
    argv = ["--model", str(run / "model.safetensors"), "--format", "sevir", "--source", str(source / "*.csv")]
    argv += ["--out", str(tmp_path / "a forecast.nc")]
    monkeypatch.setattr("sys.argv", ["forecast", *argv])
    assert forecast.main() == 0
    with xarray.open_dataset(tmp_path / "a forecast.nc") as file:
        assert shlex.split(file.attrs["history"])[-len(argv) :] == argv


def test_several_runs_forecast_their_mean_with_its_spread(
    run: Path, make_sevir: MakeSevir, vil: NDArray[np.uint8], tmp_path: Path
) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(run, twin)
    out = tmp_path / "f_%Y%m%d_%H%M.nc"
    assert command(run, make_sevir({}), out, "--run", twin, "--quiet") == 0
    with xarray.open_dataset(tmp_path / "f_20190512_1835.nc") as file:
        last_HW = ENCODINGS["vil255"].decode(vil[0, ::-1, :, 2], "kg/m2")
        np.testing.assert_allclose(file["vil"].values[1], last_HW, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(file["vil_spread"].values, 0.0)  # of twins
        assert file.attrs["source"].startswith("DS-Nowcast, mean of 2: ")


def test_the_whole_domain_is_refused_where_the_model_sees_all_of_an_image(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refusal(capsys, tmp_path / "f.nc", run, "nowhere", tmp_path / "f.nc", "--mode", "whole")
    assert "--mode whole is not for model unet with these options" in message


def test_without_a_model_the_command_says_how_to_give_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--format", "knmi", "--source", str(tmp_path), "--out", str(tmp_path / "f.nc")]
    assert forecast.main(argv) == 2
    assert "no model is given; give --run DIR or --model FILE" in capsys.readouterr().err


# What is refused


def test_another_unit_is_refused_naming_both(
    run: Path, dutch_run: Path, make_sevir: MakeSevir, knmi: Callable[[int], Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for minutes in (0, 5, 10):
        knmi(minutes)
    out = tmp_path / "f.nc"
    message = refusal(capsys, out, run, tmp_path, out, archive="knmi")
    assert f"{tmp_path} has unit mm/h where the model was trained on kg/m2" in message
    message = refusal(capsys, out, dutch_run, make_sevir({}), out)
    assert "has unit kg/m2 where the model was trained on mm/h" in message


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"cadence_s": 600}, "has cadence 300 s where the model was trained on 600 s"),
        ({"pixel": [2000.0, 500.0]}, "has pixel size 1000 x 1000 m where the model was trained on 2000 x 500 m"),
    ],
)
def test_another_cadence_or_pixel_is_refused_naming_both(
    run: Path, make_sevir: MakeSevir, tmp_path: Path, capsys: pytest.CaptureFixture[str], card: dict[str, Any], message: str
) -> None:  # fmt: skip
    changed = json.loads((run / "model.json").read_text()) | card
    (tmp_path / "m.json").write_text(json.dumps(changed))
    (tmp_path / "m.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    source, out = make_sevir({}), tmp_path / "f.nc"
    argv = ["--model", tmp_path / "m.safetensors", "--format", "sevir", "--source", source, "--out", out]
    assert forecast.main([str(word) for word in argv]) == 2
    assert message in capsys.readouterr().err and not out.exists()


def test_too_few_frames_are_refused_with_both_numbers(
    dutch_run: Path, knmi: Callable[[int], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    knmi(0)
    knmi(5)
    out = tmp_path / "f.nc"
    message = refusal(capsys, out, dutch_run, tmp_path, out, archive="knmi")
    assert (
        f"without a gap in {tmp_path}, up to 2010-08-26T07:35:00Z, has 2 of the 3 frames that the model takes"
        in message
    )


def test_frames_before_a_gap_are_not_taken_for_the_newest(
    dutch_run: Path, knmi: Callable[[int], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for minutes in (0, 5, 10, 15, 30, 35):
        knmi(minutes)
    out = tmp_path / "f.nc"
    message = refusal(capsys, out, dutch_run, tmp_path, out, archive="knmi")
    assert "up to 2010-08-26T08:05:00Z, has 2 of the 3 frames" in message
    older = [tmp_path / f"{1000 + minutes}.h5" for minutes in (0, 5, 10, 15)]
    assert command(dutch_run, older[0], out, archive="knmi") == 2
    argv = ["--run", dutch_run, "--format", "knmi", "--source", *older, "--out", out]
    assert forecast.main([str(word) for word in argv]) == 0


def test_an_event_shorter_than_the_input_is_refused(
    run: Path, make_sevir: MakeSevir, vil: NDArray[np.uint8], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = make_sevir({"minute_offsets": "-5:0:10"}), tmp_path / "f.nc"
    assert "has 1 of the 3 frames" in refusal(capsys, out, run, source, out)


def test_a_source_without_usable_frames_is_refused(
    run: Path, make_sevir: MakeSevir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = make_sevir({}, {}), tmp_path / "f.nc"  # the same id twice: both are left out
    assert f"{source} holds no frames that can be used" in refusal(capsys, out, run, source, out)


@pytest.mark.parametrize("archive", ["sevir", "knmi"])
@pytest.mark.parametrize("source", ["nowhere", "empty", "nowhere/*.h5"])
def test_a_source_that_is_missing_or_empty_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], archive: str, source: str
) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "f.nc"
    assert str(tmp_path / source) in refusal(capsys, out, run, tmp_path / source, out, archive=archive)


def test_a_damaged_file_is_refused_by_name(
    run: Path, make_sevir: MakeSevir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = make_sevir({}), tmp_path / "f.nc"
    picture = next(source.rglob("*.h5"))
    picture.write_bytes(picture.read_bytes()[:300])
    assert picture.name in refusal(capsys, out, run, source, out)


@pytest.mark.slow
def test_as_a_command_its_worker_does_not_start_the_program_once_more(
    dutch_run: Path, knmi: Callable[[int], Path], tmp_path: Path
) -> None:
    for minutes in (0, 5, 10):
        knmi(minutes)
    out = tmp_path / "f.nc"
    words = ["--run", dutch_run, "--format", "knmi", "--source", tmp_path, "--out", out]
    ended = subprocess.run(
        [sys.executable, "-m", "ds_nowcast.forecast", *map(str, words)], cwd=ROOT, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "") and out.is_file()


def test_a_file_that_kills_its_reader_is_left_out_with_a_warning_or_named(
    dutch_run: Path, knmi: Callable[[int], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(READERS, "mortal", mortal_reader.MODULE)
    for minutes in (0, 5, 10):
        knmi(minutes)
    knmi(15).rename(tmp_path / "list-crash.h5")
    assert command(dutch_run, tmp_path, tmp_path / "f.nc", archive="mortal") == 0
    reason, file, *others = capsys.readouterr().err.splitlines()
    assert reason == "left out 1: unreadable" and not others
    assert f"{tmp_path / 'list-crash.h5'}: its reader died (signal 11" in file
    knmi(15).rename(tmp_path / "read-crash.h5")
    (tmp_path / "list-crash.h5").unlink()
    refused = refusal(capsys, tmp_path / "g.nc", dutch_run, tmp_path, tmp_path / "g.nc", archive="mortal")
    assert "read-crash.h5: its reader died (signal 11" in refused


def test_frames_of_two_grids_are_refused(
    dutch_run: Path,
    knmi: Callable[[int], Path],
    make_knmi: MakeKnmi,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import h5py

    paths = [knmi(minutes) for minutes in (0, 5, 10)]
    with h5py.File(paths[2], "a") as file:
        file["geographic"].attrs["geo_column_offset"] = np.array([40.0], np.float32)
    out = tmp_path / "f.nc"
    message = refusal(capsys, out, dutch_run, tmp_path, out, archive="knmi")
    assert "the newest 3 frames are not on one grid" in message


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "run.json").unlink(), "is not a run folder"),
        (lambda run: (run / "model.safetensors").unlink(), "does not exist; a training writes it when it first evaluates"),
        (lambda run: (run / "model.json").write_text("{"), "model.json is damaged"),
        (lambda run: (run / "model.safetensors").write_bytes(b"12345678901"), "is not a whole safetensors file"),
    ],
)  # fmt: skip
def test_a_run_without_a_whole_model_is_refused(
    run: Path, make_sevir: MakeSevir, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None], message: str,
) -> None:  # fmt: skip
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in run.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    damage(copy)
    source, out = make_sevir({}), tmp_path / "f.nc"
    assert message in refusal(capsys, out, copy, source, out)


def test_places_that_cannot_be_written_to_are_refused_before_anything_is_read(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "f.nc"
    nowhere = tmp_path / "none" / "f.nc"
    message = refusal(capsys, out, run, "nowhere", nowhere)
    assert f"{nowhere} cannot be written: {nowhere.parent} is not a folder; make it first" in message
    message = refusal(capsys, out, run, "nowhere", out, "--picture", nowhere.with_suffix(".png"))
    assert "none/f.png cannot be written" in message
    assert f"{tmp_path} is a folder; give the name of the file" in refusal(capsys, out, run, "nowhere", tmp_path)
    for option, name, ending in (
        ("--picture", "f.pdf", ".png"),
        ("--gif", "f.png", ".gif"),
        ("--geotiff", "f", ".tiff"),
    ):
        message = refusal(capsys, out, run, "nowhere", out, option, tmp_path / name)
        assert f"{tmp_path / name} is not called like what is written there" in message and ending in message
    same = refusal(capsys, out, run, "nowhere", tmp_path / "f.tif", "--geotiff", tmp_path / "f.tif")
    assert "give a name that ends in .nc" in same
    assert "give a name that ends in .nc" in refusal(capsys, out, run, "nowhere", tmp_path / "f.txt")


def test_an_unknown_format_is_refused_naming_those_there_are(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "f.nc"
    assert "choose one of sevir, knmi" in refusal(capsys, out, run, "x", out, archive="grib")


def test_a_full_disk_is_one_sentence_and_leaves_the_file_before(
    run: Path,
    make_sevir: MakeSevir,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, out = make_sevir({}), tmp_path / "f.nc"
    out.write_text("the forecast before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert command(run, source, out) == 3
    assert (
        capsys.readouterr().err
        == f"error: {out} cannot be written: No space left on device; mend it, then run the same again\n"
    )
    assert out.read_text() == "the forecast before"
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


# The newest run, by itself

START = datetime(2020, 1, 1, tzinfo=UTC)


def composites(*steps: float) -> list[Recording]:
    return [Recording(Path(f"{step}.h5"), 0, (START + timedelta(minutes=5 * step),), RAIN) for step in steps]


def steps_of(recordings: list[Recording], frames: int) -> list[float]:
    newest = newest_run(recordings, frames, 300, "here")
    named = [recordings[number].times[step] for number, step in newest.frames]
    assert named == list(newest.times)
    return [(time - START) / timedelta(minutes=5) for time in named]


def test_the_newest_run_goes_by_times_not_by_the_listing() -> None:
    assert steps_of(composites(3, 1, 4, 2, 0), 3) == [2, 3, 4]
    assert steps_of(composites(0, 1.2, 2, 2.9), 4) == [0, 1.2, 2, 2.9]  # late by less than half the cadence


def test_a_repeated_time_is_taken_once() -> None:
    recordings = composites(0, 1, 2, 2, 1)
    newest = newest_run(recordings, 3, 300, "here")
    assert newest.frames == (FrameRef(0, 0), FrameRef(1, 0), FrameRef(2, 0))


def test_events_are_not_joined_with_each_other() -> None:
    def event(name: str, *steps: int) -> Recording:
        return Recording(Path("e.h5"), 0, tuple(START + timedelta(minutes=5 * step) for step in steps), RAIN, name)

    assert steps_of([event("a", 0, 1, 2, 3), event("b", 2, 3, 4)], 3) == [2, 3, 4]
    with pytest.raises(UserError, match="in here, up to 2020-01-01T00:25:00Z, has 2 of the 3 frames"):
        steps_of([event("a", 0, 1, 2, 3), event("b", 4, 5)], 3)


def test_a_model_that_is_no_longer_finite_claims_nothing() -> None:
    class Broken(torch.nn.Module):
        stride, receptive_field = 1, 0

        def forward(self, past_BTHW: torch.Tensor) -> torch.Tensor:
            return past_BTHW[:, -1:] * float("nan")

    class Card:
        codes, unit, shape = ENCODINGS["vil255"], "kg/m2", (4, 4)

    member: Any = Member(Broken(), Card(), Path("m"))  # type: ignore[arg-type]
    values_LHW, _ = forecast_of([member], np.zeros((3, 4, 4), np.uint8), "tiles", torch.device("cpu"))
    assert values_LHW.shape == (1, 4, 4) and np.isnan(values_LHW).all()
