"""netCDF: a real file against the archive it was made from, our own forecasts, every kind of file, and damaged ones."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.encoding import Unit
from data_prep.errors import RadarFileError, UserError
from data_prep.frames import Grid
from data_prep.projection import corner_of, metric_proj
from data_prep.readers import Product, reader_named
from data_prep.readers.files import RadarFile
from data_prep.readers.netcdf import READER
from data_prep.readers.netcdf_classic import DEFAULT_FILLS
from ds_nowcast.forecasting.netcdf import write_forecast
from tests.data_prep.readers.cf.memory import STEREO, X, Y

netCDF4 = pytest.importorskip("netCDF4")

REAL = "derived/dwd_yw_20170816_cf.nc"
KINDS = ("NETCDF4", "NETCDF4_CLASSIC", "NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA")
CODES = np.arange(60, dtype=np.int16).reshape(2, 5, 6) - 1  # -1 is missing
RAIN = {
    "standard_name": "precipitation_amount",
    "units": "kg m-2",
    "grid_mapping": "crs",
    "scale_factor": np.float32(0.01),
}
Make = Callable[..., bytes]


def made(kind: str = "NETCDF4", *, records: bool = True, change: Callable[[Any], None] = lambda _: None) -> bytes:
    """A file of 2 steps on 5 x 6 pixels, in memory. change: is called with the netCDF4.Dataset before it is written."""
    dataset = netCDF4.Dataset("made.nc", "w", memory=1, format=kind)
    for name, length in {"time": None if records else 2, "y": 5, "x": 6, "nv": 2}.items():
        dataset.createDimension(name, length)
    _add(dataset, "time", "f8", ("time",), [0, 5], units="minutes since 2020-06-01 12:00:00", bounds="time_bnds")
    _add(dataset, "time_bnds", "f8", ("time", "nv"), [[0, 5], [5, 10]])
    _add(dataset, "y", "f8", ("y",), np.arange(5) * 1000.0 - 4e6, **Y)
    _add(dataset, "x", "f8", ("x",), np.arange(6) * 1000.0, **X)
    _add(dataset, "crs", "i4", (), 0, **STEREO)
    _add(dataset, "rain", "i2", ("time", "y", "x"), CODES, _FillValue=-1, zlib=kind.startswith("NETCDF4"), **RAIN)
    change(dataset)
    return bytes(dataset.close())


def _add(dataset: Any, name: str, kind: str, dims: tuple[str, ...], values: Any, **attributes: Any) -> None:
    storage = {"zlib": attributes.pop("zlib", False), "fill_value": attributes.pop("_FillValue", None)}
    variable = dataset.createVariable(name, kind, dims, **storage)
    variable.set_auto_maskandscale(False)
    variable.setncatts(attributes)
    variable[...] = values


def expected() -> np.ndarray[Any, np.dtype[np.float64]]:
    """mm/h of `made`, north up: 0.01 mm in 5 minutes is 0.12 mm/h."""
    return np.where(CODES == -1, np.nan, CODES * 0.12)[:, ::-1]


def test_the_table_of_formats_leads_to_the_reader() -> None:
    assert reader_named("netcdf") is READER


@pytest.mark.parametrize("records", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_netcdf_gives_the_same_frames(tmp_path: Path, kind: str, records: bool) -> None:
    path = tmp_path / "a.nc"
    path.write_bytes(made(kind, records=records))
    first, second = READER.frames(path)
    np.testing.assert_allclose([first.field, second.field], expected(), rtol=1e-6)
    assert first.stored.dtype == np.uint16 and first.codes is second.codes
    assert [frame.time for frame in (first, second)] == [datetime(2020, 6, 1, 12, m, tzinfo=UTC) for m in (5, 10)]
    assert (first.grid.shape, first.grid.pixel, first.grid.west, first.grid.north) == (
        (5, 6),
        (1000.0, 1000.0),
        -500.0,
        -3_995_500.0,
    )


def test_a_path_a_gzip_file_a_tar_and_a_file_object_give_the_same_frames(tmp_path: Path) -> None:
    for kind in ("NETCDF4", "NETCDF3_CLASSIC"):
        plain, packed, tar = tmp_path / "a.nc", tmp_path / "b.nc.gz", tmp_path / "c.tar"
        plain.write_bytes(made(kind))
        packed.write_bytes(gzip.compress(plain.read_bytes()))
        with tarfile.open(tar, "w") as archive:
            archive.add(plain, "in/a.nc")
        found = [READER.frames(source) for source in (plain, packed, io.BytesIO(plain.read_bytes()))]
        found.append([READER.read(recording)[0] for recording in READER.scan([str(tar)]).recordings])
        for frames in found:
            assert [frame.grid for frame in frames] == [frame.grid for frame in found[0]]
            np.testing.assert_allclose([frame.field for frame in frames], expected(), rtol=1e-6)


def test_the_classic_formats_values_are_those_that_the_library_reads(tmp_path: Path) -> None:
    def more(dataset: Any) -> None:
        _add(dataset, "odd", "i1", ("time", "x"), np.arange(12).reshape(2, 6), text="some words")
        _add(dataset, "turned", "f4", ("x", "y"), np.arange(30).reshape(6, 5), numbers=np.arange(3, dtype="i2"))
        _add(dataset, "name", "S1", ("x",), list("abcdef"))

    for kind in KINDS[2:]:
        path = tmp_path / f"{kind}.nc"
        path.write_bytes(made(kind, change=more))
        ours = READER.open(RadarFile(path))  # type: ignore[attr-defined]
        with netCDF4.Dataset(path) as theirs:
            theirs.set_auto_maskandscale(False)
            assert list(ours.variables) == list(theirs.variables)
            for name in ("time", "y", "crs", "rain", "odd", "turned"):
                whole = tuple(slice(None) for _ in theirs[name].shape)
                np.testing.assert_array_equal(ours.values(ours.variables[name], whole), theirs[name][...])
                given = {key: ours.variables[name].attributes[key] for key in theirs[name].ncattrs()}
                np.testing.assert_equal(given, {key: theirs[name].getncattr(key) for key in theirs[name].ncattrs()})
            part = (slice(1, 3), slice(None, None, 2))
            np.testing.assert_array_equal(ours.values(ours.variables["turned"], part), theirs["turned"][part])
        ours.close()


def test_one_record_variable_alone_is_not_padded(tmp_path: Path) -> None:
    dataset = netCDF4.Dataset(tmp_path / "a.nc", "w", format="NETCDF3_CLASSIC")
    for name, length in {"lat": 1, "lon": 3, "time": None, "nv": 2}.items():
        dataset.createDimension(name, length)
    _add(dataset, "lat", "f8", ("lat",), [50.0], units="degrees_north", bounds="lat_b")
    _add(dataset, "lat_b", "f8", ("lat", "nv"), [[49.5, 50.5]])
    _add(dataset, "lon", "f8", ("lon",), [4.0, 5.0, 6.0], units="degrees_east")
    _add(dataset, "rain", "i1", ("time", "lat", "lon"), np.arange(6).reshape(2, 1, 3), units="mm/h")
    dataset.time_coverage_end = "2020-06-01T12:05:00Z"
    dataset.close()
    ours = READER.open(RadarFile(tmp_path / "a.nc"))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(ours.values(ours.variables["rain"], (slice(None),) * 3).ravel(), np.arange(6))
    ours.close()


def test_default_fill_values_are_those_of_the_library_and_missing(tmp_path: Path) -> None:
    assert {kind: netCDF4.default_fillvals[kind] for kind in DEFAULT_FILLS} == DEFAULT_FILLS

    def unfilled(dataset: Any) -> None:
        for name, kind in (("rate", "f4"), ("rate16", "i2")):
            rate = dataset.createVariable(name, kind, ("time", "y", "x"))
            rate.setncatts({"units": "mm/h", "long_name": "rain rate", "grid_mapping": "crs"})

    for kind in ("NETCDF4", "NETCDF3_CLASSIC"):
        path = tmp_path / f"{kind}.nc"
        path.write_bytes(made(kind, change=unfilled))
        for product in ("rate", "rate16"):
            assert all(np.isnan(frame.field).all() for frame in READER.frames(path, product=product))


def test_variables_of_text_compounds_and_lists_are_passed_over(tmp_path: Path) -> None:
    def more(dataset: Any) -> None:
        pair = dataset.createCompoundType(np.dtype([("a", "f4"), ("b", "f4")]), "pair")
        several = dataset.createVLType(np.float32, "several")
        for name, kind in (("words", str), ("pairs", pair), ("lists", several)):
            dataset.createVariable(name, kind, ("time", "y", "x")).setncatts({"units": "mm/h", "long_name": "rain"})

    path = tmp_path / "a.nc"
    path.write_bytes(made(change=more))
    assert READER.scan([str(path)]).product == Product("rain", "mm/h")


def test_each_field_is_a_product_of_which_one_is_chosen(tmp_path: Path) -> None:
    def more(dataset: Any) -> None:
        _add(dataset, "dbz", "f4", ("time", "y", "x"), 20.0, units="dBZ", grid_mapping="crs")

    path = tmp_path / "a.nc"
    path.write_bytes(made(change=more))
    with pytest.raises(
        UserError, match=r"several products: dbz \(dBZ, 2 frames\), rain \(mm/h, 2 frames\); choose one"
    ):
        READER.scan([str(path)])
    found = READER.scan([str(path)], "dbz")
    assert found.product == Product("dbz", "dBZ") and READER.read(found.recordings[1])[0].field.max() == 20.0


def test_a_file_that_is_replaced_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    path.write_bytes(made())
    [first, _] = READER.scan([str(path)]).recordings
    path.write_bytes(made("NETCDF3_CLASSIC", change=lambda dataset: dataset["time_bnds"].__setitem__(0, [0, 4])))
    with pytest.raises(RadarFileError, match="is now of 2020-06-01 12:04 UTC, not as it was listed"):
        READER.read(first)


@pytest.mark.parametrize("unit", ["mm/h", "dBZ", "kg/m2"])
@pytest.mark.parametrize(
    "grid",
    [
        Grid((20, 30), metric_proj("+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378.137 +b=6356.752"), (1000.0, 1000.0), 2e5, -3.7e6),
        Grid((20, 30), "+proj=laea +lat_0=38 +lon_0=-98 +units=m +a=6370997.0 +ellps=sphere", (500.0, 1000.0), -7e3, 5e3),
        Grid((20, 30), "+proj=longlat +datum=WGS84", (0.01, 0.02), -100.0, 40.0),
    ],
)  # fmt: skip
def test_our_own_forecast_comes_back_as_it_was_written(tmp_path: Path, grid: Grid, unit: Unit) -> None:
    values = np.random.default_rng(3).gamma(0.5, 4.0, (2, 20, 30)).astype(np.float32)
    values[:, 0], values[1, 2, 3] = np.nan, 0.0
    start = datetime(2020, 6, 1, 12, tzinfo=UTC)
    write_forecast(
        tmp_path / "f.nc",
        values,
        unit=unit,
        grid=grid,
        reference_time=start,
        lead_s=(300, 600),
        source="s",
        history="h",
    )
    found = READER.frames(tmp_path / "f.nc")
    assert [frame.time for frame in found] == [start + timedelta(minutes=minutes) for minutes in (5, 10)]
    for step, frame in enumerate(found):
        np.testing.assert_array_equal(frame.field, values[step])
        assert frame.unit == unit and frame.grid.shape == grid.shape
        numbers = [(*one.pixel, one.west, one.north) for one in (frame.grid, grid)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-9, abs=1e-6)
        assert corner_of(frame.grid.proj, -97.0, 39.0) == pytest.approx(corner_of(grid.proj, -97.0, 39.0), abs=1e-3)


def test_a_real_file_holds_what_the_archive_it_was_made_from_holds(radar_data: Path) -> None:
    found = READER.scan([str(radar_data / REAL)])
    assert (found.product, found.cadence_s, found.left_out) == (Product("rainfall_amount", "mm/h"), 300, [])
    frames = [READER.read(recording)[0] for recording in found.recordings]
    for path in sorted((radar_data / "dwd/radolan_yw").glob("*.gz")):
        content = gzip.decompress(path.read_bytes())  # a header to 0x03, then 0.01 mm in 12 bits; bit 14: missing
        codes = np.frombuffer(content[content.index(b"\x03") + 1 :], "<u2").reshape(1100, 900)[::-1]
        time = datetime.strptime(path.name.split("-")[2], "%y%m%d%H%M").replace(tzinfo=UTC)
        [frame] = [one for one in frames if one.time == time]
        rain_mm_h = np.where(codes & 0x2000, np.nan, (codes & 0xFFF) * 0.12)
        np.testing.assert_allclose(frame.field, rain_mm_h, rtol=1e-6)
        assert frame.stored.dtype == np.uint16 and np.isnan(frame.field).mean() == (codes & 0x2000 > 0).mean()
    assert len(frames) == 12


def test_a_real_files_grid_lies_where_the_weather_service_puts_it(radar_data: Path) -> None:
    grid = READER.frames(radar_data / REAL)[0].grid
    assert (grid.shape, grid.pixel) == ((1100, 900), (1000.0, 1000.0))
    # DWD's format description of the 1100 x 900 composite: its south-west corner lies at 4.6759 E 46.1929 N
    west_m, south_m = corner_of(grid.proj, 4.6759, 46.1929)
    assert (grid.west, grid.north - 1_100_000.0) == pytest.approx((west_m, south_m), abs=1000.0)


WHOLE = {kind: made(kind) for kind in ("NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT_DATA")}
WORDS = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\0\1\0\0")


# derandomized: libhdf5 itself can crash on a hostile file, so the same damage is tried every time
@settings(max_examples=120, derandomize=True, database=None, deadline=None)
@given(
    kind=st.sampled_from(sorted(WHOLE)),
    flips=st.lists(st.tuples(st.floats(0.0, 1.0, exclude_max=True), st.integers(0, 7)), max_size=6),
    words=st.lists(st.tuples(st.floats(0.0, 1.0, exclude_max=True), st.sampled_from(WORDS)), max_size=2),
    share=st.one_of(st.just(1.0), st.floats(0.0, 1.0)),
)
def test_damage_gives_frames_or_a_radar_file_error(
    kind: str, flips: list[tuple[float, int]], words: list[tuple[float, bytes]], share: float
) -> None:
    content = bytearray(WHOLE[kind])
    end = min(len(content), 8000)  # what lies behind is empty
    for place, bit in flips:
        content[int(place * end)] ^= 1 << bit
    for place, word in words:
        at = int(place * (end - 4)) // 4 * 4
        content[at : at + 4] = word
    try:
        frames = READER.frames(io.BytesIO(content[: int(share * len(content))]), name="damaged.nc")
    except RadarFileError as error:
        assert error.path == "damaged.nc" and error.reason
    else:
        assert all(frame.field.shape == frame.grid.shape and frame.field.dtype == np.float32 for frame in frames)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_truncated_real_file_is_a_radar_file_error(radar_data: Path, share: float) -> None:
    content = (radar_data / REAL).read_bytes()
    with pytest.raises(RadarFileError, match=r"real\.nc: "):
        READER.frames(io.BytesIO(content[: int(share * len(content))]), name="real.nc")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"station,rain\n", "is not a netCDF file: it begins with none of its signatures"),
        (b"CDF\x03" + bytes(99), "is not a netCDF file"),
        (b"CDF\x01", "its header does not fit into the file"),
        (b"CDF\x01" + bytes(4) + b"\0\0\0\x0a\x7f\xff\xff\xff" + bytes(64), "its header declares a list of 2147483647"),
        (b"CDF\x01" + bytes(4) + b"\0\0\0\x63" + bytes(64), "its header has a list with the tag 99, expected 10"),
        (WHOLE["NETCDF3_CLASSIC"][:-4], "its header puts 'rain' at bytes .*; it may be cut off"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "cannot be read as netcdf"),
    ],
)
def test_what_is_no_netcdf_file_is_named_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(RadarFileError, match=reason):
        READER.frames(io.BytesIO(content), name="a.nc")


def test_without_netcdf4_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "netCDF4", None)
    with pytest.raises(UserError, match=r"needs netCDF4, which is not installed; pip install 'ds-nowcast\[netcdf\]"):
        READER.scan([str(tmp_path)])


def test_a_soft_link_in_a_group_is_passed_over(tmp_path: Path) -> None:
    h5py, path = pytest.importorskip("h5py"), tmp_path / "a.nc"
    path.write_bytes(made())
    before = [frame.field for frame in READER.frames(path)]
    linked = tmp_path / "b.nc"
    linked.write_bytes(made())
    with h5py.File(linked, "r+") as file:
        file.create_group("aux")["alias"] = h5py.SoftLink("/rain")
    np.testing.assert_array_equal([frame.field for frame in READER.frames(linked)], before)


@pytest.mark.parametrize("group", ["", "more/"])
@pytest.mark.parametrize("dims", [0, 1, 2, 4])
def test_a_variable_that_names_another_number_of_dimensions_never_reaches_the_library(
    tmp_path: Path, dims: int, group: str
) -> None:
    h5py, path = pytest.importorskip("h5py"), tmp_path / "a.nc"
    path.write_bytes(made())
    with h5py.File(path, "r+") as file:
        if group:
            file["more/rain"] = file["rain"]
            file["more/up"] = file["/"]
            del file["rain"]
        attributes = file[f"{group}rain"].attrs
        named = list(attributes["DIMENSION_LIST"])
        del attributes["DIMENSION_LIST"]
        kind, lists = h5py.vlen_dtype(h5py.ref_dtype), np.empty(dims, object)
        lists[:] = [*named, *named][:dims]
        attributes.create("DIMENSION_LIST", lists, dtype=kind)
    with pytest.raises(RadarFileError, match=rf"'{group}rain' has 3 dimensions and names \({dims},\) of them"):
        READER.frames(path)
