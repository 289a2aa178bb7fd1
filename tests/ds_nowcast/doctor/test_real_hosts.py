"""The doctor on hosts with networks and disks of their own, and its commands as a user would paste them there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.hosts import Hosts
from tests.launching import ROOT, until, wait
from tests.shard_maker import make_shards, moving_blobs

pytestmark = pytest.mark.hosts


def doctor(
    hosts: Hosts, hostfile: Path, *arguments: Any, cwd: Path = ROOT, **env: str
) -> subprocess.CompletedProcess[str]:
    """Runs it on the first host."""
    command = [sys.executable, "-m", "ds_nowcast.doctor", "--hostfile", hostfile, *arguments]
    return hosts.command(0, command, cwd=cwd, env=env)


def said(ended: subprocess.CompletedProcess[str]) -> str:
    return " ".join(ended.stdout.split())


def lines_of(ended: subprocess.CompletedProcess[str], form: str) -> list[tuple[str, str]]:
    """(host, command) of a form, as printed; host "" where it is for the launching machine."""
    [section] = [part for part in ended.stdout.split("\n\n# ")[1:] if part.startswith(form)]
    found, host = list[tuple[str, str]](), ""
    for line in section.splitlines()[1:]:
        if line.startswith("# on "):
            host = line.removeprefix("# on ")
        else:
            found.append((host, line))
    return found


def training(shards: Path, config: Path, run: Path, *settings: str) -> list[Any]:
    given = ["--deepspeed_config", config, "--shards", shards, "--run", run]
    return [*given, "--set", "nowcast.steps=4", *settings]


@pytest.mark.parametrize(
    ("form", "slots"), [("deepspeed, from here", (1, 1)), ("deepspeed --no_ssh", (1, 2)), ("torchrun", (1, 2))]
)
def test_where_all_is_well_the_printed_commands_train(
    two_hosts: Hosts, shards: Path, config: Path, tmp_path: Path, form: str, slots: Sequence[int]
) -> None:
    hostfile = tmp_path / "hostfile"
    named = zip(two_hosts.addresses, slots, strict=True)
    hostfile.write_text("".join(f"{address} slots={number}\n" for address, number in named))
    work, run = two_hosts.workplace(), tmp_path / "run"
    of_job = training(shards, config, run, f"train_batch_size={2 * sum(slots)}")
    ended = doctor(two_hosts, hostfile, *of_job, cwd=work)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 of 2 hosts ok, 0 failed" in ended.stdout
    assert max(len(line) for line in ended.stdout.partition("\n\n# ")[0].splitlines()) <= 80
    place = {"": 0} | {address: host for host, address in enumerate(two_hosts.addresses)}
    started = [two_hosts.popen(place[host], ["sh", "-c", line], cwd=Path("/")) for host, line in lines_of(ended, form)]
    ends = [wait(process) for process in started]
    assert [end.code for end in ends] == [0] * len(started), [end.output[-2000:] for end in ends]
    assert (run / "model.safetensors").exists()
    assert not two_hosts.processes()


def test_what_differs_between_hosts_is_found(two_hosts: Hosts, shards: Path, config: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    two_hosts.private(1, tmp_path / "runs")
    rng = np.random.default_rng(10)
    splits = {name: [moving_blobs(rng, frames=12, missing=0.0)] for name in ("train", "val", "test")}
    two_hosts.private(1, shards, content=make_shards(tmp_path / "others", splits))
    taken = two_hosts.popen(
        0, [sys.executable, "-c", "import socket, time; s = socket.create_server(('', 29500)); time.sleep(1000)"]
    )
    until(lambda: two_hosts.command(0, ["sh", "-c", "ss -ltn | grep -q :29500"]).returncode == 0, 20)
    ended = doctor(two_hosts, two_hosts.hostfile(), *training(shards, config, tmp_path / "runs/a"), "--quiet")
    assert ended.returncode == 2
    told = said(ended)
    assert told.count("FAIL ") == 3, told
    assert "FAIL master port on 10.77.0.1: port 29500 is in use by process" in told and "import socket" in told
    assert "FAIL shards on 10.77.0.2: its shards" in told and "differs from that of other hosts" in told
    assert (
        f"FAIL run folder on 10.77.0.2: 10.77.0.1 does not see in {tmp_path}/runs what 10.77.0.2 wrote (tmpfs there)"
        in told
    )
    assert not list((tmp_path / "runs").iterdir())
    two_hosts.kill(9, 0, containing="29500")
    wait(taken)


def test_a_host_that_is_cut_off_is_told_in_bounded_time(two_hosts: Hosts, tmp_path: Path) -> None:
    two_hosts.cut(1)
    ended = doctor(two_hosts, two_hosts.hostfile(), "--run", tmp_path / "run", "--quiet")
    assert ended.returncode == 2
    assert said(ended).startswith("FAIL ssh on 10.77.0.2:") and ended.stdout.count("FAIL") == 1
    assert "is it up" in ended.stdout


def test_the_master_address_is_found_where_its_name_is_loopback_to_itself(two_hosts: Hosts) -> None:
    ended = doctor(two_hosts, two_hosts.hostfile(named=True))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "master: 10.77.0.1 port 29500" in ended.stdout
    ended = doctor(two_hosts, two_hosts.hostfile(named=True), "--master_addr", "n1", "--quiet")
    assert ended.returncode == 2
    assert "FAIL interface on n1: the master address n1 means its loopback there" in said(ended)


def test_the_env_file_it_writes_reaches_the_other_host(two_hosts: Hosts, tmp_path: Path) -> None:
    (tmp_path / ".deepspeed_env").write_text("# ours\n\nNCCL_DEBUG=WARN\n")
    hostfile, environment = two_hosts.hostfile(), {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    broken = doctor(two_hosts, hostfile, "--quiet", cwd=tmp_path, **environment)
    assert broken.returncode == 2 and "line 1, 2 is blank or a comment" in said(broken)
    assert "does not reach 10.77.0.1" in said(broken)
    written = doctor(two_hosts, hostfile, "--write-env", cwd=tmp_path, **environment)
    assert (tmp_path / ".deepspeed_env").read_text().splitlines() == [
        "NCCL_DEBUG=WARN", "DS_ACCELERATOR=cpu", "GLOO_SOCKET_IFNAME=eth0", "NCCL_SOCKET_IFNAME=eth0",
    ], written.stdout  # fmt: skip
    well = doctor(two_hosts, hostfile, "--quiet", cwd=tmp_path, **environment)
    assert (well.returncode, well.stdout) == (0, "")
    assert os.listdir(tmp_path) == [".deepspeed_env"]
