"""Who we are among the ranks, and the collectives: alone, and between two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from data_prep.errors import UserError
from ds_nowcast import ranks as process_group
from ds_nowcast.ranks import Ranks
from tests.launching import ROOT, free_port

ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"))


def refuse() -> None:
    raise UserError("give another")


def test_alone_collectives_do_nothing() -> None:
    assert ALONE.first
    assert ALONE.sum([1, 2.5]) == [1.0, 2.5]
    assert ALONE.sum_tensor(torch.tensor([3])).tolist() == [3]
    assert (ALONE.any(True), ALONE.any(False)) == (True, False)
    assert ALONE.gather("mine") == ["mine"]
    assert ALONE.from_first("mine") == "mine"
    assert ALONE.on_first(lambda: 4) == 4
    with pytest.raises(UserError, match="give another"):
        ALONE.on_first(refuse)
    ALONE.barrier()


@pytest.mark.slow
def test_between_two_processes_all_hear_the_same() -> None:
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "DS_ACCELERATOR": "cpu"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.ds_nowcast.ranks_case"], cwd=ROOT, stdout=subprocess.PIPE, text=True,
            env=common | {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "LOCAL_SIZE": "2"},
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        reports = [json.loads(process.communicate(timeout=100)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for rank, report in enumerate(reports):
        assert report == {
            "rank": [rank, 2, rank, 2, rank == 0],
            "sum": [3.0, 1.0, 2**52 + 2],
            "sum_tensor": [[1, 4]],
            "any": [False, True, True],
            "gather": [{"rank": 0}, {"rank": 1}],
            "from_first": "of 0",
            "on_first": "done by 0",
            "told": [
                ["UserError", "give another folder"],
                ["SaveError", "make room"],
                ["OSError", "[Errno 28] No space left on device: 'metrics.jsonl'"],
            ],
        }


def test_the_cores_of_a_host_are_divided_among_its_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    cpu = torch.device("cpu")
    assert [Ranks(0, 64, 0, local, cpu).threads for local in (1, 4, 5, 16, 32)] == [16, 4, 3, 1, 1]


def test_more_ranks_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in {"RANK": "2", "WORLD_SIZE": "3", "LOCAL_RANK": "2", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="has 2 GPUs and was given more ranks"):
        process_group.join()


def test_deepspeeds_choice_of_the_cpu_is_ours_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    assert process_group.join().device.type == "cpu"


BUSY_AT_THE_END = """
import atexit, threading, time, torch
from ds_nowcast.ranks import end_process
def work():
    numbers = torch.ones(1000)
    while True:
        numbers.add_(1).sum()
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
atexit.register(print, "tidied")
time.sleep(0.2)
print("done")
end_process(75)
"""


@pytest.mark.slow
def test_a_thread_still_in_torch_does_not_abort_a_process_that_has_done_its_work() -> None:
    ended = subprocess.run([sys.executable, "-c", BUSY_AT_THE_END], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (75, "done\ntidied\n", "")
