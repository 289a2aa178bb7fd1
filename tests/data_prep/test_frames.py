from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.encoding import ENCODINGS
from data_prep.frames import Grid, Lookup, RadarFrame, tile_starts, wrapped
from tests.data_prep.fake_reader import START

GRID = Grid((20, 30), "+proj=laea +units=m", (500.0, 1000.0), -3000.0, 7000.0)


def test_pixel_centres_go_from_north_to_south_and_west_to_east() -> None:
    assert (GRID.x[0], GRID.x[-1], len(GRID.x)) == (-2500.0, 26500.0, 30)
    assert (GRID.y[0], GRID.y[-1], len(GRID.y)) == (6750.0, -2750.0, 20)


def test_the_outer_edges_lie_half_a_pixel_beyond_the_centres() -> None:
    assert (GRID.east, GRID.south) == (GRID.x[-1] + GRID.pixel[1] / 2, GRID.y[-1] - GRID.pixel[0] / 2)


@pytest.mark.parametrize(
    ("lon", "same"),
    [(-8.0123, -8.0123), (-180.0, -180.0), (180.0, -180.0), (190.5, -169.5), (-190.5, 169.5), (725.0, 5.0)],
)
def test_a_longitude_is_brought_within_half_a_turn_and_else_left_as_it_is(lon: float, same: float) -> None:
    assert wrapped(lon) == same


def test_a_crop_keeps_the_place_of_its_pixels() -> None:
    part = GRID.crop(3, 4, 5, 6)
    np.testing.assert_array_equal(part.x, GRID.x[4:10])
    np.testing.assert_array_equal(part.y, GRID.y[3:8])


@pytest.mark.parametrize("size", [1, 7, 20])
def test_the_centre_is_as_far_from_both_sides(size: int) -> None:
    row, column = GRID.centre(size)
    assert 0 <= 20 - size - 2 * row <= 1 and 0 <= 30 - size - 2 * column <= 1


@given(st.integers(1, 300), st.data())
def test_tiles_cover_everything_and_overlap_enough(length: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, length))
    overlap = data.draw(st.integers(0, size - 1))
    starts = tile_starts(length, size, overlap)
    assert starts[0] == 0 and starts[-1] == length - size
    assert all(0 < b - a <= size - overlap for a, b in pairwise(starts))


def test_tiles_of_a_grid_are_every_row_with_every_column() -> None:
    assert list(GRID.tiles(15, 5)) == [(0, 0), (0, 8), (0, 15), (5, 0), (5, 8), (5, 15)]


def test_a_grid_survives_json() -> None:
    assert Grid.from_dict(json.loads(json.dumps(GRID.to_dict()))) == GRID


@pytest.mark.parametrize("change", [{"shape": [1]}, {"pixel": "no"}, {"west": None}, {"shape": 3}])
def test_a_damaged_grid_is_refused(change: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Grid.from_dict({**GRID.to_dict(), **change})


def test_field_is_missing_where_the_codes_are() -> None:
    stored = np.array([[0, 255], [74, 254]], np.uint8)
    frame = RadarFrame(stored, "kg/m2", START, GRID.crop(0, 0, 2, 2), ENCODINGS["vil255"])
    assert frame.field.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(frame.field), stored == 255)
    assert frame.field[1, 0] == pytest.approx(0.775, rel=1e-3)


def test_the_archives_own_codes_are_kept_bit_for_bit() -> None:
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    frame = RadarFrame(stored, "kg/m2", START, GRID.crop(0, 0, 16, 16), ENCODINGS["vil255"])
    np.testing.assert_array_equal(frame.encode(ENCODINGS["vil255"]), stored)


def test_values_are_encoded_and_their_missing_pixels_stay_missing() -> None:
    field = np.array([[np.nan, 0.0, 1.0]], np.float32)
    codes = RadarFrame(field, "mm/h", START, GRID.crop(0, 0, 1, 3)).encode(ENCODINGS["dbz8"])
    assert codes.tolist() == [[255, 0, 110]]  # 1 mm/h is 23.01 dBZ: (23.01 + 32) / 0.5


def test_a_cropped_frame_shows_the_same_pixels_at_the_same_place() -> None:
    field = np.arange(600, dtype=np.float32).reshape(20, 30)
    part = RadarFrame(field, "mm/h", START, GRID).crop(3, 4, 5, 6)
    np.testing.assert_array_equal(part.field, field[3:8, 4:10])
    assert part.grid == GRID.crop(3, 4, 5, 6) and part.time == START


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("part", [np.s_[:], np.s_[:7, :31], np.s_[::-1], np.s_[3:, 4:], np.s_[:, ::-2], np.s_[:0]])
def test_an_archives_codes_are_encoded_as_their_values_are(bits: int, part: Any) -> None:
    draw = np.random.default_rng(bits)
    values = np.where(draw.random(1 << bits) < 0.1, np.nan, draw.uniform(-40.0, 100.0, 1 << bits)).astype(np.float32)
    whole = draw.integers(0, 1 << bits, (120, 1002)).astype(f"u{bits // 8}")
    stored = whole[part]
    frame = RadarFrame(stored, "dBZ", START, GRID, Lookup(values))
    np.testing.assert_array_equal(frame.field, values[stored])
    codes = frame.encode(ENCODINGS["dbz8"])
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(codes, ENCODINGS["dbz8"].encode(values[stored], "dBZ"))
