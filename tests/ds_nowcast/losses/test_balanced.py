from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from data_prep.encoding import Encoding, encoding_named
from data_prep.errors import UserError
from ds_nowcast.losses import LossSetting
from tests.ds_nowcast.losses.test_losses import SETTING, of

VIL = replace(SETTING, encoding=encoding_named("vil255"))
CODES = torch.arange(255.0).view(1, 1, 1, 255)
both = pytest.mark.parametrize("name", ["balanced_mse", "balanced_mae"])


def factors(name: str, setting: LossSetting, **options: Any) -> list[float]:
    """The class weight of each code: what an error of 1 at it costs."""
    target = CODES / 255
    loss = of({name: 1.0}, setting=setting, **({name: options} if options else {}))
    prediction = (target + 1).requires_grad_()
    gradient = torch.autograd.grad(loss(prediction, target, torch.ones_like(target)), prediction)[0]
    return (gradient.flatten() / (2 if name == "balanced_mse" else 1)).round(decimals=4).tolist()


@both
def test_rain_is_weighted_by_the_classes_of_hko7(name: str) -> None:
    rates = SETTING.encoding.decode(CODES.numpy().astype(np.uint8), "mm/h").flatten()
    expected = [1 if r < 2 else 2 if r < 5 else 5 if r < 10 else 10 if r < 30 else 30 for r in rates]
    assert factors(name, SETTING) == expected and set(expected) == {1, 2, 5, 10, 30}


@both
def test_vil_is_weighted_by_four_of_its_customary_thresholds(name: str) -> None:
    expected = [1.0] * 74 + [2.0] * (133 - 74) + [5.0] * (160 - 133) + [10.0] * (181 - 160) + [30.0] * (255 - 181)
    assert factors(name, VIL) == expected
    vil = VIL.encoding.decode(np.array([74, 181], np.uint8), "kg/m2")
    assert vil[1] / vil[0] == pytest.approx(15.6, abs=0.1)  # as 30 mm/h over 2 mm/h


@both
def test_thresholds_in_any_unit_of_the_encoding(name: str) -> None:
    codes = factors(name, VIL, thresholds={"unit": "code", "values": [16, 219]}, weights=[0, 1, 4])
    assert codes == [0.0] * 16 + [1.0] * (219 - 16) + [4.0] * (255 - 219)
    dbz = factors(name, SETTING, thresholds={"unit": "dBZ", "values": [20.0]}, weights=[1, 3])
    assert dbz == [1.0] * 104 + [3.0] * 151, "20 dBZ is code 104: -32 + 104 / 2"


@both
@pytest.mark.parametrize(
    ("setting", "options", "message"),
    [
        (
            VIL,
            {"thresholds": {"unit": "mm/h", "values": [2.0]}, "weights": [1, 2]},
            "thresholds.unit is 'mm/h'; shards of encoding vil255 have kg/m2, code",
        ),
        (SETTING, {"weights": [1, 2]}, "thresholds and weights belong together; give both or neither"),
        (SETTING, {"thresholds": {"unit": "mm/h", "values": [2.0]}}, "thresholds and weights belong together"),
        (
            SETTING,
            {"thresholds": {"unit": "mm/h", "values": [2.0]}, "weights": [1, 2, 3]},
            "weights are 3; give 2, one below the first threshold and one from each on",
        ),
        (SETTING, {"thresholds": {"unit": "mm/h", "values": [2.0]}, "weights": [1, -2]}, "give at least 0"),
    ],
)
def test_classes_that_do_not_fit_are_refused(name: str, setting: LossSetting, options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        of({name: 1.0}, setting=setting, **{name: options})
    assert f"nowcast.loss.options.{name}" in str(refusal.value)


@both
def test_an_encoding_without_default_classes_is_refused_with_its_units(name: str) -> None:
    height = Encoding("top8", np.dtype(np.uint8), {"km": np.arange(255.0)}, 0, {"km": (5.0,)}, 1)
    with pytest.raises(UserError, match=f"{name} has no default classes for encoding top8, which holds km; give"):
        of({name: 1.0}, setting=replace(SETTING, encoding=height))
