"""How a command ends as one of many ranks: one line, the right exit code, on all of them."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.distributed import DistNetworkError

from data_prep.errors import DataError, ExpectedError, UserError
from ds_nowcast.errors import PEER_LOST, STOPPED, DivergedError, PeerLostError, SaveError
from ds_nowcast.launch.beats import Failure, State
from ds_nowcast.launch.ending import Launch, ends_as_a_rank, parser
from ds_nowcast.launch.environment import host
from ds_nowcast.launch.explained import Why, explained
from tests.ds_nowcast.launch.conftest import StartRanks, until

GLOO = "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]:4242"
MEMORY = "; lower train_micro_batch_size_per_gpu (accumulation makes up for it), or raise zero_optimization.stage"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (UserError("give a\n folder"), Why("give a folder", 2)),
        (SaveError("make room").at(3), Why("make room", 3, culprit=3)),
        (DivergedError("lower the rate"), Why("lower the rate", 4)),
        (KeyboardInterrupt(), Why("interrupted", 130)),
        (SystemExit(2), Why("", 2)),
        (SystemExit("no"), Why("it left with 'no'", 1)),
        (SystemExit(1), Why("it left with 1", 1)),
        (RuntimeError("NCCL error: out of memory"), Why(f"out of memory (NCCL error: out of memory){MEMORY}", 1)),
        (RuntimeError(GLOO), Why(f"the connection to another rank broke ({GLOO})", PEER_LOST, State.CUT)),
        (DistNetworkError("gone"), Why("the connection to another rank broke (gone)", PEER_LOST, State.CUT)),
        (RuntimeError("NCCL error in: x.cpp"), Why("the connection to another rank broke (NCCL error in: x.cpp)", 5, State.CUT)),
        (torch.OutOfMemoryError("CUDA out of memory."), Why(f"out of memory (CUDA out of memory.){MEMORY}", 1)),
        (MemoryError(), Why(f"out of memory (MemoryError){MEMORY}", 1)),
        (RuntimeError("CPU: can't allocate memory"), Why(f"out of memory (CPU: can't allocate memory){MEMORY}", 1)),
        (ZeroDivisionError("division by zero"), Why("ZeroDivisionError: division by zero", 1, traced=True)),
        (ValueError("x" * 301), Why(f"ValueError: {'x' * 297}...", 1, traced=True)),
    ],
)  # fmt: skip
def test_an_exception_in_the_words_of_the_user(error: BaseException, why: Why) -> None:
    assert explained(error) == why


def test_an_error_that_all_ranks_raise_may_name_the_one_it_came_from() -> None:
    assert DataError("damaged").rank is None
    error = DataError("damaged").at(0)
    assert isinstance(error, DataError) and error.rank == 0 and str(error) == "damaged"
    assert ExpectedError.rank is None


# Without a launcher


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Failure, bool]]:
    """No launcher; what is recorded."""
    monkeypatch.delenv("RANK", raising=False)
    return []


def ending(run: Callable[[], int], recorded: list[tuple[Failure, bool]]) -> int:
    def part(launch: Launch) -> int:
        assert launch.me is launch.store is None
        launch.patience(1.0)  # those have no meaning, and no effect
        launch.stops_itself(True)
        launch.logs_in(Path("/nowhere"))
        assert not launch.launcher_gone
        launch.record = lambda failure, first: recorded.append((failure, first))
        return run()

    return ends_as_a_rank(part)


def raising(error: BaseException) -> Callable[[], int]:
    def run() -> int:
        raise error

    return run


@pytest.mark.parametrize("error", [UserError("give a folder"), SaveError("make room"), PeerLostError("nobody")])
def test_alone_an_error_is_one_sentence_and_recorded(
    error: ExpectedError, alone: list[tuple[Failure, bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(raising(error), alone) == error.exit_code
    assert capsys.readouterr().err == f"error: {error}\n"
    assert alone == [(Failure(0, host(), str(error), error.exit_code), True)]


@pytest.mark.parametrize("code", [0, STOPPED])
def test_alone_an_exit_code_passes_through(code: int, alone: list[tuple[Failure, bool]]) -> None:
    assert ending(lambda: code, alone) == code
    assert alone == []


def test_alone_what_nobody_foresaw_keeps_its_traceback(alone: list[tuple[Failure, bool]]) -> None:
    with pytest.raises(ZeroDivisionError):
        ending(lambda: 1 // 0, alone)
    assert alone == [(Failure(0, host(), "ZeroDivisionError: integer division or modulo by zero", 1), True)]


def test_alone_an_interrupt_is_one_word(alone: list[tuple[Failure, bool]], capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(raising(KeyboardInterrupt()), alone) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_half_of_what_a_launcher_says_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert ends_as_a_rank(lambda launch: 0) == 2
    assert capsys.readouterr().err.startswith("error: the launcher set RANK and not WORLD_SIZE")


# Under one


@pytest.mark.slow
@pytest.mark.parametrize(
    ("raises", "on", "code", "told"),
    [
        ("user", "0", 2, ["error: give a folder"]),
        ("user", "01", 2, ["error: give a folder"]),
        ("user", "1", 2, ["FAILED rank 1 on HOST: give a folder"]),
        ("save", "0", 3, ["FAILED rank 0 on HOST: make room"]),
        ("save", "01", 3, ["FAILED rank 0 on HOST: make room"]),
        ("of rank 1", "01", 3, ["FAILED rank 1 on HOST: shard 3 is damaged"]),
        ("unforeseen", "1", 1, ["FAILED rank 1 on HOST: ZeroDivisionError: division by zero"]),
        ("interrupt", "01", 130, ["interrupted"]),
        ("exit 2", "01", 2, []),  # argparse has told why
        ("exit 0", "1", 0, []),
    ],
)
def test_one_line_for_all_ranks_and_one_exit_code(
    start_ranks: StartRanks, raises: str, on: str, code: int, told: list[str]
) -> None:
    launch = start_ranks("raise_it", world=2, RAISES=raises, ON=on)
    assert launch.codes == [code, code]
    assert launch.told == [line.replace("HOST", host()) for line in told]
    [log] = launch.folder.glob("*.log") if code else [None]
    if log is not None and "unforeseen" in raises:
        assert "in raise_it\n" in log.read_text(), "the rank's traceback"
        assert log.read_text().count("ZeroDivisionError: division by zero\n") == 3, "shown, noted, and told"


@pytest.mark.slow
def test_what_another_rank_found_first_is_told_as_rank_0_s_where_it_finds_it_too(start_ranks: StartRanks) -> None:
    launch = start_ranks("raise_it", world=2, RAISES="user", ON="01", SLOW="0", AGREE="10")
    assert launch.codes == [2, 2]
    assert launch.told == ["error: give a folder"]


@pytest.mark.slow
def test_a_rank_that_comes_behind_a_failure_still_hears_of_it(start_ranks: StartRanks) -> None:
    launch = start_ranks("fail_early", world=2, LATE="1")
    until((launch.folder / "met.0").exists, "rank 0 to fail")
    launch.go_on("come")
    assert launch.codes == [2, 2]
    assert launch.told == ["error: give a folder"]


def test_what_nobody_foresaw_on_rank_0_has_its_traceback_on_the_screen(start_ranks: StartRanks) -> None:
    launch = start_ranks("raise_it", world=2, RAISES="unforeseen", ON="0")
    assert launch.codes == [1, 1]
    assert launch.told[0] == "Traceback (most recent call last):"
    assert launch.told[-2:] == [
        "ZeroDivisionError: division by zero", f"FAILED rank 0 on {host()}: ZeroDivisionError: division by zero"
    ]  # fmt: skip


@pytest.mark.slow
def test_rank_0_records_a_failure_and_without_it_whoever_finds_it_first_speaks(start_ranks: StartRanks) -> None:
    with_first, without = start_ranks("record", world=3), start_ranks("record", world=3)
    for killed, launch in enumerate((without, with_first)):
        launch.until_all("working")
        launch.kill(killed, signal.SIGKILL)
    assert with_first.codes == [PEER_LOST, -signal.SIGKILL, PEER_LOST]
    assert json.loads((with_first.folder / "recorded.0").read_text()) == [1, PEER_LOST, True]
    assert not (with_first.folder / "recorded.2").exists()
    assert without.codes == [-signal.SIGKILL, PEER_LOST, PEER_LOST]
    for rank in (1, 2):
        assert json.loads((without.folder / f"recorded.{rank}").read_text()) == [0, PEER_LOST, False]
    assert without.screen.count("FAILED rank 0") == 1, "the record shows that rank 2 told it"


@pytest.mark.launch
def test_a_disk_that_hangs_where_a_failure_is_recorded_keeps_no_rank_and_hides_nothing(start_ranks: StartRanks) -> None:
    launches = [start_ranks("record", world=3, HANGS="yes", WRITING="0.5") for _ in range(2)]
    for killed, launch in enumerate(launches):
        launch.until_all("working")
        launch.kill(killed, signal.SIGKILL)
    for killed, launch in enumerate(launches):
        assert launch.codes == [-signal.SIGKILL if rank == killed else PEER_LOST for rank in range(3)]
        assert launch.screen.count(f"FAILED rank {killed}") == launch.screen.count("FAILED") == 1


@pytest.mark.slow
def test_with_no_record_and_without_rank_0_one_rank_of_each_host_speaks(start_ranks: StartRanks) -> None:
    here, everywhere = start_ranks("work", world=3), start_ranks("work", world=3, LOCAL_RANK="0", LOCAL_SIZE="1")
    for launch in (here, everywhere):
        launch.until_all("working")
        launch.kill(0, signal.SIGKILL)
    assert here.codes == everywhere.codes == [-signal.SIGKILL, PEER_LOST, PEER_LOST]
    assert here.screen.count("FAILED rank 0") == 1
    assert everywhere.screen.count("FAILED rank 0") == 2


@pytest.mark.slow
def test_where_ranks_cannot_meet_one_of_each_host_says_why(start_ranks: StartRanks) -> None:
    first = start_ranks("work", world=2, PATIENCE="60")
    first.until_all("working")
    port = first.port
    second = start_ranks("never_begin", world=2, port=port)
    assert second.codes == [2, 2]
    [line] = second.told
    assert line.startswith(f"FAILED rank 0 on {host()}: port {port} of {host()} is in use; give a free one")
    assert not (second.folder / "met.1").exists()
    first.go_on()
    assert first.codes == [0, 0], first.screen


def test_help_ends_with_an_example_and_hides_what_the_launcher_passes(capsys: pytest.CaptureFixture[str]) -> None:
    options = parser("ds_nowcast.train", "Train.", "deepspeed --module ds_nowcast.train ...")
    with pytest.raises(SystemExit) as left:
        options.parse_args(["--help"])
    shown = capsys.readouterr().out
    assert left.value.code == 0
    assert shown.endswith("example:\n  deepspeed --module ds_nowcast.train ...\n")
    assert "local_rank" not in shown
    assert options.parse_args(["--local_rank=2"]).local_rank == 2
