"""The fake format, registered, and the build command on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_prep import readers
from data_prep.__main__ import COMMANDS
from data_prep.console import main
from data_prep.workers import InProcess
from tests.data_prep.fake_builds import Command
from tests.data_prep.fake_reader import MODULE, FakeArchive


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeArchive:
    """An empty archive of the format "fake"."""
    monkeypatch.setitem(readers.READERS, "fake", MODULE)
    return FakeArchive(tmp_path / "archive")


@pytest.fixture
def command(
    archive: FakeArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Runs `build` of the archive into tmp_path/out, in this process; gives its exit code and all it printed."""
    monkeypatch.setattr("data_prep.build.Workers", lambda count: InProcess())

    def run(
        *options: str, out: Path = tmp_path / "out", split: tuple[str, ...] = ("--split", "train")
    ) -> tuple[int, str]:
        always = ["build", "--format", "fake", "--source", str(archive.folder), "--out", str(out), "--workers", "1"]
        code = main("data_prep", "", COMMANDS, [*always, *split, *options])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run
