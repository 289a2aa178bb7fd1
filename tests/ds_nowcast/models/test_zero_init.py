from __future__ import annotations

import pytest

from tests.ds_nowcast.models.test_models import SMALL
from tests.launching import launch


@pytest.mark.launch
def test_weights_drawn_in_parts_over_ranks_are_those_drawn_whole() -> None:
    ended = launch("tests.ds_nowcast.models.init_case")
    for kind in SMALL:
        sound = ended.lines(f"CHECKED {kind}: held whole 0, differing [], equal forecast True")
        assert len(sound) == 2, ended.output  # of each rank
    assert ended.code == 0
