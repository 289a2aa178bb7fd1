"""Another format whose files are called as those of fake_files.py."""

from __future__ import annotations

from data_prep.readers import Reader
from tests.data_prep.fake_files import FakeFiles

MODULE_TOO = "tests.data_prep.fake_files_too"


class OtherFiles(FakeFiles):
    name = "otherfiles"


READER: Reader = OtherFiles()
