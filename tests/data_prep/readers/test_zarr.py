"""Zarr: formats 2 and 3, folders, zips and web servers give what xarray reads; hostile metadata and damage are refused."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import sys
import warnings
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.errors import RadarFileError, UserError
from data_prep.readers import Product, Recording, reader_named
from data_prep.readers.zarr import READER
from tests.data_prep.readers.cf.memory import STEREO, X, Y
from tests.data_prep.shards.sources.fault_server import FaultServer

zarr = pytest.importorskip("zarr")
xarray = pytest.importorskip("xarray")

CODES = (np.arange(4 * 5 * 6, dtype=np.int16) - 1).reshape(4, 5, 6)  # -1 is missing
RAIN = {
    "standard_name": "precipitation_amount",
    "units": "mm",
    "grid_mapping": "crs",
    "scale_factor": 0.01,
    "_FillValue": -1,
}
PRODUCT = Product("rain", "mm/h")


def dataset() -> Any:
    """4 steps of 5 minutes on 5 x 6 pixels, as xarray has them."""
    bounds = np.stack([np.arange(4) * 5, np.arange(4) * 5 + 5], axis=1)
    return xarray.Dataset(
        {
            "rain": (("time", "y", "x"), CODES, RAIN),
            "time_bnds": (("time", "nv"), bounds),
            "crs": ((), 0, STEREO),
        },
        {
            "time": ("time", np.arange(4) * 5, {"units": "minutes since 2020-06-01 12:00:00", "bounds": "time_bnds"}),
            "y": ("y", np.arange(5) * 1000.0 - 4e6, Y),
            "x": ("x", np.arange(6) * 1000.0, X),
        },
    )


def write(store: Path, zarr_format: int, consolidated: bool = True, **storage: Any) -> Path:
    with warnings.catch_warnings(action="ignore"):  # format 3 has no word yet on consolidated metadata
        dataset().to_zarr(store, zarr_format=zarr_format, consolidated=consolidated, encoding={"rain": storage})
    return store


def zipped(store: Path, name: str, prefix: str = "") -> Path:
    with zipfile.ZipFile(store.parent / name, "w") as archive:
        for path in sorted(store.rglob("*")):
            if path.is_file():
                archive.write(path, prefix + path.relative_to(store).as_posix())
    return store.parent / name


def rain_of(source: str | Path) -> Any:
    """mm/h of all recordings, by time."""
    found = READER.scan([str(source)])
    assert found.product == PRODUCT and not found.left_out and found.cadence_s == 300
    recordings = sorted(found.recordings, key=lambda recording: recording.times)
    assert recordings[0].times == (datetime(2020, 6, 1, 12, 5, tzinfo=UTC),)
    return np.stack([READER.read(recording)[0].field for recording in recordings])


EXPECTED = np.where(CODES == -1, np.nan, CODES * 0.12)[:, ::-1]


def test_the_table_of_formats_leads_to_the_reader() -> None:
    assert reader_named("zarr") is READER


@pytest.mark.parametrize("consolidated", [True, False])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_folder_holds_what_xarray_reads_from_it(tmp_path: Path, zarr_format: int, consolidated: bool) -> None:
    store = write(tmp_path / "a.zarr", zarr_format, consolidated, chunks=(3, 2, 4))
    found = rain_of(store)
    np.testing.assert_allclose(found, EXPECTED, rtol=1e-6)
    with xarray.open_zarr(store, consolidated=consolidated) as theirs:
        np.testing.assert_allclose(found, theirs.rain.values[:, ::-1] * 12.0, rtol=1e-6)
    frame = READER.frames(store)[0]  # type: ignore[attr-defined]
    assert frame.stored.dtype == np.uint16 and frame.codes is not None
    assert (frame.grid.shape, frame.grid.pixel) == ((5, 6), (1000.0, 1000.0))
    assert (frame.grid.west, frame.grid.north) == (-500.0, -3_995_500.0)


@pytest.mark.parametrize("prefix", ["", "deep/a.zarr/"])
def test_a_zip_a_gzip_of_it_and_a_file_object_hold_the_same(tmp_path: Path, prefix: str) -> None:
    path = zipped(write(tmp_path / "a.zarr", 3), "a.zarr.zip", prefix)
    shutil.rmtree(tmp_path / "a.zarr")
    np.testing.assert_allclose(rain_of(path), EXPECTED, rtol=1e-6)
    for content in (path.read_bytes(), gzip.compress(path.read_bytes())):
        frames = READER.frames(io.BytesIO(content), name="a.zip")  # type: ignore[attr-defined]
        np.testing.assert_allclose([frame.field for frame in frames], EXPECTED, rtol=1e-6)


def test_stores_are_found_in_folders_and_by_globs_and_are_not_looked_into(tmp_path: Path) -> None:
    first = write(tmp_path / "in" / "2020.zarr", 2)
    second = write(tmp_path / "in" / "deeper" / "store", 3)
    (tmp_path / "in" / "README.txt").write_text("no store")
    assert READER.files([str(tmp_path / "in")]) == [first, second]  # type: ignore[attr-defined]
    assert READER.files([str(tmp_path / "in" / "*.zarr")]) == [first]  # type: ignore[attr-defined]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no file like \*\.zarr\.zip"):
        READER.scan([str(tmp_path / "empty")])


def test_a_shard_of_many_chunks_is_read(tmp_path: Path) -> None:
    store = write(tmp_path / "a.zarr", 3, chunks=(1, 5, 3), shards=(4, 5, 6))
    np.testing.assert_allclose(rain_of(store), EXPECTED, rtol=1e-6)
    np.testing.assert_allclose(rain_of(zipped(store, "a.zip")), EXPECTED, rtol=1e-6)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_floating_point_fill_value_is_missing(tmp_path: Path, zarr_format: int) -> None:
    rain = np.where(CODES % 7 == 0, np.nan, CODES).astype(np.float32).clip(min=0)
    for fill in (-9999.0, np.nan):
        changed = dataset().drop_vars("rain")
        attributes = {"standard_name": "rainfall_rate", "units": "mm/h", "grid_mapping": "crs"}
        changed["rain"] = (("time", "y", "x"), rain, attributes)
        with warnings.catch_warnings(action="ignore"):
            changed.to_zarr(tmp_path / f"{fill}.zarr", zarr_format=zarr_format, encoding={"rain": {"_FillValue": fill}})
        np.testing.assert_array_equal(rain_of(tmp_path / f"{fill}.zarr"), rain[:, ::-1])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server = FaultServer()
    yield server
    server.close()


def serve(server: FaultServer, store: Path) -> str:
    server.files = {
        f"/data/{store.name}/{path.relative_to(store).as_posix()}": path.read_bytes()
        for path in store.rglob("*")
        if path.is_file()
    }
    return f"{server.url}/data/{store.name}"


@pytest.mark.parametrize(
    ("zarr_format", "storage"), [(2, {"chunks": (2, 5, 3)}), (3, {"chunks": (1, 5, 3), "shards": (4, 5, 6)})]
)
def test_a_store_on_a_web_server_holds_the_same(
    tmp_path: Path, server: FaultServer, zarr_format: int, storage: dict[str, Any]
) -> None:
    url = serve(server, write(tmp_path / "a.zarr", zarr_format, **storage))
    np.testing.assert_allclose(rain_of(url), EXPECTED, rtol=1e-6)
    asked = [request.range for request in server.requests if "/rain/c/" in request.path]
    assert all(asked) if zarr_format == 3 else not any(asked)  # chunks of a shard by their ranges


def test_a_store_on_a_web_server_needs_consolidated_metadata(tmp_path: Path, server: FaultServer) -> None:
    url = serve(server, write(tmp_path / "a.zarr", 2, consolidated=False))
    with pytest.raises(
        UserError, match=r"has no consolidated metadata, and on a web server .* zarr\.consolidate_metadata"
    ):
        READER.scan([url])
    with pytest.raises(UserError, match="because: is no Zarr store: it has no group"):
        READER.scan([f"{server.url}/data/absent.zarr"])


def test_messages_name_a_url_without_its_secrets(tmp_path: Path, server: FaultServer) -> None:
    url = serve(server, tmp_path).replace("://", "://user:secret@")
    with pytest.raises(UserError) as caught:
        READER.scan([url])
    assert "secret" not in str(caught.value)


def test_a_chunk_that_is_not_there_is_the_fill_value_and_so_missing(tmp_path: Path) -> None:
    store = write(tmp_path / "a.zarr", 2, chunks=(1, 5, 6))
    (store / "rain" / "1.0.0").unlink()
    found = rain_of(store)
    assert np.isnan(found[1]).all() and not np.isnan(found[2]).any()


def edited(store: Path, name: str, **changes: Any) -> Path:
    """The store with other metadata of `rain`."""
    metadata = store / "rain" / name
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | changes))
    return store


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"compressor": {"id": "base64"}}, "array 'rain' is stored with base64, which is not read here"),
        ({"compressor": {"id": "pickle", "protocol": 5}}, "cannot be read as zarr .*pickle"),
        ({"filters": [{"id": "msgpack2"}]}, "cannot be read as zarr .*msgpack2"),
        ({"dtype": "|O", "filters": [{"id": "pickle"}]}, "cannot be read as zarr .*pickle"),
        ({"compressor": {"id": "no-such-codec"}}, "cannot be read as zarr .*no-such-codec"),
        ({"shape": [4, 1 << 20, 1 << 20], "chunks": [1, 1024, 1024]}, "'rain' declares 1048576 x 1048576 pixels"),
        ({"chunks": [1 << 20, 1 << 10, 1 << 10]}, "'rain' declares more than 1073741824 bytes for one read or chunk"),
        ({"chunks": [0, 5, 6]}, "cannot be read as zarr"),
        ({"dtype": "<f16"}, "cannot be read as zarr .*<f16"),
        ({"shape": [4, 5]}, "cannot be read as zarr .*same length"),
        ({"zarr_format": 7}, "cannot be read as zarr .*Got 7"),
    ],
)
def test_hostile_metadata_is_refused_and_nothing_of_it_is_run(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    store = edited(write(tmp_path / "a.zarr", 2, consolidated=False), ".zarray", **changes)
    with warnings.catch_warnings(action="ignore"), pytest.raises(RadarFileError, match=reason):
        READER.frames(store)  # type: ignore[attr-defined]


def test_a_codec_of_format_3_that_is_not_known_is_refused(tmp_path: Path) -> None:
    codecs = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "numcodecs.pickle", "configuration": {}},
    ]
    store = edited(write(tmp_path / "a.zarr", 3, consolidated=False), "zarr.json", codecs=codecs)
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(RadarFileError, match=r"cannot be read as zarr .*numcodecs\.pickle"),
    ):
        READER.frames(store)  # type: ignore[attr-defined]


def test_a_bomb_in_a_zip_is_refused_by_what_it_declares(tmp_path: Path) -> None:
    path = zipped(write(tmp_path / "a.zarr", 2, chunks=(4, 5, 6)), "a.zip")
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"rain/0.0.0") - 46  # in the central directory; the size is at 24
    content[entry + 24 : entry + 28] = (1 << 31).to_bytes(4, "little")
    with pytest.raises(RadarFileError, match=r"'rain/0\.0\.0' declares more than 536870912 bytes"):
        READER.frames(io.BytesIO(content), name="a.zip")  # type: ignore[attr-defined]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_damage_gives_frames_or_a_radar_file_error(tmp_path: Path, zarr_format: int) -> None:
    store = write(tmp_path / "a.zarr", zarr_format, chunks=(2, 5, 6))
    files = sorted(path for path in store.rglob("*") if path.is_file())
    damaged, chance = tmp_path / "b.zarr", random.Random(zarr_format)
    outcomes = []
    for _ in range(30):
        shutil.copytree(store, damaged)
        path = damaged / chance.choice(files).relative_to(store)
        content = bytearray(path.read_bytes())
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content[: chance.choice([None, chance.randrange(len(content))])])
        outcomes.append(_outcome(damaged))
        shutil.rmtree(damaged)
    assert {True, False} <= set(outcomes)


def _outcome(store: Path) -> bool:
    with warnings.catch_warnings(action="ignore"):
        try:
            frames = READER.frames(store)  # type: ignore[attr-defined]
        except RadarFileError as error:
            assert error.path == str(store) and error.reason
            return False
    assert all(frame.field.shape == frame.grid.shape for frame in frames)
    return True


def test_what_is_no_store_is_a_radar_file_error(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    (tmp_path / "empty").mkdir()
    for name, reason in {"a.zip": "not a zip", "empty": "is no Zarr store", "absent.zip": "cannot be read"}.items():
        with pytest.raises(RadarFileError, match=reason):
            READER.read(Recording(tmp_path / name, 0, (datetime(2020, 6, 1, tzinfo=UTC),), PRODUCT))


def test_without_zarr_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(UserError, match=r"needs zarr, which is not installed; pip install 'ds-nowcast\[zarr\]"):
        READER.scan([str(tmp_path)])


def test_a_real_netcdf_file_written_as_zarr_gives_the_same_frames(radar_data: Path, tmp_path: Path) -> None:
    from data_prep.readers.netcdf import READER as NETCDF

    real = radar_data / "derived/dwd_yw_20170816_cf.nc"
    with xarray.open_dataset(real, mask_and_scale=False) as opened, warnings.catch_warnings(action="ignore"):
        opened.isel(time=slice(0, 3)).to_zarr(tmp_path / "a.zarr", zarr_format=3)
    theirs = NETCDF.frames(real)[:3]  # type: ignore[attr-defined]
    for ours, other in zip(READER.frames(tmp_path / "a.zarr"), theirs, strict=True):  # type: ignore[attr-defined]
        assert (ours.grid, ours.time, ours.unit) == (other.grid, other.time, other.unit)
        np.testing.assert_array_equal(ours.stored, other.stored)
        assert ours.codes is other.codes
