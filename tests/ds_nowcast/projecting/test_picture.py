"""In the picture what was measured is told from what is projected."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import UserError
from data_prep.pictures import canvas
from ds_nowcast.projecting.collectives import Link
from ds_nowcast.projecting.fitting import Checked, Given, fit
from ds_nowcast.projecting.outlook import Task, outlooks
from ds_nowcast.projecting.picture import check, draw
from ds_nowcast.projecting.points import Rates, point_of
from ds_nowcast.projecting.projection import Batch, Figures, band_of
from ds_nowcast.projecting.report import Report
from ds_nowcast.projecting.table import show
from ds_nowcast.projecting.traffic import Traffic
from tests.ds_nowcast.projecting.made_points import made_result

FIGURES = Figures(
    0.02, 0.01, 0.001, Traffic(5_000_000, 4, 2), Link(50e-6, 1e9), 4, stream_per_s=1000.0, stored_bytes=5e4
)
RATES = [Rates(n, 1, 1000.0, 40.0 * n, 38.0 * n, 39.0 * n) for n in (1, 2, 4)]


def report(counts: tuple[int, ...] = (1, 2, 4), *, projects: bool = True) -> Report:
    points = [point_of("weak", made_result(FIGURES, 8 * n, 2, 4)) for n in counts]
    points += [point_of("strong", made_result(FIGURES, 32, 2, 16 // n)) for n in counts]
    figures = fit(points, RATES, Given(FIGURES.traffic, FIGURES.link, 4, 5e4))
    task = Task(1e6, Batch(8, 4), 32, 4000, 100.0)
    found = outlooks(("weak", "strong"), (16, 128), task, band_of(figures, 0.05)) if projects else []
    checked = [Checked("weak", 4, (1, 2), 100.0, 95.0)]
    return Report("made", points, RATES, {"stream at 4 ranks": "crashed"}, figures, None, checked, found, ["a note"])


def axes_of(report: Report, path: Path) -> list[Any]:
    """What is drawn, panel by panel; the file is written too."""
    figures, real = list[Any](), canvas.small_png
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canvas, "small_png", lambda figure: figures.append(figure) or real(figure))
        draw(path, report, 1e6)
    assert path.read_bytes().startswith(b"\x89PNG")
    return list(figures[0].axes)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Panels of the report below."""
    return axes_of(report(), tmp_path_factory.mktemp("picture") / "s.png")


def test_measured_lines_are_solid_with_marks_and_projections_dashed_in_a_band(drawn: list[Any]) -> None:
    for axes in drawn[:2]:
        solid = [
            line
            for line in axes.lines
            if line.get_linestyle() == "-" and line.get_marker() in "os" and len(line.get_xdata()) > 1
        ]
        assert [list(line.get_xdata()) for line in solid] == [[1, 2, 4], [1, 2, 4]]
        dashed = [line for line in axes.lines if line.get_linestyle() == "--" and len(line.get_xdata()) > 1]
        assert [max(line.get_xdata()) for line in dashed] == [128, 32]  # of 32 samples no more ranks get one
        assert len(axes.collections) == 2  # a band for each
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert labels == ["weak, measured", "weak, projected", "strong, measured", "strong, projected"]


def test_projected_steps_are_hatched(drawn: list[Any]) -> None:
    bars = drawn[2].patches
    plain, hatched = [bar for bar in bars if not bar.get_hatch()], [bar for bar in bars if bar.get_hatch()]
    assert len(plain) == 3 * 5 and len(hatched) == 2 * 5
    assert max(bar.get_x() for bar in plain) < min(bar.get_x() for bar in hatched)


def test_a_rate_that_was_not_measured_leaves_its_place_empty(tmp_path: Path) -> None:
    gap = [replace(RATES[0], stream=None), *RATES[1:]]
    alone = axes_of(replace(report(), rates=gap), tmp_path / "gap.png")[3]
    places = sorted(tuple(line.get_xdata()) for line in alone.lines if len(line.get_xdata()))
    assert places == [(0, 1, 2), (0, 1, 2), (1, 2)]


def test_hours_say_what_limits(drawn: list[Any]) -> None:
    words = [text.get_text() for text in drawn[1].texts]
    assert len(words) == 2 and all(" h, " in text for text in words)


def test_a_study_that_projects_nothing_is_drawn_too(tmp_path: Path) -> None:
    axes = axes_of(report(projects=False), tmp_path / "s.png")
    assert len(axes[0].collections) == 0 and len(axes[2].patches) == 3 * 5


def test_people_are_told_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    show(report())
    printed = capsys.readouterr().out
    assert "not measured: stream at 4 ranks: crashed" in printed and "a note" in printed
    assert "weak scaling at 4 ranks, from 1, 2: 100 samples/s predicted, 95 measured, +5.3%" in printed
    assert printed.count("projected, not measured") == 2 and "batch (ranks > samples)" in printed
    show(Report("nothing", [], [], {"full at 1 rank": "crashed"}))
    assert "not measured: full at 1 rank: crashed" in capsys.readouterr().out


def test_where_no_picture_can_be_made_it_is_said_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match="a picture needs"):
        check()
