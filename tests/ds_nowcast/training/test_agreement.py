"""What hosts must have alike: each test runs all ranks as threads, every host with a disk of its own or a shared one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data_prep.errors import UserError
from data_prep.shards.index import Shards, open_shards
from ds_nowcast.config import Batch, RunConfig, load_config
from ds_nowcast.launch import shared_disk
from ds_nowcast.ranks import Ranks
from ds_nowcast.training import agreement
from ds_nowcast.training.agreement import check_alike, check_shared

pytestmark = pytest.mark.slow


class Host(threading.local):
    """Which one a rank's thread runs on."""

    name = ""


HERE = Host()


@dataclass(frozen=True)
class Threads(Ranks):
    """A rank among threads, which meet at a table."""

    table: list[Any]
    met: threading.Barrier

    def gather(self, thing: Any) -> list[Any]:
        self.met.wait(20)
        self.table[self.rank] = thing
        self.met.wait(20)
        return list(self.table)

    def barrier(self) -> None:
        self.met.wait(20)


def on_all(work: Callable[[Ranks], None], hosts: list[str]) -> list[UserError | None]:
    """What each rank's `work` raises; hosts: of each rank."""
    world = len(hosts)
    table: list[Any] = [None] * world
    met = threading.Barrier(world)

    def one(rank: int) -> UserError | None:
        HERE.name = hosts[rank]
        local = hosts[:rank].count(hosts[rank])
        ranks = Threads(rank, world, local, hosts.count(hosts[rank]), torch.device("cpu"), table, met)
        try:
            work(ranks)
        except UserError as error:
            return error
        return None

    with ThreadPoolExecutor(world) as threads:
        return list(threads.map(one, range(world)))


@pytest.fixture(autouse=True)
def of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "host", lambda: HERE.name)
    monkeypatch.setattr(shared_disk, "_SEEN_WITHIN_S", 0.3)


def check_same(errors: list[UserError | None], rank: int, text: str) -> None:
    """All ranks raise the same, and say where it came from."""
    for error in errors:
        assert error is not None and error.rank == rank
        assert str(error).startswith(text), str(error)


# Config, shards, batch


@pytest.fixture
def alike(config: Path, shards: Path) -> tuple[RunConfig, Shards, Batch]:
    """What rank 0 has."""
    opened = load_config(config, [])
    return opened, open_shards(shards), opened.batch(4)


HOSTS = ["n1", "n1", "n2", "n2"]


def test_what_is_alike_passes(alike: tuple[RunConfig, Shards, Batch]) -> None:
    assert on_all(lambda ranks: check_alike(ranks, *alike), HOSTS) == [None] * 4


@pytest.mark.parametrize("what", ["config", "shards' index.json", "batch"])
def test_what_differs_on_a_host_is_told_on_all(what: str, alike: tuple[RunConfig, Shards, Batch], config: Path) -> None:
    settings, opened, batch = alike
    differing: dict[str, tuple[RunConfig, Shards, Batch]] = {
        "config": (load_config(config, ["nowcast.seed=4"]), opened, batch),
        "shards' index.json": (settings, replace(opened, hash="0" * 64), batch),
        "batch": (settings, opened, batch._replace(micro=2, accumulation=1)),
    }
    theirs = differing[what]
    errors = on_all(lambda ranks: check_alike(ranks, *(theirs if HERE.name == "n2" else alike)), HOSTS)
    check_same(errors, 2, f"{what} on n2 (rank 2) differ from those on n1 (rank 0); give a path that all hosts share")


def test_all_that_differs_is_named(alike: tuple[RunConfig, Shards, Batch], config: Path) -> None:
    other = (load_config(config, ["nowcast.seed=4"]), alike[1], alike[2]._replace(micro=3))
    errors = on_all(lambda ranks: check_alike(ranks, *(other if ranks.rank == 3 else alike)), HOSTS)
    check_same(errors, 3, "config and batch on n2 (rank 3) differ from those on n1 (rank 0)")


# A run folder that all see


@pytest.fixture
def disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Path]]:
    """Where a path of the run folder really lies on each host."""
    folders: dict[str, Path] = {}

    def local(path: Path) -> Path:
        return folders[HERE.name] / path.relative_to("/disk")

    for name in ("touch", "exists", "is_dir", "unlink"):
        really = getattr(Path, name)

        def moved(path: Path, *args: Any, really: Callable[..., Any] = really, **kwargs: Any) -> Any:
            return really(local(path) if path.is_relative_to("/disk") else path, *args, **kwargs)

        monkeypatch.setattr(Path, name, moved)
    yield folders
    left = [path for folder in tmp_path.iterdir() for path in folder.rglob("*") if path.is_file()]
    assert left == [], "nothing is left behind"


def disk(parent: Path, name: str, *, run: bool = True) -> Path:
    folder = parent / name
    (folder / "runs").mkdir(parents=True)
    if run:
        (folder / "runs/unet").mkdir()
    return folder


RUN = Path("/disk/runs/unet")


@pytest.mark.parametrize("run_is_there", [True, False])
def test_a_shared_disk_passes(run_is_there: bool, disks: dict[str, Path], tmp_path: Path) -> None:
    disks |= dict.fromkeys(HOSTS, disk(tmp_path, "network", run=run_is_there))
    assert on_all(lambda ranks: check_shared(RUN, ranks), HOSTS) == [None] * 4


@pytest.mark.parametrize("run_is_there", [True, False])
def test_disks_of_each_host_are_refused(run_is_there: bool, disks: dict[str, Path], tmp_path: Path) -> None:
    disks |= {host: disk(tmp_path, host, run=run_is_there) for host in set(HOSTS)}
    errors = on_all(lambda ranks: check_shared(RUN, ranks), HOSTS)
    place = RUN if run_is_there else RUN.parent
    check_same(
        errors, 2, f"the run folder {RUN} is not shared: n1 does not see in {place} what n2 wrote; checkpoints need"
    )


def test_the_host_that_does_not_share_is_named(disks: dict[str, Path], tmp_path: Path) -> None:
    hosts, network = ["n1", "n2", "n3"], disk(tmp_path, "network")
    disks |= {"n1": network, "n2": network, "n3": disk(tmp_path, "local")}
    check_same(on_all(lambda ranks: check_shared(RUN, ranks), hosts), 2, f"the run folder {RUN} is not shared: n1 does")


def test_a_folder_that_a_host_does_not_have_at_all_is_refused(disks: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    disks |= {"n1": disk(tmp_path, "n1"), "n2": tmp_path / "bare"}
    check_same(on_all(lambda ranks: check_shared(RUN, ranks), HOSTS), 2, f"the run folder {RUN} is not shared: n1 does")


def test_a_disk_that_a_host_may_not_write_to_is_refused(
    disks: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disks |= dict.fromkeys(HOSTS, disk(tmp_path, "network"))
    touch = Path.touch

    def read_only(path: Path, **kwargs: Any) -> None:
        if HERE.name == "n2":
            raise OSError(30, "Read-only file system", str(path))
        touch(path, **kwargs)

    monkeypatch.setattr(Path, "touch", read_only)
    errors = on_all(lambda ranks: check_shared(RUN, ranks), HOSTS)
    check_same(errors, 2, f"the run folder {RUN} is not shared: n1 does not see in {RUN} what n2 wrote")


def test_a_host_that_others_see_and_that_does_not_see_them_is_refused(
    disks: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disks |= dict.fromkeys(HOSTS, disk(tmp_path, "network"))
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: HERE.name != "n2" and exists(path))
    errors = on_all(lambda ranks: check_shared(RUN, ranks), HOSTS)
    check_same(errors, 2, f"the run folder {RUN} is not shared: n2 does not see in {RUN} what n1 wrote")


def test_a_disk_that_shows_new_files_with_a_delay_passes(
    disks: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disks |= dict.fromkeys(HOSTS, disk(tmp_path, "network"))
    exists, asked = Path.exists, []

    def late(path: Path) -> bool:
        asked.append(path)
        return len(asked) > 6 and exists(path)

    monkeypatch.setattr(shared_disk, "_SEEN_WITHIN_S", 20.0)
    monkeypatch.setattr(Path, "exists", late)
    assert on_all(lambda ranks: check_shared(RUN, ranks), HOSTS) == [None] * 4


def test_ranks_of_one_host_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "touch", lambda path, **kwargs: pytest.fail(f"wrote {path}"))
    assert on_all(lambda ranks: check_shared(tmp_path / "run", ranks), ["n1", "n1"]) == [None, None]
