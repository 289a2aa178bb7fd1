"""What an exception that ends a rank means: a sentence for the user, an exit code, whether another rank is the cause."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.distributed import DistError

from data_prep.console import INTERRUPTED
from data_prep.errors import ExpectedError
from ds_nowcast.errors import PEER_LOST
from ds_nowcast.launch.beats import State


class Why(NamedTuple):
    """What an exception means for the launch."""

    reason: str
    exit_code: int
    state: State = State.FAILED
    traced: bool = False  # whether a traceback tells more than the reason
    culprit: int | None = None


def explained(error: BaseException) -> Why:
    """An exception in the words of the user."""
    text = " ".join(str(error).split())
    if isinstance(error, ExpectedError):
        return Why(text, error.exit_code, culprit=error.rank)
    if isinstance(error, KeyboardInterrupt):
        return Why("interrupted", INTERRUPTED)
    if isinstance(error, SystemExit):
        told = error.code == 2  # argparse's, which has told why
        return Why("" if told else f"it left with {error.code!r}", error.code if isinstance(error.code, int) else 1)
    if _is_of_memory(error, text):
        return Why(
            f"out of memory ({_shortened(text) or type(error).__name__}); lower train_micro_batch_size_per_gpu (accumulation makes up "
            "for it), or raise zero_optimization.stage",
            1,
        )
    if _is_of_the_network(error):
        return Why(f"the connection to another rank broke ({_shortened(text)})", PEER_LOST, State.CUT)
    return Why(f"{type(error).__name__}: {_shortened(text)}", 1, traced=True)


def _is_of_memory(error: BaseException, text: str) -> bool:
    """Whether there was too little, also for NCCL."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in text for words in ("can't allocate memory", "out of memory")
    )


def _is_of_the_network(error: BaseException) -> bool:
    """Whether a collective broke, which says little about why."""
    text = str(error)
    return isinstance(error, DistError) or (isinstance(error, RuntimeError) and ("/gloo/" in text or "NCCL" in text))


def _shortened(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:297]}..."
