"""`.deepspeed_env`: variables that DeepSpeed's launcher takes to all hosts, one NAME=VALUE a line and nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.errors import UserError
from data_prep.files import write_atomically

_SECRET = re.compile(r"SECRET|TOKEN|PASSW|CREDENTIAL|KEY$", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def is_secret(name: str) -> bool:
    """Whether a variable's value should be seen neither in a list of processes nor on a screen."""
    return bool(_SECRET.search(name))


@dataclass
class EnvFile:
    """What a file says, and which of its lines do harm."""

    path: Path
    values: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)  # lines that are well
    idle: list[int] = field(default_factory=list)  # numbers of blank and comment lines
    bad: list[str] = field(default_factory=list)  # what is wrong with the others

    @property
    def problems(self) -> list[str]:
        """For the user."""
        numbers = ", ".join(map(str, self.idle))
        idle = [f"line {numbers} is blank or a comment, on which the launcher ends"] if self.idle else []
        return idle + self.bad


def env_paths() -> list[Path]:
    """Where the launcher looks; what comes later counts."""
    name = os.environ.get("DS_ENV_FILE", ".deepspeed_env")
    return [Path.home() / name, Path(name)]


def read_env_files(paths: Sequence[Path]) -> list[EnvFile]:
    """Those that are there. Raises UserError."""
    there = {path.resolve(): path for path in paths if path.is_file()}
    return [read_env_file(path) for path in there.values()]


def read_env_file(path: Path) -> EnvFile:
    """Reads one. Raises UserError."""
    try:
        return parse_env(path.read_text("utf-8"), path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); mend or remove it") from None


def parse_env(text: str, path: Path) -> EnvFile:
    """What the launcher would make of it, if it could."""
    found = EnvFile(path)
    for number, line in enumerate(text.splitlines(), 1):
        name, equals, value = (part.strip() for part in line.partition("="))
        if not line.strip() or line.lstrip().startswith("#"):
            found.idle.append(number)
        elif not equals or not _NAME.fullmatch(name):
            found.bad.append(f"line {number} is {line.strip()[:60]!r} and not NAME=VALUE")
        elif '"' in value or (len(value) > 1 and value[0] == value[-1] == "'"):
            found.bad.append(
                f"line {number} has quotes, which the launcher adds itself; write the bare value of {name}"
            )
        else:
            found.kept.append(line)
            found.values[name] = value
    return found


def write_env_file(path: Path, wanted: Mapping[str, str]) -> str:
    """Adds what is missing, drops lines that do harm and say nothing; tells what was done. Raises UserError."""
    old = read_env_file(path) if path.is_file() else EnvFile(path)
    if old.bad:
        raise UserError(f"{path} {'; '.join(old.bad)}; mend that first")
    added = [f"{name}={value}" for name, value in wanted.items() if name not in old.values]
    if not added and not old.idle:
        return f"{path} needs nothing more"
    if not added and not old.kept and not path.is_file():
        return f"{path} is not needed"
    try:
        write_atomically(path, "".join(f"{line}\n" for line in [*old.kept, *added]).encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); launch from a folder that can be") from None
    done = [f"added {', '.join(added)}"] if added else []
    done += [f"left out {len(old.idle)} blank or comment lines, on which the launcher ends"] if old.idle else []
    return f"{path}: {'; '.join(done)}"
