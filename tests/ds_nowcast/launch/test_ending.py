"""How a rank ends: one sentence, the right exit code, rank 0 first."""

from __future__ import annotations

import pytest

from data_prep.errors import DataError, UserError
from ds_nowcast.errors import STOPPED, DivergedError, SaveError
from ds_nowcast.launch import ending as launch


def be_rank(monkeypatch: pytest.MonkeyPatch, rank: str) -> None:
    for name, value in {"RANK": rank, "WORLD_SIZE": "4", "LOCAL_RANK": rank, "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)


def ending(error: BaseException | None, code: int = 0) -> int:
    def run() -> int:
        if error is not None:
            raise error
        return code

    return launch.ends_as_a_rank(run)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long ranks waited before they spoke."""
    waits: list[float] = []
    monkeypatch.setattr(launch.time, "sleep", waits.append)
    return waits


ENDS = [
    (UserError("give a folder"), 2),
    (DataError("copy the shard"), 3),
    (SaveError("make room"), 3),
    (DivergedError("lower the rate"), 4),
]


@pytest.mark.parametrize(("error", "code"), ENDS)
def test_rank_0_says_it_at_once(
    error: Exception, code: int, slept: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    be_rank(monkeypatch, "0")
    assert ending(error) == code
    assert capsys.readouterr().err == f"error: {error}\n"
    assert slept == []


@pytest.mark.parametrize(("error", "code"), ENDS)
def test_another_rank_gives_it_a_head_start_and_names_itself(
    error: Exception, code: int, slept: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    be_rank(monkeypatch, "3")
    monkeypatch.setattr(launch, "host", lambda: "node7")
    assert ending(error) == code
    assert capsys.readouterr().err == f"error on rank 3 (node7): {error}\n"
    assert len(slept) == 1


@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize("code", [0, STOPPED])
def test_an_exit_code_passes_through(rank: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    be_rank(monkeypatch, rank)
    assert ending(None, code) == code


@pytest.mark.parametrize("rank", ["0", "1"])
def test_an_interrupt_is_no_traceback(
    rank: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    be_rank(monkeypatch, rank)
    assert ending(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_what_nobody_foresaw_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    be_rank(monkeypatch, "1")
    with pytest.raises(ZeroDivisionError):
        ending(ZeroDivisionError())


def test_help_ends_with_an_example_and_hides_what_the_launcher_passes(capsys: pytest.CaptureFixture[str]) -> None:
    options = launch.parser("ds_nowcast.train", "Train.", "deepspeed --module ds_nowcast.train ...")
    with pytest.raises(SystemExit) as left:
        options.parse_args(["--help"])
    shown = capsys.readouterr().out
    assert left.value.code == 0
    assert shown.endswith("example:\n  deepspeed --module ds_nowcast.train ...\n")
    assert "local_rank" not in shown
    assert options.parse_args(["--local_rank=2"]).local_rank == 2
