"""How a launch's end is read from its exit code and log."""

from __future__ import annotations

from pathlib import Path

import pytest

from ds_nowcast.measuring.outcomes import outcome_of

LAUNCHER = (
    "[2026-01-01 02:03:04,567] [ERROR] [launch.py:259:sigkill_handler] ['python', '-m', 'x'] exits with return code = "
)
WATCHDOG = "FAILED rank 1 on n2: no sign of life for 10 s: it was killed (for want of memory?), or its host is down"
TORCH = "FAILED rank 0 on n1: out of memory (CUDA out of memory. Tried to allocate 2 GiB); lower the micro-batch"


@pytest.mark.parametrize(
    ("code", "log", "ended", "reason"),
    [
        (0, "o.json: 3 samples/s", "measured", ""),
        (2, f"hello\nerror: nowcast.stepz is unknown\n{LAUNCHER}2\n", "refused", "nowcast.stepz is unknown"),
        (2, "ds_nowcast.measure: error: argument --steps: 'x'\n", "refused", "argument --steps: 'x'"),
        (2, f"FAILED rank 1 on n2: config on n2 differs\n{LAUNCHER}2", "refused", "FAILED rank 1 on n2: config on n2 differs"),
        (1, f"{TORCH}\n{LAUNCHER}1\n", "out_of_memory", TORCH),
        (1, f"10.77.0.1: {TORCH}\n10.77.0.1: {LAUNCHER}1\npdsh@n1: n1: ssh exited with exit code 1\n", "out_of_memory", TORCH),
        (2, f"n1: error: nowcast.stepz is unknown\nn1: {LAUNCHER}2\n", "refused", "nowcast.stepz is unknown"),
        (247, f"{WATCHDOG}\n{LAUNCHER}-9\n", "out_of_memory", WATCHDOG),
        (-9, "", "out_of_memory", "the kernel killed it, most likely for want of memory"),
        (1, "x\nMemoryError: Unable to allocate\n", "out_of_memory", "MemoryError: Unable to allocate"),
        (134, "terminate called after throwing an instance of 'std::bad_alloc'\n", "out_of_memory", None),
        (1, "Traceback\n  File x\ntorch.cuda.MyError: what\n[x] after\n", "crashed", "torch.cuda.MyError: what"),
        (4, "FAILED rank 0 on n1: the loss is not finite\nlast\n", "crashed", "FAILED rank 0 on n1: the loss is not finite"),
        (5, f"{WATCHDOG}\n{LAUNCHER}5\n", "crashed", WATCHDOG),
        (1, "only this\n\n", "crashed", "only this"),
        (7, "", "crashed", "it ended with exit code 7 and said nothing"),
    ],
)  # fmt: skip
def test_an_end_has_a_kind_and_a_reason(tmp_path: Path, code: int, log: str, ended: str, reason: str | None) -> None:
    (tmp_path / "log").write_text(log)
    outcome = outcome_of(code, tmp_path / "log", 1.5, None)
    assert (outcome.ended, outcome.code, outcome.seconds, outcome.result) == (ended, code, 1.5, None)
    assert outcome.reason == reason or (reason is None and "bad_alloc" in outcome.reason)


def test_what_was_too_slow_is_told_so_whatever_its_end_looked_like(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(TORCH)
    outcome = outcome_of(-15, tmp_path / "log", 61.0, 60)
    assert (outcome.ended, outcome.reason) == ("timed_out", "it did not end within 60 s")


def test_a_log_of_any_size_and_kind_is_read_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"MemoryError\n" + b"\xff\x00 line\n" * 400_000 + b"error: the end\n")
    assert outcome_of(2, tmp_path / "log", 1, None).reason == "the end"
    assert outcome_of(1, tmp_path / "log", 1, None).ended == "crashed"
    assert outcome_of(1, tmp_path / "none", 1, None).ended == "crashed"
