"""The reader of MRMS's west. Workers import it."""

from __future__ import annotations

from benchmarks.mrms_halves import Part

READER = Part("west")
