"""What is printed."""

from __future__ import annotations

import io

from rich.console import Console

from ds_nowcast.doctor.commands import Form
from ds_nowcast.doctor.findings import Finding, Level
from ds_nowcast.doctor.report import advice, show, show_commands

FEW = ["n1", "n2"]
MANY = [f"worker-{number}" for number in range(64)]


def findings(hosts: list[str], bad: set[str], level: Level = Level.FAILURE) -> list[Finding]:
    return [
        Finding("torch", host, level, "2.5", "install 2.6") if host in bad else Finding("torch", host, Level.OK, "2.6")
        for host in hosts
    ]


def printed(found: list[Finding], hosts: list[str], width: int = 80, **options: bool) -> str:
    output = io.StringIO()
    show(Console(file=output, width=width), found, hosts, **options)
    return output.getvalue()


def test_few_hosts_have_a_column_each() -> None:
    text = printed(findings(FEW, {"n2"}), FEW)
    assert "n1" in text and "FAIL 2.5" in text and "FAIL torch on n2: install 2.6" in text
    assert "1 of 2 hosts ok, 1 failed and 0 warned of 2 checks" in text


def test_of_many_hosts_those_with_trouble_are_named() -> None:
    text = printed(findings(MANY, {"worker-3", "worker-9"}), MANY)
    assert "62 of 64" in text and "2 FAIL 2.5" in text
    assert "FAIL torch on worker-3, worker-9: install 2.6" in text
    assert "worker-4" not in text
    assert "worker-4" in printed(findings(MANY, set()), MANY, width=2000, every=True)


def test_the_same_advice_for_many_hosts_is_one_line() -> None:
    lines = advice(findings(MANY, set(MANY)))
    assert [line for _, line in lines] == [
        "FAIL torch on worker-0, worker-1, worker-2, worker-3 and 60 more: install 2.6"
    ]


def test_advice_names_the_one_host_it_is_for() -> None:
    def told(*hosts: str) -> str:
        [(_, line)] = advice([Finding("ssh", host, Level.FAILURE, "no", "`ssh-copy-id {host}`") for host in hosts])
        return line

    assert told("n1") == "FAIL ssh on n1: `ssh-copy-id n1`"
    assert told("n1", "n2") == "FAIL ssh on n1, n2: `ssh-copy-id HOST`"


def test_failures_come_before_warnings_and_quiet_shows_nothing_else() -> None:
    found = [*findings(FEW, {"n1"}, Level.WARNING), *findings(FEW, {"n2"})]
    assert printed(found, FEW, quiet=True) == "FAIL torch on n2: install 2.6\nwarn torch on n1: install 2.6\n"
    assert printed(findings(FEW, set()), FEW, quiet=True) == ""


def test_nothing_is_wider_than_a_terminal_and_other_machines_steer_none() -> None:
    long = Finding("ssh", "n2", Level.FAILURE, "[red]x\x1b[2J", "\x1b[2J[bold] " + "many words " * 30)
    text = printed([Finding("ssh", "n1", Level.OK, "ok"), long], FEW)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text and "[red]x" in text and "[bold]" in text


def test_commands_stay_on_one_line_and_of_many_the_ends_are_shown() -> None:
    def shown(every: bool) -> list[str]:
        output = io.StringIO()
        lines = [(host, f"cd here && [run] {host} {'x' * 200}") for host in MANY]
        show_commands(Console(file=output, width=80), [Form("torchrun", lines, "a note")], every=every)
        return output.getvalue().splitlines()

    assert [line[:30] for line in shown(False) if line.startswith("cd")] == [
        "cd here && [run] worker-0 xxxx",
        "cd here && [run] worker-63 xxx",
    ]
    assert "# and 62 more between these: --all shows them" in shown(False)
    assert len([line for line in shown(True) if line.startswith("cd")]) == 64
