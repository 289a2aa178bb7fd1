"""The hosts that tests of several hosts run on. As a module it is what their launches run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.hosts import PREFIX, Hosts
from tests.launching import ROOT, output_of, until, wait

pytestmark = pytest.mark.hosts
OWNER = "from tests.hosts import Hosts; hosts = Hosts(2); hosts.popen(1, ['sleep', '1000']); print(hosts.folder, flush=True); input()"


def test_each_host_has_a_name_an_address_and_processes_of_its_own(two_hosts: Hosts) -> None:
    asked = two_hosts.command(1, ["sh", "-c", "hostname && ip -4 -o address show eth0 && ps -e -o comm="])
    assert asked.stdout.split()[0] == "n2"
    assert two_hosts.addresses[1] in asked.stdout
    assert "pytest" not in asked.stdout
    assert two_hosts.command(1, ["nproc"]).stdout == f"{max(1, len(os.sched_getaffinity(0)) // 2)}\n"
    assert not two_hosts.processes()


def test_hosts_reach_each_other_by_name_and_by_address_over_ssh(two_hosts: Hosts) -> None:
    for other in (two_hosts.names[1], two_hosts.addresses[1]):
        asked = two_hosts.command(0, ["ssh", other, "hostname"])
        assert (asked.stdout, asked.stderr) == ("n2\n", "")


def test_a_launch_has_ranks_on_every_host_with_the_variables_it_was_given(two_hosts: Hosts) -> None:
    ended = two_hosts.launch("tests.test_hosts", "two words", slots=2, env={"SAID": "of all hosts"})
    assert ended.code == 0, ended.output[-3000:]
    said = sorted(line.partition("said: ")[2] for line in ended.lines("said: "))
    assert said == [f"{rank} of 4 on n{1 + rank // 2} cpu, of all hosts" for rank in range(4)]
    assert not two_hosts.processes()


def test_a_launch_without_ssh_has_a_launcher_on_each_host(two_hosts: Hosts) -> None:
    ended = [wait(process) for process in two_hosts.start_each("tests.test_hosts", env={"SAID": "each"})]
    assert [end.code for end in ended] == [0, 0], ended
    assert [end.lines("said: ") for end in ended] == [
        [f"said: {rank} of 2 on n{rank + 1} cpu, each"] for rank in (0, 1)
    ]


def test_what_takes_too_long_is_killed_on_all_hosts(two_hosts: Hosts) -> None:
    process = two_hosts.start("tests.test_hosts", env={"SAID": "waiting", "SLEEPS": "1000"})
    until(lambda: output_of(process).count("said: ") == 2, 60)
    assert len(two_hosts.processes(1, containing="tests.test_hosts")) >= 2  # the launcher and the rank
    with pytest.raises(AssertionError, match="did not end within"):
        wait(process, timeout=0.1)
    until(lambda: not two_hosts.processes(), 10)


def test_signals_reach_a_command_on_a_host(two_hosts: Hosts) -> None:
    process = two_hosts.popen(1, ["sleep", "1000"])
    process.terminate()
    assert wait(process, 10).code == -signal.SIGTERM
    process = two_hosts.popen(1, ["sleep", "1000"])
    until(lambda: two_hosts.kill(signal.SIGKILL, 1, containing="sleep 1000"), 10)
    assert wait(process, 10).code == -signal.SIGKILL


def test_a_cable_that_is_pulled_out_and_put_in_again(two_hosts: Hosts) -> None:
    knock = [sys.executable, "-c", f"import socket; socket.create_connection(({two_hosts.addresses[1]!r}, 22), 1)"]
    two_hosts.cut(1)
    assert two_hosts.command(0, knock).returncode == 1
    two_hosts.mend(1)
    until(lambda: two_hosts.command(0, knock).returncode == 0, 20)


def test_a_folder_can_be_another_one_on_one_host(two_hosts: Hosts, tmp_path: Path) -> None:
    for name in ("shared", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    seen = two_hosts.private(0, tmp_path / "shared")
    two_hosts.private(1, tmp_path / "shared", content=tmp_path / "other")
    assert two_hosts.command(0, ["touch", tmp_path / "shared/new"]).returncode == 0
    assert [path.name for path in seen.iterdir()] == ["new"]
    assert two_hosts.command(1, ["cat", tmp_path / "shared/file"]).stdout == "other"
    assert (tmp_path / "shared/file").read_text() == "shared"


def test_nothing_is_left_after_the_end(make_hosts: Callable[..., Hosts]) -> None:
    hosts = make_hosts(2)
    hosts.popen(0, ["sleep", "1000"])
    until(hosts.processes, 10)
    left = [process for inside in hosts._hosts for process in inside.processes()]
    hosts.close()
    assert len(left) == 5 and not any(process.is_running() for process in left)
    assert not hosts.folder.exists()


def test_nothing_is_left_of_an_owner_that_was_killed(make_hosts: Callable[..., Hosts]) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        assert folder.name.startswith(f"{PREFIX}{owner.pid}-")
        spaces = until(lambda: _namespaces_naming(str(folder)), 10)
        assert len(spaces) == 2
        owner.kill()
    until(lambda: not _living_in(spaces), 10, "the end of all on the hosts")
    make_hosts(1).close()
    assert not folder.exists()
    assert folder.parent == Path(tempfile.gettempdir())


def _namespaces_naming(text: str) -> set[int]:
    """Of the sshds whose command line holds a text."""
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if any(text in word for word in process.cmdline()) and "sshd" in process.cmdline()[0]:
                found.add(os.stat(f"/proc/{process.pid}/ns/pid").st_ino)
    return found


def _living_in(namespaces: set[int]) -> list[int]:
    found = []
    for pid in psutil.pids():
        with suppress(OSError):
            if os.stat(f"/proc/{pid}/ns/pid").st_ino in namespaces:
                found.append(pid)
    return found


if __name__ == "__main__":
    of = "{RANK} of {WORLD_SIZE}".format_map(os.environ)
    line = f"said: {of} on {socket.gethostname()} {os.environ['DS_ACCELERATOR']}, {os.environ['SAID']}\n"
    os.write(1, line.encode())  # at once: print would write the end of the line by itself, and ranks share the screen
    time.sleep(float(os.environ.get("SLEEPS", "0")))
