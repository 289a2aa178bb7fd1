"""Files that are unpacked: gzip in all the forms that its own tool takes."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.errors import RadarFileError
from data_prep.readers import unpacking
from data_prep.readers.files import LastOpened, RadarFile

CONTENT = np.random.default_rng(0).integers(0, 20, 300_000).astype(np.uint8).tobytes()
PACKED = gzip.compress(CONTENT, 1)  # more than one step
FORMS = {
    "one": (PACKED, CONTENT),
    "nothing in it": (gzip.compress(b""), b""),
    "several, one after the other": (PACKED + gzip.compress(b"end") + PACKED, CONTENT + b"end" + CONTENT),
    "zeros after it": (PACKED + bytes(70_000), CONTENT),
    "zeros that claim no bytes": (PACKED + bytes(4), CONTENT),
    "zeros between two": (PACKED + bytes(70_000) + PACKED, CONTENT + CONTENT),
}


@pytest.mark.parametrize("form", FORMS)
def test_gzip_is_unpacked_as_its_own_tool_does(form: str, tmp_path: Path) -> None:
    packed, content = FORMS[form]
    assert gzip.decompress(packed) == content
    path = tmp_path / "a.gz"
    path.write_bytes(packed)
    assert RadarFile(path).content == RadarFile(io.BytesIO(packed)).content == content
    assert RadarFile(path).head(5) == content[:5]


@pytest.mark.parametrize("length", [11, 30, len(PACKED) // 2, len(PACKED) - 8, len(PACKED) - 1])
def test_gzip_that_is_cut_off_is_named(length: int) -> None:
    with pytest.raises(RadarFileError, match=r"a\.gz: cannot be unpacked"):
        _ = RadarFile(io.BytesIO(PACKED[:length]), name="a.gz").content


@pytest.mark.parametrize(
    "damaged", [PACKED[:-8] + bytes(8), PACKED + b"more", PACKED[:1000] + b"\xff" * 100 + PACKED[1100:]]
)
def test_gzip_of_another_checksum_or_with_something_after_it_is_named(damaged: bytes) -> None:
    with pytest.raises(RadarFileError, match=r"a\.gz: cannot be unpacked"):
        _ = RadarFile(io.BytesIO(damaged), name="a.gz").content


def test_a_bomb_is_unpacked_no_further_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_BYTES", 1 << 20)
    bomb = gzip.compress(bytes(1 << 20), 9)
    assert len(RadarFile(io.BytesIO(bomb)).content) == 1 << 20
    with pytest.raises(RadarFileError, match="holds more than 1048576 bytes"):
        _ = RadarFile(io.BytesIO(bomb * 1000)).content


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1 << 12), st.integers(0, 255)), max_size=3),
    st.integers(0, 1 << 12),
    st.sampled_from([1, 1, 1, 2]),
)
def test_damaged_gzip_is_unpacked_or_refused_just_as_by_its_own_tool(
    changes: list[tuple[int, int]], kept: int, times: int
) -> None:
    packed = bytearray(gzip.compress(CONTENT[:3000]) * times)
    for place, value in changes:
        packed[18 + place % (len(packed) - 18)] = value
    del packed[len(packed) // 2 + kept :]
    try:
        expected = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error):
        expected = None
    try:
        found = RadarFile(io.BytesIO(bytes(packed))).content
    except RadarFileError:
        found = None
    assert found == expected


def test_one_file_stays_open_until_another_is_asked_for_or_it_fails() -> None:
    closed = list[str]()

    def make(name: str) -> str:
        if name == "bad":
            raise ValueError(name)
        return name.upper()

    last = LastOpened(make, close=closed.append)
    assert last.of(1, "a") == last.of(1, "b") == "A" and closed == []
    assert last.of(2, "b") == "B" and closed == ["A"]
    with pytest.raises(ValueError, match="bad"):
        last.of(3, "bad")
    assert closed == ["A", "B"] and last.of(3, "c") == "C"
    last.forget()
    last.forget()
    assert closed == ["A", "B", "C"]
