"""The command with real probes, on hosts that an `ssh` of the tests makes of this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from ds_nowcast.doctor import examine
from ds_nowcast.doctor.__main__ import main
from tests.launching import ROOT, command_of, free_port


def hostfile(folder: Path, *names: str) -> str:
    path = folder / "hostfile"
    path.write_text("".join(f"{name} slots=1\n" for name in names))
    return str(path)


def test_hosts_that_cannot_be_asked_are_told_with_what_to_do(
    fake_ssh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts = ["denied", "stranger", "menu", "elsewhere", "bare", "snake"]
    assert main(["--hostfile", hostfile(fake_ssh, *hosts), "--quiet"]) == 2
    lines = " ".join(capsys.readouterr().out.split()).split("FAIL ")[1:]
    told = {host: next(line for line in lines if f"ssh on {host}:" in line) for host in hosts}
    assert "ssh-copy-id denied" in told["denied"]
    assert "`ssh stranger` and accept" in told["stranger"]
    assert "something else than a probe (Welcome to the menu)" in told["menu"]
    assert "there is no folder" in told["elsewhere"]
    assert "there is no python at" in told["snake"]
    assert "there is no ds_nowcast in" in told["bare"]


def test_many_hosts_have_one_line_for_the_same_trouble(fake_ssh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--hostfile", hostfile(fake_ssh, *(f"denied{number}" for number in range(70)))]) == 2
    text = capsys.readouterr().out
    assert "FAIL ssh on denied0, denied1, denied2, denied3 and 66 more: ssh wants" in " ".join(text.split())
    assert "0 of 70 hosts ok, 70 failed" in text
    assert len(text.splitlines()) < 60


@pytest.mark.slow
def test_a_host_that_hangs_does_not_hang_the_doctor(
    fake_ssh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(examine, "HELLO_S", -4.0)  # with what is always added, a second
    began = time.monotonic()
    assert main(["--hostfile", hostfile(fake_ssh, "silent"), "--quiet"]) == 2
    assert time.monotonic() - began < 20
    assert "no answer within 1 s but 'Password:'" in " ".join(capsys.readouterr().out.split())
    assert not [process for process in psutil.Process().children(recursive=True) if "1000" in command_of(process)]


@pytest.mark.launch
def test_hosts_of_which_all_is_asked(
    fake_ssh: Path, shards: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--hostfile", hostfile(fake_ssh, "one", "chatty", "older"), "--master_port", str(free_port())]
    given = [
        "--deepspeed_config",
        str(config),
        "--shards",
        str(shards),
        "--run",
        "runs/a",
        "--set",
        "train_batch_size=3",
    ]
    assert main([*arguments, *given, "--write-env"]) == 2
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("FAIL torch") == 1 and "FAIL torch on older: torch is 2.0.0, elsewhere" in text
    assert (
        text.count("are one machine") == 2
        and "warn keep-alive" in text
        and "DS_ACCELERATOR=cpu is set in this shell" not in text
    )
    assert "2 of 3 hosts ok, 1 failed" in text
    assert "--set train_batch_size=3" in text
    assert "DS_ACCELERATOR=cpu" in (fake_ssh / ".deepspeed_env").read_text()
    assert sorted(entry.name for entry in fake_ssh.iterdir()) == [".deepspeed_env", "hostfile"]


@pytest.mark.launch
def test_this_machine_alone_needs_no_ssh(
    fake_ssh: Path, shards: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (Path(os.environ["PATH"].split(":")[0]) / "ssh").unlink()
    arguments = ["--hostfile", hostfile(fake_ssh, "localhost"), "--master_port", str(free_port())]
    given = ["--deepspeed_config", str(config), "--shards", str(shards), "--run", "runs/a"]
    assert main([*arguments, *given]) == 0
    text = capsys.readouterr().out
    assert "--no_ssh_check --master_addr 127.0.0.1" in text and "FAIL" not in text
    assert main([*arguments, *given, "--set", "train_batch_size=5", "nowcast.steps=x", "--quiet"]) == 2
    assert "nowcast.steps" in capsys.readouterr().out


@pytest.mark.launch
def test_a_port_that_is_taken(fake_ssh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        arguments = ["--hostfile", hostfile(fake_ssh, "localhost", "127.0.0.1"), "--master_port", str(port), "--quiet"]
        assert main(arguments) == 2
    text = " ".join(capsys.readouterr().out.split())
    assert f"FAIL master port on localhost: port {port} is in use by process {os.getpid()}" in text


def path_of(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return str(process.environ().get("PATH"))
    return ""


@pytest.mark.launch
def test_ctrl_c_ends_it_and_all_it_started(fake_ssh: Path) -> None:
    command = [sys.executable, "-m", "ds_nowcast.doctor", "--hostfile", hostfile(fake_ssh, "silent", "silent2")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as doctor:
        deadline = time.monotonic() + 30
        while not (ours := psutil.Process(doctor.pid).children(recursive=True)) and time.monotonic() < deadline:
            time.sleep(0.05)
        doctor.send_signal(signal.SIGINT)
        out, errors = doctor.communicate(timeout=30)
    assert (doctor.returncode, out) == (130, "")
    assert errors.splitlines()[-1] == "interrupted" and "Traceback" not in errors
    orphans = [process for process in psutil.process_iter() if str(fake_ssh.parent) in path_of(process)]
    assert ours and not psutil.wait_procs(ours + orphans, timeout=5)[1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--hostfile", "none"], "error: hostfile none cannot be read"),
        (["--hostfile", "bad"], "error: bad line 1 is 'n1'; write NAME slots=N"),
        (["--hostfile", "good", "--master_addr", "a b"], "error: --master_addr 'a b' is not an address"),
        (["--hostfile", "good", "--master_port", "70000"], "'70000' is not a port from 1 to 65535"),
        (["--hostfile", "good", "--launcher", "mpi"], "invalid choice"),
    ],
)
def test_what_cannot_be_used_is_a_sentence(
    fake_ssh: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    (fake_ssh / "bad").write_text("n1\n")
    (fake_ssh / "good").write_text("n1 slots=1\n")
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = ended.code  # type: ignore[assignment]
    assert code == 2 and told in capsys.readouterr().err


def test_without_ssh_installed(
    fake_ssh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(fake_ssh))
    assert main(["--hostfile", hostfile(fake_ssh, "n1"), "--quiet"]) == 2
    text = " ".join(capsys.readouterr().out.split())
    assert "ssh cannot be started here (No such file or directory); install it" in text
    assert "pdsh: DeepSpeed starts ranks on other hosts with pdsh" in text


def test_help_has_an_example() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "ds_nowcast.doctor", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "example:\n  python -m ds_nowcast.doctor --hostfile hostfile" in told.stdout
