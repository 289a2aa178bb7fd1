from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_prep.shards.samples import pack, unpack


def codes(shape: tuple[int, int, int], dtype: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@given(st.integers(1, 13), st.integers(1, 6), st.sampled_from([np.uint8, np.uint16]), st.data())
def test_any_part_comes_back_as_it_was(frames: int, per_chunk: int, dtype: Any, data: st.DataObject) -> None:
    whole_THW = codes((frames, 3, 5), dtype)
    start = data.draw(st.integers(0, frames - 1))
    stop = data.draw(st.integers(start + 1, frames))
    out_tHW = np.empty((stop - start, 3, 5), dtype)
    unpack(pack(whole_THW, per_chunk), whole_THW.shape, start, out_tHW, per_chunk)
    np.testing.assert_array_equal(out_tHW, whole_THW[start:stop])


def test_any_zstd_decoder_reads_the_whole() -> None:
    whole_THW = codes((9, 4, 4))
    reader = zstandard.ZstdDecompressor().stream_reader(pack(whole_THW), read_across_frames=True)
    assert reader.read() == whole_THW.tobytes()


def test_only_the_chunks_of_the_part_are_decoded() -> None:
    whole_THW = codes((12, 8, 8))
    blob = bytearray(pack(whole_THW, 4))
    blob[40] ^= 255  # in the first chunk
    out_tHW = np.empty((8, 8, 8), np.uint8)
    unpack(bytes(blob), whole_THW.shape, 4, out_tHW, 4)
    np.testing.assert_array_equal(out_tHW, whole_THW[4:])
    with pytest.raises(ValueError, match="damaged chunk"):
        unpack(bytes(blob), whole_THW.shape, 3, out_tHW, 4)


def test_the_same_codes_give_the_same_bytes_whatever_their_memory_layout() -> None:
    whole_THW = codes((6, 5, 7))
    assert pack(whole_THW) == pack(np.asfortranarray(whole_THW)) == pack(np.flip(np.flip(whole_THW, 1).copy(), 1))


@pytest.mark.parametrize(
    ("shape", "per_chunk", "dtype"),
    [
        ((7, 5, 7), 4, np.uint8),
        ((6, 5, 6), 4, np.uint8),
        ((6, 5, 7), 3, np.uint8),
        ((6, 5, 7), 4, np.uint16),
        ((60, 5, 7), 4, np.uint8),
    ],
    ids=str,
)
def test_a_blob_of_another_shape_chunking_or_type_is_refused(shape: Any, per_chunk: int, dtype: Any) -> None:
    blob = pack(codes((6, 5, 7)), 4)
    with pytest.raises(ValueError, match=r"chunks|seek table"):
        unpack(blob, shape, 0, np.empty((1, *shape[1:]), dtype), per_chunk)


@given(st.data())
def test_a_changed_byte_or_a_cut_is_refused_or_harmless(data: st.DataObject) -> None:
    whole_THW = codes((6, 5, 7))
    blob = bytearray(pack(whole_THW))
    place = data.draw(st.integers(0, len(blob) - 1))
    if data.draw(st.booleans()):
        blob[place] ^= data.draw(st.integers(1, 255))
    else:
        del blob[place:]
    out_THW = np.empty_like(whole_THW)
    try:
        unpack(bytes(blob), whole_THW.shape, 0, out_THW)
    except ValueError:
        return
    np.testing.assert_array_equal(out_THW, whole_THW)


def test_a_chunk_that_claims_to_be_huge_is_refused_before_it_is_decoded() -> None:
    bomb = zstandard.ZstdCompressor(level=1).compress(bytes(50_000_000))
    blob = pack(codes((4, 5, 7)))
    tail = bytearray(blob[-(8 + 8 + 9) :])
    tail[8:12] = len(bomb).to_bytes(4, "little")
    with pytest.raises(ValueError, match="not of the size"):
        unpack(bomb + bytes(tail), (4, 5, 7), 0, np.empty((4, 5, 7), np.uint8))
