"""Launch commands, read as a shell and the launchers read them."""

from __future__ import annotations

import shlex
from pathlib import Path

from ds_nowcast.doctor.commands import Form, forms
from ds_nowcast.doctor.hostfile import Host
from ds_nowcast.doctor.launch_checks import KEEP_ALIVE, Here
from ds_nowcast.doctor.protocol import Devices, Way, Wrong
from ds_nowcast.doctor.sights import machine
from tests.ds_nowcast.doctor.made import examined, hello, job, seen

GPUS = Devices("", ["NVIDIA H100"] * 4, 4, 64, {})


def named(found: list[Form], start: str) -> Form:
    [form] = [form for form in found if form.name.startswith(start)]
    return form


def words(line: str) -> list[str]:
    return shlex.split(line)


def test_all_forms_of_a_job_are_complete() -> None:
    hosts = [seen(1, 4, devices=GPUS), seen(2, 4, devices=GPUS)]
    the_job = job(
        *hosts, config="my configs/c.json", shards="s", run="r", overrides=["nowcast.steps=5"], master_port=1234
    )
    found = forms(the_job, Here("pdsh", True), examined(*hosts))
    assert [form.name.split(",")[0] for form in found] == ["deepspeed", "deepspeed --no_ssh", "torchrun", "srun"]
    for form in found:
        for _, line in form.lines:
            assert words(line)[:3] == ["cd", "/home/me/nowcast", "&&"]
            options = [
                "--deepspeed_config",
                "my configs/c.json",
                "--shards",
                "s",
                "--run",
                "r",
                "--set",
                "nowcast.steps=5",
            ]
            assert words(line)[-8:] == options
            assert "srun" in line or ("1234" in line and "10.0.0.1" in line)


def test_options_that_were_not_given_are_capitals() -> None:
    one = seen(1)
    [(_, line)] = forms(job(one), Here("pdsh", True), examined(one))[0].lines
    assert line.endswith("--deepspeed_config CONFIG --shards SHARDS --run RUN")


def test_each_host_has_its_node_rank_and_interface() -> None:
    hosts = [seen(1, 4, devices=GPUS), seen(2, 2, devices=GPUS, way=Way("ib0", "10.0.0.2", False))]
    found = forms(job(*hosts), Here("pdsh", True, accelerator="cuda"), examined(*hosts))
    for node, interface in enumerate(("eth0", "ib0")):
        host, line = named(found, "deepspeed --no_ssh").lines[node]
        assert host == f"n{node + 1}"
        assert words(line)[3:6] == ["env", f"NCCL_SOCKET_IFNAME={interface}", "DS_ACCELERATOR=cuda"]
        assert words(line)[words(line).index("--node_rank") + 1] == str(node)


def test_uneven_slots() -> None:
    hosts = [seen(1, 4), seen(2, 2)]
    found = forms(job(*hosts), Here("pdsh", True), examined(*hosts))
    ranks = [words(line)[words(line).index("--nproc-per-node") + 1] for _, line in named(found, "torchrun").lines]
    assert ranks == ["4", "2"]
    assert " -m -- ds_nowcast.train --deepspeed_config" in named(found, "torchrun").lines[0][1]
    assert not named(found, "srun").lines and "make slots equal" in named(found, "srun").note


def test_srun_takes_the_names_that_hosts_give_themselves() -> None:
    hosts = [seen(1, 4, devices=GPUS, hello=hello(1, hostname="gpu001.cluster")), seen(2, 4, devices=GPUS)]
    [(_, line)] = named(forms(job(*hosts), Here(), examined(*hosts)), "srun").lines
    for word in ("--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "--nodelist=gpu001,n2"):
        assert word in words(line)


def test_the_keep_alive_comes_before_where_it_is_not_set() -> None:
    hosts = [seen(1), seen(2)]
    lines = forms(job(*hosts), Here("pdsh", False), examined(*hosts))[0].lines
    assert lines[0][1] == KEEP_ALIVE and len(lines) == 2
    assert len(forms(job(*hosts), Here("pdsh", True), examined(*hosts))[0].lines) == 1


def test_one_host_is_launched_where_it_is() -> None:
    """DeepSpeed launches on this machine, whatever the one host's name."""
    elsewhere = seen(1)
    [(_, line)] = forms(job(elsewhere, ssh_port=2222), Here("pdsh", True), examined(elsewhere))[0].lines
    assert "--force_multi --ssh_port 2222 --master_addr 10.0.0.1" in line
    here = seen(1, hello=hello(1, machine=machine()))
    [(_, line)] = forms(job(here), Here(), examined(here))[0].lines
    assert "--no_ssh_check --master_addr 10.0.0.1" in line


def test_several_names_of_this_machine() -> None:
    hosts = [seen(1), seen(2)]
    the_job = job(*hosts, hosts=[Host("localhost", 1), Host("127.0.0.1", 1)], local=True)
    found = forms(the_job, Here(), examined(*hosts))
    assert not found[0].lines and "use --no_ssh lines" in found[0].note
    assert len(named(found, "deepspeed --no_ssh").lines) == 2


def test_hosts_that_did_not_answer_have_lines_too() -> None:
    hosts = [seen(1), seen(2, hello=Wrong("no"), devices=None, way=None)]
    found = forms(job(*hosts), Here("pdsh", True), examined(*hosts))
    assert len(named(found, "torchrun").lines) == 2
    assert "--nodelist=n1,n2" in named(found, "srun").lines[0][1]


def test_what_the_env_file_says_reaches_hosts_without_it_but_secrets_are_not_shown() -> None:
    hosts = [seen(1), seen(2)]
    here = Here("pdsh", True, python_path="/lib", settings={"A": "two words", "HF_TOKEN": "hidden"})
    found = forms(job(*hosts), here, examined(*hosts))
    assert "hidden" not in str(found)
    torchrun = named(found, "torchrun")
    assert "HF_TOKEN" in torchrun.note
    assert words(torchrun.lines[0][1])[3:6] == ["env", "PYTHONPATH=/lib", "A=two words"]


def test_programs_beside_python_are_taken(tmp_path: Path) -> None:
    (tmp_path / "torchrun").touch()
    hosts = [seen(1), seen(2)]
    found = forms(job(*hosts, python=str(tmp_path / "python")), Here("pdsh", True), examined(*hosts))
    assert words(named(found, "torchrun").lines[0][1])[3] == str(tmp_path / "torchrun")
    assert f"{tmp_path}/python -m deepspeed.launcher.runner" in named(found, "deepspeed,").lines[0][1]
