"""Run on ranks by test_elastic: several trainings in one launch, which costs ten times as much as a tiny training.

Arguments: a JSON file of {run folder: the command's other arguments}.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ds_nowcast import ranks, train
from ds_nowcast.launch import ending


def main(trainings: dict[str, list[str]]) -> int:
    """Each as the command would run it, but in one process group. Returns the highest exit code."""
    joined = ranks.join(always=True)
    ranks.join = lambda **_: joined  # type: ignore[assignment]
    ending.leave_quietly = lambda: None
    codes = [train.main([*arguments, "--run", run]) for run, arguments in trainings.items()]
    joined.barrier()
    return max(codes)


if __name__ == "__main__":
    file = next(argument for argument in sys.argv[1:] if not argument.startswith("--local_rank"))
    code = main(json.loads(Path(file).read_text()))
    sys.stdout.flush()
    os._exit(code)  # gloo sometimes aborts when the groups of so many engines are torn down
