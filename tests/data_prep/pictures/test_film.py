"""A film shows its pages, in a form that browsers play."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from data_prep.errors import UserError
from data_prep.pictures.film import mp4_film

COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200))


def pages(width: int = 161, height: int = 99) -> list[bytes]:
    made = []
    for colour in COLOURS:
        file = io.BytesIO()
        Image.new("RGB", (width, height), colour).save(file, format="PNG")
        made.append(file.getvalue())
    return made


def test_the_pages_come_in_turn_a_quarter_of_a_second_each_and_the_last_stays() -> None:
    av = pytest.importorskip("av")
    content = mp4_film(pages())
    with av.open(io.BytesIO(content)) as film:
        [stream] = film.streams
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (162, 100)
        assert float(stream.duration * stream.time_base) == pytest.approx(0.25 * 2 + 2.0)
        shown = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in film.decode(stream)]
    assert [time for time, _ in shown[:3]] == [0.0, 0.25, 0.5]
    for number, (_, picture) in enumerate(shown):
        colour = COLOURS[min(number, 2)]
        assert np.abs(picture[10:90, 10:150].astype(int) - colour).max() < 12
    assert picture[-1, :150].min() > 180  # the row that was added is light


def test_where_the_pictures_lie_is_said_before_they_come() -> None:
    pytest.importorskip("av")
    content = mp4_film(pages())
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_without_pyav_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'ds-nowcast\[video\]'"):
        mp4_film(pages())
