"""Charts of points with intervals."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.pictures import canvas
from data_prep.pictures.intervals import Dot, Dots, interval_chart

NAN = float("nan")


def drawn(path: Path, names: list[str], panels: list[Dots], others: int = 1) -> np.ndarray:
    """The pixels of a chart."""
    interval_chart(path, names, panels, others=others, title="Scores", caption=["of one day"])
    return np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))


def panels(count: int, dots: list[Dot]) -> list[Dots]:
    return [Dots(f"CSI {i}", "higher is better", dots) for i in range(count)]


def test_rows_and_panels_make_room_for_themselves(tmp_path: Path) -> None:
    dot = Dot(0.5, 0.4, 0.6, True)
    few = drawn(tmp_path / "few.png", ["a", "b"], panels(2, [dot] * 2))
    many = drawn(tmp_path / "many.png", ["a"] * 13, panels(2, [dot] * 13))
    below = drawn(tmp_path / "below.png", ["a", "b"], panels(8, [dot] * 2))
    long = drawn(tmp_path / "long.png", ["a" * 200, "b"], panels(8, [dot] * 2))
    assert many.shape[0] - few.shape[0] == pytest.approx(11 * 0.27 * canvas.DPI, abs=2)
    assert below.shape[0] > 1.6 * few.shape[0] and below.shape[1] > few.shape[1]
    assert below.shape[1] < long.shape[1] < below.shape[1] + 3 * canvas.DPI  # a long name is cut


def test_what_is_undefined_or_has_no_interval_is_drawn_without(tmp_path: Path) -> None:
    names, inside = ["first", "second"], Dot(0.5, 0.4, 0.6, True)
    whole = drawn(tmp_path / "whole.png", names, panels(1, [inside, Dot(0.45, 0.42, 0.48, False)]))
    point = drawn(tmp_path / "point.png", names, panels(1, [inside, Dot(0.45, NAN, NAN, False)]))
    none = drawn(tmp_path / "none.png", names, panels(1, [inside, Dot(NAN, NAN, NAN, False)]))
    nothing = drawn(tmp_path / "nothing.png", names, panels(1, [Dot(NAN, NAN, NAN, True)] * 2))
    dark = [int((picture.sum(-1) < 300).sum()) for picture in (whole, point)]
    assert whole.shape == point.shape == none.shape == nothing.shape and dark[0] > dark[1]


def test_the_first_interval_lies_behind_all_rows(tmp_path: Path) -> None:
    names, other = ["first", "second"], Dot(0.9, 0.85, 0.95, True)
    band = np.array([0xE3, 0xEE, 0xF7])
    with_band = drawn(tmp_path / "a.png", names, panels(1, [Dot(0.5, 0.4, 0.6, True), other]))
    without = drawn(tmp_path / "b.png", names, panels(1, [Dot(0.5, NAN, NAN, True), other]))
    rows = [
        np.flatnonzero((abs(picture.astype(int) - band).sum(-1) < 4).sum(-1) > 20) for picture in (with_band, without)
    ]
    assert len(rows[0]) > 0.7 * canvas.DPI * 0.27 * 2 and len(rows[1]) == 0
