"""Checkpoints are whole or not used: order of writing, pruning, and every kind of damage. The engine is a stand-in."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from data_prep.errors import UserError
from data_prep.files import sha256_of
from ds_nowcast.engine import WORKPLACE, Engine
from ds_nowcast.errors import SaveError
from ds_nowcast.ranks import Ranks
from ds_nowcast.training import checkpoints as checkpoints_module
from ds_nowcast.training.checkpoints import MANIFEST, Checkpoints, finished_tags, tag_of

ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"))
KIND: dict[str, Any] = {"ranks": 1, "ZeRO stage": 2, "precision": "float32", "optimizer": "adamw", "scheduler": None}
WEIGHTS, STATE = "mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt"


class FakeEngine:
    """Writes two files as DeepSpeed does, or fails to."""

    def __init__(self) -> None:
        self.steps, self.kind = 0, KIND
        self.failure: str | None = None

    def save(self, folder: Path, tag: str, client_state: dict[str, Any]) -> str | None:
        assert not list((folder / tag).iterdir()), "what a killed save left was not removed"
        (folder / tag / WEIGHTS).write_bytes(b"weights of %d" % self.steps)
        if self.failure is None:
            (folder / tag / STATE).write_bytes(b"state of %d" % self.steps)
        return self.failure


class Saved:
    """Checkpoints of a folder and what was warned of."""

    def __init__(self, folder: Path, keep: int = 3) -> None:
        self.folder, self.engine, self.warnings = folder, FakeEngine(), list[str]()
        self.checkpoints = Checkpoints(folder, keep, ALONE)

    def save(self, *steps: int, best: int | None = None) -> None:
        for step in steps:
            self.engine.steps = step
            self.checkpoints.save(cast(Engine, self.engine), {}, best)

    def newest(self) -> str | None:
        self.warnings.clear()
        found = self.checkpoints.newest(cast(Engine, self.engine), self.warnings.append)
        return None if found is None else found.tag

    @property
    def steps(self) -> list[int]:
        return sorted(int(path.name.removeprefix("step_")) for path in self.folder.glob("step_*"))


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    return Saved(tmp_path / "checkpoints")


def test_a_fresh_run_has_none(saved: Saved) -> None:
    assert saved.newest() is None
    assert finished_tags(saved.folder) == []
    assert saved.warnings == []


def test_the_manifest_lists_every_file_with_its_hash_and_what_it_was_saved_with(saved: Saved) -> None:
    saved.save(100)
    target = saved.folder / "step_00000100"
    manifest = json.loads((target / MANIFEST).read_text())
    assert manifest["tag"] == target.name
    assert manifest["saved_with"] == KIND
    assert manifest["files"] == {
        name: {"bytes": (target / name).stat().st_size, "sha256": sha256_of(target / name)} for name in (WEIGHTS, STATE)
    }
    assert (saved.folder / "latest").read_text() == target.name
    assert saved.newest() == target.name
    assert saved.warnings == []


def test_files_then_the_manifest_then_latest_are_written(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    really = checkpoints_module.write_atomically

    def write(path: Path, content: bytes) -> None:
        assert (saved.folder / tag_of(saved.engine.steps) / STATE).is_file()
        written.append(path.name)
        really(path, content)

    monkeypatch.setattr(checkpoints_module, "write_atomically", write)
    saved.save(5)
    assert written == [MANIFEST, "latest"]


def test_the_newest_are_kept(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "checkpoints", keep=2)
    for step in (5, 10, 15, 20):
        saved.save(step)
        assert saved.newest() == tag_of(step)
    assert saved.steps == [15, 20]


def test_pruning_keeps_the_good_one_behind_a_damaged_one_of_a_later_step(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "checkpoints", keep=2)
    saved.save(5, 10, 17)
    truncated(saved.folder / tag_of(17) / STATE)
    truncated(saved.folder / tag_of(10) / STATE)
    shutil.copytree(saved.folder / tag_of(17), saved.folder / tag_of(23))
    shutil.rmtree(saved.folder / tag_of(10))
    saved.save(12)  # the run went on from an earlier one
    assert saved.newest() == tag_of(12)
    assert saved.warnings == []
    saved.save(20)
    assert saved.steps == [12, 20], "two whole ones stay, the damaged ones of later steps are gone"


def truncated(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:-3])
    return f"{path.name} has {path.stat().st_size} bytes instead of {path.stat().st_size + 3}"


def flipped(path: Path) -> str:
    content = bytearray(path.read_bytes())
    content[4] ^= 1
    path.write_bytes(content)
    return f"{path.name} has changed since it was written"


def removed(path: Path) -> str:
    path.unlink()
    return f"{path.name} is missing"


def garbled(path: Path) -> str:
    (path.parent / MANIFEST).write_bytes(b"\xff{")
    return f"{MANIFEST} cannot be used"


def a_list(path: Path) -> str:
    (path.parent / MANIFEST).write_text("[]")
    return f"{MANIFEST} cannot be used"


def of_another_shape(path: Path) -> str:
    (path.parent / MANIFEST).write_text('{"files": {"a": 3}, "saved_with": {}}')
    return f"{MANIFEST} cannot be used"


def without_ranks(path: Path) -> str:
    manifest = json.loads((path.parent / MANIFEST).read_text())
    (path.parent / MANIFEST).write_text(json.dumps({**manifest, "saved_with": {}}))
    return "it does not say how many ranks saved it"


def empty(path: Path) -> str:
    (path.parent / MANIFEST).write_text('{"files": {}, "saved_with": {}}')
    return f"{MANIFEST} lists no files"


DAMAGES = [truncated, flipped, removed, garbled, a_list, of_another_shape, without_ranks, empty]


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("name", [WEIGHTS, STATE])
def test_a_damaged_one_is_passed_over_and_its_damage_named(
    saved: Saved, name: str, kind: Callable[[Path], str]
) -> None:
    saved.save(5, 10)
    why = kind(saved.folder / tag_of(10) / name)
    assert saved.newest() == tag_of(5)
    [warning] = saved.warnings
    assert str(saved.folder / tag_of(10)) in warning
    assert why in warning
    saved.save(10)
    assert saved.newest() == tag_of(10)
    assert saved.warnings == []


def test_where_all_are_damaged_the_user_is_told_of_each(saved: Saved) -> None:
    saved.save(5, 10)
    for step in (5, 10):
        truncated(saved.folder / tag_of(step) / STATE)
    with pytest.raises(
        UserError, match=r"no checkpoint of .* is whole \(step_00000010: .*; step_00000005: .*\); remove"
    ):
        saved.newest()
    assert saved.steps == [5, 10], "nothing is removed"


@pytest.mark.parametrize("content", [None, "step_00000005", "step_99999999", "\x00\x00", ""])
def test_a_wrong_or_missing_latest_is_told_and_the_newest_is_used(saved: Saved, content: str | None) -> None:
    saved.save(5, 10)
    latest = saved.folder / "latest"
    latest.unlink()
    if content is not None:
        latest.write_text(content)
    assert saved.newest() == tag_of(10)
    [warning] = saved.warnings
    assert warning.startswith(str(latest))
    assert warning.endswith("the newest finished checkpoint is step_00000010")


def test_what_a_killed_save_left_is_never_used_and_goes_with_the_next_save(saved: Saved) -> None:
    saved.save(5)
    for step in (3, 10, 12):
        (saved.folder / tag_of(step)).mkdir()
        (saved.folder / tag_of(step) / WEIGHTS).write_bytes(b"half")
    (saved.folder / "notes").mkdir()
    assert saved.newest() == tag_of(5)
    assert saved.warnings == []
    saved.save(10)
    assert saved.newest() == tag_of(10)
    assert saved.steps == [5, 10]
    assert (saved.folder / "notes").is_dir(), "what is not ours stays"


def test_a_save_killed_before_latest_moved_is_used_with_a_word(
    saved: Saved,
) -> None:
    saved.save(5, 10)
    (saved.folder / "latest").write_text(tag_of(5))
    assert saved.newest() == tag_of(10)
    assert "says 'step_00000005'" in saved.warnings[0]


def test_a_failed_write_leaves_the_one_before_and_says_why(saved: Saved) -> None:
    saved.save(5)
    saved.engine.failure = "optim_states.pt: No space left on device"
    with pytest.raises(
        SaveError, match=r"step_00000010 could not be written \(rank 0: .*No space left on device\); make"
    ):
        saved.save(10)
    assert saved.steps == [5]
    assert (saved.folder / "latest").read_text() == tag_of(5)
    assert saved.newest() == tag_of(5)


@pytest.mark.parametrize("name", [MANIFEST, "latest"])
def test_a_failed_manifest_or_latest_leaves_the_one_before(
    saved: Saved, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved.save(5)
    really = checkpoints_module.write_atomically

    def write(path: Path, content: bytes) -> None:
        if path.name == name:
            raise OSError(28, "No space left on device", str(path))
        really(path, content)

    monkeypatch.setattr(checkpoints_module, "write_atomically", write)
    with pytest.raises(SaveError, match="No space left on device"):
        saved.save(10)
    assert saved.steps == [5]
    assert saved.newest() == tag_of(5)
    assert saved.warnings == []


def test_a_folder_that_cannot_be_made_is_a_save_error(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(SaveError, match="step_00000005 could not be written"):
        Saved(tmp_path / "checkpoints").save(5)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("optimizer", "sgd", "optimizer adamw -> sgd"),
        ("precision", "bfloat16", "precision float32 -> bfloat16"),
        ("scheduler", "WarmupLR", "scheduler None -> WarmupLR"),
    ],
)
def test_an_engine_of_another_kind_is_refused(saved: Saved, key: str, value: Any, told: str) -> None:
    saved.save(5)
    saved.engine.kind = {**KIND, key: value}
    with pytest.raises(UserError, match=f"cannot be resumed with other settings .{told}.; launch as it was saved"):
        saved.newest()


@pytest.mark.parametrize(("key", "value"), [("ranks", 4), ("ZeRO stage", 3)])
def test_other_ranks_and_another_stage_are_taken_and_told(saved: Saved, key: str, value: int) -> None:
    saved.save(5)
    saved.engine.kind = {**KIND, key: value}
    found = saved.checkpoints.newest(cast(Engine, saved.engine), saved.warnings.append)
    assert found is not None
    assert str(found) == "step_00000005, saved by 1 ranks at ZeRO 2"
    assert found.saved_with == KIND
    assert not found.fits(cast(Engine, saved.engine))


@contextmanager
def unreadable(path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file that cannot be looked at or read, as on a disk or a network in trouble."""
    error = OSError(number, os.strerror(number), str(path))

    def refusing(really: Callable[..., Any]) -> Callable[..., Any]:
        def function(self: Path, *args: Any, **kwargs: Any) -> Any:
            if self == path:
                raise error
            return really(self, *args, **kwargs)

        return function

    with monkeypatch.context() as patch:
        for name in ("read_text", "iterdir"):
            patch.setattr(Path, name, refusing(getattr(Path, name)))
        patch.setattr(checkpoints_module, "sha256_of", refusing(sha256_of))
        yield


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
@pytest.mark.parametrize("name", [WEIGHTS, STATE, MANIFEST, "../latest", ".."])
def test_what_cannot_be_read_now_is_no_damage_and_ends_the_launch(
    saved: Saved, name: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved.save(5, 10)
    path = Path(os.path.normpath(saved.folder / tag_of(10) / name))
    with unreadable(path, number, monkeypatch), pytest.raises(UserError) as caught:
        saved.newest()
    assert str(path) in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    assert "nothing was changed" in str(caught.value)
    assert saved.warnings == []
    assert saved.newest() == tag_of(10)
    assert saved.steps == [5, 10]


def test_the_best_step_s_checkpoint_stays_until_another_is_better(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "checkpoints", keep=2)
    saved.save(5)
    saved.save(10, 15, 20, best=5)
    assert saved.steps == [5, 15, 20]
    saved.save(25, best=22)  # a step that was evaluated and not saved
    assert saved.steps == [20, 25]


def test_damaged_ones_go_first_and_only_once_a_new_one_is_whole(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "checkpoints", keep=2)
    saved.save(5, 10)
    saved.save(15)
    truncated(saved.folder / tag_of(15) / STATE)
    assert saved.newest() == tag_of(10)
    saved.engine.failure = "No space left on device"
    with pytest.raises(SaveError):
        saved.save(17)
    assert saved.steps == [10, 15]
    saved.engine.failure = None
    saved.save(17)
    assert saved.steps == [10, 17], "a damaged one does not take the place of a whole one"


def test_what_a_killed_move_left_is_swept(saved: Saved) -> None:
    saved.save(5)
    (saved.folder / WORKPLACE / tag_of(5)).mkdir(parents=True)
    assert saved.newest() == tag_of(5)
    assert not (saved.folder / WORKPLACE).exists()


def test_a_removal_that_is_killed_leaves_an_unfinished_one(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    saved.save(5, 10, 15)
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
    saved.save(20)
    assert finished_tags(saved.folder) == [tag_of(step) for step in (10, 15, 20)]


def test_each_rank_hashes_its_own_files(tmp_path: Path) -> None:
    target = tmp_path / "step_00000005"
    target.mkdir()
    names = [
        WEIGHTS,
        STATE,
        "zero_pp_rank_1_mp_rank_00_optim_states.pt",
        "bf16_zero_pp_rank_11_mp_rank_00_optim_states.pt",
    ]
    for name in names:
        (target / name).write_text(name)
    hashed = {
        rank: list(Checkpoints(tmp_path, 2, Ranks(rank, 12, 0, 12, torch.device("cpu")))._hash_own_files(target))
        for rank in (0, 1, 2, 11)
    }
    assert hashed == {0: [WEIGHTS, STATE], 1: [names[2]], 2: [], 11: [names[3]]}
