"""What probes may have answered, made by hand."""

from __future__ import annotations

from typing import Any

from ds_nowcast.doctor.hostfile import Host
from ds_nowcast.doctor.job import Examined, Job, Seen, Skew
from ds_nowcast.doctor.protocol import Devices, Digest, Folder, Hello, Listening, Way


def hello(number: int = 1, **changes: Any) -> Hello:
    """Of host n1, n2, ..."""
    words: dict[str, Any] = {
        "hostname": f"n{number}", "machine": f"n{number}", "python": "3.11.7", "torch": "2.6.0", "deepspeed": "0.19.8",
        "package": "0.1.0 12345678", "addresses": [f"10.0.0.{number}"], "interfaces": ["lo", "eth0"], "first": ["10.0.0.1"],
    }  # fmt: skip
    return Hello(**words | changes)


def seen(number: int = 1, slots: int = 2, **changes: Any) -> Seen:
    """A host with all well on it."""
    words: dict[str, Any] = {
        "hello": hello(number), "skew": Skew(0.01, 0.1), "devices": Devices("cpu", [], 0, 8, {}),
        "hostfile": Digest("a" * 64), "config": Digest("b" * 64), "shards": Digest("c" * 64, "3 shards"),
        "folder": Folder("/runs", "nfs4", 500.0), "way": Way("eth0", f"10.0.0.{number}", False), "port": Listening(29500),
        "reaches": "", "reached": "" if number > 1 else None, "shared": "", "fit": Digest("") if number == 1 else None,
    }  # fmt: skip
    return Seen(Host(f"n{number}", slots), **words | changes)


def job(*hosts: Seen, **changes: Any) -> Job:
    """A launch on them."""
    words: dict[str, Any] = {
        "hostfile": "hostfile", "local": False, "folder": "/home/me/nowcast", "python": "/opt/env/bin/python",
    }  # fmt: skip
    return Job(**{"hosts": [one.host for one in hosts], **words, **changes})


def examined(*hosts: Seen) -> Examined:
    """With the first one's address as the master's."""
    return Examined(list(hosts), "10.0.0.1")
