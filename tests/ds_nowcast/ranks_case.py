"""Run as two processes by test_ranks: every collective, and a failure of rank 0 that both must hear of."""

from __future__ import annotations

import json

import torch

from data_prep.errors import UserError
from ds_nowcast import ranks as process_group
from ds_nowcast.errors import SaveError

FULL_DISK = OSError(28, "No space left on device", "metrics.jsonl")


def main() -> None:
    ranks = process_group.join()
    told = []
    for error in (UserError("give another folder"), SaveError("make room"), FULL_DISK):

        def fail(error: Exception = error) -> None:
            raise error

        try:
            ranks.on_first(fail)
        except (UserError, SaveError, OSError) as heard:
            told.append([type(heard).__name__, str(heard)])
    big = 2**52 + 1
    report = {
        "rank": [ranks.rank, ranks.world, ranks.local_rank, ranks.local_world, ranks.first],
        "sum": ranks.sum([ranks.rank + 1, 0.5, big if ranks.first else 1]),
        "sum_tensor": ranks.sum_tensor(torch.tensor([[ranks.rank, 2]])).tolist(),
        "any": [ranks.any(False), ranks.any(ranks.rank == 1), ranks.any(True)],
        "gather": ranks.gather({"rank": ranks.rank}),
        "from_first": ranks.from_first(f"of {ranks.rank}"),
        "on_first": ranks.on_first(lambda: f"done by {ranks.rank}"),
        "told": told,
    }
    ranks.barrier()
    process_group.leave()
    print(json.dumps(report))


if __name__ == "__main__":
    main()
    process_group.end_process(0)
