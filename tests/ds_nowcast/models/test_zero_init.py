from __future__ import annotations

import pytest

from tests.ds_nowcast.models.init_case import HALVED
from tests.ds_nowcast.models.test_models import SMALL
from tests.launching import launch


@pytest.mark.hosts
def test_weights_drawn_in_parts_over_ranks_are_those_drawn_whole() -> None:
    ended = launch("tests.ds_nowcast.models.init_case")
    for kind in SMALL:
        for dtype in ("torch.float32", "torch.bfloat16")[: 2 if kind in HALVED else 1]:
            sound = f"CHECKED {kind} {dtype}: held whole 0, more than a module False, differing [], equal True"
            assert len(ended.lines(sound)) == 2, ended.output  # of each rank
    assert ended.code == 0
