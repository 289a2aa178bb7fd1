"""FMI's composites: PGM and GeoTIFF by their raw bytes, on one another, and that damage ends in one named error."""

from __future__ import annotations

import gzip
import io
import re
import struct
import sys
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_prep.encoding import encoding_named
from data_prep.errors import RadarFileError, UserError
from data_prep.frames import RadarFrame
from data_prep.projection import corner_of, place_of
from data_prep.readers import Product, reader_named
from data_prep.readers.files import RadarFile
from data_prep.readers.fmi import READER, FmiReader
from tests.data_prep.readers.test_geotiff import tiff_bytes

PGM = "fmi/pgm/20160928/201609281445_fmi.radar.composite.lowest_FIN_SUOMI1.pgm.gz"
TIFF = "fmi/geotiff/20160928/201609281445_FINUTM.tif"
END = datetime(2016, 9, 28, 14, 45, tzinfo=UTC)
CODES = np.array([[0, 1, 64], [128, 254, 255]], np.uint8)
HEADER = {
    "obstime": "201609281445",
    "param": "CorrectedReflectivity",
    "metersperpixel_x": "253283.2",
    "metersperpixel_y": "612828.9",
    "type": "stereographic",
    "centrallongitude": "25",
    "centrallatitude": "90",
    "truelatitude": "60",
    "bottomleft": "18.6 57.93",
    "topright": "34.903 69.005",
}
ITEMS = {
    "Observation time": ("", "201609281445"),
    "Quantity": ("dBZ", "Corrected reflectivity"),
    "Gain": ("", "0.500000"),
    "Offset": ("", "-32.000000"),
    "Nodata": ("", "255"),
    "Undetect": ("", "0"),
}
Pgm = Callable[..., bytes]


def pgm_bytes(codes: NDArray[Any] = CODES, size: str = "", largest: str = "255", **changes: str | None) -> bytes:
    lines = [f"# {key} {value}" for key, value in (HEADER | changes).items() if value is not None]
    rows, columns = codes.shape
    return "\n".join(["P5", *lines, size or f"{columns} {rows}", largest, ""]).encode() + codes.tobytes()


def fmi_tiff(codes: NDArray[Any] = CODES, **changes: tuple[str, str] | None) -> bytes:
    items = {key: value for key, value in (ITEMS | changes).items() if value is not None}
    units = {key: f' unit="{unit}"' if unit else "" for key, (unit, _) in items.items()}
    xml = "".join(f'<Item name="{key}"{units[key]}>{text}</Item>\n' for key, (_, text) in items.items())
    return tiff_bytes(codes[None], tags={"GDAL_METADATA": f"<GDALMetadata>\n{xml}</GDALMetadata>\n"})


def read(content: bytes, name: str = "a.pgm") -> RadarFrame:
    [frame] = FmiReader().frames(io.BytesIO(content), name=name)
    return frame


def test_the_table_of_formats_leads_to_the_reader() -> None:
    assert reader_named("fmi") is READER and READER.split_dates is None


def test_a_pgm_is_half_dbz_steps_from_minus_32_with_no_echo_and_no_data() -> None:
    frame = read(pgm_bytes())
    np.testing.assert_array_equal(frame.field, [[-32.0, -31.5, 0.0], [32.0, 95.0, np.nan]])
    assert (frame.unit, frame.time) == ("dBZ", END)
    np.testing.assert_array_equal(frame.encode(encoding_named("dbz8")), CODES)  # FMI's codes are dbz8's, bit for bit


def test_a_pgms_outer_corners_are_those_of_its_header() -> None:
    grid = read(pgm_bytes()).grid
    assert place_of(grid.proj, grid.west, grid.north - 2 * grid.pixel[0]) == pytest.approx((18.6, 57.93), abs=1e-9)
    assert place_of(grid.proj, grid.west + 3 * grid.pixel[1], grid.north) == pytest.approx((34.903, 69.005), abs=1e-9)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"size": "3"}, "its header is not that of a PGM"),
        ({"size": "999999999 999999999"}, "declares 999999999 x 999999999 pixels"),
        ({"size": "0 2"}, "declares 2 x 0 pixels"),
        ({"largest": "65535"}, "largest code is 65535, expected 255"),
        ({"obstime": None}, "its obstime is None, expected one like 201609281445"),
        ({"obstime": "201613991445"}, "its obstime is '201613991445'"),
        ({"param": "RadialVelocity"}, "shows 'RadialVelocity', expected CorrectedReflectivity"),
        ({"type": "latlon"}, "its projection is 'latlon'"),
        ({"centrallatitude": "60"}, "at latitude 60, expected a polar stereographic"),
        ({"bottomleft": "18.6"}, "its bottomleft is '18.6', expected 2 finite"),
        ({"topright": "nan 69.0"}, "its topright is 'nan 69.0', expected 2 finite"),
        ({"topright": "34.903 -90"}, "outside the projection|corners lie"),
        ({"metersperpixel_x": "4e5"}, "corners lie 3 x 253251 m apart, but its metersperpixel_x is 400000"),
        ({"metersperpixel_y": "-1e5"}, "its place is not known to a pixel"),
        ({"truelatitude": "1e999"}, "its truelatitude is '1e999'"),
    ],
)
def test_a_pgms_header_that_cannot_be_used_is_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RadarFileError, match=reason) as caught:
        read(pgm_bytes(**changes))
    assert caught.value.path == "a.pgm"


def test_a_pgm_that_is_cut_off_is_named() -> None:
    with pytest.raises(RadarFileError, match="ends after 4 of 6 pixels; it is cut off"):
        read(pgm_bytes()[:-2])


def test_a_geotiffs_coding_is_in_its_own_metadata() -> None:
    frame = read(fmi_tiff(), "a.tif")
    np.testing.assert_array_equal(frame.field, [[-32.0, -31.5, 0.0], [32.0, 95.0, np.nan]])
    assert (frame.unit, frame.time) == ("dBZ", END)
    [entry] = FmiReader().contents(RadarFile(io.BytesIO(fmi_tiff())))
    assert entry.product == Product("reflectivity", "dBZ")


def test_a_geotiff_of_16_bits_is_a_rain_rate_or_a_sum_over_hours() -> None:
    codes = np.array([[0, 1, 250], [10000, 65534, 65535]], np.uint16)
    rate: dict[str, Any] = {
        "Quantity": ("mm/h", "Precipitation rate"), "Gain": ("", "0.01"), "Offset": ("", "0"), "Nodata": ("", "65535")
    }  # fmt: skip
    frame = read(fmi_tiff(codes, **rate), "a.tif")
    expected = np.array([[0.0, 0.01, 2.5], [100.0, 655.34, np.nan]], np.float32)
    np.testing.assert_allclose(frame.field, expected, rtol=1e-6)
    rate |= {"Quantity": ("mm", "Precipitation accumulation"), "Accumulation time": ("h", "12")}
    content = fmi_tiff(codes, **rate)
    np.testing.assert_allclose(read(content, "a.tif").field, expected / 12.0, rtol=1e-6)
    [entry] = FmiReader().contents(RadarFile(io.BytesIO(content)))
    assert (entry.product, entry.interval_s) == (Product("rain over 12 h", "mm/h"), 43200)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"Gain": None, "Nodata": None},
            "says no gain, nodata, as FMI's does; read other GeoTIFFs with --format geotiff",
        ),
        ({"Observation time": ("", "today")}, "its observation time is 'today'"),
        ({"Quantity": ("m/s", "Radial velocity")}, "holds 'Radial velocity' in 'm/s', expected one of mm/h"),
        ({"Quantity": ("mm", "Precipitation accumulation")}, "holds 'Precipitation accumulation' in 'mm'"),
        ({"Gain": ("", "inf")}, "its gain is 'inf'"),
        ({"Accumulation time": ("d", "1")}, "its accumulation time is '1' d"),
    ],
)
def test_a_geotiffs_metadata_that_cannot_be_used_is_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RadarFileError, match=reason):
        read(fmi_tiff(**changes), "a.tif")


def test_without_rasterio_a_pgm_is_read_and_for_a_geotiff_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    content = fmi_tiff()
    monkeypatch.setitem(sys.modules, "rasterio", None)
    assert read(pgm_bytes()).time == END
    with pytest.raises(UserError, match=r"ds-nowcast\[geotiff\]"):
        read(content, "a.tif")


def raw_pgm(path: Path) -> NDArray[np.uint8]:
    return np.frombuffer(gzip.decompress(path.read_bytes())[-760 * 1226 :], np.uint8).reshape(1226, 760)


def test_a_real_pgm_has_its_raw_bytes_values_and_missing_share(radar_data: Path) -> None:
    frame, raw = FmiReader().frames(radar_data / PGM)[0], raw_pgm(radar_data / PGM)
    assert (frame.time, frame.unit, frame.grid.shape) == (END, "dBZ", (1226, 760))
    assert np.isnan(frame.field).sum() == (raw == 255).sum() == 226844
    seen = raw < 255
    np.testing.assert_array_equal(frame.field[seen], raw[seen] * np.float32(0.5) - np.float32(32.0))
    assert np.nanmax(frame.field) == 49.0 and (raw == 0).any()
    np.testing.assert_array_equal(frame.encode(encoding_named("dbz8")), raw)


def test_a_real_pgms_pixels_are_as_large_as_it_states(radar_data: Path) -> None:
    grid = FmiReader().frames(radar_data / PGM)[0].grid
    assert grid.pixel == pytest.approx((999.62859, 999.674053), abs=5e-6)
    for lon, lat, row, column in ((18.6, 57.93, 1226, 0), (34.903, 69.005, 0, 760)):
        corner = grid.west + column * grid.pixel[1], grid.north - row * grid.pixel[0]
        assert corner_of(grid.proj, lon, lat) == pytest.approx(corner, abs=0.01)


def test_a_real_geotiff_has_the_values_of_its_raw_tiles(radar_data: Path) -> None:
    frame, raw = FmiReader().frames(radar_data / TIFF)[0], (radar_data / TIFF).read_bytes()
    assert (frame.time, frame.unit, frame.grid.shape) == (END, "dBZ", (7316, 4963))
    across, wet = -(-4963 // 256), 0
    for tile in (
        13 * across + 9,
        17 * across + 8,
        20 * across + 6,
    ):  # TIFF 6.0, section 15: offsets and sizes from the directory
        offset, size = (struct.unpack_from("<I", raw, start + 4 * tile)[0] for start in offsets_and_sizes(raw))
        codes = np.frombuffer(zlib.decompress(raw[offset : offset + size]), np.uint8).reshape(256, 256)
        row, column = tile // across * 256, tile % across * 256
        expected = np.where(codes == 255, np.nan, codes * 0.5 - 32.0).astype(np.float32)
        np.testing.assert_array_equal(frame.field[row : row + 256, column : column + 256], expected)
        wet += int(((codes > 80) & (codes < 255)).sum())
    assert wet > 1000
    assert np.isnan(frame.field).sum() == 24_670_929 and np.nanmax(frame.field) == 53.0


def offsets_and_sizes(raw: bytes) -> list[int]:
    [directory] = struct.unpack_from("<I", raw, 4)
    [count] = struct.unpack_from("<H", raw, directory)
    entries = (struct.unpack_from("<HHII", raw, directory + 2 + 12 * i) for i in range(count))
    return [value for tag, _, _, value in entries if tag in (324, 325)]


def test_a_real_geotiff_lies_where_its_tie_point_says(radar_data: Path) -> None:
    with_grid = FmiReader().frames(radar_data / TIFF)[0].grid
    assert (with_grid.west, with_grid.north) == (-196593.0043142296, 8084432.005259146)
    assert with_grid.pixel == pytest.approx((250.0139839309012, 250.00401887360616), rel=1e-12)
    assert with_grid.proj.startswith("+proj=utm +zone=35 +ellps=GRS80")
    for value in (-196593.0043142296, 8084432.005259146):
        assert struct.pack("<d", value) in (radar_data / TIFF).read_bytes()[:8000]


def test_pgm_and_geotiff_of_one_time_show_the_same_rain_in_the_same_place(radar_data: Path) -> None:
    pyproj = pytest.importorskip("pyproj")
    pgm, tiff = (FmiReader().frames(radar_data / name)[0] for name in (PGM, TIFF))
    part = pgm.crop(500, 200, 400, 350)
    lon, lat = pyproj.Proj(part.grid.proj)(*np.meshgrid(part.grid.x, part.grid.y), inverse=True)
    east, north = pyproj.Proj(tiff.grid.proj)(lon, lat)

    def apart(rows: int, columns: int) -> float:
        """The mean difference (dBZ) where both see an echo, the PGM's pixels moved by so many of its pixels."""
        row = np.floor((tiff.grid.north - north) / tiff.grid.pixel[0]).astype(int) + 4 * rows
        column = np.floor((east - tiff.grid.west) / tiff.grid.pixel[1]).astype(int) + 4 * columns
        fine = tiff.stored[row, column]
        both = (fine > 0) & (fine < 255) & (part.stored > 0) & (part.stored < 255)
        assert both.sum() > 20_000
        return float(np.abs(fine[both].astype(float) - part.stored[both]).mean() / 2.0)

    here = apart(0, 0)
    around = [apart(rows, columns) for rows in (-1, 0, 1) for columns in (-1, 0, 1) if rows or columns]
    assert here < 1.0 and here < 0.6 * min(around)
    np.testing.assert_array_equal(np.isnan(part.field)[::50, ::50], False)


def test_the_real_archives_are_runs_of_5_minute_frames(radar_data: Path) -> None:
    for folder, frames in (("fmi/pgm", 40), ("fmi/geotiff", 3)):
        found = READER.scan([str(radar_data / folder)])
        assert (found.product, found.cadence_s) == (Product("reflectivity", "dBZ"), 300)
        assert len(found.recordings) == frames and not found.left_out


def test_path_gzip_and_file_object_give_the_same_frame(radar_data: Path, tmp_path: Path) -> None:
    packed = radar_data / PGM
    plain = tmp_path / "a.pgm"
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    [expected] = FmiReader().frames(packed)
    with open(packed, "rb") as opened:
        others = [FmiReader().frames(plain)[0], FmiReader().frames(opened)[0], read(plain.read_bytes())]
    for frame in others:
        assert (frame.time, frame.grid) == (expected.time, expected.grid)
        np.testing.assert_array_equal(frame.stored, expected.stored)


FLIPS = st.lists(st.tuples(st.floats(0.0, 1.0, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6)


def damaged(content: bytes, flips: list[tuple[float, int]], kept: float, head: int) -> bytes:
    """Some bytes of the first `head` replaced, and a fifth of the time cut off."""
    changed = bytearray(content[: int(len(content) * kept)] if kept < 0.2 else content)
    for place, byte in flips:
        if changed:
            changed[int(place * min(head, len(changed)))] = byte
    return bytes(changed)


def gives_a_frame_or_one_error(content: bytes, name: str) -> None:
    try:
        frame = read(content, name)
    except RadarFileError as error:
        assert error.path == name and error.reason
    else:
        assert frame.field.shape == frame.grid.shape


@settings(max_examples=100, derandomize=True, database=None, deadline=None)
@given(flips=FLIPS, kept=st.floats(0.0, 1.0))
def test_a_damaged_pgm_gives_a_frame_or_a_radar_file_error(flips: list[tuple[float, int]], kept: float) -> None:
    gives_a_frame_or_one_error(damaged(pgm_bytes(), flips, kept, 400), "a.pgm")


SMALL_TIFF = fmi_tiff(np.tile(CODES, (20, 10)))


# derandomized: libtiff or GDAL could crash on a hostile file, so the same damage is tried every time
@settings(max_examples=100, derandomize=True, database=None, deadline=None)
@given(flips=FLIPS, kept=st.floats(0.0, 1.0))
def test_a_damaged_geotiff_gives_a_frame_or_a_radar_file_error(flips: list[tuple[float, int]], kept: float) -> None:
    gives_a_frame_or_one_error(damaged(SMALL_TIFF, flips, kept, 1500), "a.tif")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_a_truncated_real_file_is_named(radar_data: Path, tmp_path: Path, share: float) -> None:
    for name in (PGM, TIFF):
        whole = (radar_data / name).read_bytes()
        cut = tmp_path / Path(name).name
        cut.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(RadarFileError) as caught:
            FmiReader().frames(cut)
        assert caught.value.path == str(cut) and caught.value.reason


def test_a_real_geotiff_with_a_damaged_directory_gives_its_contents_or_one_error(radar_data: Path) -> None:
    whole, random = (radar_data / TIFF).read_bytes(), np.random.default_rng(5)
    outcomes = set()
    for _ in range(40):
        content = bytearray(whole)
        for place in random.integers(0, 240, 3):
            content[place] ^= 1 << int(random.integers(8))
        try:
            FmiReader().frames(io.BytesIO(bytes(content)), name="a.tif", product="none")  # lists, reads no picture
            outcomes.add("listed")
        except RadarFileError as error:
            outcomes.add(re.sub(r"\d+", "N", error.reason)[:40])
    assert len(outcomes) > 2
