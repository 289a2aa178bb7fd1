from __future__ import annotations

import multiprocessing
import os

import pytest

from data_prep.workers import WorkerDiedError, in_parallel


def square_and_process(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def end_or_fail(number: int) -> int:
    if number == 1:
        os._exit(9)
    raise ValueError(f"number {number}")


def run_out(number: int) -> int:
    raise MemoryError


def test_each_task_comes_with_its_result_from_other_processes() -> None:
    results = dict(in_parallel(square_and_process, [1, 2, 3, 4, 5], workers=2))
    assert {task: square for task, (square, _) in results.items()} == {1: 1, 2: 4, 3: 9, 4: 16, 5: 25}
    assert os.getpid() not in {process for _, process in results.values()}
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("tasks", "workers"), [([1, 2], 1), ([1], 4)])
def test_one_worker_or_one_task_needs_no_process(tasks: list[int], workers: int) -> None:
    assert {process for _, (_, process) in in_parallel(square_and_process, tasks, workers)} == {os.getpid()}


def test_no_tasks_are_no_results() -> None:
    assert list(in_parallel(square_and_process, [], 2)) == []


def test_a_worker_that_ends_names_the_tasks_in_hand_and_stops_the_others() -> None:
    with pytest.raises(WorkerDiedError) as died:
        list(in_parallel(end_or_fail, [1, 1, 1], workers=2))
    assert died.value.tasks == [1, 1]
    assert not multiprocessing.active_children()


def test_an_error_in_a_worker_is_raised_here_and_stops_the_others() -> None:
    with pytest.raises(ValueError, match="number 7"):
        list(in_parallel(end_or_fail, [7, 7, 7], workers=2))
    assert not multiprocessing.active_children()


def test_running_out_of_memory_counts_as_a_death() -> None:
    with pytest.raises(WorkerDiedError) as died:
        list(in_parallel(run_out, [5], workers=1))
    assert died.value.tasks == [5]
