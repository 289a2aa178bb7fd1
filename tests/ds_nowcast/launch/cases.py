"""What the ranks of a test do, by name; the nursery runs one on each."""

from __future__ import annotations

import ctypes
import json
import os
import threading
import time
from datetime import timedelta
from pathlib import Path

from data_prep.errors import DataError, UserError
from ds_nowcast.errors import SaveError
from ds_nowcast.launch.beats import Failure
from ds_nowcast.launch.ending import Launch
from ds_nowcast.training.stop import StopRequest

SUSPICIOUS_S, AGREE_S = 1.5, 0.4  # instead of 10 and 3
PATIENCE_S = 2.5


def rank_of(launch: Launch) -> int:
    assert launch.me is not None
    return launch.me.rank


def be_patient(launch: Launch) -> None:
    """As long as `PATIENCE` says."""
    launch.patience(float(os.environ.get("PATIENCE", PATIENCE_S)))


def tell(launch: Launch, folder: Path, name: str) -> None:
    """That this rank has come so far."""
    (folder / f"{name}.{rank_of(launch)}").touch()


def wait_for(*paths: Path) -> None:
    """Interruptible, as a main thread that runs Python."""
    while not all(path.exists() for path in paths):
        time.sleep(0.01)


def everybody(launch: Launch, folder: Path, name: str) -> None:
    """Waits for all ranks to come to this place, and to have heard of those they listen to."""
    assert launch.me is not None and launch.watchdog is not None
    while any(heard.beat is None for heard in launch.watchdog._heard[launch.me.rank == 0 :]):
        time.sleep(0.01)
    tell(launch, folder, name)
    wait_for(*(folder / f"{name}.{rank}" for rank in range(launch.me.world)))


def work(launch: Launch, folder: Path) -> None:
    """Something long, with a short patience."""
    be_patient(launch)
    everybody(launch, folder, "working")
    wait_for(folder / "go")


def hang(launch: Launch, folder: Path) -> None:
    """A main thread that waits in C, as in a collective, where Python's signal handlers do not run."""
    be_patient(launch)
    everybody(launch, folder, "working")
    assert launch.store is not None
    launch.store.wait(["what nobody says"], timedelta(seconds=60))


def abort(launch: Launch, folder: Path) -> None:
    """A library gives up in a thread of its own on all ranks but 0, as NCCL does on all ranks that had to do with one that is gone."""
    be_patient(launch)
    everybody(launch, folder, "working")
    wait_for(folder / "go")
    if rank_of(launch) > 0:
        threading.Thread(target=ctypes.CDLL(None).abort).start()
    time.sleep(60)


def stop_when_asked(launch: Launch, folder: Path) -> int:
    """What takes a wish to stop for itself, saves for long, and is slow to come down then."""
    be_patient(launch)
    with StopRequest(launch) as stop:
        everybody(launch, folder, "working")
        while stop.reason is None:
            time.sleep(0.01)
        time.sleep(SUSPICIOUS_S + AGREE_S + 0.5)
    time.sleep(1.0)
    return 75


def linger(launch: Launch, folder: Path) -> None:
    """The last rank leaves later than the others, and has need of the store until then."""
    assert launch.me is not None and launch.store is not None
    be_patient(launch)
    everybody(launch, folder, "working")
    if launch.me.rank == launch.me.world - 1:
        wait_for(folder / "go")
        launch.store.set("still", "there")
        if os.environ.get("FAILS"):
            raise DataError("the last shard is damaged")


def cut(launch: Launch, folder: Path) -> None:
    """A collective of the last rank breaks."""
    be_patient(launch)
    everybody(launch, folder, "working")
    assert launch.me is not None
    if launch.me.rank == launch.me.world - 1:
        wait_for(folder / "go")
        raise RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    wait_for(folder / "never")


def fail_early(launch: Launch, folder: Path) -> None:
    """Rank 0 finds something wrong before the others have come."""
    tell(launch, folder, "met")
    if rank_of(launch) == 0:
        raise UserError("give a folder")
    wait_for(folder / "never")


def never_begin(launch: Launch, folder: Path) -> None:
    """Runs where the ranks could meet."""
    tell(launch, folder, "met")


def print_a_lot(launch: Launch, folder: Path) -> None:
    """Python's and a library's output, before and behind the move of the log; the folder to move to is `LOGS`."""
    assert launch.log is not None
    rank = rank_of(launch)
    print(f"printed by {rank}")
    os.system(f"echo from a child of {rank} >&2")
    everybody(launch, folder, "begun")
    if "LOGS" in os.environ:
        launch.logs_in(folder / os.environ["LOGS"])
    print(f"printed later by {rank}", flush=True)
    os.write(2, f"from C in {rank}\n".encode())
    launch.log.say(f"said by {rank}")
    launch.log.note(f"noted by {rank}")
    print(f"printed behind it by {rank}", flush=True)
    launch.log.note_stacks()
    everybody(launch, folder, "printed")
    wait_for(folder / "go")
    if os.environ.get("FAILS"):
        raise DataError("the last shard is damaged")


def raise_it(launch: Launch, folder: Path) -> int:
    """What `RAISES` says, on the ranks that `ON` names."""
    everybody(launch, folder, "working")
    if os.environ.get("SLOW") == str(rank_of(launch)):
        time.sleep(0.7)  # behind another rank
    if str(rank_of(launch)) in os.environ["ON"]:
        errors = {
            "user": UserError("give a folder"),
            "save": SaveError("make room"),
            "of rank 1": DataError("shard 3 is damaged").at(1),
            "unforeseen": ZeroDivisionError("division by zero"),
            "interrupt": KeyboardInterrupt(),
            "exit 2": SystemExit(2),
            "exit 0": SystemExit(0),
        }
        raise errors[os.environ["RAISES"]]
    if os.environ["RAISES"] == "exit 0":
        return 0
    wait_for(folder / "never")
    return 0


def record(launch: Launch, folder: Path) -> None:
    """Hangs until it is ended, and writes down which failure it was told to record."""
    be_patient(launch)

    def note(failure: Failure, first: bool) -> bool:
        if "HANGS" in os.environ:
            time.sleep(3600)
        path = folder / f"recorded.{rank_of(launch)}"
        path.write_text(json.dumps([failure.rank, failure.exit_code, first]))
        return rank_of(launch) == 2

    launch.record = note
    everybody(launch, folder, "working")
    wait_for(folder / "go")
