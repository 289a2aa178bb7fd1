"""Who a process is among those that a launcher started, read from the variables the launcher set."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from data_prep.errors import UserError
from ds_nowcast.launch import slurm

_PUBLISHED = "NOWCAST_PUBLISHED"  # the process that has set RANK and its like for itself; its children may be others'


@dataclass(frozen=True)
class Launched:
    """A process among all, as its launcher describes it."""

    launcher: str  # deepspeed, torchrun or srun
    rank: int
    world: int
    local_rank: int
    local_world: int  # processes on this host
    master_addr: str  # where rank 0 is met
    master_port: int

    def setting(self, name: str) -> str:
        """How the user states `master_addr` or `master_port`: an option of the launcher, under srun a variable."""
        return name.upper() if self.launcher == "srun" else f"--{name}"


def launched(environ: Mapping[str, str] = os.environ) -> Launched | None:
    """What the launcher says; None where there is none. Raises UserError where it says it by half.

    A launcher inside of a SLURM job, which sets RANK, is nearer than srun.
    """
    launcher = "torchrun" if "TORCHELASTIC_RUN_ID" in environ else "deepspeed"
    if "RANK" not in environ or environ.get(_PUBLISHED) == str(os.getpid()):
        launcher, environ = "srun", slurm.of_step(environ)
    if "RANK" not in environ:
        return None
    rank, world = _number(environ, "RANK"), _number(environ, "WORLD_SIZE")
    # torchrun says LOCAL_WORLD_SIZE, DeepSpeed's launcher LOCAL_SIZE
    of_host = next((name for name in ("LOCAL_WORLD_SIZE", "LOCAL_SIZE") if name in environ), "WORLD_SIZE")
    return Launched(
        launcher, rank, world,
        _number(environ, "LOCAL_RANK"), _number(environ, of_host),
        environ.get("MASTER_ADDR", "127.0.0.1"), _number(environ, "MASTER_PORT"),
    )  # fmt: skip


def publish(me: Launched | None, environ: MutableMapping[str, str] = os.environ) -> None:
    """Says to libraries in this process what srun does not say in the variables they read; `launched` stays the same."""
    if me is not None and me.launcher == "srun":
        environ.update(slurm.of_step(environ))
        environ[_PUBLISHED] = str(os.getpid())


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "")
    if not text.isascii() or not text.isdigit():
        raise UserError(
            f"the launcher set RANK and not {name} to a whole number ({text!r}); launch with deepspeed, torchrun or srun, or unset RANK"
        )
    return int(text)


def environment_rank() -> int:
    """The rank the launcher gave this process, before any group exists; 0 without a launcher."""
    me = launched()
    return me.rank if me else 0


def environment_world() -> int:
    """The number of ranks the launcher started."""
    me = launched()
    return me.world if me else 1


def host() -> str:
    """This machine's name."""
    return socket.gethostname()
