"""Attempts, waits between them, and what is said at the end."""

from __future__ import annotations

import threading

import pytest

from data_prep.errors import DataError, SourceError, without_secrets
from data_prep.shards.sources.retry import Retries, TransientError


class Failing:
    """Fails a number of times, then gives its answer."""

    def __init__(self, times: int, after_s: float = 0.0) -> None:
        self.times, self.after_s, self.calls = times, after_s, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise TransientError(f"failure {self.calls}", self.after_s)
        return "answer"


def test_waits_grow_and_the_answer_comes() -> None:
    waits: list[float] = []
    assert Retries(5, waits.append).run("it", Failing(5)) == "answer"
    for wait, longest in zip(waits, [0.25, 1, 4, 16, 30], strict=True):
        assert longest / 2 <= wait <= longest
    other: list[float] = []
    Retries(5, other.append).run("it", Failing(5))
    assert other != waits  # ranks that failed together do not come back together


def test_the_last_failure_names_the_thing_the_attempts_and_the_reason() -> None:
    failing = Failing(99)
    with pytest.raises(
        SourceError, match=r"the shard could not be read in 3 attempts; the last failed: failure 3; see that"
    ):
        Retries(2, lambda _: None).run("the shard", failing)
    assert failing.calls == 3
    with pytest.raises(SourceError, match="in 1 attempt;"):
        Retries(0).run("the shard", Failing(99))
    assert issubclass(SourceError, DataError) and SourceError.exit_code == 3


def test_a_server_is_given_the_pause_it_asks_for_within_reason() -> None:
    waits: list[float] = []
    Retries(1, waits.append).run("it", Failing(1, after_s=120))
    assert waits == [120]
    with pytest.raises(SourceError, match="in 1 attempt;"):
        Retries(5, waits.append).run("it", Failing(1, after_s=3600))
    assert waits == [120]


def test_other_errors_end_it_at_once() -> None:
    def absent() -> None:
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError):
        Retries(5, lambda _: pytest.fail("waited")).run("it", absent)


def test_closing_ends_a_wait() -> None:
    retries, failing = Retries(5), Failing(99, after_s=200)
    closer = threading.Timer(0.05, retries.close)
    closer.start()
    with pytest.raises(SourceError, match="closed"):
        retries.run("it", failing)
    closer.join()
    assert failing.calls == 1


def test_secrets_are_left_out() -> None:
    told = "GET 'https://me:pass@host/a?sig=S' then http://h:80/b?x=1 and s3://K:S@bucket/c failed"
    assert without_secrets(told) == "GET 'https://host/a' then http://h:80/b and s3://bucket/c failed"
