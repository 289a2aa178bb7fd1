"""Charts as SVG inside a page, their keys, and what lies behind their lines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from data_prep.pictures import canvas
from data_prep.pictures.axes import Axis
from data_prep.pictures.charts import Chart, Panel, chart_svgs, write_chart
from data_prep.pictures.colours import INK, LINES, RULE, SOFT_INK, TRUTH
from data_prep.pictures.grounds import draw_diagonal, draw_level, draw_performance, pod_of
from data_prep.pictures.keys import line_key

pytest.importorskip("matplotlib")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("error")]

LINE = ([5.0, 10.0, 15.0], [0.9, 0.5, 0.2])
LEAD, SCORE = Axis("lead time (min)"), Axis("CSI", limits=(0.0, 1.0))
CHART = Chart("CSI", [Panel("a", {"model": LINE, "observed": LINE}), Panel("b", {"persistence": LINE})], LEAD, SCORE)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would have been written, as matplotlib figures."""
    drawn: list[Any] = []

    def keep(figure: Any, *_: str) -> bytes:
        figure.draw_without_rendering()
        drawn.append(figure)
        return b"picture"

    monkeypatch.setattr(canvas, "png", keep)
    monkeypatch.setattr(canvas, "svg", keep)
    return drawn


def test_an_svg_is_well_formed_as_wide_as_there_is_room_and_its_words_are_text() -> None:
    for picture in chart_svgs(CHART, "csi"):
        root = ElementTree.fromstring(picture)
        assert root.tag.endswith("svg") and "viewBox" in root.attrib and "width" not in root.attrib
        words = {element.text for element in root.iter() if element.tag.endswith("}text")}
        assert {"lead time (min)", "CSI", "0.0", "10"} <= words
        assert "metadata" not in picture and "DejaVu" not in picture


def test_inks_and_lines_of_an_svg_are_variables_with_their_colours_on_paper() -> None:
    picture = chart_svgs(CHART, "csi")[0]
    for colour, variable in ((INK, "--ink"), (SOFT_INK, "--soft"), (RULE, "--rule"), (LINES[0][0], "--line-0")):
        assert f"var({variable}, {colour})" in picture
    rest = re.sub(r"var\([^)]*\)", "", picture)
    assert re.findall(r"(?:fill|stroke): #[0-9a-f]+", rest) == []


def test_charts_of_one_page_share_no_names_and_the_same_chart_is_the_same_text() -> None:
    ids = [set(re.findall(r' id="([^"]*)"', picture)) for name in "ab" for picture in chart_svgs(CHART, name)]
    assert all(ids) and len(set.union(*ids)) == sum(map(len, ids))
    assert chart_svgs(CHART, "a") == chart_svgs(CHART, "a")


def test_hostile_titles_and_labels_are_words(tmp_path: Path) -> None:
    words = "$\\frac{$ </text><script>"
    chart = Chart(words, [Panel(words, {"model": LINE})], Axis(words), Axis(words))
    (picture,) = chart_svgs(chart, "x")
    assert words in {element.text for element in ElementTree.fromstring(picture).iter()}
    write_chart(tmp_path / "c.png", chart)


def test_names_fix_the_looks_of_lines_whichever_are_there() -> None:
    names = ("model", "persistence", "extrapolation")
    some = Chart("", [Panel("", {"extrapolation": LINE, "observed": LINE})], LEAD, SCORE, names)
    assert some.look("extrapolation") == LINES[2] and some.look("observed") == TRUTH
    assert Chart("", CHART.panels, LEAD, SCORE).look("persistence") == LINES[2]


def test_a_legend_names_lines_of_panels_that_have_several(figures: list[Any], tmp_path: Path) -> None:
    write_chart(tmp_path / "c.png", CHART)
    (legend,) = figures[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["model", "observed"] == CHART.shown()


def test_markers_at_the_ends_of_an_axis_are_whole_and_log_axes_cut(figures: list[Any]) -> None:
    log = Panel("", {"model": ([1.0, 10.0], [1e-9, 1.0])}, Axis("power", log=True, limits=(1e-3, None)))
    chart_svgs(Chart("", [CHART.panels[0], log], LEAD, SCORE), "x")
    clipped = [figure.axes[0].get_lines()[0].get_clip_on() for figure in figures]
    assert clipped == [False, True] and figures[1].axes[0].get_ylim()[0] == 1e-3


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (1.0, 33.0, ["1", "2", "5", "10", "20"]),
        (0.61, 0.98, ["0.7", "0.8", "0.9"]),
        (2e-9, 3e-3, ["10⁻⁸", "10⁻⁷", "10⁻⁶", "10⁻⁵", "10⁻⁴", "0.001"]),
        (1e-14, 1.0, ["10⁻¹⁴", "10⁻¹¹", "10⁻⁸", "10⁻⁵", "0.01"]),
    ],
)
def test_logarithmic_axes_have_few_round_marks(figures: list[Any], low: float, high: float, marks: list[str]) -> None:
    axis = Axis("x", log=True, limits=(low, high), backwards=True)
    chart_svgs(Chart("", [Panel("", {"model": ([low, high], [0.0, 1.0])})], axis, SCORE), "x")
    (axes,) = figures[0].axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == marks
    assert axes.xaxis.get_inverted() and axes.get_xticks(minor=True).size == 0


def test_words_stand_at_0_1_2(figures: list[Any]) -> None:
    panel = Panel("", {"model": ([0.0, 1.0], [0.5, 0.4])}, notes={"model": ["light", "heavy"]})
    chart_svgs(Chart("", [panel], Axis("threshold", words=("0.5", "8")), SCORE), "x")
    (axes,) = figures[0].axes
    assert [(tick.get_position()[0], tick.get_text()) for tick in axes.get_xticklabels()] == [(0, "0.5"), (1, "8")]
    assert [text.get_text() for text in axes.texts] == ["light", "heavy"]


def test_a_key_is_the_piece_of_line_that_the_chart_draws() -> None:
    for number, look in enumerate(LINES):
        key = line_key(look)
        ElementTree.fromstring(key)
        assert f"var(--line-{number},{look[0]})" in key and key.count("<path") == 2
    assert len({re.sub(r"style=\S+", "", line_key(look)) for look in LINES}) == len(LINES)
    assert "--ink" in line_key(TRUTH) and line_key(TRUTH).count("<path") == 1


@pytest.mark.parametrize(("hits", "misses", "false_alarms"), [(30, 10, 20), (5, 60, 1), (50, 1, 40)])
def test_curves_of_a_performance_diagram_are_of_equal_csi(hits: int, misses: int, false_alarms: int) -> None:
    csi, ratio = hits / (hits + misses + false_alarms), hits / (hits + false_alarms)
    assert pod_of(csi, ratio) == pytest.approx(hits / (hits + misses))


def test_a_performance_diagram_has_equal_axes_from_0_to_1_and_rays_of_bias() -> None:
    axes = canvas.blank(4.0, 4.0).add_subplot()
    draw_performance(axes)
    assert axes.get_xlim() == axes.get_ylim() == (0.0, 1.0) and axes.get_aspect() == 1.0
    rays = [line.get_xydata()[1] for line in axes.get_lines() if len(line.get_xydata()) == 2]
    assert [round(float(pod / ratio), 3) for ratio, pod in rays] == [0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0]
    words = [text.get_text() for text in axes.texts]
    assert "bias 0.5" in words and "0.9" in words
    for line in axes.get_lines():
        assert np.nanmax(line.get_xydata()) <= 1.0 + 1e-9 and np.nanmin(line.get_xydata()) >= 0.0


def test_a_level_and_a_diagonal_lie_where_they_say() -> None:
    axes = canvas.blank(4.0, 4.0).add_subplot()
    axes.set(xlim=(0.1, 5.0), ylim=(1.0, 30.0))
    draw_level(axes, 2.0)
    draw_diagonal(axes)
    assert axes.get_lines()[0].get_ydata() == [2.0, 2.0]
    assert axes.get_lines()[1].get_xydata().tolist() == [[0.1, 0.1], [30.0, 30.0]]
    assert axes.get_xlim() == axes.get_ylim() == (0.1, 30.0)
