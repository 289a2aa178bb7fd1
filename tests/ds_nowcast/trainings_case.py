"""Run on ranks by several tests: several trainings in one launch, which costs ten times as much as a tiny training.

Arguments: a JSON file of {run folder: the command's other arguments}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ds_nowcast import ranks, train
from ds_nowcast.launch.ending import Launch, ends_as_a_rank


def run(trainings: dict[str, list[str]], launch: Launch) -> int:
    """Each as the command would run it, but in one process group. Returns the highest exit code."""
    joined = ranks.join(launch.store, always=True)
    ranks.join = lambda *_, **__: joined  # type: ignore[assignment]
    train.ends_as_a_rank = lambda run: run(launch)  # type: ignore[attr-defined]
    codes = [train.main([*arguments, "--run", folder]) for folder, arguments in trainings.items()]
    joined.barrier()
    return max(codes)


if __name__ == "__main__":
    file = next(argument for argument in sys.argv[1:] if not argument.startswith("--local_rank"))
    code = ends_as_a_rank(lambda launch: run(json.loads(Path(file).read_text()), launch))
    ranks.end_process(code)
