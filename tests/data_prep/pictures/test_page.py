"""Where the parts of a picture lie, and what its captions say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.frames import Grid
from data_prep.pictures.page import Page, evenly, field_size, is_forecast, lead_label, period_label


@given(st.integers(1, 200), st.integers(1, 12))
def test_chosen_frames_ascend_with_the_first_and_the_last(length: int, count: int) -> None:
    chosen = evenly(length, count)
    assert len(chosen) == min(length, count) == len(set(chosen))
    assert chosen == sorted(chosen)
    assert chosen[-1] == length - 1
    assert count == 1 or chosen[0] == 0
    assert len(set(np.diff(chosen))) <= 2


def test_a_panel_has_the_shape_of_its_field_on_the_ground() -> None:
    page = Page(field_size((100, 400), Grid((100, 400), "", (1000.0, 500.0), 0.0, 0.0)), 3, (True, False), "")
    _, _, width, height = page.panel(1, 2)
    assert height * page.height_in / (width * page.width_in) == pytest.approx(0.5)


def test_times_with_a_zone_are_shown_in_utc() -> None:
    east = timezone(timedelta(hours=2))
    assert period_label([datetime(2020, 5, 1, 1, 0, tzinfo=east)], None) == "2020-04-30 23:00 UTC"
    days = [datetime(2020, 5, 1, 23, 55), datetime(2020, 5, 2, 0, 5, tzinfo=UTC)]
    assert period_label(days, None) == "2020-05-01 23:55 to 2020-05-02 00:05 UTC"


def test_a_lead_is_counted_in_minutes_from_the_last_observation() -> None:
    issued = datetime(2020, 5, 1, 23, 30)
    assert lead_label(issued + timedelta(minutes=90), issued) == "+90 min"
    assert not is_forecast(issued, issued)
    assert is_forecast(issued + timedelta(minutes=2), issued)
    assert not is_forecast(issued, None)
