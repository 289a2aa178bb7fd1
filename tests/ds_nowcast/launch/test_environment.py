"""Who a process is, by each launcher's variables."""

from __future__ import annotations

import pytest

from data_prep.errors import UserError
from ds_nowcast.launch.environment import Launched, launched

OF_RANK = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "n1", "MASTER_PORT": "29500"}


def test_without_a_launcher_there_is_none() -> None:
    assert launched({}) is None


@pytest.mark.parametrize(
    ("launcher", "local_world", "environment"),
    [
        ("deepspeed", 4, {"LOCAL_SIZE": "4"}),
        ("torchrun", 2, {"LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none"}),
        ("deepspeed", 8, {}),
    ],
)
def test_the_ranks_of_this_host_are_what_the_launcher_says(
    launcher: str, local_world: int, environment: dict[str, str]
) -> None:
    assert launched(OF_RANK | environment) == Launched(launcher, 5, 8, 1, local_world, "n1", 29500)


@pytest.mark.parametrize("name", ["WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"])
def test_half_of_what_a_launcher_says_is_refused(name: str) -> None:
    for value in ("", "two", "-1"):
        with pytest.raises(UserError, match=f"{name} to a whole number"):
            launched(OF_RANK | {name: value})
