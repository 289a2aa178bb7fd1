"""GRIB 2: every packing, scanning mode and grid that the parser takes, and that damage ends in one named error."""

from __future__ import annotations

import io
import struct
import time
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep.errors import RadarFileError
from data_prep.projection import corner_of
from data_prep.readers.files import MOST_PIXELS
from tests.data_prep.readers import grib2_files as made
from tests.data_prep.readers.grib2_files import READER, grib, listed, read

REAL_RAIN = "mrms/PrecipRate_00.00_20190610-000000.grib2"
NAN = np.nan


# packing


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 24, 32])
def test_a_png_of_any_depth_gives_its_codes(bits: int) -> None:
    codes = np.random.default_rng(bits).integers(0, 1 << bits, (5, 7))
    frame = read(grib(codes, reference=0.0, decimal=2, bits=bits))
    np.testing.assert_allclose(frame.field, (codes / 100).astype(np.float32), rtol=1e-6)
    assert frame.stored.dtype == (np.uint8 if bits <= 8 else np.uint16 if bits == 16 else np.float32)


@pytest.mark.parametrize("bits", [1, 3, 7, 8, 9, 12, 16, 17, 25, 26, 31, 32])
def test_simple_packing_of_any_number_of_bits_gives_its_codes(bits: int) -> None:
    codes = np.random.default_rng(bits).integers(0, 1 << bits, (5, 7))
    frame = read(grib(codes, reference=0.0, decimal=1, binary=-1, bits=bits, template=0))
    np.testing.assert_allclose(frame.field, (codes / 20).astype(np.float32), rtol=1e-6)
    assert frame.stored.dtype == (np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.float32)


def test_a_png_may_have_its_bits_rounded_up_to_whole_bytes() -> None:
    packs = made.packing(3, bits=12)
    np.testing.assert_allclose(read(grib(((30, 31, 4095),), packs=packs)).field, [[0.0, 0.1, 406.5]], rtol=1e-6)


def test_all_values_of_a_constant_field_are_its_reference() -> None:
    for template in (0, 41):
        frame = read(
            grib(np.zeros((2, 3)), reference=7.0, bits=0, template=0, packs=made.packing(6, 7.0, 0, 1, 0, template))
        )
        np.testing.assert_array_equal(frame.field, np.full((2, 3), 7.0))


@pytest.mark.parametrize(("bits", "template"), [(8, 0), (7, 0), (8, 41), (16, 41), (24, 41), (20, 0)])
def test_what_a_bitmap_leaves_out_is_no_data(bits: int, template: int) -> None:
    content = grib(
        ((0, 1, (1 << bits) - 1),), place=made.grid((2, 3)), bitmap=(1, 0, 0, 0, 1, 1), reference=0.0, decimal=0,
        bits=bits, template=template,
    )  # fmt: skip
    expected = np.array([[0.0, NAN, NAN], [NAN, 1.0, (1 << bits) - 1]], np.float32)
    np.testing.assert_array_equal(read(content).field, expected)


def test_a_bitmap_that_leaves_all_out_is_a_frame_without_data() -> None:
    sections = (made.packing(0), made.section(6, b"\0\0"), made.section(7, b""))
    content = made.message(made.identification(), made.grid((2, 3)), made.product(6, 1), *sections)
    assert np.isnan(read(content).field).all()


def test_several_fields_come_from_one_file_whether_messages_or_parts_of_one() -> None:
    first, second = grib(), grib(((30, 40, 50),), made.LOWEST, time=(2019, 6, 10, 0, 4, 0))
    again = made.message(
        made.identification(), made.grid((1, 2)), made.product(6, 1), made.packing(2), made.section(6, b"\0\xc0"),
        made.values(((30, 31),)), made.product(3, 57), made.packing(1), made.section(6, b"\0\x40"),
        made.values(((50,),)), made.product(3, 41), made.packing(1), made.section(6, b"\xfe"), made.values(((60,),)),
    )  # fmt: skip
    entries = listed(b"TICZ99 KWBC 100002\r\r\n" + first + b"\0\0" + second + again)
    assert [(one.item, one.product.unit) for one in entries] == [  # type: ignore
        (0, "mm/h"), (1, "dBZ"), (2, "mm/h"), (3, "dBZ"), (4, "kg/m2")
    ]  # fmt: skip
    frames = READER.frames(io.BytesIO(first + second + again))
    assert [frame.time.minute for frame in frames] == [2, 4, 2, 2, 2]
    assert [frame.field[0].tolist() for frame in frames[3:]] == [
        pytest.approx([NAN, 2.0], nan_ok=True), pytest.approx([NAN, 3.0], nan_ok=True)
    ]  # fmt: skip


# places


@pytest.mark.parametrize("scan", range(0, 256, 16))
def test_row_0_is_in_the_north_and_column_0_in_the_west_however_it_was_scanned(scan: int) -> None:
    picture = np.arange(30, 42).reshape(3, 4)
    stored = picture[:: -1 if scan & 0x40 else 1, :: -1 if scan & 0x80 else 1]
    lines = (stored.T if scan & 0x20 else stored).copy()
    if scan & 0x10:
        lines[1::2] = lines[1::2, ::-1]
    first = (54_975_000 if scan & 0x40 else 54_995_000, 230_035_000 if scan & 0x80 else 230_005_000)
    frame = read(grib(lines, place=made.grid((3, 4), first, scan=scan)))
    np.testing.assert_array_equal(frame.field, ((picture - 30) / 10).astype(np.float32))
    assert (frame.grid.shape, frame.grid.west, frame.grid.north) == ((3, 4), -130.0, 55.0)


@pytest.mark.parametrize(
    ("changes", "west", "north", "pixel"),
    [
        ({"first": (54_995_000, -129_995_000)}, -130.0, 55.0, (0.01, 0.01)),
        ({"first": (5_000, 5_000)}, 0.0, 0.01, (0.01, 0.01)),
        ({"first": (10_000_000, 359_990_000)}, -0.015, 10.005, (0.01, 0.01)),
        ({"first": (5, 200), "step": (1, 2), "basic": (1, 10)}, 19.9, 0.55, (0.1, 0.2)),
        ({"flags": 0, "step": (20_000, 5_000)}, -129.9975, 55.005, (0.02, 0.005)),
        ({"last": (54_985_001, 230_024_998)}, -130.0, 55.0, (0.01, 0.01)),
    ],
)
def test_the_grid_begins_at_the_outer_corner(
    changes: dict[str, Any], west: float, north: float, pixel: tuple[float, float]
) -> None:
    grid = read(grib(place=made.grid(**changes))).grid
    assert (grid.west, grid.north, *grid.pixel) == pytest.approx((west, north, *pixel), abs=1e-9)
    assert grid.unit == "degree"


@pytest.mark.parametrize(
    ("earth", "radius", "proj"),
    [(0, (0, 0), "+R=6367470"), (1, (1, 63_712_000), "+R=6371200"), (3, (3, 6_378_137), "+a=6378137 +b=6378137"),
     (6, (0, 0), "+R=6371229"), (7, (0, 6_378_137), "+a=6378137 +b=6378137"), (5, (0, 0), "+datum=WGS84")],
)  # fmt: skip
def test_the_earth_is_the_files_own(earth: int, radius: tuple[int, int], proj: str) -> None:
    grid = read(grib(place=made.grid(earth=earth, radius=radius))).grid
    assert grid.proj == f"+proj=longlat {proj}" and corner_of(grid.proj, -130.0, 55.0) == (-130.0, 55.0)


# damage


GOOD = made.png(((0, 30, 31), (40, 50, 65535)), 16)


def with_png(png: bytes) -> bytes:
    return made.message(
        made.identification(), made.grid(), made.product(6, 1), made.packing(6), made.section(6, b"\xff"), made.section(7, png)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds no GRIB message"),
        (b"station,rain\nDe Bilt,0.3\n", "holds no GRIB message"),
        (b"GRIB\0\0\xd1", "ends in the header"),
        (made.message(edition=1), "is GRIB edition 1, this reader takes edition 2"),
        (made.message(), "a GRIB message without a field"),
        (made.message(made.identification(), made.section(7, b"")), "lacks a section"),
        (made.message(made.section(9, b"")), "section at byte 16 is damaged"),
        (made.message(made.product(6, 1), made.identification()), "section at byte .* is damaged"),
        (b"GRIB\0\0\xd1\x02" + struct.pack(">Q", 0), "section at byte 16 is damaged|ends in the middle"),
        (b"GRIB\0\0\xd1\x02" + struct.pack(">Q", 1 << 63), "ends in the middle of a GRIB message"),
        (grib()[:-1], "ends in the middle"),
        (grib()[:-4] + b"7778", "ends in the middle"),
        (grib(place=made.grid(template=30)), r"template 3\.30, this reader takes regular 3\.0"),
        (grib(place=made.grid((0, 3))), "declares 0 x 3 pixels"),
        (grib(place=made.grid((1 << 31, 1 << 31), last=(0, 0))), f"expected 1 to {MOST_PIXELS}"),
        (grib(place=made.grid(scan=0x08)), "staggered grid"),
        (grib(place=made.grid(last=(54_985_000, 230_035_000))), "3 longitudes span 30000, which is not 2 times 10000"),
        (grib(place=made.grid(last=(55_005_000, 230_025_000))), "2 latitudes span -10000"),
        (grib(place=made.grid(first=(90_000_000, 0))), "does not lie on the earth"),
        (grib(place=made.grid(earth=77)), "its earth is of kind 77"),
        (grib(place=made.grid(earth=1, radius=(0, 5))), "its earth has axes of 5 and 5 m"),
        (grib(place=made.section(3, b"short")), "a GRIB section ends before its octet"),
        (grib(meaning=made.product(6, 1, template=1)), r"product template is 4\.1, this reader takes 4\.0 and 4\.8"),
        (grib(meaning=made.product(6, 1, ahead=(3, 1))), "in units of code 3, which have no fixed length"),
        (grib(meaning=made.product(6, 1, ahead=(2, 1 << 30))), "its time is no time"),
        (grib(time=(2019, 13, 10, 0, 2, 39)), "its time is no time"),
        (grib(meaning=made.over(6, 2, (2019, 6, 10, 0, 30, 0), (1, 0))), "covers 0 s, this reader takes up to 3600"),
        (grib(meaning=made.over(6, 2, (2019, 6, 10, 0, 30, 0), (1, 24))), "covers 86400 s"),
        (grib(meaning=made.over(6, 2, (2019, 6, 10, 0, 30, 0), (1, 1), ranges=2)), "is made of 2 intervals"),
        (grib(packs=made.packing(6, template=3)), r"packed by template 5\.3, this reader takes 5\.0 and 5\.41"),
        (grib(packs=made.packing(6, bits=33)), "of 33 bits"),
        (grib(packs=made.packing(6, binary=2000)), r"code \* 2\^2000"),
        (grib(packs=made.packing(6, reference=float("inf"))), "its packing is inf"),
        (grib(packs=made.packing(6, decimal=-100)), r"/ 10\^-100"),
        (grib(packs=made.packing(5)), "holds 5 values for 6 points"),
        (grib(bitmap=(1, 1, 1, 0, 0, 0)), "holds 6 values for 3 points"),
        (grib(packs=made.packing(6, bits=17, template=0), bits=16, template=0), "has 12 bytes for 6 values of 17 bits"),
        (grib(packs=made.packing(6, bits=8)), "2 pixels of bit depth 16 and colour type 0, expected 6 pixels of 8 bits"),
        (grib(place=made.grid((2, 4)), packs=made.packing(8)), "expected 8 pixels of 16 bits"),
        (with_png(GOOD[:40]), "its PNG is damaged at byte 33"),
        (with_png(b"\x89PNG"), "holds no PNG"),
        (with_png(GOOD[:8] + made.chunk(b"IEND", b"")), "does not begin with a header"),
        (with_png(GOOD[:33] + GOOD[8:]), "has two headers"),
        (with_png(GOOD[:33] + made.chunk(b"IDAT", b"no zlib") + made.chunk(b"IEND", b"")), "its PNG cannot be decoded"),
        (with_png(made.png(np.zeros((2, 3)), 16, colour=4)), "colour type 4, expected 6 pixels of 16 bits"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused_with_its_reason(content: bytes, reason: str) -> None:
    with pytest.raises(RadarFileError, match=reason):
        READER.frames(io.BytesIO(content), name="a.grib2")


def test_a_predefined_bitmap_is_refused_and_a_short_one_too() -> None:
    for mask, reason in ((b"\x07", "predefined bitmap 7"), (b"\0", "bitmap has 0 bytes for 6 points")):
        sections = (made.grid(), made.product(6, 1), made.packing(6), made.section(6, mask), made.section(7, GOOD))
        with pytest.raises(RadarFileError, match=reason):
            READER.frames(io.BytesIO(made.message(made.identification(), *sections)))


def test_a_bomb_allocates_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_prep.readers.png.np.empty", lambda *_: pytest.fail("allocated"))
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile", lambda *_: pytest.fail("decoded"))
    header = struct.pack(">IIBBBBB", 1 << 30, 1 << 30, 16, 0, 0, 0, 0)
    with pytest.raises(RadarFileError, match=f"its PNG has {1 << 30} x {1 << 30} pixels"):
        READER.frames(io.BytesIO(with_png(made.png(((0,),), 16, IHDR=header))))


def test_chunks_beside_the_picture_never_reach_pillow() -> None:
    bomb = b"Comment\0\0" + zlib.compress(bytes(1 << 24))
    chunks: dict[str, bytes] = {"zTXt": bomb, "iCCP": b"p\0\0" + zlib.compress(bytes(1 << 24)), "gAMA": b"\0" * 4}
    np.testing.assert_allclose(read(with_png(made.png(((30, 31, 32),) * 2, 16, **chunks))).field[0], [0.0, 0.1, 0.2])


def test_pillows_limit_on_pixels_refuses_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    assert read(grib()).field.shape == (2, 3)


def test_more_fields_than_a_file_can_have_are_refused_soon() -> None:
    content = grib(((30,),)) * 5000
    started = time.process_time()
    with pytest.raises(RadarFileError, match="more than 4096 GRIB fields"):
        listed(content)
    assert time.process_time() - started < 5.0


@cache
def _whole(folder: Path | None) -> bytes:
    """A real file cut to what its head is, or our own with all that a file can have."""
    if folder:
        return (folder / REAL_RAIN).read_bytes()
    two = grib(((30, 40, 50),), bitmap=(1, 0, 1, 0, 0, 1), place=made.grid((2, 3)), bits=12, template=0)
    return grib(np.arange(30, 230).reshape(10, 20)) + two + grib(parameter=made.LOWEST)


Damage = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), st.floats(0, 1, exclude_max=True), st.integers(0, 7)),
        st.tuples(st.just("size"), st.floats(0, 1, exclude_max=True), st.integers(0, (1 << 32) - 1)),
        st.tuples(st.just("cut"), st.floats(0, 1), st.just(0)),
        st.tuples(st.just("swap"), st.floats(0, 1, exclude_max=True), st.integers(1, 400)),
    ),
    min_size=1,
    max_size=5,
)


def _damaged(whole: bytes, damage: list[tuple[str, float, int]], upto: int) -> bytes:
    content = bytearray(whole)
    for kind, share, number in damage:
        at = int(share * min(upto, len(content)))
        match kind:
            case "flip" if at < len(content):
                content[at] ^= 1 << number
            case "size":
                content[at : at + 4] = struct.pack(">I", number)
            case "cut":
                del content[at:]
            case "swap":
                content[at : at + number] = content[at : at + number][::-1]
    return bytes(content)


def _frames_or_error(content: bytes) -> None:
    try:
        frames = READER.frames(io.BytesIO(content), name="a.grib2")
    except RadarFileError as error:
        assert error.path == "a.grib2" and error.reason
    else:
        for frame in frames:
            assert frame.stored.shape == frame.grid.shape and frame.unit in ("mm/h", "dBZ", "kg/m2")
            assert frame.field.dtype == np.float32


@settings(max_examples=100, derandomize=True, database=None, deadline=None)
@given(damage=Damage)
def test_a_damaged_file_of_ours_gives_frames_or_one_error(damage: list[tuple[str, float, int]]) -> None:
    whole = _whole(None)
    _frames_or_error(_damaged(whole, damage, len(whole)))


@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(damage=Damage)
def test_a_real_file_damaged_in_its_head_gives_frames_or_one_error(
    radar_data: Path, damage: list[tuple[str, float, int]]
) -> None:
    damage = [one for one in damage if one[0] != "cut"] + [
        ("flip", 0.999, 0)
    ]  # its checksums find the last: nothing is decoded
    _frames_or_error(_damaged(_whole(radar_data), damage, 220))
