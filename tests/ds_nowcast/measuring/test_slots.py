"""Which hosts a launch takes, and what its launcher is told."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from data_prep.errors import UserError
from ds_nowcast.doctor.hostfile import Host
from ds_nowcast.measuring.slots import environment_for, hosts_for, is_here, launcher_options


@pytest.fixture
def hostfile(tmp_path: Path) -> Path:
    path = tmp_path / "hosts"
    path.write_text("# two\n10.9.8.7 slots=2\n10.9.8.6 slots=4\n")
    return path


def test_slots_are_taken_in_order_until_there_are_enough(hostfile: Path) -> None:
    assert hosts_for(1, hostfile) == [Host("10.9.8.7", 1)]
    assert hosts_for(2, hostfile) == [Host("10.9.8.7", 2)]
    assert hosts_for(5, hostfile) == [Host("10.9.8.7", 2), Host("10.9.8.6", 3)]
    assert hosts_for(3, None) == [Host("localhost", 3)]
    with pytest.raises(UserError, match="has 6 slots and 7 ranks were asked for; give at most 6 ranks"):
        hosts_for(7, hostfile)


def test_this_machine_needs_no_ssh_and_others_get_an_address(tmp_path: Path) -> None:
    here = launcher_options([Host("localhost", 2)], tmp_path)
    assert here[-3:] == ["--no_ssh_check", "--master_addr", "127.0.0.1"]
    assert (tmp_path / "hostfile").read_text() == "localhost slots=2\n"
    there = launcher_options([Host("10.9.8.7", 2), Host("10.9.8.6", 1)], tmp_path)
    assert there[-3:] == ["--force_multi", "--master_addr", "10.9.8.7"]
    assert (tmp_path / "hostfile").read_text() == "10.9.8.7 slots=2\n10.9.8.6 slots=1\n"
    assert int(here[here.index("--master_port") + 1]) > 1023


def test_a_machine_knows_itself() -> None:
    assert is_here(Host("127.0.0.1", 1)) and is_here(Host(socket.gethostname(), 1))
    assert not is_here(Host("10.9.8.7", 1))


def test_other_hosts_get_the_variables_by_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DS_ENV_FILE", raising=False)
    (tmp_path / ".deepspeed_env").write_text("NCCL_DEBUG=INFO\nSHARED=old\n")
    environment = environment_for({"SHARED": "new"}, tmp_path)
    assert environment["SHARED"] == "new" and json.dumps(environment)
    lines = Path(environment["DS_ENV_FILE"]).read_text().splitlines()
    assert "NCCL_DEBUG=INFO" in lines and "SHARED=new" in lines and "SHARED=old" not in lines
    assert "DS_ENV_FILE" not in environment_for({}, tmp_path)
