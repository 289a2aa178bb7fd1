"""Adding to a folder: what is new becomes new shards, what was there stays byte for byte."""

from __future__ import annotations

import shutil
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_prep.build import Work, build
from data_prep.building.earlier import Earlier, spans_of
from data_prep.building.part import Part
from data_prep.building.plan import Plan
from data_prep.building.sequences import FrameRef, Sequence
from data_prep.errors import UserError
from data_prep.shards.index import BuildNote, open_shards, read_idx
from data_prep.verify import faults
from tests.data_prep.fake_builds import Command, archive_plan, build_shards, hashes, killed_at_rename
from tests.data_prep.fake_reader import FakeArchive, at

OPTIONS: dict[str, Any] = {"split": "train", "frames": 4, "samples_per_shard": 2}
STEP = timedelta(minutes=20)


def starting(*steps: int) -> list[Sequence]:
    return [Sequence(f"s{step}", (FrameRef(step, 0),), (at(step),)) for step in steps]


def append(archive: FakeArchive, out: Path, **options: Any) -> None:
    build(archive_plan(archive, out, earlier=open_shards(out).index, **OPTIONS, **options), out)


def keys(out: Path) -> list[str]:
    shards = open_shards(out)
    return [
        key
        for split in shards.index.splits.values()
        for one in split.shards
        for key in read_idx(shards.source, one).keys
    ]


def test_spans_are_from_the_first_to_the_last_start_of_a_run() -> None:
    found = spans_of(starting(0, 4, 8, 40, 44, 100), STEP)
    assert [(first[11:16], last[11:16]) for first, last in found] == [
        ("00:00", "00:40"),
        ("03:20", "03:40"),
        ("08:20", "08:20"),
    ]


def test_what_begins_within_a_span_is_not_new_and_what_begins_elsewhere_is() -> None:
    note = BuildNote(plan="p", settings="s", spans=spans_of(starting(4, 8, 40), STEP), events=["E"])
    before = Earlier(SimpleNamespace(builds=[note]))  # type: ignore[arg-type]
    found = {one.key: before.lacks(one) for one in starting(0, 4, 6, 8, 9, 39, 40, 41)}
    assert found == {
        "s0": True,
        "s4": False,
        "s6": False,
        "s8": False,
        "s9": True,
        "s39": True,
        "s40": False,
        "s41": True,
    }
    [event] = starting(5)
    assert not before.lacks(Sequence("E", event.frames, event.times, "E"))
    assert before.lacks(Sequence("F", event.frames, event.times, "F"))


def test_what_begins_within_any_of_the_spans_that_overlap_is_not_new() -> None:
    """Of a build at every fourth frame, and of one that came to a short run of it later."""
    spans = [spans_of(starting(*starts), STEP) for starts in (range(0, 40, 4), [10, 14], [36, 40, 44])]
    notes = [BuildNote(plan="p", settings="s", spans=some, events=[]) for some in spans]
    before = Earlier(SimpleNamespace(builds=notes))  # type: ignore[arg-type]
    assert [one.key for one in starting(0, 12, 14, 20, 38, 44, 45) if before.lacks(one)] == ["s45"]


def test_new_days_become_new_shards_and_the_old_ones_stay(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_run(range(18))
    out = tmp_path / "out"
    build_shards(archive, out, **OPTIONS)
    before = hashes(out / "train")
    assert len(keys(out)) == 4 and open_shards(out).index.left_out == {"run shorter than 4 frames": 1}
    archive.add_run(range(18, 29))
    append(archive, out)
    index, after = open_shards(out).index, hashes(out / "train")
    assert {name: after[name] for name in before} == before and len(after) > len(before)
    assert sorted(keys(out)) == [f"{at(step):%Y%m%dT%H%M}" for step in range(0, 28, 4)]
    assert len(index.builds) == 2 and index.splits["train"].first_time == "2020-01-01T00:00:00Z"
    assert index.splits["train"].last_time == "2020-01-01T02:15:00Z"
    assert [shard.name for shard in index.splits["train"].shards] == [f"train/train-{n:06d}.tar" for n in range(4)]
    assert list(faults(open_shards(out))) == []


def test_events_that_came_since_are_added(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_events(3)
    out = tmp_path / "out"
    build_shards(archive, out, split="train")
    archive.add("new.npy", [at(5000 + step) for step in range(6)], "NEW")
    build(archive_plan(archive, out, earlier=open_shards(out).index, split="train"), out)
    assert sorted(keys(out)) == ["E000", "E001", "E002", "NEW"]


def test_a_folder_to_which_nothing_is_new_stays_as_it_is(
    archive: FakeArchive, command: Command, tmp_path: Path
) -> None:
    archive.add_run(range(8))
    given = ("--frames", "4")
    assert command(*given)[0] == 0
    before = hashes(tmp_path / "out")
    code, text = command(*given, "--append")
    assert code == 0 and "nothing to do" in text and hashes(tmp_path / "out") == before
    archive.add_run(range(8, 12))
    assert command(*given, "--append")[0] == 0
    before = hashes(tmp_path / "out")
    for again in ((*given, "--append"), given):
        assert command(*again)[0] == (0 if "--append" in again else 2) and hashes(tmp_path / "out") == before


def test_other_settings_or_no_folder_are_refused(archive: FakeArchive, command: Command, tmp_path: Path) -> None:
    archive.add_run(range(8))
    code, text = command("--frames", "4", "--append")
    assert code == 2 and "nothing to append to; build it first, without --append" in text
    assert command("--frames", "4")[0] == 0
    code, text = command("--frames", "4", "--append", "--min-wet", "0.5")
    assert code == 2 and "was built with other settings than these" in text


def planned_addition(archive: FakeArchive, out: Path) -> Plan:
    """That of new frames to a folder that was built before they came."""
    archive.add_run(range(8))
    build_shards(archive, out, **OPTIONS)
    archive.add_run(range(8, 12))
    return archive_plan(archive, out, earlier=open_shards(out).index, **OPTIONS)


def test_an_addition_to_what_has_changed_since_it_was_planned_is_refused(archive: FakeArchive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan = planned_addition(archive, out)
    index = open_shards(out).index
    split = index.splits["train"].model_copy(update={"wet": index.splits["train"].wet + 1})
    (out / "index.json").write_bytes(index.model_copy(update={"splits": {"train": split}}).content)
    before = hashes(out)
    for work in (Work(), Work(Part(0, 2))):
        with pytest.raises(UserError, match="has changed while the archive was listed; run the same again"):
            build(plan, out, work=work)
        assert hashes(out) == before and not (out / ".build").exists()


def test_an_addition_that_was_begun_otherwise_is_named_not_the_folder(archive: FakeArchive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan = planned_addition(archive, out)
    (out / ".build").mkdir()
    (out / ".build/plan.json").write_text('{"plan": "another", "made_folder": false}')
    with pytest.raises(UserError, match=rf"an addition to it was begun from other files .* or remove {out}/\.build$"):
        build(plan, out)


def test_an_addition_killed_at_any_rename_is_finished_by_the_same_command(archive: FakeArchive, tmp_path: Path) -> None:
    archive.add_run(range(8))
    base = tmp_path / "base"
    build_shards(archive, base, **OPTIONS)
    archive.add_run(range(8, 20))
    shutil.copytree(base, tmp_path / "whole")
    append(archive, tmp_path / "whole")
    whole = hashes(tmp_path / "whole")
    for rename in range(1, 30):
        out = tmp_path / f"killed {rename}"
        shutil.copytree(base, out)
        if not killed_at_rename(rename, partial(append, archive, out)):
            break
        assert open_shards(out).index.splits["train"].samples in (2, 5)  # the old index or the new one, never none
        append(archive, out)
        assert hashes(out) == whole
    assert rename == 13
