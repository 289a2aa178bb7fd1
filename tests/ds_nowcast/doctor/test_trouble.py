"""What ssh, shells and python say, as what to do."""

from __future__ import annotations

import pytest

from ds_nowcast.doctor.trouble import HOST, Target, explained, silent

TARGET = Target("n2", "/home/me/nowcast", "/opt/env/bin/python")


@pytest.mark.parametrize(
    ("code", "errors", "told"),
    [
        (255, "me@n2: Permission denied (publickey,password).", "ssh-copy-id n2"),
        (255, "No ED25519 host key is known for n2\nHost key verification failed.", "`ssh n2` and accept"),
        (255, "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", "ssh-keygen -R n2"),
        (255, "ssh: Could not resolve hostname n2: Name or service not known", "mend the hostfile"),
        (255, "ssh: connect to host n2 port 22: Connection refused", "start sshd there"),
        (255, "ssh: connect to host n2 port 22: Connection timed out", "is it up"),
        (255, "Connection to n2 timed out\n", "is it up"),
        (255, "ssh: connect to host n2 port 22: No route to host", "is it up, and in this network"),
        (255, "kex_exchange_identification: read: reset", "ssh failed (kex_exchange_identification: read: reset)"),
        (97, "sh: 1: cd: can't cd to /home/me/nowcast", "no folder /home/me/nowcast"),
        (127, "env: '/opt/env/bin/python': No such file or directory", "no python at /opt/env/bin/python"),
        (1, "/opt/env/bin/python: Error while finding module\nNo module named 'ds_nowcast'", "no ds_nowcast in"),
        (1, "/opt/env/bin/python: No module named ds_nowcast.doctor", "an older ds_nowcast in"),
        (1, "ModuleNotFoundError: No module named 'psutil'", "-m pip install psutil"),
        (-9, "", "exit code -9 (without a word)"),
        (0, "", "something else than a probe (welcome to the menu)"),
    ],
)  # fmt: skip
def test_each_trouble_comes_with_what_to_do(code: int, errors: str, told: str) -> None:
    sentence = explained(code, errors, "welcome to the menu\n" if code == 0 else "", TARGET)
    assert told in sentence.replace(HOST, TARGET.host)


def test_a_host_that_is_silent() -> None:
    assert silent(30, "Password:", TARGET).startswith("no answer within 30 s but 'Password:'")
    assert "ssh" not in silent(30, "", Target("localhost", "/", "python", ssh=False))
