"""Asks every host of a hostfile, before a launch, what would go wrong there: one table, what to do, an exit code."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from data_prep.console import ends_politely
from data_prep.errors import UserError
from ds_nowcast.config.overrides import add_set_option
from ds_nowcast.doctor.commands import forms
from ds_nowcast.doctor.data_checks import check_config, check_disk, check_hostfile, check_shards, check_shared
from ds_nowcast.doctor.env_file import env_paths, is_secret, read_env_files, write_env_file
from ds_nowcast.doctor.examine import examine
from ds_nowcast.doctor.findings import Finding, Level, worst
from ds_nowcast.doctor.host_checks import check_answers, check_clocks, check_devices, check_machines, check_software
from ds_nowcast.doctor.hostfile import read_hostfile
from ds_nowcast.doctor.job import Examined, Job
from ds_nowcast.doctor.launch_checks import Here, check_here, wanted
from ds_nowcast.doctor.network_checks import check_back, check_port, check_way
from ds_nowcast.doctor.report import show, show_commands

EXAMPLE = (
    "python -m ds_nowcast.doctor --hostfile hostfile --deepspeed_config ds_configs/unet_zero2_bf16.json \\\n"
    "      --shards shards/sevir --run runs/unet"
)
FAILED = 2
_EXPORTED = (
    "MLFLOW",
    "PYTHON",
    "MV2",
    "UCX",
    "NCCL",
)  # what DeepSpeed's launcher takes to other hosts of our variables
_LAUNCHERS = ("pdsh", "no_ssh", "torchrun", "srun")
_ADDRESS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:%-]*")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, or 2 where a check failed."""
    options = argparse.ArgumentParser(
        prog="python -m ds_nowcast.doctor",
        description="Tell what would go wrong on the hosts of a launch, and print its commands.",
        epilog=f"example:\n  {EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--hostfile", required=True, metavar="FILE", help="lines NAME slots=N, as deepspeed takes it")
    options.add_argument("--deepspeed_config", metavar="FILE", help="config of the training")
    options.add_argument("--shards", metavar="DIR", help="shards folder of the training")
    options.add_argument("--run", metavar="DIR", help="run folder of the training")
    add_set_option(options)
    options.add_argument("--master_addr", metavar="ADDRESS", help="where ranks meet (default: found)")
    options.add_argument("--master_port", type=_port, default=29500, metavar="PORT", help="there (default 29500)")
    options.add_argument("--ssh_port", type=_port, metavar="PORT", help="of ssh (default: ssh's own)")
    options.add_argument("--launcher", choices=_LAUNCHERS, default="pdsh", help="what will start it (default pdsh)")
    options.add_argument("--write-env", action="store_true", help="write ./.deepspeed_env as these hosts need it")
    options.add_argument("--all", action="store_true", help="show each of many hosts in table and commands")
    options.add_argument("--quiet", action="store_true", help="show what is wrong alone")
    args = options.parse_args(argv)
    return ends_politely(lambda: run(args, Console(highlight=False)))


def _port(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return number


def run(args: argparse.Namespace, console: Console) -> int:
    """Asks, shows, writes .deepspeed_env where that is wished. Returns the exit code; raises UserError."""
    files = read_env_files(env_paths())
    settings = {name: value for file in files for name, value in file.values.items()}
    job = _job(args, settings)
    if not args.quiet:
        print(f"asking {len(job.hosts)} host{'s' * (len(job.hosts) > 1)}, at most a few minutes", file=sys.stderr)
    examined = examine(job)
    here = Here.seen(job, files, {} if job.local else settings)
    findings = checked(job, here, examined)
    show(console, findings, [host.name for host in job.hosts], quiet=args.quiet, every=args.all)
    if args.write_env:
        _write(console, job, here, examined)
    if not args.quiet:
        show_commands(console, forms(job, here, examined), every=args.all)
    return FAILED if worst(findings) == Level.FAILURE else 0


def _job(args: argparse.Namespace, settings: Mapping[str, str]) -> Job:
    if args.master_addr is not None and not _ADDRESS.fullmatch(args.master_addr):
        raise UserError(f"--master_addr {args.master_addr!r} is not an address; give one, or a host's name")
    hosts = read_hostfile(Path(args.hostfile))
    here = str(Path.cwd())
    exported = {name: value for name, value in os.environ.items() if name.startswith(_EXPORTED)}
    secrets = {name: value for name, value in {**exported, **settings}.items() if is_secret(name)}
    path = f"{here}:{exported['PYTHONPATH']}" if exported.get("PYTHONPATH") else here
    return Job(
        hosts, args.hostfile, all(host.loopback for host in hosts), args.launcher, here,
        environment={n: v for n, v in {**exported, "PYTHONPATH": path, **settings}.items() if n not in secrets},
        secrets=secrets,
        ssh_port=args.ssh_port, master_addr=args.master_addr, master_port=args.master_port,
        config=args.deepspeed_config, overrides=args.set, shards=args.shards, run=args.run,
    )  # fmt: skip


def checked(job: Job, here: Here, examined: Examined) -> list[Finding]:
    """All findings, check by check; of what was not asked for there are none."""
    seen = examined.seen
    several = len(seen) > 1
    return [
        *check_here(job, here, examined), *check_answers(job, seen), *check_machines(job, seen), *check_software(job, seen),
        *check_devices(job, seen), *check_clocks(job, seen), *check_way(job, examined), *check_port(job, examined),
        *(check_back(job, examined) if several else []), *(check_hostfile(job, seen) if several else []),
        *(check_config(job, seen) if job.config else []), *(check_shards(job, seen) if job.shards else []),
        *(check_disk(job, seen) if job.run else []), *(check_shared(job, seen) if job.run and several else []),
    ]  # fmt: skip


def _write(console: Console, job: Job, here: Here, examined: Examined) -> None:
    if job.local:
        console.print("no .deepspeed_env written: a launch on this machine alone does not read it", soft_wrap=True)
        return
    settings, remark = wanted(here, examined)
    console.print(write_env_file(env_paths()[-1], settings), soft_wrap=True, markup=False)
    if remark:
        console.print(remark, soft_wrap=True, markup=False)


if __name__ == "__main__":
    sys.exit(main())
