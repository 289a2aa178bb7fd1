"""Run on ranks by test_killed, where no small disk can be had: rank 1 finds the disk full at its second checkpoint."""

from __future__ import annotations

import errno
from typing import Any

import torch

from ds_nowcast import train
from ds_nowcast.launch.environment import environment_rank
from ds_nowcast.ranks import end_process

torch_save = torch.save


def save_or_fail(state: Any, path: Any, *args: Any, **kwargs: Any) -> None:
    if environment_rank() == 1 and "step_00000010" in str(path):
        with open(path, "wb") as half:
            half.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    torch_save(state, path, *args, **kwargs)


if __name__ == "__main__":
    torch.save = save_or_fail
    end_process(train.main())
