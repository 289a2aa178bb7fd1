"""The process group: who we are among the ranks, and the few collectives that the trainer needs. Torch alone."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore, Store

from data_prep.errors import ExpectedError, UserError
from ds_nowcast.launch.environment import Launched, host, launched
from ds_nowcast.launch.interfaces import interface_to
from ds_nowcast.launch.slurm import cores_of, gpu_of

T = TypeVar("T")

GROUP_TIMEOUT = timedelta(minutes=30)  # long: a save or an evaluation on another rank must not look like a failure


@dataclass(frozen=True)
class Ranks:
    """This process among all. Without a launcher it is the only one, and collectives do nothing."""

    rank: int
    world: int
    local_rank: int
    local_world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this rank speaks for all: writes shared files and the display."""
        return self.rank == 0

    @property
    def threads(self) -> int:
        """Cores that fall to this rank on its host."""
        me = launched()
        if me is not None and me.launcher == "srun":
            return cores_of(self.local_world)
        return max(1, len(os.sched_getaffinity(0)) // self.local_world)

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """Element by element over the ranks, in float64: whole numbers stay exact up to 2^53."""
        tensor = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        return [float(x) for x in self.sum_tensor(tensor).tolist()]

    def sum_tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        """In place over the ranks."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether it holds on any rank; every rank must ask."""
        return self.sum([float(flag)])[0] > 0

    def gather(self, thing: Any) -> list[Any]:
        """Every rank's thing, on every rank, in rank order. Small objects of our own making only."""
        if self.world == 1:
            return [thing]
        things: list[Any] = [None] * self.world
        dist.all_gather_object(things, thing)
        return things

    def reasons(self, mine: str | None) -> dict[int, str]:
        """Why ranks cannot go on, of those that cannot, on every rank; None: this one can."""
        return {rank: reason for rank, reason in enumerate(self.gather(mine)) if reason}

    def from_first(self, thing: Any) -> Any:
        """Rank 0's thing on every rank."""
        return self.gather(thing if self.first else None)[0]

    def on_first(self, work: Callable[[], T], others: Callable[[], object] = lambda: None) -> T:
        """What `work` returns on rank 0, on every rank. others: what the other ranks do meanwhile, if it needs them.

        An ExpectedError or OSError of it is raised on every rank: none is left waiting for one that has gone.
        """
        result: T | None = None
        error: Exception | None = None
        if self.first:
            try:
                result = work()
            except (ExpectedError, OSError) as caught:
                error = caught
        else:
            others()
        error, result = self.from_first((error, result))
        if error is not None:
            raise error
        return result

    def barrier(self) -> None:
        """Waits for all."""
        if self.world > 1:
            dist.barrier()


def join(store: Store | None = None, *, always: bool = False) -> Ranks:
    """Forms the process group that the launcher describes (NCCL on GPUs, gloo on CPUs) and says who we are in it.

    store: where the ranks have met; None lets torch make one. always: form a group of a single process where there is no
    launcher; DeepSpeed needs one. Raises UserError where this host has fewer GPUs than ranks, or cannot be reached.
    """
    me = launched()
    device = device_of(me.local_rank if me else 0, me)
    backend = "nccl" if device.type == "cuda" else "gloo"
    if me:
        if me.local_world < me.world:
            _show_gloo_the_way(me)
        if store is not None:
            store.set_timeout(GROUP_TIMEOUT)  # torch sets it in a store of its own making alone
        dist.init_process_group(backend, timeout=GROUP_TIMEOUT, store=store, rank=me.rank, world_size=me.world)
        return Ranks(me.rank, me.world, me.local_rank, me.local_world, device)
    if always:
        os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed insists on it
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    return Ranks(0, 1, 0, 1, device)


def device_of(local_rank: int, me: Launched | None = None) -> torch.device:
    """The GPU of a local rank, or the CPU where there is none or DS_ACCELERATOR says so. Raises UserError.

    me: under srun says, and tells DeepSpeed, which GPU that is: tasks may see a part of them each.
    """
    if os.environ.get("DS_ACCELERATOR") == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if me is not None and me.launcher == "srun":
        local_rank = gpu_of(me.local_rank, me.local_world, torch.cuda.device_count())
        os.environ["LOCAL_RANK"] = str(local_rank)  # which DeepSpeed takes for the number of the device
    if local_rank >= torch.cuda.device_count():
        raise UserError(
            f"{host()} has {torch.cuda.device_count()} GPUs and was given more ranks than that; give it as many slots in the hostfile, "
            "or srun as many --ntasks-per-node"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _show_gloo_the_way(me: Launched) -> None:
    """Gloo would take the address that this host's name has, which may be 127.0.0.1: it gets the interface to rank 0."""
    if "GLOO_SOCKET_IFNAME" in os.environ:
        return
    master, setting = me.master_addr, me.setting("master_addr")
    try:
        interface = interface_to(master)
    except OSError as error:
        raise UserError(
            f"{host()} knows no way to rank 0's host {master} ({error}); give {setting} another address"
        ) from None
    if interface is not None and interface.loopback:
        raise UserError(
            f"on {host()} the master address {master} leads to {interface.name} alone, where no other host reaches it; give {setting} its "
            "address in the network, or mend /etc/hosts"
        )
    if interface is not None:
        os.environ["GLOO_SOCKET_IFNAME"] = interface.name


def leave() -> None:
    """Ends the group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def end_process(code: int) -> NoReturn:
    """Exits as a process that has been a rank should: as always, but without taking Python itself down.

    Gloo's threads live on after `leave`, as DeepSpeed still refers to the group; one of them that lets go of a tensor
    only then would abort the process, all work done (https://github.com/pytorch/pytorch/pull/179291).
    """
    threading._shutdown()  # type: ignore[attr-defined]  # these two as multiprocessing does, whose children end so too
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):  # nobody may read it any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
