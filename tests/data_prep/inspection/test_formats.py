from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from data_prep.errors import UserError
from data_prep.inspection.formats import find_format
from data_prep.readers import READERS, in_turn
from data_prep.workers import Workers
from tests.data_prep.fake_files import add_file
from tests.data_prep.fake_reader import MODULE


def test_the_format_is_the_one_that_can_read_the_files(files: Path) -> None:
    for step in range(5):
        add_file(files, step, formats=["otherfiles"])
    assert find_format([str(files)], in_turn) == "otherfiles"
    assert find_format([str(files / "00*.fake")], in_turn) == "otherfiles"
    assert find_format([str(files / "000.fake")], in_turn) == "otherfiles"


def test_one_damaged_file_among_those_asked_for_is_no_matter(files: Path) -> None:
    for step in range(3):
        add_file(files, step)
    (files / "000.fake").write_text("torn")
    assert find_format([str(files)], in_turn) == "fakefiles"


def test_of_a_tar_the_first_file_is_asked_for(files: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as tar:
        tar.add(add_file(files, 1), "a/1.fake")
    assert find_format([str(tmp_path / "all.tar.gz")], in_turn) == "fakefiles"
    with tarfile.open(tmp_path / "none.tar", "w") as tar:
        tar.add(files / "001.fake", "a/1.txt")
    with pytest.raises(UserError, match=r"fakefiles: is a tar without a file like \*.fake"):
        find_format([str(tmp_path / "none.tar")], in_turn)


def test_several_formats_that_can_are_all_named(files: Path) -> None:
    add_file(files, 0, formats=["fakefiles", "otherfiles"])
    with pytest.raises(UserError, match="can be read as fakefiles and as otherfiles; give --format with the right one"):
        find_format([str(files)], in_turn)


def test_where_none_can_each_says_why(files: Path) -> None:
    add_file(files, 0, formats=[])
    with pytest.raises(UserError, match="neither a shards folder nor an archive") as refused:
        find_format([str(files)], in_turn)
    assert "fakefiles: cannot be read as fakefiles (ValueError: is of another format); otherfiles:" in str(
        refused.value
    )
    assert "--format with one of fakefiles, otherfiles" in str(refused.value)


def test_files_without_a_frame_that_is_wanted_are_refused_with_the_reason(files: Path) -> None:
    add_file(files, 0, products=[], useless=True)
    with pytest.raises(UserError, match="fakefiles: useless; otherfiles: cannot"):
        find_format([str(files)], in_turn)
    add_file(files, 0, products=[])
    with pytest.raises(UserError, match="fakefiles: holds no frame that fakefiles can give"):
        find_format([str(files)], in_turn)


def test_files_that_no_format_calls_so_are_refused(files: Path) -> None:
    (files / "a.txt").write_text("{}")
    for source in (files, files / "a.txt"):
        with pytest.raises(UserError, match=r"\(no format has files that are called so\)"):
            find_format([str(source)], in_turn)


def test_a_format_that_needs_what_is_not_installed_says_so(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_file(files, 0)
    monkeypatch.setattr("tests.data_prep.fake_files.READER.modules", (("no_such_module", "extra"),), raising=False)
    with pytest.raises(UserError, match=r"needs no_such_module, which is not installed"):
        find_format([str(files)], in_turn)


def test_a_format_with_a_catalog_of_its_own_is_known_by_its_listing(
    files: Path, archive: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(READERS, "fake", MODULE)
    archive.add_run(range(3))  # type: ignore[attr-defined]
    assert find_format([str(archive.folder)], in_turn) == "fake"  # type: ignore[attr-defined]


def test_a_reader_that_dies_over_a_foreign_file_leaves_it_to_the_others(files: Path) -> None:
    add_file(files, 0, formats=["otherfiles"], kills="fakefiles")
    with Workers(1) as pool:
        assert find_format([str(files)], pool.each) == "otherfiles"
        assert READERS["otherfiles"]
