"""What every worker needs, imported once, in the process that workers are forked from.

webdataset imports torch where it is installed: seconds and 200 MB that writing tars has no use for. Without it, it does
without.
"""

from __future__ import annotations

import sys

sys.modules["torch"] = None  # type: ignore[assignment]

import webdataset  # noqa: F401, E402

import data_prep.building.task  # noqa: F401, E402
