"""Who a task of srun's is: SLURM's short forms against twins that write them, and what srun 22.05 was seen to set."""

from __future__ import annotations

import os
from itertools import groupby

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_prep.errors import UserError
from ds_nowcast.launch.ending import ends_as_a_rank
from ds_nowcast.launch.environment import Launched, launched, publish
from ds_nowcast.launch.slurm import cores_of, first_host, gpu_of, of_step, tasks_per_node
from ds_nowcast.ranks import device_of

# the last of three tasks on two nodes
TASK = {
    "SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0", "SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_NODEID": "1",
    "SLURM_NTASKS": "3", "SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_TASKS_PER_NODE": "2,1", "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_DISTRIBUTION": "block", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.9",
}  # fmt: skip
ALONE = {"SLURM_PROCID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"}
# a batch script's shell: rank 0 of a job of three, and no step
BATCH = {"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS": "3"}


def short(counts: list[int]) -> str:
    """Twin of tasks_per_node: as SLURM writes it."""
    runs = [(count, len(list(same))) for count, same in groupby(counts)]
    return ",".join(f"{count}(x{times})" if times > 1 else str(count) for count, times in runs)


@given(st.lists(st.integers(1, 16), min_size=1, max_size=40))
def test_tasks_per_node_are_what_slurm_shortened(counts: list[int]) -> None:
    assert tasks_per_node(short(counts)) == counts


@st.composite
def short_and_first(draw: st.DrawFn) -> tuple[str, str]:
    """A list of hosts as SLURM writes it, and the name of its first host."""
    prefix = draw(st.from_regex(r"[a-z][a-z0-9-]{0,5}[a-z]", fullmatch=True))
    suffix = draw(st.sampled_from(["", "-ib", ".x.org"]))
    width, numbers = draw(st.integers(1, 4)), st.integers(0, 9999)
    nodes, firsts = prefix, prefix
    for joint in draw(st.sampled_from([[], ["-n"], ["r", "-n"]])):
        ranges = draw(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=4))
        nodes += "[" + ",".join(f"{a:0{width}}" if a == b else f"{a:0{width}}-{b:0{width}}" for a, b in ranges) + "]"
        nodes += joint
        firsts += f"{ranges[0][0]:0{width}}{joint}"
    more = draw(st.sampled_from(["", ",gpu7", ",other[1-2,7]", ",a[1-2]b[3,4],c"]))
    return nodes + suffix + more, firsts + suffix


@given(short_and_first())
def test_the_first_host_is_that_of_slurms_list(written: tuple[str, str]) -> None:
    assert first_host(written[0]) == written[1]


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node1", "node1"),
        ("node[003-005,009],gpu7", "node003"),
        ("rack1-node[1-2]-ib", "rack1-node1-ib"),
        ("r[2,4]n[07-08],r5n01", "r2n07"),
        ("gpu-a,gpu-b", "gpu-a"),
    ],
)
def test_hosts_in_brackets(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


@pytest.mark.parametrize("nodes", ["", ",", "node[1-2", "node]", "node[a]", "node[]", "n[1[2]]"])
def test_a_list_that_slurm_would_not_write_is_refused(nodes: str) -> None:
    with pytest.raises(UserError, match="SLURM_STEP_NODELIST"):
        first_host(nodes)


def test_a_task_is_a_rank() -> None:
    assert launched(TASK) == Launched("srun", 2, 3, 0, 1, "node1", 20101)
    first = TASK | {"SLURM_PROCID": "0", "SLURM_NODEID": "0"}
    assert launched(first) == Launched("srun", 0, 3, 0, 2, "node1", 20101)


def test_a_single_task_is_a_world_of_one() -> None:
    alone = TASK | ALONE | {"SLURM_STEP_TASKS_PER_NODE": "1", "SLURM_STEP_NODELIST": "node2"}
    assert launched(alone) == Launched("srun", 0, 1, 0, 1, "node2", 20101)


@pytest.mark.parametrize(
    "of_shell", [{}, {"SLURM_STEP_ID": ""}, *({"SLURM_STEP_ID": str(2**32 - n)} for n in (4, 5, 6))]
)
def test_the_shell_of_a_batch_script_is_no_rank(of_shell: dict[str, str]) -> None:
    assert launched(BATCH | of_shell) is None


def test_another_launcher_in_a_step_is_nearer() -> None:
    of_rank = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    assert launched(TASK | of_rank) == Launched("deepspeed", 1, 2, 1, 2, "localhost", 29500)
    of_torchrun = of_rank | {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "2"}
    assert launched(TASK | of_torchrun) == Launched("torchrun", 1, 2, 1, 2, "localhost", 29500)


def test_the_users_own_place_to_meet_counts() -> None:
    me = launched(TASK | {"MASTER_ADDR": "node1-ib", "MASTER_PORT": "4000"})
    assert me and (me.master_addr, me.master_port) == ("node1-ib", 4000)
    with pytest.raises(UserError, match="MASTER_PORT is 'any'"):
        launched(TASK | {"MASTER_PORT": "any"})


def test_steps_side_by_side_meet_at_ports_of_their_own() -> None:
    ports = {
        of_step(TASK | {"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)})["MASTER_PORT"]
        for job in range(7_654_300, 7_654_400)
        for step in range(100)
    }
    assert len(ports) == 100 * 100
    assert {int(port) for port in ports} <= set(range(20000, 32000))


def test_tasks_in_arbitrary_order_need_to_be_told_where_rank_0_is() -> None:
    arbitrary = TASK | {"SLURM_DISTRIBUTION": "arbitrary"}
    with pytest.raises(UserError, match="set MASTER_ADDR to the first host of SLURM_HOSTFILE"):
        launched(arbitrary)
    assert launched(arbitrary | {"MASTER_ADDR": "node2"}) == Launched("srun", 2, 3, 0, 1, "node2", 20101)
    on_one_node = {"SLURM_NODEID": "0", "SLURM_STEP_TASKS_PER_NODE": "3", "SLURM_STEP_NODELIST": "node2"}
    assert launched(arbitrary | on_one_node) == Launched("srun", 2, 3, 0, 3, "node2", 20101)


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"SLURM_PROCID": ""}, "SLURM_PROCID is '', not a whole number"),
        ({"SLURM_STEP_ID": "batch"}, "SLURM_STEP_ID is 'batch'"),
        ({"SLURM_JOB_ID": "-1"}, "SLURM_JOB_ID is '-1'"),
        ({"SLURM_PROCID": "3"}, r"rank 3 of 3, 0 on node 1, is not among tasks per node \[2, 1\]"),
        ({"SLURM_LOCALID": "1"}, "rank 2 of 3, 1 on node 1, is not among"),
        ({"SLURM_NODEID": "2"}, "rank 2 of 3, 0 on node 2, is not among"),
        ({"SLURM_STEP_NUM_TASKS": "4"}, "rank 2 of 4"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2x1"}, r"SLURM_STEP_TASKS_PER_NODE is '2x1', not of the form 2\(x3\),1"),
        ({"SLURM_NTASKS": "1"}, "the step has 3 tasks and SLURM_NTASKS is 1"),
    ],
)
def test_what_does_not_fit_together_is_one_sentence(variables: dict[str, str], told: str) -> None:
    with pytest.raises(UserError, match=f"{told}.*; start it with srun, or unset SLURM_STEP_ID"):
        launched(TASK | variables)


def test_a_command_says_so_and_ends(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("RANK", raising=False)
    for name, value in (TASK | {"SLURM_PROCID": "x"}).items():
        monkeypatch.setenv(name, value)
    assert ends_as_a_rank(lambda launch: 0) == 2
    assert capsys.readouterr().err.startswith(
        "error: SLURM_STEP_ID is set, so srun started this, but SLURM_PROCID is 'x'"
    )


def test_what_is_published_is_what_libraries_read_and_leaves_the_launcher_srun() -> None:
    environ = dict(TASK)
    me = launched(environ)
    publish(me, environ)
    assert {name: value for name, value in environ.items() if not name.startswith(("SLURM_", "NOWCAST_"))} == {
        "RANK": "2", "WORLD_SIZE": "3", "LOCAL_RANK": "0", "LOCAL_SIZE": "1", "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "node1", "MASTER_PORT": "20101",
    }  # fmt: skip
    assert launched(environ) == me

    started_by_us = environ | {"RANK": "0", "WORLD_SIZE": "2", "NOWCAST_PUBLISHED": str(os.getppid())}
    other = launched(started_by_us)
    assert other and (other.launcher, other.rank, other.world) == ("deepspeed", 0, 2)


def test_nothing_is_published_without_srun() -> None:
    environ: dict[str, str] = {}
    publish(None, environ)
    publish(Launched("torchrun", 0, 1, 0, 1, "localhost", 29500), environ)
    assert environ == {}


@pytest.mark.parametrize(
    ("local_rank", "local_world", "visible", "on_host", "gpu"),
    [
        (3, 4, 4, "4", 3),  # --gpus-per-node=4: each task sees all
        (3, 4, 1, "4", 0),  # --gpus-per-task=1
        (1, 2, 2, "4", 1),  # --gpus-per-task=2: either is its own
        (2, 4, 2, "4", 0),  # --gpu-bind=closest: the third of four tasks is the first of its socket
        (1, 2, 1, "1", 1),  # one GPU for two tasks: refused later
        (1, 2, 1, "", 0),
        (1, 2, 2, "", 1),
    ],
)
def test_a_task_takes_a_gpu_of_its_own(local_rank: int, local_world: int, visible: int, on_host: str, gpu: int) -> None:
    assert gpu_of(local_rank, local_world, visible, {"SLURM_GPUS_ON_NODE": on_host}) == gpu


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One GPU to be seen; the devices that are set."""
    chosen: list[int] = []
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    return chosen


def test_deepspeed_is_told_the_gpu_that_a_task_sees(gpus: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "2")
    assert device_of(1, Launched("srun", 1, 2, 1, 2, "node1", 20101)) == torch.device("cuda", 0)
    assert (gpus, os.environ["LOCAL_RANK"]) == ([0], "0")


@pytest.mark.parametrize("launcher", ["srun", "deepspeed"])
def test_tasks_that_would_share_a_gpu_are_refused(
    launcher: str, gpus: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "1")
    with pytest.raises(UserError, match="has 1 GPUs and was given more ranks"):
        device_of(1, Launched(launcher, 1, 2, 1, 2, "node1", 20101))
    assert gpus == []


@pytest.mark.parametrize(
    ("seen", "local_world", "of_step", "cores"),
    [(8, 4, "32", 8), (32, 4, "32", 8), (64, 4, "32", 8), (1, 4, "2", 1), (8, 2, "", 4)],
)
def test_a_tasks_cores_are_its_share_of_the_steps(
    seen: int, local_world: int, of_step: str, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(seen)))
    assert cores_of(local_world, {"SLURM_CPUS_ON_NODE": of_step}) == cores
