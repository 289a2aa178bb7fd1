"""Workers that die over a file: replaced, the file refused by name, everything else done."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator

import pytest

from data_prep.errors import RadarFileError
from data_prep.workers import InProcess, Limits, WorkerDiedError, Workers, in_parallel, reading

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pool() -> Iterator[Workers]:
    with Workers(2, Limits(memory_bytes=256 << 20, read_s=1.0)) as workers:
        yield workers


_broken, _leaked = list[str](), list[object]()  # by files read before in this process


def read(name: str) -> tuple[str, int]:
    """What a reader does with a file that is called after what it does to its reader."""
    with reading(name):
        match name.split("-")[0]:
            case "crashes":
                ctypes.string_at(0)
            case "stops":
                time.sleep(60)
            case "ends":
                os._exit(4)
            case "fills":
                try:
                    bytearray(1 << 30)
                except MemoryError:
                    raise RadarFileError(name, "does not fit") from None
            case "damaged":
                raise RadarFileError(name, "torn")
            case "corrupts":
                _broken.append(name)
                raise RadarFileError(name, "torn too")
            case "leaks":
                _leaked.append(name)
                raise RadarFileError(name, "torn as well")
            case "keeps":
                _leaked.append(bytearray(200 << 20))
                raise RadarFileError(name, "torn and not let go")
            case "large":
                try:
                    bytearray(150 << 20)
                except MemoryError:
                    raise RadarFileError(name, "does not fit") from None
            case "wrong":
                raise ValueError(f"wrong: {name}")
        if _broken:
            ctypes.string_at(0)
    return name, os.getpid()


def read_slowly(name: str) -> tuple[str, int]:
    time.sleep(0.5)
    return read(name)


def read_all(names: tuple[str, ...]) -> list[str]:
    """A task of several files, of which it leaves out those that cannot be read."""
    found = []
    for name in names:
        try:
            found.append(read(name)[0])
        except RadarFileError as error:
            found.append(f"{name}: {error.reason}")
    return found


def read_all_with_memory(names: tuple[str, ...]) -> list[str]:
    found = read_all(names)
    if _leaked:
        raise MemoryError
    return found


def end_outside_of_a_file(number: int) -> int:
    if number == 1:
        os._exit(9)
    return number


def killed_in_a_file(name: str) -> None:
    with reading(name):
        os.kill(os.getpid(), signal.SIGKILL)


def first_fails(number: int) -> int:
    if number == 0:
        raise ValueError("first")
    time.sleep(60)
    return number


def signalled(number: int) -> int:
    for one in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), one)
    return number


def run_out(number: int) -> int:
    raise MemoryError


def square_and_process(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def test_results_come_in_order_and_from_other_processes(pool: Workers) -> None:
    names = [f"sound-{number}" for number in range(100)]
    results = list(pool.each(read, names))
    assert [result[0] for result in results if not isinstance(result, RadarFileError)] == names
    processes = {result[1] for result in results if not isinstance(result, RadarFileError)}
    assert os.getpid() not in processes and len(processes) == 2


def test_even_a_few_files_are_shared_out(pool: Workers) -> None:
    results = list(pool.each(read_slowly, ["sound-1", "sound-2"]))
    assert len({result[1] for result in results if not isinstance(result, RadarFileError)}) == 2


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("crashes", r"its reader died \(signal 11, Segmentation fault\)"),
        ("stops", r"its reader died \(it took more than 1 s\)"),
        ("ends", r"its reader died \(exit code 4\)"),
        ("fills", "does not fit"),
        ("damaged", "torn"),
    ],
)
def test_a_file_that_kills_its_reader_is_an_error_in_its_place(pool: Workers, name: str, how: str) -> None:
    first, bad, *others = pool.each(read, ["sound-1", f"{name}-a", "sound-2", "sound-3"])
    assert isinstance(bad, RadarFileError) and bad.path == f"{name}-a"
    with pytest.raises(RadarFileError, match=how):
        raise bad
    assert not any(isinstance(result, RadarFileError) for result in (first, *others))


def test_a_task_begins_anew_without_the_files_that_killed_its_worker(pool: Workers) -> None:
    names = ("sound-1", "crashes-1", "damaged-1", "ends-1", "sound-2")
    [(_, found)] = pool.run(read_all, [names])
    assert found[0] == "sound-1" and found[4] == "sound-2" and found[2] == "damaged-1: torn"
    assert "signal 11" in found[1] and "exit code 4" in found[3]


def test_a_worker_that_a_damaged_file_left_broken_is_no_other_files_fault(pool: Workers) -> None:
    names = ("sound-1", "corrupts-1", "sound-2", "damaged-2", "sound-3")
    [(_, found)] = pool.run(read_all, [names])
    assert found == ["sound-1", "corrupts-1: torn too", "sound-2", "damaged-2: torn", "sound-3"]
    assert [isinstance(one, RadarFileError) for one in pool.each(read, ["corrupts-2"] + ["sound-4"] * 40)] == [
        True,
        *[False] * 40,
    ]


def test_memory_that_a_damaged_file_keeps_is_no_other_files_fault(pool: Workers) -> None:
    [(_, found)] = pool.run(read_all, [("sound-1", "keeps-1", "large-1", "sound-2")])
    assert found == ["sound-1", "keeps-1: torn and not let go", "large-1", "sound-2"]


def test_memory_that_a_damaged_file_took_is_no_reason_to_stop(pool: Workers) -> None:
    [(_, found)] = pool.run(read_all_with_memory, [("leaks-1", "sound-1")])
    assert found == ["leaks-1: torn as well", "sound-1"]


def test_a_file_once_refused_kills_no_other_worker(pool: Workers) -> None:
    [before] = pool.each(read, ["crashes-again"])
    began = time.monotonic()
    again = list(pool.each(read, ["crashes-again"] * 3))
    assert [str(error) for error in again] == [str(before)] * 3 and time.monotonic() - began < 5


def test_a_worker_that_dies_outside_of_a_file_is_an_error_that_names_its_task() -> None:
    others = set(multiprocessing.active_children())
    with pytest.raises(WorkerDiedError) as died, Workers(2) as workers:
        list(workers.run(end_outside_of_a_file, [0, 1, 2]))
    assert died.value.task == 1 and died.value.how == "exit code 9"
    assert set(multiprocessing.active_children()) <= others


def test_a_kill_from_outside_is_no_files_fault() -> None:
    with pytest.raises(WorkerDiedError, match="signal 9"), Workers(1) as workers:
        list(workers.run(killed_in_a_file, ["innocent"]))


def test_when_one_task_fails_or_nobody_waits_no_other_is_being_done_any_more() -> None:
    others = set(multiprocessing.active_children())
    with Workers(2) as workers:
        with pytest.raises(ValueError, match="first"):
            list(workers.run(first_fails, [0, 1]))
        assert len(set(multiprocessing.active_children()) - others) == 1  # that which failed, and waits for the next
        answers = workers.run(square_and_process, [2, 3])
        next(answers)
        answers.close()
        assert [square for _, (square, _) in workers.run(square_and_process, [4])] == [16]
    assert set(multiprocessing.active_children()) <= others


def test_what_a_terminal_or_a_scheduler_sends_to_all_processes_is_the_parents_to_handle(pool: Workers) -> None:
    assert dict(pool.run(signalled, [1, 2, 3])) == {1: 1, 2: 2, 3: 3}


def test_an_error_of_the_task_itself_is_raised_here(pool: Workers) -> None:
    with pytest.raises(ValueError, match="wrong: wrong-1"):
        list(pool.run(read, ["wrong-1"]))


@pytest.mark.parametrize("workers", [1, 2])
def test_running_out_of_memory_counts_as_a_death(workers: int) -> None:
    with pytest.raises(WorkerDiedError, match="out of memory"):
        list(in_parallel(run_out, [5, 6], workers))


def test_each_task_comes_with_its_result() -> None:
    results = dict(in_parallel(square_and_process, [1, 2, 3, 4, 5], workers=2))
    assert {task: square for task, (square, _) in results.items()} == {1: 1, 2: 4, 3: 9, 4: 16, 5: 25}


@pytest.mark.parametrize(("tasks", "workers"), [([1, 2], 1), ([1], 4)])
def test_one_worker_or_one_task_needs_no_process(tasks: list[int], workers: int) -> None:
    assert {process for _, (_, process) in in_parallel(square_and_process, tasks, workers)} == {os.getpid()}


def test_no_tasks_are_no_results(pool: Workers) -> None:
    assert list(pool.run(square_and_process, [])) == [] and list(pool.each(read, [])) == []


def test_in_process_a_damaged_file_is_an_error_in_its_place_too() -> None:
    sound, bad = InProcess().each(read, ["sound", "damaged"])
    assert isinstance(bad, RadarFileError) and not isinstance(sound, RadarFileError)
