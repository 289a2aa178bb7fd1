from __future__ import annotations

import errno
import fcntl
import os
import signal
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
import webdataset  # noqa: F401  (imported once, so that forked builds need not)

from data_prep.build import Work, build
from data_prep.building.folder import BuildFolder, building, locked
from data_prep.building.part import Part
from data_prep.building.plan import Plan
from data_prep.errors import UserError
from data_prep.shards.index import open_shards
from tests.data_prep.fake_builds import Command, archive_plan, build_shards, hashes, in_a_fork, killed_at_rename
from tests.data_prep.fake_reader import FakeArchive


def first_tar(out: Path, plan: Plan) -> Path:
    """Where the first task's first shard waits for the others."""
    return out / ".build" / f"{plan.tasks[0].stem}-0000.tar"


def test_a_complete_folder_needs_nothing_and_other_settings_are_refused(
    archive: FakeArchive, tmp_path: Path, command: Command
) -> None:
    archive.add_events(3)
    assert command()[0] == 0
    before = hashes(tmp_path / "out")
    code, text = command()
    assert code == 0 and "nothing to do" in text
    code, text = command("--crop", "8")
    assert code == 2 and "was built with other settings; give those, another --out, or remove it" in text
    archive.add_events(1)
    code, text = command()
    assert code == 2 and "was built from other files; give --append to add what is new" in text
    assert hashes(tmp_path / "out") == before


def test_an_unfinished_folder_of_other_settings_is_refused(
    archive: FakeArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add_events(3)
    out = tmp_path / "out"
    plan = archive_plan(archive, out, split="train", samples_per_shard=1)
    monkeypatch.setenv("NOWCAST_TEST_KILL", plan.tasks[2].sequences[0].key.lower() + ".npy")
    in_a_fork(lambda: build(plan, out))
    monkeypatch.delenv("NOWCAST_TEST_KILL")
    with pytest.raises(UserError, match="was begun from other files or with other settings"):
        build_shards(archive, out, split="train", crop=8)


def test_a_folder_with_other_things_in_it_is_refused(archive: FakeArchive, tmp_path: Path, command: Command) -> None:
    archive.add_events(2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("mine")
    code, text = command()
    assert code == 2 and "is not empty" in text
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out/thesis.txt"]
    code, text = command(out=tmp_path / "out/thesis.txt")
    assert code == 2 and "is a file" in text


def test_two_builders_do_not_meet_in_one_folder(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_events(2)
    plan = archive_plan(archive, tmp_path / "out", split="train", samples_per_shard=1)
    with building(tmp_path / "out", plan.hash, plan.tasks):
        for work in (Work(), Work(Part(0, 2)), Work(finish=True)):
            with pytest.raises(UserError, match="is being built by another process"):
                build(plan, tmp_path / "out", work=work)


def test_a_whole_build_does_not_meet_parts_in_one_folder_and_parts_meet(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_events(2)
    plan = archive_plan(archive, tmp_path / "out", split="train", samples_per_shard=1)
    with building(tmp_path / "out", plan.hash, plan.tasks[:1], "0-of-2"):
        with pytest.raises(UserError, match="is being built by another process"):
            build(plan, tmp_path / "out")
        build(plan, tmp_path / "out", work=Work(Part(1, 2)))


def test_locks_that_parts_of_another_number_left_are_in_nobodys_way(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_events(2)
    plan = archive_plan(archive, tmp_path / "out", split="train", samples_per_shard=1)
    (tmp_path / "out/.build").mkdir(parents=True)
    left = tmp_path / "out/.build/lock-0-of-4"
    left.touch()
    with locked(left, shared=True):  # another part that asks at the same time
        assert build(plan, tmp_path / "out", work=Work(Part(0, 2))) is not None


def test_parts_of_another_number_have_other_tasks_and_do_not_meet(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_events(4)
    plan = archive_plan(archive, tmp_path / "out", split="train", samples_per_shard=1)
    with building(tmp_path / "out", plan.hash, plan.tasks[::2], "0-of-2"):
        with pytest.raises(UserError, match="is being built by another process"):
            build(plan, tmp_path / "out", work=Work(Part(1, 4)))
        build(plan, tmp_path / "out", work=Work(Part(1, 2)))
    built = build(plan, tmp_path / "out", work=Work(Part(0, 1)))
    assert built is not None and built.index is not None


def test_a_file_system_without_locks_lets_everyone_build(
    archive: FakeArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    archive.add_events(2)
    monkeypatch.setattr(fcntl, "flock", no_locks)
    plan = archive_plan(archive, tmp_path / "out", split="train", samples_per_shard=1)
    for number in (0, 1):
        build(plan, tmp_path / "out", work=Work(Part(number, 2)))
    assert open_shards(tmp_path / "out").split("train").samples == 2


def test_nothing_left_is_an_error_with_the_account_and_leaves_no_folder(
    archive: FakeArchive, tmp_path: Path, command: Command
) -> None:
    archive.add_events(3)
    code, text = command("--min-wet", "1")
    assert code == 2 and "3 drier than 1 (E00" in text and "looser limits" in text
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    assert command("--min-wet", "1")[0] == 2
    assert list((tmp_path / "out").iterdir()) == []


def test_a_finished_shard_that_lost_bytes_is_built_again(
    archive: FakeArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add_events(4)
    plan, out = archive_plan(archive, tmp_path / "out", split="train", samples_per_shard=2), tmp_path / "out"
    monkeypatch.setenv("NOWCAST_TEST_KILL", plan.tasks[1].recordings[max(plan.tasks[1].recordings)].path.name)
    in_a_fork(lambda: build(plan, out))
    os.truncate(first_tar(out, plan), 1000)
    monkeypatch.delenv("NOWCAST_TEST_KILL")
    build(plan, out)
    build_shards(archive, tmp_path / "whole", split="train", samples_per_shard=2)
    assert hashes(out) == hashes(tmp_path / "whole")


def test_finished_shards_are_not_built_again(
    archive: FakeArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add_events(4)
    plan, out = archive_plan(archive, tmp_path / "out", split="train", samples_per_shard=2), tmp_path / "out"
    monkeypatch.setenv("NOWCAST_TEST_KILL", plan.tasks[1].recordings[max(plan.tasks[1].recordings)].path.name)
    assert in_a_fork(lambda: build(plan, out)) == signal.SIGKILL
    first = first_tar(out, plan)
    before = first.stat().st_mtime_ns
    monkeypatch.delenv("NOWCAST_TEST_KILL")
    build(plan, out)
    assert (out / "train/train-000000.tar").stat().st_mtime_ns == before and len(
        open_shards(out).index.splits["train"].shards
    ) == 2


def test_parts_build_what_one_process_builds_in_any_order(
    archive: FakeArchive, tmp_path: Path, command: Command
) -> None:
    archive.add_events(9)
    few = ("--samples-per-shard", "1")
    assert command(*few, out=tmp_path / "whole")[0] == 0
    for number in (2, 0, 3, 1):
        assert not (tmp_path / "out/index.json").exists()
        code, text = command(*few, "--part", f"{number}/4")
        assert code == 0 and ("of other parts to do" in text) == (number != 1)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")
    for number in range(4):  # late, or once more
        assert command(*few, "--part", f"{number}/4")[0] == 0
    assert command(*few)[0] == 0 and command(*few, "--finish")[0] == 0
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


def test_a_part_reads_records_of_others_only_to_finish_the_folder(
    archive: FakeArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add_events(9)
    plan = archive_plan(archive, tmp_path / "out", split="train", samples_per_shard=1)
    read, asked = BuildFolder._record, list[int]()
    monkeypatch.setattr(BuildFolder, "_record", lambda self, task: asked.append(task.number) or read(self, task))  # type: ignore[func-returns-value]
    for number in range(3):
        asked.clear()
        build(plan, tmp_path / "out", work=Work(Part(number, 3)))
        mine = [number, number + 3, number + 6]
        assert asked == mine if number < 2 else asked == [*mine, *range(9)]


def test_a_record_that_cannot_be_read_is_as_none(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_events(3)
    out = tmp_path / "out"
    plan = archive_plan(archive, out, split="train", samples_per_shard=1)
    build(plan, out, work=Work(Part(0, 2)))
    (out / ".build/train-000000.json").write_bytes(b"torn")
    built = build(plan, out, work=Work(Part(1, 2)))
    assert built and built.index is None and built.to_do == 1
    build(plan, out, work=Work(Part(0, 2)))
    assert hashes(out) == hashes(build_shards(archive, tmp_path / "whole", split="train", samples_per_shard=1).folder)


def test_a_part_killed_at_any_rename_is_finished_by_the_same_command_while_others_go_on(
    archive: FakeArchive, tmp_path: Path
) -> None:
    archive.add_events(5)
    whole = hashes(build_shards(archive, tmp_path / "whole", split="train", samples_per_shard=1).folder)

    def part(number: int, out: Path) -> None:
        build(archive_plan(archive, out, split="train", samples_per_shard=1), out, work=Work(Part(number, 3)))

    for rename in range(1, 20):
        out = tmp_path / f"killed {rename}"
        part(0, out)
        killed = killed_at_rename(rename, partial(part, 1, out))
        part(2, out)
        assert (out / "index.json").exists() == (rename >= 6)  # from its last record on the last part finishes for it
        part(1, out)
        assert hashes(out) == whole
        if not killed:
            break
    assert rename == 7  # twice .idx, tar and record


def test_a_part_that_ends_while_another_looks_whether_all_is_there_waits_and_finishes(
    archive: FakeArchive, tmp_path: Path
) -> None:
    archive.add_events(2)
    out = tmp_path / "out"
    plan = archive_plan(archive, out, split="train", samples_per_shard=1)
    build(plan, out, work=Work(Part(0, 2)))
    last = Thread(target=build, args=(plan, out), kwargs={"work": Work(Part(1, 2))})
    with locked(out / ".build/lock-last-steps"):
        last.start()
        while BuildFolder(out).without_record(plan.tasks):
            last.join(0.01)
        last.join(0.1)
        assert last.is_alive() and not (out / "index.json").exists()
    last.join(10)
    assert not last.is_alive() and (out / "index.json").exists()


def test_finish_ends_what_the_last_part_could_not(
    archive: FakeArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add_events(4)
    plan = archive_plan(archive, tmp_path / "out", split="train", samples_per_shard=1)
    build(plan, tmp_path / "out", work=Work(Part(0, 2)))

    def full(*_: object) -> None:
        raise OSError("full")

    with monkeypatch.context() as broken:
        broken.setattr(BuildFolder, "finish", full)
        with pytest.raises(OSError, match="full"):
            build(plan, tmp_path / "out", work=Work(Part(1, 2)))
    built = build(plan, tmp_path / "out", work=Work(finish=True))
    assert built is not None and built.index is not None


def test_there_is_nothing_to_finish_where_nothing_was_begun(
    archive: FakeArchive, tmp_path: Path, command: Command
) -> None:
    archive.add_events(3)
    code, text = command("--finish")
    assert code == 2 and f"nothing of this build was begun in {tmp_path / 'out'}" in text
    assert not (tmp_path / "out").exists()


def test_finish_names_what_is_missing_and_writes_nothing(
    archive: FakeArchive, tmp_path: Path, command: Command
) -> None:
    archive.add_events(4)
    few = ("--samples-per-shard", "1")
    assert command(*few, "--part", "1/2")[0] == 0
    code, text = command(*few, "--finish")
    assert code == 2 and "2 of 4 tasks are not done (train-000000, train-000002)" in text
    assert not (tmp_path / "out/index.json").exists()
    monkey = tmp_path / "out/.build/train-000001-0000.tar"
    monkey.unlink()
    assert command(*few, "--part", "0/2")[0] == 3  # all are recorded, but one is gone: the next build makes it again
    assert command(*few)[0] == 0
    assert command(*few, out=tmp_path / "whole")[0] == 0 and hashes(tmp_path / "out") == hashes(tmp_path / "whole")


def test_a_part_that_is_being_built_is_refused_and_another_is_not(
    archive: FakeArchive, tmp_path: Path, command: Command
) -> None:
    archive.add_events(2)
    (tmp_path / "out/.build").mkdir(parents=True)
    with open(tmp_path / "out/.build/lock-0-of-2", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        few = ("--samples-per-shard", "1")
        code, text = command(*few, "--part", "0/2")
        assert code == 2 and "is being built by another process" in text
        assert command(*few, "--part", "1/2")[0] == 0
