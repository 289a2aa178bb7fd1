"""Which way to train is recommended, of those that fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from ds_nowcast.config import Batch, load_config
from ds_nowcast.planning.options import CHOICES, CONTEXT, Choice, Option, reason, recommended, settings, usable

BATCH = Batch(total=64, micro=4, accumulation=2, ranks=8)


OWN = Choice(2, "", False)


def found(fitting: dict[Choice, int]) -> list[Option]:
    return [Option(choice, "", None, fitting.get(choice)) for choice in CHOICES]


@pytest.mark.parametrize(
    ("fitting", "choice"),
    [
        ({Choice(s, "", False): 8 for s in range(4)}, Choice(2, "", False)),  # the config's own stage, of what costs alike
        ({Choice(0, "", False): 4, Choice(3, "", False): 8}, Choice(0, "", False)),
        ({Choice(0, "", False): 2, Choice(0, "", True): 8, Choice(3, "", False): 8}, Choice(0, "", True)),
        ({Choice(0, "", True): 2, Choice(3, "", True): 4, Choice(3, "optimizer", False): 8}, Choice(3, "", True)),
        ({Choice(2, "optimizer", False): 4, Choice(3, "optimizer", False): 8}, Choice(2, "optimizer", False)),
        ({Choice(3, "optimizer", True): 4, Choice(3, "optimizer and parameters", False): 8}, Choice(3, "optimizer", True)),
        ({Choice(1, "", False): 2, Choice(3, "", True): 1}, Choice(1, "", False)),  # nowhere the asked one
    ],
)  # fmt: skip
def test_the_cheapest_that_fits_the_asked_micro_batch_is_recommended(
    fitting: dict[Choice, int], choice: Choice
) -> None:
    best = recommended(found(fitting), BATCH, stage=2)
    assert best is not None and best.choice == choice


def test_nothing_is_recommended_where_nothing_fits() -> None:
    assert recommended(found({}), BATCH, stage=0) is None


def test_the_reason_says_what_it_costs() -> None:
    assert "least communication" in reason(Option(Choice(1, "", False), "", None, 8), BATCH, OWN)
    assert "one more forward pass" in reason(Option(Choice(1, "", True), "", None, 8), BATCH, OWN)
    assert "half as much again" in reason(Option(Choice(3, "", False), "", None, 8), BATCH, OWN)
    assert "host's bus" in reason(Option(Choice(3, "optimizer", False), "", None, 8), BATCH, OWN)
    assert "micro-batch 4 fits nowhere" in reason(Option(Choice(0, "", False), "", None, 2), BATCH, OWN)


def test_what_a_config_could_spare_is_the_reason() -> None:
    found = Option(Choice(1, "", False), "", None, 8)
    assert "without computing activations again" in reason(found, BATCH, Choice(1, "", True))
    assert "without offloading" in reason(found, BATCH, Choice(3, "optimizer", False))


def test_a_gpu_counts_for_less_than_it_has() -> None:
    assert usable(80_000_000_000) == 73_600_000_000 - CONTEXT
    assert usable(500_000_000) == 0


def test_a_rank_s_samples_are_cut_evenly() -> None:
    assert BATCH.micros == [1, 2, 4, 8]


def test_only_what_changes_the_config_is_to_be_set(config: Path) -> None:
    settings_of = load_config(config)  # ZeRO 2, nothing offloaded
    assert settings(Option(Choice(2, "", False), "", None, 4), BATCH, settings_of) == []
    assert settings(Option(Choice(3, "optimizer", True), "", None, 2), BATCH, settings_of) == [
        "zero_optimization.stage=3",
        "zero_optimization.offload_optimizer.device=cpu",
        "nowcast.compute.activation_checkpointing=true",
        "train_micro_batch_size_per_gpu=2",
        "gradient_accumulation_steps=4",
        "train_batch_size=64",
    ]
    offloading = load_config(config, ["zero_optimization.offload_optimizer.device=cpu"])
    back = settings(Option(Choice(1, "", False), "", None, 8), BATCH, offloading)
    assert back == ["zero_optimization.stage=1", "zero_optimization.offload_optimizer=null"]
    load_config(config, ["zero_optimization.offload_optimizer.device=cpu", *back])
