"""The reader of MRMS's east. Workers import it."""

from __future__ import annotations

from benchmarks.mrms_halves import Part

READER = Part("east")
