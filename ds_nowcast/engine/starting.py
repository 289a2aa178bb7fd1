"""What comes before DeepSpeed is first asked for anything, and its refusals in sentences."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deepspeed.utils import logger

from data_prep.errors import UserError
from ds_nowcast.engine.build_locks import clear_dead_locks
from ds_nowcast.engine.moving import in_one_line
from ds_nowcast.launch.environment import host, launched

# What it warns of where nothing is wrong: the first learning rate at every start, the absence of tensor parallelism.
_NO_WARNINGS = ("scheduler before it has started", "MPU is not provided")
logger.addFilter(lambda record: not any(text in str(record.msg) for text in _NO_WARNINGS))

# What only shows in DeepSpeed's log; its log is otherwise kept to warnings.
_LOGGING_KEYS = ("steps_per_print", "wall_clock_breakdown", "memory_breakdown", "dump_state", "comms_logger", "timers")

_GPU_ALONE = ("Lamb", "Lion")  # optimizers that are operators for GPUs


@contextmanager
def starting(config: dict[str, Any]) -> Iterator[None]:
    """Around DeepSpeed's start: it compiles operators there, reads the config, and refuses.

    Raises UserError where it does not take the config here, or cannot compile what it needs.
    """
    _quieten(config)
    clear_dead_locks()
    try:
        yield
    except (ValueError, NotImplementedError, AssertionError) as error:
        why = " ".join(str(error).split()).rstrip(".")
        name = config.get("optimizer", {}).get("type")
        if name in _GPU_ALONE and "op had not been implemented on" in why:  # which, it does not say
            raise UserError(
                f"DeepSpeed has no optimizer {name} for the devices of {host()} ({why}); use AdamW with torch_adam true, "
                "Adagrad or SGD"
            ) from error
        raise UserError(f"DeepSpeed does not take this config on {host()}: {why}; change what it names") from error
    except RuntimeError as error:
        if "JIT load" not in str(error) and "building extension" not in str(error):
            raise
        needed = "a C++ compiler and Python's headers (Debian: g++ and python3-dev)"
        if "async_io" in str(error):
            needed += " and libaio (Debian: libaio-dev), or offload to device 'cpu' instead of 'nvme'"
        raise UserError(
            f"DeepSpeed cannot compile what it needs on {host()} ({str(error).splitlines()[0]}); install {needed}"
        ) from error


def _quieten(config: dict[str, Any]) -> None:
    """Warnings of rank 0 and errors, unless the config asks for what only shows in DeepSpeed's log."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")  # its own calls, in each step
    me = launched()
    first, asked = me is None or me.rank == 0, any(config.get(key) for key in _LOGGING_KEYS)
    logger.setLevel((logging.INFO if asked else logging.WARNING) if first else logging.ERROR)


@contextmanager
def compiling() -> Iterator[None]:
    """Around what may make torch.compile work: its failures, on this rank alone, become a UserError."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        raise UserError(
            f"torch.compile failed on {host()} ({in_one_line(error)[:300]}); see that there is a C++ compiler (Debian: g++), remove "
            "its cache (TORCHINDUCTOR_CACHE_DIR, else torchinductor_* in the folder of temporary files) where it was interrupted, or "
            "set nowcast.compute.compile to false"
        ) from error
