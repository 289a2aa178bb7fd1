"""Pictures say what they show: colours, times, units, and where there is no data."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from datetime import datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep import projection
from data_prep.encoding import Unit
from data_prep.errors import UserError
from data_prep.frames import Grid
from data_prep.pictures import canvas
from data_prep.pictures.charts import Panel, line_chart, line_charts
from data_prep.pictures.colours import NO_DATA, ColourScale, colour_scale, difference_scale
from data_prep.pictures.maps import map_lines
from data_prep.pictures.page import Page, field_size
from data_prep.pictures.pictures import Strip, film_strip, forecast_gif, forecast_picture
from data_prep.pictures.where import domain_map

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("error")]

START = datetime(2010, 8, 26, 2, 30)
UNITS: tuple[Unit, ...] = ("mm/h", "dBZ", "kg/m2")
KNMI_SHAPE = (765, 700)


def grid_of(shape: tuple[int, int], pixel: float = 1000.0) -> Grid:
    return Grid(shape, "+proj=stere +lat_0=90 +lat_ts=60 +units=m", (pixel, pixel), 0.0, 0.0)


def strip(label: str, values: NDArray[Any], first: int = 0) -> Strip:
    times = [START + timedelta(minutes=5 * (first + i)) for i in range(len(values))]
    return Strip(label, values.astype(np.float32), times)


def storms(frames: int, shape: tuple[int, int] = (96, 96)) -> NDArray[np.float32]:
    y, x = np.mgrid[: shape[0], : shape[1]] / max(shape)
    moving = [60.0 * np.exp(-(((x - 0.3 - 0.02 * t) / 0.15) ** 2 + ((y - 0.5) / 0.1) ** 2)) for t in range(frames)]
    values = np.stack(moving).astype(np.float32)
    values[:, : shape[0] // 6, : shape[1] // 5] = np.nan
    return values


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would have been written, as matplotlib figures."""
    drawn: list[Any] = []

    def keep(figure: Any) -> bytes:
        figure.draw_without_rendering()
        drawn.append(figure)
        return b"picture"

    monkeypatch.setattr(canvas, "png", keep)
    return drawn


def words_of(figure: Any) -> list[Any]:
    from matplotlib.text import Text

    axis_of = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    beyond = set()  # matplotlib keeps, and does not draw, ticks outside the limits
    for axis in axis_of:
        low, high = sorted(axis.get_view_interval())
        ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        beyond |= {id(tick.label1) for tick in ticks if not low <= tick.get_loc() <= high}
    words = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [text for text in words if id(text) not in beyond]


def assert_readable(figure: Any) -> None:
    """No words lie on other words or beyond the page."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in words_of(figure)]
    page = figure.bbox
    for words, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= page.width and box.y1 <= page.height
        assert inside, f"{words!r} leaves the page"
    for (one, box), (other, next_box) in combinations(boxes, 2):
        assert not box.overlaps(next_box), f"{one!r} lies on {other!r}"


def panel_pixels(path: Path, page: Page, row: int = 0, column: int = 0) -> NDArray[np.uint8]:
    """The pixels within a panel's frame, (rows, columns, RGB), north first."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    left, bottom, width, height = page.panel(row, column)
    high, wide = pixels.shape[:2]
    top = round((1 - bottom - height) * high)
    return pixels[top + 3 : round((1 - bottom) * high) - 3, round(left * wide) + 3 : round((left + width) * wide) - 3]


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


@pytest.mark.parametrize("unit", UNITS)
def test_dry_is_white_rain_has_its_colour_and_no_data_is_hatched(tmp_path: Path, unit: Unit) -> None:
    scale: ColourScale = colour_scale(unit)
    field = np.full((1, 40, 60), scale.bounds[3], np.float32)
    field[:, :, :20] = np.nan
    field[:, :, 20:40] = -np.inf if unit == "dBZ" else 0.0
    path = tmp_path / "picture.png"
    film_strip(path, [strip("observed", field)], unit=unit, grid=None, title="Title")
    pixels = panel_pixels(path, Page(field_size((40, 60), None), 1, (True,), "Title"))
    third = pixels.shape[1] // 3
    missing, dry, wet = (pixels[:, i * third + 6 : (i + 1) * third - 6].reshape(-1, 3) for i in range(3))
    assert (dry == 255).all()
    assert (wet == rgb(scale.colours[3])).all()
    assert {rgb(NO_DATA["facecolor"])} < {tuple(map(int, pixel)) for pixel in np.unique(missing, axis=0)}
    assert missing.std() > 2
    assert (missing < 255).all()


def test_north_is_up(tmp_path: Path) -> None:
    field = np.zeros((1, 40, 40), np.float32)
    field[:, :20] = 30.0
    path = tmp_path / "picture.png"
    film_strip(path, [strip("observed", field)], unit="mm/h", grid=grid_of((40, 40)), title="Title")
    pixels = panel_pixels(path, Page((40.0, 40.0), 1, (True,), "Title"))
    assert tuple(pixels[20, 100]) == rgb(colour_scale("mm/h").colours[7])
    assert tuple(pixels[-20, 100]) == (255,) * 3


def test_heads_say_time_and_lead_and_the_page_says_date_unit_and_title(tmp_path: Path, figures: list[Any]) -> None:
    observed, forecast = strip("observed", storms(4)), strip("U-Net", storms(3), first=4)
    forecast_picture(tmp_path / "f.png", observed, forecast, unit="mm/h", grid=grid_of((96, 96)), title="Rain")
    words = [text.get_text() for text in words_of(figures[0])]
    heads = [word for word in words if "UTC" in word and "forecast" not in word]
    expected = ["02:35 UTC", "02:40 UTC", "02:45 UTC"]
    expected += ["+5 min (02:50 UTC)", "+10 min (02:55 UTC)", "+15 min (03:00 UTC)"]
    assert heads == expected
    for said in (
        "2010-08-26, forecast from 02:45 UTC",
        "Rain",
        "observed",
        "U-Net",
        "rain rate (mm/h)",
        "no data",
        "dry",
    ):
        assert said in words


def test_rows_of_the_same_times_share_one_line_of_heads(tmp_path: Path, figures: list[Any]) -> None:
    rows = [strip(name, storms(3)) for name in ("observed", "U-Net", "persistence")]
    film_strip(tmp_path / "f.png", rows, unit="mm/h", grid=None, title="Case", lead_from=START)
    words = [text.get_text() for text in words_of(figures[0])]
    assert words.count("+5 min (02:35 UTC)") == 1
    assert words.count("02:30 UTC") == 1


def test_distances_are_km_by_pixel_size_on_the_outer_panels_and_pixels_without_a_grid(
    tmp_path: Path, figures: list[Any]
) -> None:
    rows = [strip("observed", storms(2)), strip("forecast", storms(2), first=2)]
    film_strip(tmp_path / "a.png", rows, unit="mm/h", grid=grid_of((96, 96), pixel=500.0), title="Case")
    film_strip(tmp_path / "b.png", rows, unit="mm/h", grid=None, title="Case")
    panels = [axes for axes in figures[0].axes if axes.images]
    assert [axes.get_xlabel() for axes in panels] == ["", "", "km", "km"]
    assert [axes.get_ylabel() for axes in panels] == ["km", "", "km", ""]
    assert {(*axes.get_xlim(), *axes.get_ylim()) for axes in panels} == {(0.0, 48.0, 0.0, 48.0)}
    panels = [axes for axes in figures[1].axes if axes.images]
    assert panels[-1].get_xlabel() == "pixels"
    assert panels[-1].get_xlim() == (0.0, 96.0)


LONG = "A title that goes on about the model, the archive, the place and everything else that one may want to know"


@pytest.mark.parametrize(
    ("frames", "names", "shape", "unit"),
    [
        (1, ["observed"], KNMI_SHAPE, "mm/h"),
        (1, ["observed"], (64, 200), "dBZ"),
        (25, ["observed"], (64, 64), "kg/m2"),
        (25, ["observed"], (64, 200), "kg/m2"),
        (13, ["observed", "Lagrangian extrapolation", "U-Net"], (384, 384), "dBZ"),
    ],
)
def test_no_words_overlap(
    tmp_path: Path, figures: list[Any], frames: int, names: list[str], shape: tuple[int, int], unit: Unit
) -> None:
    values = np.zeros((frames, *shape), np.float32)
    rows = [strip(name, values, first=i) for i, name in enumerate(names)]
    film_strip(tmp_path / "p.png", rows, unit=unit, grid=grid_of(shape), title=LONG, lead_from=START)
    assert_readable(figures[0])


@pytest.mark.parametrize("value", [np.nan, 0.0, 500.0])
def test_frames_all_missing_all_dry_and_off_the_scale_are_drawn(tmp_path: Path, value: float) -> None:
    film_strip(tmp_path / "p.png", [strip("x", np.full((2, 30, 20), value))], unit="mm/h", grid=None, title="")
    with Image.open(tmp_path / "p.png") as image:
        assert image.width > 600


def test_the_gif_shows_every_frame_named_without_end_rests_on_the_last_and_stays_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, values, heads = tmp_path / "f.gif", storms(4, KNMI_SHAPE), []
    encode = canvas.png

    def keep_head(figure: Any) -> bytes:
        heads.append(figure.axes[1].get_title())
        return encode(figure)

    monkeypatch.setattr(canvas, "png", keep_head)
    past, forecast = strip("observed", values[:2]), strip("forecast", values[2:], first=2)
    forecast_gif(path, past, forecast, unit="mm/h", grid=grid_of(KNMI_SHAPE), title="Rain")
    said = ["observed 02:30 UTC", "observed 02:35 UTC", "forecast +5 min (02:40 UTC)", "forecast +10 min (02:45 UTC)"]
    assert heads == said
    times_ms, corners = [], set()
    with Image.open(path) as film:
        assert film.n_frames == 4
        assert film.info["loop"] == 0
        for frame in range(4):
            film.seek(frame)
            times_ms.append(film.info["duration"])
            corners.add(film.convert("RGB").getpixel((1, 1)))
    assert len(set(times_ms[:-1])) == 1
    assert times_ms[-1] > 4 * times_ms[0]
    assert corners == {(255, 255, 255)}
    assert path.stat().st_size / 4 < 2_000_000 / 25


def test_rows_of_differences_have_colours_and_a_bar_of_their_own(tmp_path: Path, figures: list[Any]) -> None:
    fields = storms(3)
    rows = [strip("Observed", fields), strip("Forecast", fields), strip("Difference", 0 * fields + 7.0)]
    rows[2] = rows[2]._replace(scale=difference_scale("mm/h"))
    film_strip(tmp_path / "f.png", rows, unit="mm/h", grid=grid_of((96, 96)), title="Best case: $x_1$ {")
    (figure,) = figures
    bars = [axes for axes in figure.axes if "(mm/h)" in axes.get_ylabel().replace("\n", " ")]
    labels = [bar.get_ylabel().replace("\n", " ") for bar in bars]
    assert labels == ["rain rate (mm/h)", "forecast minus observed (mm/h)"]
    upper, lower = (bar.get_position() for bar in bars)
    assert upper.y0 > lower.y1 and upper.height > 1.9 * lower.height
    assert_readable(figure)


def test_a_small_picture_shows_the_same(tmp_path: Path) -> None:
    rows = [strip("Observed", storms(4))]
    for small in (False, True):
        film_strip(tmp_path / f"{small}.png", rows, unit="mm/h", grid=grid_of((96, 96)), title="Title", small=small)
    whole, less = (
        np.asarray(Image.open(tmp_path / f"{small}.png").convert("RGB")).astype(int) for small in (False, True)
    )
    assert whole.shape == less.shape and np.abs(whole - less).mean() < 1.0
    assert (tmp_path / "True.png").stat().st_size < 0.6 * (tmp_path / "False.png").stat().st_size


def test_a_name_has_one_line_in_all_charts_and_the_legend_names_it_once(tmp_path: Path, figures: list[Any]) -> None:
    x = np.arange(5, 65, 5)
    model, persistence = (x, np.exp(-x / 60)), (x, np.where(x > 50, np.nan, np.exp(-x / 30)))
    panels = [Panel(f"≥ {t} mm/h", {"persistence": persistence, "model": model}) for t in (1, 2, 5)]
    panels.append(Panel("≥ 10 mm/h", {"model": model}))
    line_charts(tmp_path / "c.png", panels, x_label="lead (min)", y_label="CSI", title="CSI", from_zero=True)
    (figure,) = figures
    lines = {(line.get_label(), line.get_color()) for axes in figure.axes for line in axes.get_lines()}
    assert len(lines) == 2
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["persistence", "model"]
    assert [axes.get_ylim()[0] for axes in figure.axes] == [0.0] * 4
    assert [axes.get_title(loc="left") for axes in figure.axes] == [panel.title for panel in panels]
    assert_readable(figure)


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_any_number_of_charts_is_readable(tmp_path: Path, figures: list[Any], count: int) -> None:
    panels = [Panel(f"≥ {i} mm/h", {"model": ([5, 60], [0.9, 0.1])}) for i in range(count)]
    line_charts(tmp_path / "c.png", panels, x_label="lead time (min)", y_label="CSI", title="CSI by lead time")
    assert_readable(figures[0])


def test_a_spectrum_has_logarithmic_axes(tmp_path: Path, figures: list[Any]) -> None:
    line_chart(tmp_path / "s.png", {"model": ([2, 256], [1, 1e6])}, x_label="km", y_label="power", title="", log=True)
    assert (figures[0].axes[0].get_xscale(), figures[0].axes[0].get_yscale()) == ("log", "log")


def test_a_failure_leaves_the_picture_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.png"
    path.write_bytes(b"before")

    def full_disk(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        film_strip(path, [strip("x", storms(1))], unit="mm/h", grid=None, title="")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_without_matplotlib_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"pip install 'ds-nowcast\[pictures\]'"):
        film_strip(tmp_path / "p.png", [strip("x", storms(1))], unit="mm/h", grid=None, title="")
    assert not list(tmp_path.iterdir())


def test_matplotlib_is_imported_late_and_pyplot_never(tmp_path: Path) -> None:
    code = (
        "import sys, data_prep.pictures as p; assert 'matplotlib' not in sys.modules\n"
        "from pathlib import Path\n"
        f"p.line_chart(Path({str(tmp_path / 'p.png')!r}), {{'a': ([0], [1])}}, x_label='', y_label='', title='')\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Where it is

DEGREES = Grid((96, 96), "+proj=longlat +R=6371200", (0.05, 0.05), -98.0, 38.0)
DUTCH = Grid(
    (96, 96), "+proj=stere +lat_0=90 +lat_ts=60 +a=6378137 +b=6356752 +units=m", (4e3, 4e3), 200e3, -3_900_000.0
)


def test_a_field_in_degrees_has_axes_of_longitude_and_latitude(tmp_path: Path, figures: list[Any]) -> None:
    film_strip(tmp_path / "p.png", [strip("observed", storms(2))], unit="mm/h", grid=DEGREES, title="Case")
    [first, second] = [axes for axes in figures[0].axes if axes.images]
    assert (*first.get_xlim(), *first.get_ylim()) == pytest.approx((-98.0, -93.2, 33.2, 38.0))
    assert first.get_xlabel() == first.get_ylabel() == ""
    words = [text.get_text() for text in first.get_xticklabels() + first.get_yticklabels()]
    assert words == ["97°W", "96°W", "95°W", "94°W", "34°N", "35°N", "36°N", "37°N"]
    assert tuple(first.images[0].get_extent()) == pytest.approx((-98.0, -93.2, 33.2, 38.0))
    assert_readable(figures[0])
    shape = first.get_window_extent()
    on_the_ground = 1 / np.cos(np.radians(35.6))  # a degree of latitude over one of longitude
    assert shape.height / shape.width == pytest.approx(on_the_ground, rel=0.01)
    assert not [text for text in second.get_yticklabels() if text.get_visible()]


def test_a_field_in_a_projection_has_coasts_and_a_graticule_named_once_a_row(
    tmp_path: Path, figures: list[Any]
) -> None:
    rows = [strip("observed", storms(3)), strip("forecast", storms(3), first=3)]
    film_strip(tmp_path / "p.png", rows, unit="mm/h", grid=DUTCH, title="Case")
    panels = [axes for axes in figures[0].axes if axes.images]
    assert [len(axes.lines) for axes in panels] == [3] * 6
    assert all(np.isfinite(line.get_xydata()).any() for axes in panels for line in axes.lines)
    named = [[text.get_text() for text in axes.texts] for axes in panels]
    assert named[0] == named[3] and "52°N" in named[0] and "5°E" in named[0]
    assert named[1] == named[2] == []
    assert_readable(figures[0])


def test_without_pyproj_a_field_in_a_projection_has_its_distances_alone(
    tmp_path: Path, figures: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for cached in (projection._crs, projection._from_lonlat, map_lines):
        cached.cache_clear()
    monkeypatch.setitem(sys.modules, "pyproj", None)
    film_strip(tmp_path / "p.png", [strip("observed", storms(1))], unit="mm/h", grid=DUTCH, title="Case")
    [panel] = [axes for axes in figures[0].axes if axes.images]
    assert not panel.lines and panel.get_xlabel() == "km"
    map_lines.cache_clear()


@pytest.mark.parametrize("grid", [DUTCH, DEGREES])
def test_rows_of_different_places_each_have_their_own_and_a_map_of_where(
    tmp_path: Path, figures: list[Any], grid: Grid
) -> None:
    from matplotlib.patches import Polygon

    places = [grid.crop(0, 0, 48, 48), grid.crop(48, 48, 48, 48)]
    rows = [strip(f"sample {i}", storms(2, (48, 48)))._replace(grid=place) for i, place in enumerate(places)]
    film_strip(tmp_path / "p.png", rows, unit="mm/h", grid=None, title="Samples", around=[*places, grid])
    panels = [axes for axes in figures[0].axes if axes.images]
    assert [axes.get_xlabel() for axes in panels] == ["", "", "km", "km"]
    on_the_ground = places[0].pixel_m[0] / places[0].pixel_m[1]
    shape = panels[0].get_window_extent()
    assert shape.height / shape.width == pytest.approx(on_the_ground, rel=0.01)
    assert [text.get_text() for text in panels[0].texts] != [text.get_text() for text in panels[2].texts]
    maps = [axes for axes in figures[0].axes if not axes.images and any(isinstance(p, Polygon) for p in axes.patches)]
    outlined = [axes.patches[0].get_xy() for axes in maps]
    assert len(outlined) == 2
    assert outlined[0][:, 1].mean() > outlined[1][:, 1].mean() and outlined[0][:, 0].mean() < outlined[1][:, 0].mean()
    assert_readable(figures[0])


def test_a_continent_is_drawn_in_little_memory_and_at_the_same_place(tmp_path: Path, figures: list[Any]) -> None:
    continent = Grid((3500, 7000), "+proj=longlat +R=6371200", (0.01, 0.01), -130.0, 55.0)
    corner = np.zeros((3500, 7000), np.float32)
    corner[:1000, :2000] = 30.0
    tracemalloc.start()
    times = [START, START + timedelta(minutes=2)]
    film_strip(tmp_path / "p.png", [Strip("x", np.broadcast_to(corner, (2, 3500, 7000)), times)], unit="mm/h",
               grid=continent, title="")  # fmt: skip
    assert tracemalloc.get_traced_memory()[1] < 150e6  # a frame has 98 MB, as colours four times that
    tracemalloc.stop()
    image = next(axes for axes in figures[0].axes if axes.images).images[0]
    shown, (left, right, bottom, top) = image.get_array(), image.get_extent()
    assert (left, top) == (-130.0, 55.0) and shown.size < 2e6
    rows, columns = (shown > 20).sum(axis=0)[0], (shown > 20).sum(axis=1)[0]
    assert left + columns * (right - left) / shown.shape[1] == pytest.approx(-110.0, abs=0.05)
    assert top - rows * (top - bottom) / shown.shape[0] == pytest.approx(45.0, abs=0.05)


def test_a_map_of_domains_names_them_counts_them_and_outlines_each_once(tmp_path: Path, figures: list[Any]) -> None:
    tiles = [DUTCH.crop(row, column, 48, 48) for row, column in DUTCH.tiles(48, 0)]
    domain_map(tmp_path / "w.png", {"train": tiles + tiles, "a name that is long": [DEGREES]}, title="Where")
    words = [text.get_text() for text in words_of(figures[0])]
    assert "Where" in words and "5 places" in words and "train (4)" in words
    [axes] = figures[0].axes
    assert len(axes.patches) == 5
    west, east = axes.get_xlim()
    assert west < -98 and east > 8
    assert_readable(figures[0])


def test_a_map_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one grid on the earth"):
        domain_map(tmp_path / "w.png", {"train": []}, title="Where")
