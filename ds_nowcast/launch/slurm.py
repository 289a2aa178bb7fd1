"""Who a process is among the tasks of a SLURM job step, read from the variables that srun sets for each of them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from data_prep.errors import UserError

_NO_STEPS = 0xFFFFFFF0  # from here on not srun's steps: a batch script's own shell, an interactive one, what is outside
_FIRST_PORT, _PORTS = 20000, 12000  # below those that systems give away themselves (32768 on Linux)


def of_step(environ: Mapping[str, str]) -> dict[str, str]:
    """What other launchers would say to this task of srun's; empty where it is none. Raises UserError where that is unclear.

    Each host's tasks are counted in SLURM_STEP_TASKS_PER_NODE, rank 0 is on the first host of the step; the port follows
    from job and step. MASTER_ADDR and MASTER_PORT of the user count.
    """
    if not environ.get("SLURM_STEP_ID") or _number(environ, "SLURM_STEP_ID") >= _NO_STEPS:
        return {}
    rank, world = _number(environ, "SLURM_PROCID"), _number(environ, "SLURM_STEP_NUM_TASKS")
    local_rank, node = _number(environ, "SLURM_LOCALID"), _number(environ, "SLURM_NODEID")
    counts = tasks_per_node(environ.get("SLURM_STEP_TASKS_PER_NODE", ""))
    local_world = counts[node] if node < len(counts) else 0
    if sum(counts) != world or rank >= world or local_rank >= local_world:
        raise _unclear(f"rank {rank} of {world}, {local_rank} on node {node}, is not among tasks per node {counts}")
    if environ.get("SLURM_NTASKS", str(world)) != str(world):  # sbatch hands on what the shell it was called in had
        raise _unclear(f"the step has {world} tasks and SLURM_NTASKS is {environ['SLURM_NTASKS']}")
    local = {"LOCAL_RANK": local_rank, "LOCAL_SIZE": local_world, "LOCAL_WORLD_SIZE": local_world}
    met = {"MASTER_ADDR": environ.get("MASTER_ADDR") or _first(environ, len(counts)), "MASTER_PORT": _port(environ)}
    return {name: str(value) for name, value in ({"RANK": rank, "WORLD_SIZE": world} | local | met).items()}


def tasks_per_node(text: str) -> list[int]:
    """The tasks of each node from SLURM's short form: `2(x3),1` is 2, 2, 2, 1. Raises UserError."""
    counts: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"([0-9]+)(?:\(x([0-9]+)\))?", part)
        if found is None:
            raise _unclear(f"SLURM_STEP_TASKS_PER_NODE is {text!r}, not of the form 2(x3),1")
        counts += [int(found[1])] * int(found[2] or 1)
    return counts


def first_host(nodes: str) -> str:
    """The first host of SLURM's short form: node003 of `node[003-005,009],gpu7`. Raises UserError."""
    first = re.match(r"(?:[^],[]|\[[0-9][0-9,-]*\])+", nodes)
    if first is None or nodes[first.end() :][:1] not in ("", ","):
        raise _unclear(f"SLURM_STEP_NODELIST is {nodes!r}, not of the form node[003-005,009],gpu7")
    return re.sub(r"\[([0-9]+)[^]]*\]", r"\1", first[0])


def gpu_of(local_rank: int, local_world: int, visible: int, environ: Mapping[str, str] = os.environ) -> int:
    """Which of the GPUs that a task sees it shall take.

    Tasks see all GPUs of their step on a host, or a part each (--gpus-per-task), or the nearest, shared with neighbours.
    """
    on_host = environ.get("SLURM_GPUS_ON_NODE", "")
    parted = visible < (int(on_host) if on_host.isdigit() else local_world)
    return local_rank % visible if parted else local_rank


def cores_of(local_world: int, environ: Mapping[str, str] = os.environ) -> int:
    """Cores that fall to a task, which may see all of its step's on this host, or its own alone; at least 1."""
    seen, on_host = len(os.sched_getaffinity(0)), environ.get("SLURM_CPUS_ON_NODE", "")
    mine = min(seen, int(on_host) // local_world) if on_host.isdigit() else seen // local_world
    return max(1, mine)


def _first(environ: Mapping[str, str], hosts: int) -> str:
    """The host of rank 0, in each way of distributing tasks but one."""
    if hosts > 1 and environ.get("SLURM_DISTRIBUTION", "").startswith("arbitrary"):
        raise UserError(
            "srun placed the tasks in an arbitrary order, which does not tell where rank 0 is; set MASTER_ADDR to the first "
            "host of SLURM_HOSTFILE, or leave --distribution=arbitrary out"
        )
    return first_host(environ.get("SLURM_STEP_NODELIST", ""))


def _port(environ: Mapping[str, str]) -> int:
    """The same for all tasks, another for each step, and for jobs that run beside each other."""
    if environ.get("MASTER_PORT"):
        return _number(environ, "MASTER_PORT")
    return _FIRST_PORT + (101 * _number(environ, "SLURM_JOB_ID") + _number(environ, "SLURM_STEP_ID")) % _PORTS


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "")
    if not text.isascii() or not text.isdigit():
        raise _unclear(f"{name} is {text!r}, not a whole number")
    return int(text)


def _unclear(what: str) -> UserError:
    return UserError(
        f"SLURM_STEP_ID is set, so srun started this, but {what}; start it with srun, or unset SLURM_STEP_ID to run it alone"
    )
