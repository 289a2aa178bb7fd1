"""Coastlines and graticules lie where they are on the earth, in any projection, and only where they are needed."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import pytest

from data_prep import projection
from data_prep.frames import Grid
from data_prep.pictures.maps import Label, box_of, edges_of, map_lines, region_around
from data_prep.pictures.outlines import Box, Line, outlines, unwrapped
from data_prep.pictures.page import degree_marks, lat_label, lon_label, round_marks

pyproj = pytest.importorskip("pyproj")

KNMI_PROJ = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752 +units=m"
KNMI = Grid((765, 700), KNMI_PROJ, (1000.0, 1000.0), 0.0, -3_650_000.0)
UNITED_STATES = Grid((3500, 7000), "+proj=longlat +R=6371200", (0.01, 0.01), -130.0, 55.0)
NORTH_POLE = Grid((80, 80), "+proj=stere +lat_0=90 +lon_0=25 +lat_ts=60 +R=6371000 +units=m", (50e3, 50e3), -2e6, 2e6)
NEW_ZEALAND = Grid((400, 600), "+proj=longlat +R=6371200", (0.05, 0.05), 170.0, -30.0)
WORLD = Box(-180.0, 180.0, -90.0, 90.0)


def nearest_km(lines: list[Line], lon: float, lat: float) -> float:
    """From a place to the nearest point of the lines."""
    points = np.concatenate(lines)
    apart = (points - [lon, lat]) * [np.cos(np.radians(lat)), 1.0]
    return float(np.hypot(*apart.T).min() * 111.2)


@pytest.mark.parametrize(
    ("lon", "lat", "what"),
    [
        (-5.714, 50.066, "coasts"),  # Land's End
        (7.605, 57.744, "coasts"),  # the mouth of the Skagerrak: no coast
        (-9.5, 38.78, "coasts"),  # Cabo da Roca
        (18.47, -34.36, "coasts"),  # the Cape of Good Hope
        (6.021, 50.754, "borders"),  # where the Netherlands, Belgium and Germany meet
    ],
)
def test_lines_lie_at_known_places(lon: float, lat: float, what: str) -> None:
    near = outlines().within(Box(lon - 1.5, lon + 1.5, lat - 1.5, lat + 1.5))
    at_sea = (lon, lat) == (7.605, 57.744)
    apart_km = nearest_km(getattr(near, what), lon, lat)
    assert (apart_km > 20) if at_sea else (apart_km < 7)  # 1:50 million


def test_no_line_leaps_and_none_is_of_the_antarctic() -> None:
    for lines in outlines().within(WORLD):
        assert max(np.abs(np.diff(line, axis=0)).max() for line in lines) <= 0.2501
        assert min(line[:, 1].min() for line in lines) > -61
        assert all(np.abs(line[:, 0]).max() <= 180.0 for line in lines)


def test_of_the_world_only_what_is_near_is_drawn_and_around_the_date_line_without_a_tear() -> None:
    coasts, borders = outlines().within(Box(165.0, 190.0, -48.0, -33.0))
    points = np.concatenate(coasts)
    assert 164 < points[:, 0].min() < 168 and borders == []
    assert nearest_km(coasts, 183.4, -44.0) < 40  # the Chatham Islands, 176.6 W
    assert len(points) < 5000


def test_a_graticule_over_degrees_is_straight_and_at_its_shares() -> None:
    lines = map_lines(UNITED_STATES)
    assert lines is not None
    meridian = lines.graticule[:65]
    assert meridian[:, 0] == pytest.approx(10 / 70)  # 120 W
    assert meridian[[0, -1], 1] == pytest.approx([0, 1])
    assert Label("40°N", "left", pytest.approx(20 / 35)) in lines.labels


def test_a_graticule_over_a_projection_meets_the_edges_where_pyproj_says() -> None:
    lines = map_lines(KNMI)
    assert lines is not None
    [place] = [label.place for label in lines.labels if label.words == "4°E"]
    lon, lat = pyproj.Proj(KNMI.proj)(place * 700e3, -4_415_000.0, inverse=True)
    assert (lon, 48 < lat < 50) == (pytest.approx(4.0, abs=0.01), True)
    assert [label.words for label in lines.labels if label.edge == "left"] == [
        "52°N",
        "54°N",
    ]  # 50°N is too near the corner
    assert np.nanmin(lines.coasts) > -0.2 and np.nanmax(lines.coasts) < 1.2  # nothing is drawn far outside


@pytest.mark.parametrize("shift", [0.0, 17e3, 31e3, 52e3])
def test_labels_do_not_touch_however_long_they_are(shift: float) -> None:
    lines = map_lines(Grid((96, 96), KNMI.proj, (1e3, 1e3), shift, KNMI.north - shift))
    assert lines is not None
    words = [(label.words, label.place) for label in lines.labels if label.edge == "bottom"]
    assert words and max(len(word) for word, _ in words) >= 5
    for (word, place), (next_word, next_place) in pairwise(sorted(words, key=lambda pair: pair[1])):
        assert next_place - place > 0.033 * (len(word) + len(next_word)) / 2 + 0.04


def test_a_coast_over_a_projection_lies_where_pyproj_says() -> None:
    lines = map_lines(KNMI)
    assert lines is not None
    x, y = pyproj.Proj(KNMI.proj)(4.74, 52.96)  # Den Helder
    here = np.array([x / 700e3, (y + 4_415_000.0) / 765e3])
    assert np.nanmin(np.hypot(*((lines.coasts - here) * [700, 765]).T)) < 7


def test_a_grid_around_a_pole_has_all_longitudes() -> None:
    box = box_of(NORTH_POLE)
    assert box is not None
    assert box.north == 90.0 and box.east - box.west == 360.0
    lines = map_lines(NORTH_POLE)
    assert lines is not None
    apart = np.hypot(*(lines.graticule - 0.5).T)
    assert np.nanmin(apart) < 1e-6  # meridians meet in the middle


def test_where_nothing_can_be_worked_out_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    off_the_earth = Grid((2, 2), "+proj=geos +h=35785831 +lon_0=0 +ellps=WGS84 +units=m", (1e5, 1e5), 9e6, 9e6)
    assert map_lines(off_the_earth) is None
    assert map_lines(Grid((2, 2), "no projection", (1.0, 1.0), 0.0, 0.0)) is None
    for cached in (projection._crs, projection._from_lonlat, map_lines):
        cached.cache_clear()
    monkeypatch.setitem(sys.modules, "pyproj", None)
    assert map_lines(KNMI) is None
    assert map_lines(UNITED_STATES) is not None  # degrees need no pyproj
    map_lines.cache_clear()


def test_a_region_holds_all_grids_in_the_shape_asked_for() -> None:
    for grids in ([KNMI], [KNMI.crop(0, 0, 8, 8)], [UNITED_STATES, KNMI], [NEW_ZEALAND], [NORTH_POLE]):
        region = region_around(grids, 0.8)
        assert region is not None
        high, wide = region.pixel
        middle = region.west + wide / 2
        edges = np.concatenate(edges_of(grids, middle))
        if grids != [NORTH_POLE]:
            assert region.west < edges[:, 0].min() and edges[:, 0].max() < region.west + wide
        if len(grids) == 1 and grids != [NORTH_POLE]:  # half the world would reach beyond the pole
            assert region.pixel_m[0] / region.pixel_m[1] == pytest.approx(0.8, rel=0.01)
        assert region.north - high < edges[:, 1].min()
        assert region.north - high >= -90 and region.north <= 90 and wide <= 360


def test_grids_on_both_sides_of_the_date_line_are_near_each_other() -> None:
    west_of_it = Grid((10, 10), "+proj=longlat +R=6371200", (0.1, 0.1), 178.5, -40.0)
    east_of_it = Grid((10, 10), "+proj=longlat +R=6371200", (0.1, 0.1), -179.5, -40.0)
    region = region_around([west_of_it, east_of_it])
    assert region is not None
    assert region.pixel[1] < 10
    edges = np.concatenate(edges_of([west_of_it, east_of_it], region.west + region.pixel[1] / 2))
    assert np.ptp(edges[:, 0]) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (-130.0, -60.0, [-120.0, -105.0, -90.0, -75.0, -60.0]),
        (48.9, 55.98, [50.0, 52.0, 54.0]),
        (0.013, 0.04, [0.02, 0.03, 0.04]),
        (-180.0, 180.0, [-180.0, -90.0, 0.0, 90.0, 180.0]),
        (0.001, 0.002, []),
    ],
)
def test_marks_are_round_and_few(low: float, high: float, marks: list[float]) -> None:
    assert degree_marks(low, high) == marks


def test_distances_have_round_marks() -> None:
    assert round_marks(0.0, 765.0, 5) == [0.0, 200.0, 400.0, 600.0]
    assert round_marks(0.0, 0.35, 5) == [0.0, 0.1, 0.2, 0.3]


def test_degrees_have_letters_and_go_on_past_the_date_line() -> None:
    assert [lon_label(lon) for lon in (-97.5, 0.0, 5.0, 180.0, 190.0, -180.0)] == [
        "97.5°W", "0°", "5°E", "180°", "170°W", "180°"
    ]  # fmt: skip
    assert [lat_label(lat) for lat in (-44.0, 0.0, 52.0)] == ["44°S", "0°", "52°N"]


def test_longitudes_are_unwrapped_around_any_middle() -> None:
    lon = np.array([-179.0, 179.0, 0.0, 181.0])
    assert unwrapped(lon, 180.0).tolist() == [181.0, 179.0, 0.0, 181.0]
    assert unwrapped(lon, 0.0).tolist() == [-179.0, 179.0, 0.0, -179.0]
