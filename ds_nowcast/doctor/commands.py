"""The launch in each of its forms, as commands to copy: complete, with this folder, this python, real addresses."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ds_nowcast.doctor.env_file import is_secret
from ds_nowcast.doctor.job import Examined, Job, Seen
from ds_nowcast.doctor.launch_checks import KEEP_ALIVE, Here
from ds_nowcast.doctor.protocol import Devices, Hello, Way
from ds_nowcast.doctor.sights import machine

MODULE = "ds_nowcast.train"


@dataclass(frozen=True)
class Form:
    """One way to start the job."""

    name: str
    lines: Sequence[tuple[str, str]]  # (on which host, command)
    note: str = ""  # instead of lines, or beside them


def forms(job: Job, here: Here, examined: Examined) -> list[Form]:
    """All ways there are to start this job on these hosts."""
    return [
        _deepspeed(job, here, examined),
        *_without_ssh(job, here, examined),
        _torchrun(job, here, examined),
        *_srun(job, here, examined),
    ]


def training(job: Job) -> list[str]:
    """The trainer's own options; capitals for what was not given."""
    settings = ["--set", *job.overrides] if job.overrides else []
    given = [
        "--deepspeed_config",
        job.config or "CONFIG",
        "--shards",
        job.shards or "SHARDS",
        "--run",
        job.run or "RUN",
    ]
    return [*given, *settings]


def _program(job: Job, name: str, module: str) -> list[str]:
    """A program of the environment, by its path: PATH may have another one."""
    beside = Path(job.python).with_name(name)
    return [str(beside)] if beside.is_file() else [job.python, "-m", module]


def _line(job: Job, settings: Mapping[str, str], words: Sequence[str]) -> str:
    environment = ["env", *(f"{name}={value}" for name, value in settings.items())] if settings else []
    return f"cd {shlex.quote(job.folder)} && {shlex.join([*environment, *words])}"


def _settings(here: Here, one: Seen) -> dict[str, str]:
    """What ranks on a host need to know where no .deepspeed_env is read."""
    ours = {"DS_ACCELERATOR": here.accelerator, "PYTHONPATH": here.python_path}
    shown = {name: value for name, value in here.settings.items() if not is_secret(name)}
    gpus = isinstance(one.devices, Devices) and one.devices.gpus and one.devices.forced != "cpu"
    way = {"NCCL_SOCKET_IFNAME": one.way.name} if gpus and isinstance(one.way, Way) and not one.way.loopback else {}
    return {name: value for name, value in (way | ours | shown).items() if value}


def _unseen(here: Here) -> str:
    """What is not shown and must be there."""
    names = [name for name in here.settings if is_secret(name)]
    return f"with {', '.join(names)}, not shown here, set on each" if names else ""


def _deepspeed(job: Job, here: Here, examined: Examined) -> Form:
    if job.local and len(job.hosts) > 1:
        return Form(
            "deepspeed", [], "needs one line of the hostfile for this machine; with several, use --no_ssh lines"
        )
    first = examined.seen[0].hello
    alone = len(job.hosts) == 1
    is_here = job.local or (isinstance(first, Hello) and first.machine == machine())
    flags = ["--no_ssh_check"] if alone and is_here else ["--force_multi"] if alone else []
    port = [] if job.ssh_port is None else ["--ssh_port", str(job.ssh_port)]
    meeting = ["--master_addr", examined.master, "--master_port", str(job.master_port)]
    words = ["--hostfile", job.hostfile, *flags, *port, *meeting, "--module", MODULE, *training(job)]
    line = _line(job, {}, [*_program(job, "deepspeed", "deepspeed.launcher.runner"), *words])
    before = [] if here.keep_alive or (alone and is_here) else [("", KEEP_ALIVE)]
    return Form(
        "deepspeed" if alone and is_here else "deepspeed, from here to all hosts with pdsh", [*before, ("", line)]
    )


def _without_ssh(job: Job, here: Here, examined: Examined) -> list[Form]:
    if job.local and len(job.hosts) == 1:
        return []  # it has no other host to reach
    lines = []
    for node, one in enumerate(examined.seen):
        meeting = ["--master_addr", examined.master, "--master_port", str(job.master_port)]
        words = [
            "--hostfile",
            job.hostfile,
            "--no_ssh",
            "--node_rank",
            str(node),
            *meeting,
            "--module",
            MODULE,
            *training(job),
        ]
        program = _program(job, "deepspeed", "deepspeed.launcher.runner")
        lines.append((one.host.name, _line(job, _settings(here, one), [*program, *words])))
    return [Form("deepspeed --no_ssh, a line on each host", lines, _unseen(here))]


def _torchrun(job: Job, here: Here, examined: Examined) -> Form:
    """Torchrun takes another number of ranks on each host as it comes."""
    lines = []
    for node, one in enumerate(examined.seen):
        words = [
            *_program(job, "torchrun", "torch.distributed.run"),
            "--nnodes", str(len(examined.seen)), "--node-rank", str(node), "--nproc-per-node", str(one.host.slots),
            "--master-addr", examined.master, "--master-port", str(job.master_port),
            "-m", "--", MODULE, *training(job),  # without the dashes, torchrun takes --run for short of its --run-path
        ]  # fmt: skip
        lines.append((one.host.name, _line(job, _settings(here, one), words)))
    return Form("torchrun, a line on each host", lines, _unseen(here))


def _srun(job: Job, here: Here, examined: Examined) -> list[Form]:
    if job.local:
        return []
    slots = {one.host.slots for one in examined.seen}
    if len(slots) > 1:
        return [Form("srun", [], "starts as many ranks on each host: make slots equal, or use the lines for each host")]
    names = [
        one.hello.hostname.split(".")[0] if isinstance(one.hello, Hello) else one.host.name for one in examined.seen
    ]
    gpus = all(isinstance(one.devices, Devices) and one.devices.gpus for one in examined.seen)
    ranks = slots.pop()
    cores = min((one.devices.cores for one in examined.seen if isinstance(one.devices, Devices)), default=ranks)
    words = [
        "srun", f"--nodes={len(names)}", f"--ntasks-per-node={ranks}", *([f"--gpus-per-node={ranks}"] if gpus else []),
        f"--cpus-per-task={max(1, cores // ranks)}", "--kill-on-bad-exit=0",  # they save and end together by themselves
        f"--nodelist={','.join(names)}", job.python, "-m", MODULE, *training(job),
    ]  # fmt: skip
    settings = _settings(here, examined.seen[0])
    return [Form("srun", [("", _line(job, settings, words))], "ranks find master and port themselves")]
