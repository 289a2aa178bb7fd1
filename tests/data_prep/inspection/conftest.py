"""Two formats whose files are called alike, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_prep import readers
from tests.data_prep import fake_files, fake_files_too


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder; the formats "fakefiles" and "otherfiles" are the only ones there are."""
    for name in list(readers.READERS):
        monkeypatch.delitem(readers.READERS, name)
    monkeypatch.setitem(readers.READERS, "fakefiles", fake_files.MODULE)
    monkeypatch.setitem(readers.READERS, "otherfiles", fake_files_too.MODULE_TOO)
    (tmp_path / "files").mkdir()
    return tmp_path / "files"
