"""DeepSpeed's writer of checkpoints, but a failed write is kept for later: an exception would leave other ranks in a barrier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine

from ds_nowcast.engine.moving import in_one_line, room


class RememberingWriter(TorchCheckpointEngine):  # type: ignore[misc]  # deepspeed has no types
    """Writes as DeepSpeed does."""

    failure: str | None = None

    def save(self, state_dict: Any, path: str) -> None:
        """Writes one file."""
        self.remembering(super().save)(state_dict, path)

    def remembering(self, write: Callable[..., None]) -> Callable[..., None]:
        """`write`, but it keeps its failure here instead of raising it."""

        def remembered(*args: Any) -> None:
            try:
                write(*args)
            except (OSError, RuntimeError) as error:  # torch's zip writer reports a full disk as RuntimeError
                self.failure = f"{args[-1]}: {in_one_line(error)}; {room(Path(args[-1]))}"

        return remembered
