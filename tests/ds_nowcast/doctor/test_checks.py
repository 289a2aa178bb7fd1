"""What follows from what probes answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ds_nowcast.doctor import data_checks, host_checks, network_checks
from ds_nowcast.doctor.env_file import parse_env
from ds_nowcast.doctor.findings import Finding, Level, usual, worst
from ds_nowcast.doctor.job import Skew
from ds_nowcast.doctor.launch_checks import Here, check_here, wanted
from ds_nowcast.doctor.protocol import Devices, Digest, Folder, Way, Wrong
from tests.ds_nowcast.doctor.made import examined, hello, job, seen

GPUS = ["NVIDIA H100"] * 4
WELL = Here("/usr/bin/pdsh", True)


def levels(findings: Sequence[Finding]) -> list[Level]:
    return [finding.level for finding in findings]


def only(findings: Sequence[Finding], level: Level = Level.FAILURE) -> Finding:
    """The one finding that something is to be done about."""
    [found] = [finding for finding in findings if finding.advice]
    assert found.level == level
    return found


def test_where_all_is_well_nothing_is_to_be_done() -> None:
    hosts = [seen(1), seen(2)]
    the_job, found = job(*hosts), examined(*hosts)
    of_hosts = (
        host_checks.check_answers, host_checks.check_machines, host_checks.check_software, host_checks.check_devices,
        host_checks.check_clocks, data_checks.check_hostfile, data_checks.check_config, data_checks.check_shards,
        data_checks.check_disk, data_checks.check_shared,
    )  # fmt: skip
    findings = [finding for check in of_hosts for finding in check(the_job, hosts)]
    for check in (network_checks.check_way, network_checks.check_port, network_checks.check_back):
        findings += check(the_job, found)
    findings += check_here(the_job, WELL, found)
    assert not [finding for finding in findings if finding.advice]
    assert worst(findings) == Level.OK


def test_a_host_that_does_not_answer_fails_once_and_skips_the_rest() -> None:
    hosts = [
        seen(1),
        seen(2, hello=Wrong("ssh wants a key"), way=None, skew=None, devices=None, reaches=None, reached=None),
    ]
    the_job, found = job(*hosts), examined(*hosts)
    assert only(host_checks.check_answers(the_job, hosts)).advice == "ssh wants a key"
    for findings in (
        host_checks.check_software(the_job, hosts), host_checks.check_devices(the_job, hosts),
        host_checks.check_clocks(the_job, hosts), network_checks.check_way(the_job, found),
        network_checks.check_port(the_job, found), network_checks.check_back(the_job, found),
    ):  # fmt: skip
        assert {f.level for f in findings if f.host == "n2"} == {Level.SKIPPED}


def test_other_versions_than_most_hosts_have() -> None:
    hosts = [seen(1, hello=hello(1, torch="2.5.1")), seen(2), seen(3), seen(4, hello=hello(4, deepspeed=""))]
    told = [finding for finding in host_checks.check_software(job(*hosts), hosts) if finding.advice]
    assert [(finding.host, finding.shown) for finding in told] == [("n1", "2.5.1"), ("n4", "missing")]
    assert "pip install torch==2.6.0` there" in told[0].advice
    assert "deepspeed is not installed there; `/opt/env/bin/python -m pip install deepspeed==0.19.8`" in told[1].advice
    changed = [seen(1), seen(2, hello=hello(2, package="0.1.0 changed"))]
    assert "the same commit" in only(host_checks.check_software(job(*changed), changed)).advice


def test_two_names_of_one_machine() -> None:
    hosts = [seen(1), seen(2, hello=hello(1))]
    assert "n1 and n2 are one machine" in only(host_checks.check_machines(job(*hosts), hosts), Level.WARNING).advice


@pytest.mark.parametrize(
    ("slots", "devices", "level", "told"),
    [
        (4, Devices("", GPUS, 4, 64, {}), Level.OK, ""),
        (2, Devices("", GPUS, 4, 64, {}), Level.OK, ""),
        (5, Devices("", GPUS, 4, 64, {}), Level.FAILURE, "write slots=4"),
        (4, Devices("", [], 4, 64, {}), Level.FAILURE, "it has 4 GPUs that torch cannot use"),
        (4, Devices("cpu", GPUS, 4, 64, {}), Level.OK, ""),
        (4, Devices("", [], 0, 64, {}), Level.OK, ""),
        (4, Devices("", [], 0, 2, {}), Level.WARNING, "4 ranks share 2 cores"),
    ],
)
def test_slots_against_devices(slots: int, devices: Devices, level: Level, told: str) -> None:
    one = seen(1, slots, devices=devices)
    [found] = host_checks.check_devices(job(one), [one])
    assert found.level == level and told in found.advice


def test_hosts_compute_on_the_same() -> None:
    hosts = [seen(1, 4, devices=Devices("", GPUS, 4, 64, {})), seen(2, 4, devices=Devices("", [], 0, 64, {}))]
    assert "torch sees no GPU there while other hosts" in only(host_checks.check_devices(job(*hosts), hosts)).advice
    hosts[1].devices = Devices("", ["NVIDIA A100"] * 4, 4, 64, {})
    assert (
        "NVIDIA A100, others NVIDIA H100" in only(host_checks.check_devices(job(*hosts), hosts), Level.WARNING).advice
    )


@pytest.mark.parametrize(
    ("skew", "level"),
    [(Skew(0.9, 0.0), Level.OK), (Skew(-7.2, 0.1), Level.WARNING), (Skew(3.0, 2.5), Level.OK)],
)
def test_clocks_past_a_second(skew: Skew, level: Level) -> None:
    one = seen(1, skew=skew)
    [found] = host_checks.check_clocks(job(one), [one])
    assert found.level == level
    assert ("behind" in found.advice) is (level == Level.WARNING)


def test_a_master_address_that_is_loopback_on_its_host() -> None:
    hosts = [seen(1, way=Way("lo", "127.0.1.1", True)), seen(2)]
    advice = only(network_checks.check_way(job(*hosts), examined(*hosts))).advice
    assert "means its loopback there" in advice and "(10.0.0.1)" in advice and "/etc/hosts" in advice
    alone = [seen(1, way=Way("lo", "127.0.0.1", True))]
    assert levels(network_checks.check_way(job(*alone, local=True), examined(*alone))) == [Level.OK]


@pytest.mark.parametrize(
    ("settings", "level", "told"),
    [
        ({"GLOO_SOCKET_IFNAME": "eth0"}, Level.OK, ""),
        ({"GLOO_SOCKET_IFNAME": "eth"}, Level.FAILURE, "names none of its interfaces (lo, eth0)"),
        ({"GLOO_SOCKET_IFNAME": "lo"}, Level.WARNING, "eth0 reaches the master"),
        ({"NCCL_SOCKET_IFNAME": "eth"}, Level.OK, ""),
        ({"NCCL_SOCKET_IFNAME": "=eth"}, Level.FAILURE, "names none"),
        ({"NCCL_SOCKET_IFNAME": "^lo,docker"}, Level.OK, ""),
        ({"NCCL_SOCKET_IFNAME": "^=eth0"}, Level.WARNING, "eth0 reaches"),
        ({"NCCL_SOCKET_IFNAME": "ib0,eth0"}, Level.OK, ""),
    ],
)
def test_interfaces_that_are_set(settings: dict[str, str], level: Level, told: str) -> None:
    hosts = [seen(1), seen(2, devices=Devices("cpu", [], 0, 8, settings))]
    found = network_checks.check_way(job(*hosts), examined(*hosts))[1]
    assert found.level == level and told in found.advice


def test_ports_that_are_taken_or_closed() -> None:
    hosts = [seen(1, port=Wrong("port 29500 is in use by process 7"), reaches=None), seen(2, reaches=None)]
    findings = network_checks.check_port(job(*hosts), examined(*hosts))
    assert "--master_port another" in only(findings).advice and findings[1].level == Level.SKIPPED
    hosts = [seen(1), seen(2, reaches="no answer within 5 s", reached="Connection refused")]
    advice = only(network_checks.check_port(job(*hosts), examined(*hosts))).advice
    assert "does not reach n1 at 10.0.0.1 port 29500 (no answer within 5 s)" in advice
    advice = only(network_checks.check_back(job(*hosts), examined(*hosts))).advice
    assert "n1 does not reach it at 10.0.0.2 (Connection refused)" in advice


def test_shards_and_configs_that_differ_or_cannot_be_used() -> None:
    hosts = [seen(1), seen(2), seen(3, shards=Digest("d" * 64), config=Wrong("config x cannot be read"))]
    assert "differs from that of other hosts (cccccccc)" in only(data_checks.check_shards(job(*hosts), hosts)).advice
    assert only(data_checks.check_config(job(*hosts), hosts)).advice == "config x cannot be read"
    hosts = [seen(1, fit=Wrong("8 ranks do not divide")), seen(2)]
    assert only(data_checks.check_config(job(*hosts), hosts)).advice == "8 ranks do not divide"


@pytest.mark.parametrize(("launcher", "level"), [("pdsh", Level.WARNING), ("no_ssh", Level.FAILURE)])
def test_a_hostfile_that_is_not_on_all_hosts(launcher: str, level: Level) -> None:
    hosts = [seen(1), seen(2, hostfile=Wrong("hostfile: No such file"))]
    assert (
        "train alone without it"
        in only(data_checks.check_hostfile(job(*hosts, launcher=launcher), hosts), level).advice
    )


@pytest.mark.parametrize(
    ("folder", "told"),
    [(Folder("/runs", "nfs4", 2.0), "2.0 GB are free at /runs"), (Folder("/tmp", "tmpfs", 99.0), "lies in memory")],
)
def test_disks_that_may_not_do(folder: Folder, told: str) -> None:
    one = seen(1, folder=folder)
    assert told in only(data_checks.check_disk(job(one), [one]), Level.WARNING).advice


def test_a_run_folder_that_is_not_shared() -> None:
    hosts = [seen(1), seen(2, shared="n2 does not see in /runs what n1 wrote", folder=Folder("/runs", "ext4", 99.0))]
    advice = only(data_checks.check_shared(job(*hosts), hosts)).advice
    assert "(ext4 there); give --run a folder on a network disk" in advice


@pytest.mark.parametrize(
    ("here", "level", "told"),
    [
        (Here(None, True), Level.FAILURE, "apt install pdsh"),
        (Here("/usr/bin/pdsh", False), Level.WARNING, "export PDSH_SSH_ARGS_APPEND='-o ServerAliveInterval=5"),
        (Here("pdsh", True, [parse_env("A=1\n\n", Path("f"))]), Level.FAILURE, "f line 2 is blank"),
        (Here("pdsh", True, accelerator="cuda"), Level.WARNING, "DS_ACCELERATOR=cuda is set in this shell"),
    ],
)
def test_what_the_launching_machine_lacks(here: Here, level: Level, told: str) -> None:
    hosts = [seen(1), seen(2)]
    assert told in only(check_here(job(*hosts), here, examined(*hosts)), level).advice
    if here.accelerator == "":
        assert worst(check_here(job(*hosts, launcher="torchrun"), here, examined(*hosts))) == Level.OK


def test_localhost_among_several_hosts() -> None:
    hosts = [seen(1), seen(2)]
    the_job = job(*hosts, hosts=[hosts[0].host, type(hosts[0].host)("localhost", 2)])
    assert "localhost means another machine" in only(check_here(the_job, WELL, examined(*hosts)), Level.WARNING).advice


@pytest.mark.parametrize(
    ("changes", "names", "told"),
    [
        ({}, {"GLOO_SOCKET_IFNAME": "eth0", "NCCL_SOCKET_IFNAME": "eth0"}, ""),
        ({"way": Way("ib0", "10.0.0.2", False)}, {}, "their names differ (n1 eth0, n2 ib0)"),
        ({"way": Wrong("none")}, {}, "not all hosts told theirs"),
    ],
)
def test_interfaces_for_the_env_file(changes: dict[str, Any], names: dict[str, str], told: str) -> None:
    settings, remark = wanted(Here(accelerator="cpu"), examined(seen(1), seen(2, **changes)))
    assert settings == {"DS_ACCELERATOR": "cpu", **names}
    assert told in remark


def test_the_usual_is_what_most_have_or_the_first() -> None:
    assert usual(["a", "b", "b"]) == "b"
    assert usual(["a", "b"]) == "a"
