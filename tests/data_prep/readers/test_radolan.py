"""RADOLAN: exact values, times and places of real and made files of each kind, and one named error for a damaged one."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import re
import tarfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_prep.encoding import encoding_named
from data_prep.errors import RadarFileError, UserError
from data_prep.frames import RadarFrame
from data_prep.projection import corner_of
from data_prep.readers import LeftOut, Product, reader_named
from data_prep.readers.radolan import PRODUCTS, READER, RadolanReader
from data_prep.readers.radolan_grid import grid_of

RW = "dwd/wradlib/raa01-rw_10000-1408102050-dwd---bin.gz"
RX = "dwd/wradlib/raa01-rx_10000-1408102050-dwd---bin.gz"
RY = "dwd/wradlib/raa01-ry_10000-1408102050-dwd---bin.gz"
RZ = "dwd/wradlib/raa01-rz_10000-1408102050-dwd---bin.gz"
YW = "dwd/radolan_yw/raa01-yw2017.002_10000-1708160055-dwd---bin.gz"
RV_TAR = "dwd/wradlib/DE1200_RV2210180700.tar.bz2"
EVENING = datetime(2014, 8, 10, 20, 50, tzinfo=UTC)
HEADERS = {  # of real files, but for the last three, whose products are made after DWD's description
    "RW": "RW102050100000814BY{}VS 3SW   2.13.1PR E-01INT  60GP 900x 900MS 62<boo,ros,mem> ",
    "RX": "RX102050100000814BY{}VS 3SW   2.13.1PR E+00INT   5GP 900x 900MS 66<boo,ros,mem,bdy> ",
    "RY": "RY102050100000814BY{}VS 3SW   2.13.1PR E-02INT   5GP 900x 900MS 62<boo,ros,mem> ",
    "YW": "YW102050100000814BY{}VS 3SW   2.18.3PR E-02INT   5U0GP1100x 900MF 00000000VR2017.002MS  7<boo>",
    "RV": "RV102050100000814BY{}VS 5SW P300001HPR E-02INT   5GP1200x1100VV 000MF 00000008MS  7<deasb>",
    "WN": "WN102050100000814BY{}VS 5SW P300001HPR E-01INT   5GP1200x1100VV 000MF 00000008MS  7<deasb>",
    "EX": "EX102050100000814BY{}VS 3SW   2.13.1PR E+00INT   5GP1500x1400MS  5<boo>",
    "RL": "RL102050100000814BY{}VS 3SW   2.13.1PR E-03INT   1U1GP 900x 900MS  5<boo>",
}
ONE_BYTE = ("RX", "EX")


def made(product: str = "RW", places: Mapping[tuple[int, int], int] | None = None, **changes: str) -> bytes:
    """A file of zeros but for codes at (row from the south, column); changes: parts of the header by their text."""
    header = HEADERS[product]
    rows, columns = (int(part) for part in re.findall(r"GP *(\d+)x *(\d+)", header)[0])
    codes = np.zeros((rows, columns), "u1" if product in ONE_BYTE else "<u2")
    for place, code in (places or {}).items():
        codes[place] = code
    length = len(header.format("0123456")) + 1 + codes.nbytes
    header = header.format(f"{length:7}")
    for old, new in changes.items():
        assert old.replace("_", " ") in header
        header = header.replace(old.replace("_", " "), new)
    return header.encode() + b"\x03" + codes.tobytes()


def text(north_west: str = "0 0", missing: str = "-1") -> bytes:
    """A text file as DWD writes it, of zeros but for the first two numbers."""
    head = "ncols         900\nnrows         900\nxllcorner     -523462\nyllcorner     -4658645\ncellsize      1000\n"
    rows = [north_west + " 0" * 898, *["0 " * 899 + "0"] * 899]
    return "\n".join([f"{head}NODATA_value  {missing}", *rows, ""]).encode()


def read(content: bytes) -> RadarFrame:
    [frame] = READER.frames(io.BytesIO(content))
    return frame


def codes_of(path: Path, size: int, dtype: str, shape: tuple[int, int]) -> NDArray[np.int64]:
    """The codes of a real file, row 0 in the north, without our reader; size: bytes of its header."""
    codes = np.frombuffer(gzip.decompress(path.read_bytes())[size:], dtype)
    return codes.reshape(shape)[::-1].astype(np.int64)


def test_the_table_of_formats_leads_to_the_reader() -> None:
    assert reader_named("radolan") is READER


def test_an_hourly_sum_becomes_a_rate_and_the_south_comes_last() -> None:
    frame = read(made("RW", {(0, 0): 12, (0, 899): 4095, (899, 1): 1}))
    assert frame.field[899, 0] == np.float32(1.2) and frame.field[899, 899] == np.float32(409.5)
    assert frame.field[0, 1] == np.float32(0.1) and np.count_nonzero(frame.field) == 3
    assert frame.unit == "mm/h" and frame.time == EVENING and frame.stored.dtype == np.uint16


@pytest.mark.parametrize(
    ("product", "rain_mm_h"), [("RY", 12.0), ("YW", 12.0), ("RV", 12.0), ("RW", 10.0), ("RL", 0.1 / 24)]
)
def test_the_rate_follows_from_precision_and_interval(product: str, rain_mm_h: float) -> None:
    assert read(made(product, {(0, 0): 100})).field[-1, 0] == pytest.approx(rain_mm_h)


def test_flags_of_rain_say_missing_secondary_and_negative() -> None:
    codes = {(0, 0): 0x29C4, (0, 1): 0x8000 | 7, (0, 2): 0x1000 | 7, (0, 3): 0x4000 | 7, (0, 4): 2500, (0, 5): 0xF007}
    south = read(made("RW", codes)).field[-1]
    np.testing.assert_allclose(south[:6], [np.nan, np.nan, 0.7, np.nan, 250.0, np.nan], rtol=1e-6)
    assert (south[6:] == 0.0).all()


def test_one_byte_reflectivity_is_in_half_dbz_and_no_echo_is_dry() -> None:
    codes = dict(enumerate((0, 1, 2, 65, 248, 249, 250, 251, 255)))
    for product in ONE_BYTE:
        frame = read(made(product, {(0, column): code for column, code in codes.items()}))
        expected = [-32.0, -32.0, -31.5, 0.0, 91.5, np.nan, np.nan, np.nan, np.nan]
        assert frame.unit == "dBZ" and frame.stored.dtype == np.uint8
        np.testing.assert_array_equal(frame.field[-1, :9], np.array(expected, np.float32))
        assert frame.field[0, 0] == -32.0


def test_two_byte_reflectivity_is_in_tenths_of_these_units() -> None:
    codes = dict(enumerate((0, 655, 2489, 2490, 0x29C4, 0x8000 | 655)))
    frame = read(made("WN", {(0, column): code for column, code in codes.items()}))
    np.testing.assert_allclose(frame.field[-1, :6], [-32.0, 0.25, 91.95, np.nan, np.nan, np.nan], rtol=1e-6)


def test_frames_of_one_kind_share_a_lookup_and_encode_as_their_values_do() -> None:
    frame, other = (read(made("RW", {(0, column): column for column in range(900)})) for _ in range(2))
    assert frame.codes is other.codes
    dbz8 = encoding_named("dbz8")
    np.testing.assert_array_equal(frame.encode(dbz8), dbz8.encode(frame.field, "mm/h"))


@pytest.mark.parametrize(
    ("product", "corners"),
    [  # west and north (lon, lat), then east and south, of the outer corners as DWD's documents give them
        ("RW", [(2.0715, 54.5877), (14.6209, 47.0705)]),
        ("YW", [(3.0889, 55.5482), (15.4801, 46.1827)]),
        ("EX", [(-0.8654, 56.5423), (18.2536, 43.8736)]),
        ("RV", [(1.463301510, 55.86208711), (16.58086935, 45.68460578)]),
    ],
)
def test_each_grids_corners_are_those_that_dwd_publishes(product: str, corners: list[tuple[float, float]]) -> None:
    grid = read(made(product)).grid
    rows, columns = grid.shape
    ours = [(grid.west, grid.north), (grid.west + columns * 1000.0, grid.north - rows * 1000.0)]
    assert grid.pixel == (1000.0, 1000.0)
    for (lon, lat), corner in zip(corners, ours, strict=True):
        assert corner_of(grid.proj, lon, lat) == pytest.approx(corner, abs=1.0 if product == "RV" else 12.0)


def test_the_fine_grid_and_the_sphere_before_it_have_their_corners_too() -> None:
    fine, sphere = grid_of((4800, 4400), 5), grid_of((1200, 1100), 4)
    assert fine is not None and sphere is not None and fine.pixel == (250.0, 250.0)
    assert (fine.west, fine.north) == pytest.approx((-543_571.83521776402 - 125.0, -3_622_213.8619310018 + 125.0))
    assert corner_of(sphere.proj, 1.435612143, 55.86584289) == pytest.approx((sphere.west, sphere.north), abs=1.0)


def test_a_forecasts_leads_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "DE1200_RV1408102050.tar.bz2"
    with tarfile.open(path, "w:bz2") as archive:
        for lead in ("000", "005", "120"):
            member = tarfile.TarInfo(f"DE1200_RV1408102050_{lead}")
            content = made("RV", VV_000=f"VV {lead}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    found = READER.scan([str(tmp_path)])
    [recording] = found.recordings
    assert recording.times == (EVENING,) and recording.member.endswith("_000")
    assert found.product == Product("RV", "mm/h") and found.cadence_s == 300
    leads = [
        LeftOut(f"{path}/DE1200_RV1408102050_{lead}", "forecast lead, not an observation") for lead in ("005", "120")
    ]
    assert [one[:2] for one in found.left_out] == [one[:2] for one in leads]
    assert [one.detail for one in found.left_out] == ["5 min ahead", "120 min ahead"]


def test_a_file_is_read_alike_plain_packed_in_a_tar_or_open(tmp_path: Path) -> None:
    content = made("RX", {(3, 4): 77})
    name = "raa01-rx_10000-1408102050-dwd---bin"
    (tmp_path / name).write_bytes(content)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content, 1))
    (tmp_path / f"{name}.bz2").write_bytes(bz2.compress(content, 1))
    with tarfile.open(tmp_path / "RX-20140810.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / f"{name}.gz", f"{name}.gz")
    for path in sorted(tmp_path.iterdir()):
        [recording] = READER.scan([str(path)]).recordings
        [frame] = READER.read(recording)
        assert frame.field[896, 4] == 6.0 and frame.time == EVENING and frame.grid.shape == (900, 900)
        assert np.count_nonzero(frame.stored) == 1
    with open(tmp_path / f"{name}.gz", "rb") as file:
        [frame] = READER.frames(file)
    np.testing.assert_array_equal(frame.stored, read(content).stored)


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("raa01-rw_10000-1811220050-dwd---bin.gz", True),
        ("raa01-yw2017.002_10000-1708160055-dwd---bin", True),
        ("raa01-rw_10000-latest-dwd---bin.bz2", True),
        ("DE1200_RV2210180700_000", True),
        ("WN2204091200_000", True),
        ("raa01-rw_10000-2510231050-dwd---bin.hdf5", False),
        ("README.txt", False),
    ],
)
def test_the_files_of_a_folder_are_known_by_dwds_names(tmp_path: Path, name: str, taken: bool) -> None:
    (tmp_path / name).write_bytes(made("RX"))
    if taken:
        assert READER.scan([str(tmp_path)]).product.name == "RX"
    else:
        with pytest.raises(UserError, match="holds no file like"):
            READER.scan([str(tmp_path)])


def without_rows(content: bytes) -> bytes:
    return content[: content.index(b"\x03") + 1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda: b"", "begins with b'', expected a RADOLAN header like RW1020501"),
        (lambda: b"station,rain\nEmden,0.3\n", "begins with b'station,rain"),
        (lambda: made("RW").replace(b"\x03", b" "), "begins with b'RW1020501"),
        (lambda: made("RW")[:-1], "has 1620085 bytes, expected 1620086; fetch it again"),
        (lambda: made("RW") + b"\x00", "has 1620087 bytes, expected 1620086; fetch it again"),
        (lambda: without_rows(made("RV")), "has 96 bytes, expected 2640096; fetch it again"),
        (lambda: made("RW", RW1="SF1"), "holds product SF, this reader takes RX, WX, EX, WN, RZ"),
        (lambda: made("RW", RW1="RX1"), "declares 1620086 bytes, not a header of 86 and 900 x 900 codes of 1"),
        (lambda: made("RW", **{"0814BY": "1314BY"}), "its time 102050 of 13/14 is none"),
        (lambda: made("RW", RW102050="RW102460"), "its time 102460 of 08/14 is none"),
        (lambda: made("RW", **{"900x_900": "910x 900"}), "a grid of 910 x 900 pixels, expected 900 x 900, 1100 x 900"),
        (lambda: made("RW", **{"_900x_900": "99999x99999"}), "has a grid of 99999 x 99999 pixels"),
        (lambda: made("RW", **{"E-01": "E-99"}), "has steps of 1E-99 over 60"),
        (lambda: made("RW", **{"E-01": "E+01"}), r"has steps of 1E\+01 over 60"),
        (lambda: made("RW", INT__60="INT   0"), r"over 0 \(unit 0\), expected .* over 1 or more"),
        (lambda: made("YW", **{"5U0": "5U7"}), r"over 5 \(unit 7\), expected"),
        (lambda: gzip.compress(made("RW"), 1)[:500], "cannot be unpacked"),
        (lambda: gzip.compress(b"RW" * 9)[:-8] + b"\0" * 8, "cannot be read as radolan .BadGzipFile: CRC"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_reason(
    tmp_path: Path, content: Callable[[], bytes], reason: str
) -> None:
    path = tmp_path / "raa01-rw_10000-1408102050-dwd---bin"
    path.write_bytes(content())
    with pytest.raises(RadarFileError, match=reason) as caught:
        READER.frames(path)
    assert caught.value.path == str(path)


def test_a_damaged_file_does_not_keep_others_from_use(tmp_path: Path) -> None:
    (tmp_path / "raa01-ry_10000-1408102050-dwd---bin").write_bytes(made("RY"))
    (tmp_path / "raa01-ry_10000-1408102055-dwd---bin").write_bytes(b"RY")
    found = READER.scan([str(tmp_path)])
    assert len(found.recordings) == 1 and [one.reason for one in found.left_out] == ["unreadable"]


def test_a_file_that_has_become_a_forecast_or_another_time_is_named(tmp_path: Path) -> None:
    path = tmp_path / "DE1200_RV1408102050_000"
    path.write_bytes(made("RV"))
    [recording] = READER.scan([str(path)]).recordings
    path.write_bytes(made("RV", RV102050="RV102055"))
    with pytest.raises(RadarFileError, match="is now of 2014-08-10 20:55 UTC"):
        READER.read(recording)
    path.write_bytes(made("RV", VV_000="VV 005"))
    with pytest.raises(RadarFileError, match="is a forecast 5 min ahead"):
        READER.read(recording)


SMALL = made("RX", {(0, 0): 250})
PACKED = gzip.compress(SMALL, 6)
LEAD = made("RV", VV_000="VV 005")
CHANGES = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "repeat", "digits"]), st.floats(0.0, 1.0, exclude_max=True), st.integers(0, 255)),
    min_size=1, max_size=4,
)  # fmt: skip


def damaged(content: bytes, changes: list[tuple[str, float, int]], within: int) -> bytes:
    """The content with bits flipped, its end cut, a piece repeated, or a digit replaced, mostly in its first bytes."""
    for kind, share, number in changes:
        if not content:
            break
        place = int(share * min(within, len(content)))
        if kind == "flip":
            content = content[:place] + bytes([content[place] ^ (1 << number % 8)]) + content[place + 1 :]
        elif kind == "cut":
            content = content[: max(place, 1)] if number % 4 == 0 else content[: -1 - number]
        elif kind == "repeat":
            content = content[: place + number] + content[place:]
        else:
            digits = [match.start() for match in re.finditer(rb"\d", content[:within])]
            if digits:
                at = digits[int(share * len(digits))]
                content = content[:at] + b"%d" % (number % 10) + content[at + 1 :]
    return content


def a_frame_or_one_error(content: bytes, name: str = "damaged") -> None:
    try:
        frames = READER.frames(io.BytesIO(content), name=name)
    except RadarFileError as error:
        assert error.path == name and error.reason
    else:
        for frame in frames:
            assert frame.stored.shape == frame.grid.shape and frame.field.dtype == np.float32


@settings(max_examples=100, derandomize=True, database=None, deadline=None)
@given(changes=CHANGES, content=st.sampled_from([SMALL, LEAD, text()[:500]]))
def test_a_damaged_file_gives_a_frame_or_a_radar_file_error(
    changes: list[tuple[str, float, int]], content: bytes
) -> None:
    a_frame_or_one_error(damaged(content, changes, within=160), name="RW_20221018-1250.asc")


@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(changes=CHANGES)
def test_a_damaged_gzip_gives_a_frame_or_a_radar_file_error(changes: list[tuple[str, float, int]]) -> None:
    a_frame_or_one_error(damaged(PACKED, changes, within=len(PACKED)))


@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(changes=CHANGES)
def test_a_damaged_real_file_gives_a_frame_or_a_radar_file_error(
    radar_data: Path, changes: list[tuple[str, float, int]]
) -> None:
    content = gzip.decompress((radar_data / RX).read_bytes())
    a_frame_or_one_error(damaged(content, changes, within=140 if len(changes) > 1 else len(content)))


@pytest.mark.parametrize(("missing", "rain_mm_h"), [("-1", 1.2), ("-9999.0", 12.0)])
def test_a_text_file_has_its_time_in_its_name_and_its_step_by_its_no_data(missing: str, rain_mm_h: float) -> None:
    content = text(f"{missing} 12", missing)
    [frame] = READER.frames(io.BytesIO(content), name="RW_20221018-1250.asc")
    assert np.isnan(frame.field[0, 0]) and frame.field[0, 1] == np.float32(rain_mm_h)
    assert (frame.field[1:] == 0.0).all() and frame.unit == "mm/h"
    assert frame.time == datetime(2022, 10, 18, 12, 50, tzinfo=UTC) and frame.grid == read(made("RW")).grid


def test_a_text_file_that_cannot_be_used_is_named_with_its_reason() -> None:
    good, name = text(), "RW_20221018-1250.asc"
    for content, called, reason in (
        (good, "rain.asc", "has not its time in its name, expected one like RW_20221018-0050.asc"),
        (good, "RW_20221318-1250.asc", "has no time in its name"),
        (good[:60], name, "begins with b'ncols .* expected ncols, nrows, xllcorner"),
        (good.replace(b"cellsize      1000", b"cellsize      2000"), name, "900 x 900 pixels at -523462, -4658645"),
        (good.replace(b"-523462", b"-443462"), name, "at DWD's corner"),
        (good.replace(b"value  -1", b"value  -2"), name, "its number for no data is -2, expected -1 or -9999"),
        (good[:-2], name, "holds 809999 numbers, expected 810000"),
        (good + b" " * 13_000_000, name, "too many for 900 x 900 numbers"),
        (good[:-2] + b"-7\n", name, "neither rain nor no data"),
        (good[:-2] + b"nan\n", name, "neither rain nor no data"),
        (good[:-2] + b"x\n", name, "cannot be read as radolan .ValueError"),
    ):
        with pytest.raises(RadarFileError, match=reason) as caught:
            READER.frames(io.BytesIO(content), name=called)
        assert caught.value.path == called


def test_a_real_day_of_text_files_has_its_exact_rates(radar_data: Path) -> None:
    path = radar_data / "dwd/wradlib/RW-20221018.tar.gz"
    found = READER.scan([str(path)])
    assert len(found.recordings) == 24 and found.cadence_s == 3600 and found.product == Product("RW", "mm/h")
    [frame] = READER.read(found.recordings[12])
    with tarfile.open(path) as archive:
        stream = archive.extractfile("RW_20221018-1250.asc")
        assert stream is not None
        lines = stream.read().decode().splitlines()
    row = np.array([float(number) for number in lines[6 + 400].split()])
    assert frame.time == datetime(2022, 10, 18, 12, 50, tzinfo=UTC)
    np.testing.assert_allclose(frame.field[400], np.where(row < 0, np.nan, row / 10.0), rtol=1e-6)
    assert np.count_nonzero(np.isnan(frame.field)) == 128_779 and np.nanmax(frame.field) == np.float32(19.7)


@pytest.mark.parametrize(
    ("name", "size", "hours", "step_mm", "shape", "missing"),
    [
        (RW, 134, 1.0, 0.1, (900, 900), 179_061),
        (RY, 134, 1 / 12, 0.01, (900, 900), 202_093),
        (RZ, 134, 1 / 12, 0.01, (900, 900), 199_134),
        (YW, 164, 1 / 12, 0.01, (1100, 900), 380_632 + 4028),
    ],
)
def test_a_real_rain_file_has_its_exact_rates_and_missing_pixels(
    radar_data: Path, name: str, size: int, hours: float, step_mm: float, shape: tuple[int, int], missing: int
) -> None:
    [frame] = READER.frames(radar_data / name)
    codes = codes_of(radar_data / name, size, "<u2", shape)
    seen = codes & 0xA000 == 0
    assert np.count_nonzero(np.isnan(frame.field)) == missing == np.count_nonzero(~seen)
    np.testing.assert_allclose(frame.field[seen], (codes[seen] & 0xFFF) * step_mm / hours, rtol=1e-6)
    assert frame.time == (datetime(2017, 8, 16, 0, 55, tzinfo=UTC) if name == YW else EVENING)
    assert np.nanmin(frame.field) == 0.0 and np.nanmax(frame.field) > 10.0


def test_a_real_reflectivity_file_has_its_exact_values(radar_data: Path) -> None:
    [frame] = READER.frames(radar_data / RX)
    codes = codes_of(radar_data / RX, 138, "u1", (900, 900))
    assert np.count_nonzero(codes == 250) == 176_545 == np.count_nonzero(np.isnan(frame.field))
    assert np.nanmax(frame.field) == 178 / 2 - 32.5 and np.count_nonzero(frame.field == -32.0) == 391_185 + 32
    wet = (codes > 1) & (codes < 249)
    np.testing.assert_array_equal(frame.field[wet], codes[wet] / 2 - 32.5)


def test_reflectivity_and_rain_of_one_time_lie_in_one_place(radar_data: Path) -> None:
    [reflectivity], [rain] = (READER.frames(radar_data / name) for name in (RX, RY))
    heavy, dry = rain.field > 20.0, rain.field == 0.0
    assert np.nanmean(reflectivity.field[heavy]) > 40.0 and np.nanmedian(reflectivity.field[dry]) == -32.0
    assert reflectivity.grid == rain.grid


def test_the_real_forecast_has_one_observation_on_wgs84(radar_data: Path) -> None:
    found = READER.scan([str(radar_data / RV_TAR)])
    [recording] = found.recordings
    assert len(found.left_out) == 24 and recording.times == (datetime(2022, 10, 18, 7, 0, tzinfo=UTC),)
    [frame] = READER.read(recording)
    with tarfile.open(radar_data / RV_TAR) as archive:
        first = archive.next()
        assert first is not None and first.name == recording.member
        # complete two minutes after its time: what it sums has ended by then
        assert first.mtime - recording.times[0].timestamp() < 300
        stream = archive.extractfile(first)
        assert stream is not None
        codes = np.frombuffer(stream.read()[195:], "<u2").reshape(1200, 1100)[::-1]
    assert np.count_nonzero(np.isnan(frame.field)) == 619_706 and np.nanmax(frame.field) == np.float32(4.99 * 12)
    np.testing.assert_allclose(frame.field[codes < 4096], codes[codes < 4096] * 0.12, rtol=1e-6)
    assert "+ellps=WGS84" in frame.grid.proj


def test_the_real_archives_are_runs_named_after_the_times_in_their_files(radar_data: Path) -> None:
    for folder, count, step_s in (("radolan_rw", 24, 3600), ("radolan_ry", 13, 300), ("radolan_yw", 12, 300)):
        found = READER.scan([str(radar_data / "dwd" / folder)])
        times = sorted(recording.times[0] for recording in found.recordings)
        assert len(times) == count and not found.left_out and found.cadence_s == step_s
        assert {(later - earlier).total_seconds() for earlier, later in itertools.pairwise(times)} == {step_s}
        for recording in found.recordings:
            assert f"-{recording.times[0]:%y%m%d%H%M}-dwd" in recording.path.name


def test_a_folder_of_several_products_asks_for_one(radar_data: Path) -> None:
    folder = [str(radar_data / name) for name in (RW, RX, RY, RZ)]
    with pytest.raises(UserError, match=r"RW \(mm/h, 1 frames\), RX \(dBZ, 1 frames\).* --product NAME"):
        READER.scan(folder)
    assert len(READER.scan(folder, product="RX").recordings) == 1


def test_another_program_reads_the_same_rain_and_places_it_alike(radar_data: Path) -> None:
    [frame] = READER.frames(radar_data / YW)
    with h5py.File(radar_data / "derived/dwd_yw_20170816_cf.nc") as file:
        hundredths, x_km, y_km = file["rainfall_amount"][0][::-1], file["x"][:], file["y"][:]
    seen = ~np.isnan(frame.field)
    np.testing.assert_allclose(frame.field[seen], hundredths[seen] * 0.12, rtol=1e-6)
    codes = codes_of(radar_data / YW, 164, "<u2", (1100, 900))
    np.testing.assert_array_equal(hundredths == -1, codes == 0x29C4)  # it keeps what DWD flags as clutter
    assert frame.grid.west / 1000.0 == pytest.approx(x_km[0], abs=0.01)
    assert frame.grid.north / 1000.0 == pytest.approx(y_km[-1] + 1.0, abs=0.01)


def test_every_product_has_the_unit_of_its_kind() -> None:
    assert isinstance(READER, RadolanReader)
    assert {name for name, product in PRODUCTS.items() if product.unit == "dBZ"} == {"RX", "WX", "EX", "WN"}
    assert all(product.name == name for name, product in PRODUCTS.items())
