"""What the doctor asks a probe and what that answers: one JSON object per line, over the pipes of ssh.

question: {"ask": NAME, "limit_s": SECONDS, "given": {...}}     answer: MARK {"said": {...}} or MARK {"wrong": SENTENCE}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

MARK = "@nowcast-doctor "  # a login shell may say all sorts of things before
T = TypeVar("T")


@dataclass(frozen=True)
class Wrong:
    """Why there is no answer, and what to do about it."""

    reason: str


@dataclass(frozen=True)
class Hello:
    """Who answers, and with what software."""

    hostname: str
    machine: str  # the same where two names mean one machine
    python: str
    torch: str  # versions; "" where not installed
    deepspeed: str
    package: str  # this package's version and a hash of its code
    addresses: list[str]  # of this host, without loopback
    interfaces: list[str]
    first: list[str]  # what the first host's name means here


@dataclass(frozen=True)
class Clock:
    """Seconds since 1970."""

    now: float


@dataclass(frozen=True)
class Devices:
    """What ranks would compute on."""

    forced: str  # DS_ACCELERATOR there
    gpus: list[str]  # names of those that torch sees
    gpu_files: int  # those that the kernel has
    cores: int
    settings: dict[str, str]  # GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME there


@dataclass(frozen=True)
class Digest:
    """Of a file or of settings; hosts must agree."""

    hash: str
    about: str = ""


@dataclass(frozen=True)
class Folder:
    """Where a run folder lies or will lie."""

    place: str  # the nearest folder that is there
    kind: str  # of file system
    free_gb: float


@dataclass(frozen=True)
class Way:
    """Which interface reaches the master; name "" where its address belongs to none that can be seen."""

    name: str
    address: str
    loopback: bool


@dataclass(frozen=True)
class Listening:
    """A port that a probe listens on."""

    port: int


@dataclass(frozen=True)
class Outcomes:
    """One per thing tried: "" where it went well, else why not."""

    reasons: list[str]


def said(kind: type[T], answer: Any) -> T | Wrong:
    """An answer as that kind; of a probe of another version it may be something else."""
    if isinstance(answer, dict) and isinstance(answer.get("wrong"), str):
        return Wrong(answer["wrong"])
    from pydantic import TypeAdapter, ValidationError  # late: a probe does without

    try:
        return TypeAdapter(kind).validate_python(answer["said"])
    except (ValidationError, LookupError, TypeError):
        return Wrong("its probe answers in another way: this package has another version there; install the same one")
