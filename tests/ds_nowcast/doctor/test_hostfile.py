"""Hostfiles, against DeepSpeed's own reader."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.errors import UserError
from ds_nowcast.doctor.hostfile import Host, parse_hostfile, read_hostfile

NAMES = st.sampled_from(["n1", "n2", "10.0.0.1", "worker-0", "user@n3", "fd00::1"])
WELL = st.builds("{} slots={}{}".format, NAMES, st.integers(1, 300), st.sampled_from(["", " max_slots=9", "  # fast"]))
LINES = st.one_of(
    WELL, WELL, WELL, st.sampled_from(["", "# n1 slots=2", "  ", "n1", "n1 slots=", "n1 slots=x", "slots=3"])
)


def test_names_slots_and_order() -> None:
    text = "# ours\n\nworker-0 slots=4\n  10.0.0.2\tslots=2  \n"
    assert parse_hostfile(text, "hostfile") == [Host("worker-0", 4), Host("10.0.0.2", 2)]


@given(st.lists(LINES, max_size=5))
def test_what_deepspeed_reads_is_read_alike_and_what_it_refuses_is_refused(lines: list[str]) -> None:
    from deepspeed.launcher.runner import _parse_hostfile

    logging.getLogger("DeepSpeed").setLevel(logging.CRITICAL)
    try:
        theirs = list(_parse_hostfile(lines).items())
    except ValueError:
        with pytest.raises(UserError):
            parse_hostfile("\n".join(lines), "hostfile")
    else:
        assert [(host.name, host.slots) for host in parse_hostfile("\n".join(lines), "hostfile")] == theirs


@given(st.text())
def test_any_text_is_hosts_or_an_error_that_names_the_file(text: str) -> None:
    try:
        hosts = parse_hostfile(text, "my/hostfile")
    except UserError as error:
        assert "my/hostfile" in str(error)
    else:
        assert all(host.slots > 0 and not host.name.startswith("-") for host in hosts)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("n1 slots=2\nn1 slots=3", "line 2 names n1 again"),
        ("n1 slots=2\nn2 slots:2", "line 2 is 'n2 slots:2'; write NAME slots=N"),
        ("-oProxyCommand=evil slots=2", "is not a host's name"),
        ("n1;reboot slots=2", "is not a host's name"),
        ("n[1-3] slots=2", "is not a host's name"),
        ("n1 slots=0", "gives n1 no slots"),
        ("# nothing\n", "names no host"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_hostfile(text, "hostfile")
    assert told in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read_hostfile(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not text"):
        read_hostfile(tmp_path / "binary")


@pytest.mark.parametrize(
    ("name", "loopback"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("127.3.3.3", True), ("10.0.0.1", False), ("n1", False)],
)
def test_names_of_this_machine_alone(name: str, loopback: bool) -> None:
    assert Host(name, 1).loopback is loopback
