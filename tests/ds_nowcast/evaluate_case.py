"""Run on three ranks by test_evaluate: the same evaluation on all of them, then on the first two."""

from __future__ import annotations

import os
import sys

from ds_nowcast import evaluate
from ds_nowcast.launch.environment import environment_rank
from ds_nowcast.ranks import end_process, leave


def main(ports: list[str], out: str, options: list[str]) -> int:
    """Scores into <out>/3 and <out>/2; each group of ranks meets at its own port."""
    # one thread on each rank, however many cores there are: a convolution's sums depend on their number
    os.sched_getaffinity = lambda _: {0}
    evaluate.write_report = lambda *_: None  # drawn elsewhere; here they are only slow
    code = 0
    for world, port in zip((3, 2), ports, strict=True):
        if environment_rank() < world:
            os.environ.update(WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world), MASTER_PORT=port)
            code |= evaluate.main([*options, "--out", f"{out}/{world}"])
            leave()
    return code


if __name__ == "__main__":
    words = [argument for argument in sys.argv[1:] if not argument.startswith("--local_rank")]
    end_process(main(words[:2], words[2], words[3:]))
