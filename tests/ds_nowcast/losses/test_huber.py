from __future__ import annotations

import pytest
import torch

from tests.ds_nowcast.losses.test_losses import fields, of


@pytest.mark.parametrize("delta", [0.01, 0.3, 2.0])
def test_huber_is_torchs_and_its_delta_counts(delta: float) -> None:
    prediction, target, _ = fields()
    value = of({"huber": 1.0}, huber={"delta": delta})(prediction, target, torch.ones_like(target))
    expected = torch.nn.HuberLoss(reduction="sum", delta=delta)(prediction, target)
    torch.testing.assert_close(value, expected)


def test_a_large_delta_is_half_the_squared_error_and_a_small_one_delta_times_the_absolute() -> None:
    batch = fields()
    assert of({"huber": 1.0}, huber={"delta": 2.0})(*batch).item() == pytest.approx(of({"mse": 0.5})(*batch).item())
    tiny = of({"huber": 1.0}, huber={"delta": 1e-6})(*batch).item()
    assert tiny == pytest.approx(of({"mae": 1e-6})(*batch).item(), rel=1e-4)
