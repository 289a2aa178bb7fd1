"""Why a host gave no answer, from what ssh, the shell and python said: one sentence with what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

HOST = "{host}"  # stands for the host's name, so that the same trouble of many hosts is one sentence
NO_FOLDER = 97  # what the remote shell ends with where the working folder is not there
_SSH = 255
_MISSING = re.compile(r"No module named '?([\w.]+)'?")


@dataclass(frozen=True)
class Target:
    """What was tried where."""

    host: str
    folder: str
    python: str
    ssh: bool = True


def explained(code: int | None, errors: str, first_words: str, target: Target) -> str:
    """The sentence. code: None where it was still running; errors: stderr; first_words: stdout that was no answer."""
    if code == _SSH and target.ssh:
        return _of_ssh(errors)
    if code == NO_FOLDER:
        return f"there is no folder {target.folder}; launches need the same one on all hosts: clone or mount it there"
    if missing := _MISSING.search(errors):
        return _of_module(missing[1], target)
    if code in (126, 127):
        return (
            f"there is no python at {target.python}; the launcher starts the same path on all hosts: make the environment there too, "
            "or use a shared folder"
        )
    said = _last_line(errors) or _last_line(first_words)
    if code == 0:
        return f"it answered with something else than a probe ({said or 'nothing'}); does its login shell run another program?"
    return f"the probe ended with exit code {code} ({said or 'without a word'}); try `{_by_hand(target)}`"


def silent(limit_s: float, first_words: str, target: Target) -> str:
    """The sentence about a host that said nothing in time."""
    said = _last_line(first_words)
    return (
        f"no answer within {limit_s:.0f} s{f' but {said!r}' if said else ''}; is it overloaded, or does its login shell or a disk "
        f"hang? try `{_by_hand(target)}`"
    )


def _by_hand(target: Target) -> str:
    command = f"{target.python} -m ds_nowcast.doctor.probe"
    return f"ssh {HOST} {command}" if target.ssh else command


def _of_ssh(errors: str) -> str:
    for sign, sentence in (
        ("IDENTIFICATION HAS CHANGED", "its host key has changed: if that is right, `ssh-keygen -R {host}`, then `ssh {host}` once"),
        ("Host key verification failed", "its host key is not known here: log in once with `ssh {host}` and accept it"),
        ("Permission denied", "ssh wants a password or a key: `ssh-copy-id {host}`, until `ssh -o BatchMode=yes {host} true` is silent"),
        ("Too many authentication failures", "ssh wants another key: name it as IdentityFile for {host} in ~/.ssh/config"),
        ("Could not resolve hostname", "its name is not known here: mend the hostfile, or add the name to /etc/hosts or ~/.ssh/config"),
        ("Connection refused", "no ssh server answers: start sshd there, or give its port with --ssh_port"),
        ("timed out", "it does not answer: is it up, and is the network between open for ssh?"),
        ("No route to host", "there is no way to it: is it up, and in this network?"),
        ("Network is unreachable", "there is no way to its network from here"),
    ):  # fmt: skip
        if sign in errors:
            return sentence
    return f"ssh failed ({_last_line(errors) or 'without a word'}); try `ssh -o BatchMode=yes {HOST} true`"


def _of_module(name: str, target: Target) -> str:
    if name.split(".")[0] in ("ds_nowcast", "data_prep"):
        what = "an older ds_nowcast" if name not in ("ds_nowcast", "data_prep") else f"no {name}"
        return f"there is {what} in {target.folder} and {target.python}; copy this folder there, or install the package"
    return f"python has no {name} there; `{target.python} -m pip install {name}`"


def _last_line(text: str) -> str:
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
