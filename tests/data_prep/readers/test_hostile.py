"""Damaged and hostile files of every format end in frames or in one error that names the file; nothing else, soon, in bounds.

A small part of what `python -m tests.hostile` does for as long as it is let.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import RadarFileError
from data_prep.readers import READERS
from data_prep.workers import InProcess, Limits, Pool, Workers
from tests.hostile.bombs import MARK, bombs
from tests.hostile.look import Looked, look
from tests.hostile.mutations import mutant
from tests.hostile.specimens import Specimen, made, real


@pytest.fixture(scope="module")
def pool() -> Iterator[Workers]:
    with Workers(2, Limits(memory_bytes=1 << 30, read_s=60.0)) as workers:
        yield workers


@cache
def made_ones() -> list[Specimen]:
    return made()


def looked_at(pool: Pool, folder: Path, files: Sequence[tuple[Specimen, bytes]]) -> list[Looked]:
    """What readers did with files, each in a folder of its own."""
    tasks = []
    for number, (specimen, content) in enumerate(files):
        inside = folder / str(number)
        tasks.append((specimen.format, str(inside), specimen.write(inside, content)))
    # `look` returns a reader's own refusal: an error in its place is of a process that died or went past its limits
    return [
        Looked("fault", str(one), 0.0, 0.0) if isinstance(one, RadarFileError) else one
        for one in pool.each(look, tasks)
    ]


def faults(looks: Sequence[Looked]) -> list[str]:
    return [one.says for one in looks if one.outcome == "fault"]


def test_a_file_that_kills_its_reader_is_a_fault_and_no_refusal(tmp_path: Path) -> None:
    class Mortal(InProcess):
        def each(self, function: Any, items: Any) -> Iterator[Any]:
            yield from (RadarFileError(path, "its reader died") for _, _, path in items)

    looks = looked_at(Mortal(), tmp_path, [(one, one.content) for one in made_ones()[:1]])
    assert [one.outcome for one in looks] == ["fault"] and "died" in faults(looks)[0]


@pytest.mark.slow
def test_there_is_a_sound_file_of_every_format_and_it_is_read(pool: Workers, tmp_path: Path) -> None:
    looks = looked_at(pool, tmp_path, [(one, one.content) for one in made_ones()])
    assert [one for one in looks if one.outcome != "frames"] == []
    assert {one.format for one in made_ones()} == set(READERS)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_gives_frames_or_an_error_that_names_it(pool: Workers, tmp_path: Path, name: str) -> None:
    chosen = [one for one in made_ones() if one.format == name]
    files = [(one, mutant(one.content, seed)[1]) for seed in range(60 // len(chosen)) for one in chosen]
    looks = looked_at(pool, tmp_path, files)
    assert faults(looks) == []
    assert any(one.outcome == "refused" for one in looks)


@pytest.mark.slow
def test_damaged_real_files_give_frames_or_an_error_that_names_them(
    pool: Workers, tmp_path: Path, radar_data: Path
) -> None:
    files = [(one, mutant(one.content, seed)[1]) for one in real(radar_data) for seed in range(4)]
    looks = looked_at(pool, tmp_path, files)
    assert faults(looks) == []
    assert {"frames", "refused"} == {one.outcome for one in looks}


@pytest.mark.slow
def test_files_made_to_do_harm_are_refused_in_bounds(pool: Workers, tmp_path: Path) -> None:
    looks = []
    for number, one in enumerate(bombs()):
        looks += looked_at(pool, tmp_path / str(number), [(one, one.content)])
    assert faults(looks) == []
    assert max(one.memory_mb for one in looks) < 1100 and max(one.seconds for one in looks) < 60
    assert not list(Path.cwd().glob(MARK))
