"""Events max-pooled in blocks."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ds_nowcast.scoring.contingency import Contingency
from ds_nowcast.scoring.pooled import BLOCKS, PooledCounts, any_of_4x4
from tests.ds_nowcast.scoring.fields import CODES, accumulated, fields, images, setting


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40))
def test_csi_is_that_of_blocks_looked_at_one_by_one(seed: int, rows: int, columns: int) -> None:
    batch = fields(seed, shape=(rows, columns))
    scores = accumulated(PooledCounts(setting(shape=(rows, columns))), batch)
    for block in BLOCKS:
        for code, label in zip(CODES.values, ("16", "74", "181"), strict=True):
            threshold, counts = float(np.float32(code) / np.float32(255)), {}
            for forecast, observed, seen in images(batch):
                for row in range(0, rows, block):
                    for column in range(0, columns, block):
                        part = np.s_[row : row + block, column : column + block]
                        pair = tuple(bool(((field >= threshold) & seen)[part].any()) for field in (forecast, observed))
                        counts[pair] = counts.get(pair, 0) + 1
            pairs = ((True, True), (False, True), (True, False), (False, False))
            table = Contingency(*(counts.get(pair, 0) for pair in pairs))
            assert scores[f"csi_pool{block}"][label] == table.csi


def test_a_near_miss_is_a_hit_in_its_block_and_a_far_one_is_not() -> None:
    forecast, observed, valid = (torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16) > 0)
    forecast[0, 0, 0, 0], observed[0, 0, 3, 3] = 1.0, 1.0
    made = PooledCounts(setting(leads=1, shape=(16, 16)))
    assert accumulated(made, (forecast, observed, valid, torch.ones(1)))["csi_pool4"]["16"] == 1.0
    observed = observed.roll(1, -1)
    made = PooledCounts(setting(leads=1, shape=(16, 16)))
    scores = accumulated(made, (forecast, observed, valid, torch.ones(1)))
    assert (scores["csi_pool4"]["16"], scores["csi_pool16"]["16"]) == (0.0, 1.0)


def test_pooling_takes_masks_that_are_views_of_others() -> None:
    events = torch.rand(2, 3, 9, 11, generator=torch.Generator().manual_seed(0)) > 0.9
    turned = events.transpose(-1, -2)
    assert torch.equal(any_of_4x4(turned), any_of_4x4(turned.contiguous()))
    assert any_of_4x4(turned).shape == (2, 3, 3, 3)
