"""What all hosts must have alike before a training starts: config, shards, a run folder that they share."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from data_prep.errors import UserError
from data_prep.shards.index import Shards
from ds_nowcast.config import Batch, RunConfig
from ds_nowcast.launch.environment import host
from ds_nowcast.launch.shared_disk import nearest_folder, unseen
from ds_nowcast.ranks import Ranks


def check_alike(ranks: Ranks, config: RunConfig, shards: Shards, batch: Batch) -> None:
    """Raises UserError, on all ranks, where a host has another config, or shards with another index, than rank 0's."""
    settings = hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode()).hexdigest()
    mine: Mapping[str, object] = {"config": settings, "shards' index.json": shards.hash, "batch": batch._asdict()}
    everywhere = ranks.gather((host(), mine))
    first_host, first = everywhere[0]
    for rank, (name, theirs) in enumerate(everywhere):
        if differing := [what for what in first if first[what] != theirs[what]]:
            raise UserError(
                f"{' and '.join(differing)} on {name} (rank {rank}) differ from those on {first_host} (rank 0); give a path that all "
                "hosts share, or copy what is newer to all of them"
            ).at(rank)


def check_shared(folder: Path, ranks: Ranks) -> None:
    """Raises UserError, on all ranks, where hosts do not share the disk that the run folder lies on, or will lie on.

    One file written by rank 0 must be seen by every host, and one written by each host by rank 0.
    """
    hosts = [rank for rank, first in enumerate(ranks.gather(ranks.local_rank == 0)) if first]
    if len(hosts) < 2:
        return
    place = ranks.on_first(lambda: nearest_folder(folder.absolute()))
    name = ranks.from_first(f".shared-{secrets.token_hex(8)}")
    files = {rank: place / f"{name}.{rank}" for rank in hosts}
    try:
        if ranks.rank in files:
            with suppress(OSError):
                files[ranks.rank].touch(exist_ok=False)
        ranks.barrier()
        needed = list(files.values()) if ranks.first else [files[0]]
        everywhere = ranks.gather((host(), [path.name for path in unseen(needed)]))
    finally:
        if ranks.rank in files:
            with suppress(OSError):
                files[ranks.rank].unlink(missing_ok=True)
    for rank, (name_of_host, missing) in enumerate(everywhere):
        if missing:
            other = rank or int(missing[0].rpartition(".")[2])  # rank 0 misses what another wrote, others what it wrote
            writer = everywhere[0 if rank else other][0]
            raise UserError(
                f"the run folder {folder} is not shared: {name_of_host} does not see in {place} what {writer} wrote; checkpoints need "
                "one folder for all hosts: give --run a path on a network disk that all of them mount and may write to"
            ).at(other)
