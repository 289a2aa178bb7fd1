"""What a probe sees on its host. Torch is imported where it is asked for: the first answers come without it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.errors import UserError
from ds_nowcast.doctor import ports
from ds_nowcast.doctor.protocol import Clock, Devices, Digest, Folder, Hello
from ds_nowcast.launch.shared_disk import nearest_folder

if TYPE_CHECKING:
    from data_prep.shards.index import Shards

SOCKETS = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


def hello(first: str, environment: Mapping[str, str]) -> Hello:
    """Who this host is. environment: what must not stand in a command line."""
    os.environ.update(environment)
    return Hello(
        socket.gethostname(), machine(), platform.python_version(),
        _version("torch"), _version("deepspeed"), f"{_version('ds-nowcast') or 'not installed'} {code_hash()[:8]}",
        ports.addresses(), ports.interfaces(), ports.meanings(first),
    )  # fmt: skip


def clock() -> Clock:
    """Now."""
    return Clock(time.time())


def machine() -> str:
    """A word that two names of one machine share; containers and network namespaces are machines."""
    words = [socket.gethostname()]
    with suppress(OSError):
        words.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        words.append(os.readlink("/proc/self/ns/net"))
    return " ".join(words)


def code_hash() -> str:
    """Of the sources of this package, as they would run here: a version number tells little of a checkout."""
    digest = hashlib.sha256()
    for package in ("data_prep", "ds_nowcast"):
        spec = importlib.util.find_spec(package)
        [folder] = (spec.submodule_search_locations if spec else None) or [""]
        for path in sorted(Path(folder).rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def devices() -> Devices:
    """What ranks would compute on."""
    import torch

    forced = os.environ.get("DS_ACCELERATOR", "")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [torch.cuda.get_device_name(number) for number in range(count)]
    files = [name for name in os.listdir("/dev") if re.fullmatch(r"nvidia\d+", name)]
    settings = {name: os.environ[name] for name in SOCKETS if name in os.environ}
    return Devices(forced, names, len(files), len(os.sched_getaffinity(0)), settings)


def file(path: str) -> Digest:
    """A file's hash. Raises OSError."""
    return Digest(hashlib.sha256(Path(path).read_bytes()).hexdigest())


def config(path: str, overrides: Sequence[str]) -> Digest:
    """The resolved settings' hash, as the ranks compare it. Raises UserError."""
    from ds_nowcast.config import load_config

    settings = load_config(path, overrides).to_dict()
    return Digest(hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest())


def shards(location: str, config: str | None, overrides: Sequence[str]) -> Digest:
    """The index's hash, after a table of contents and a shard were opened. Raises UserError, DataError."""
    opened = _opened(location, config, overrides)
    parts = [shard for split in opened.index.splits.values() for shard in split.shards]
    if opened.source.local:
        from data_prep.shards.index import read_idx

        read_idx(opened.source, parts[0])
        opened.source.read(parts[0].name, 0, 512)
    return Digest(opened.hash, f"{len(parts)} shards")


def _opened(location: str, config: str | None, overrides: Sequence[str]) -> Shards:
    from data_prep.shards.index import open_shards

    if config is None:
        return open_shards(location)
    from ds_nowcast.config import load_config
    from ds_nowcast.stream.windows import open_for

    return open_for(location, load_config(config, overrides).nowcast.data)


def fit(location: str, config: str, overrides: Sequence[str], run: str | None, world: int) -> Digest:
    """What a training checks before its ranks meet: config, shards, model, run folder, number of ranks. Raises UserError."""
    from ds_nowcast.config import load_config
    from ds_nowcast.stream.windows import open_for
    from ds_nowcast.training.run_folder import RunFolder
    from ds_nowcast.training.start import check_start

    settings = load_config(config, overrides)
    opened = open_for(location, settings.nowcast.data)
    start = check_start(settings, opened, None if run is None else RunFolder(run), world)
    return Digest("", f"{start.batch.total} samples a step")


def folder(path: str) -> Folder:
    """Where the run folder lies, or will lie. Raises UserError."""
    run = Path(path).absolute()
    place = nearest_folder(run)
    if place == run.parent and run.exists():
        raise UserError(f"{run} is a file; give --run a folder")
    return Folder(str(place), _kind(place.resolve()), shutil.disk_usage(place).free / 1e9)


def _kind(place: Path) -> str:
    """The type of the file system that a folder lies on."""
    found, depth = "unknown", -1
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        mounted = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), before.split(" ")[4]))
        if place.is_relative_to(mounted) and len(mounted.parts) >= depth:
            found, depth = after.split(" ")[0], len(mounted.parts)
    return found
