from __future__ import annotations

import io
from typing import Any

import lz4.frame
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_prep.shards.codecs import CODECS
from data_prep.shards.samples import Packing, frames_per_chunk

EVERY_CODEC = pytest.mark.parametrize("codec", CODECS)


def codes(shape: tuple[int, int, int], dtype: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def packing(codec: str, whole_THW: NDArray[Any], per_chunk: int = 4) -> Packing:
    return Packing(codec, whole_THW.shape, whole_THW.dtype, per_chunk)


@given(
    st.sampled_from(list(CODECS)), st.integers(1, 13), st.integers(1, 6), st.sampled_from([np.uint8, np.uint16]), st.data()
)  # fmt: skip
def test_any_part_comes_back_as_it_was(
    codec: str, frames: int, per_chunk: int, dtype: Any, data: st.DataObject
) -> None:
    whole_THW = codes((frames, 3, 5), dtype)
    start = data.draw(st.integers(0, frames - 1))
    stop = data.draw(st.integers(start + 1, frames))
    out_tHW = np.empty((stop - start, 3, 5), dtype)
    how = packing(codec, whole_THW, per_chunk)
    how.unpack(how.pack(whole_THW), start, out_tHW)
    np.testing.assert_array_equal(out_tHW, whole_THW[start:stop])


@pytest.mark.slow
@EVERY_CODEC
@pytest.mark.parametrize("side", [100, 300, 700, 2100])  # LZ4 blocks of 64 KB, 256 KB, 1 MB, 4 MB; two of the last
def test_images_of_any_size_come_back(codec: str, side: int) -> None:
    whole_THW = (np.indices((3, side, side)).sum(0) // 9 % 251).astype(np.uint8)
    how = packing(codec, whole_THW, 2)
    out_tHW = np.empty((2, side, side), np.uint8)
    how.unpack(how.pack(whole_THW), 1, out_tHW)
    np.testing.assert_array_equal(out_tHW, whole_THW[1:])


def test_any_lz4_or_zstd_decoder_reads_the_whole() -> None:
    whole_THW = codes((9, 4, 4))
    lz4_blob, zstd_blob = (packing(codec, whole_THW).pack(whole_THW) for codec in ("lz4", "zstd"))
    assert lz4.frame.open(io.BytesIO(lz4_blob)).read() == whole_THW.tobytes()
    assert zstandard.ZstdDecompressor().stream_reader(zstd_blob, read_across_frames=True).read() == whole_THW.tobytes()


def test_a_chunk_holds_one_large_image_or_a_few_small_ones() -> None:
    assert [frames_per_chunk(side * side, "lz4") for side in (32, 96, 181, 256, 384, 2000)] == [4, 4, 4, 2, 1, 1]
    assert frames_per_chunk(32 * 32, "raw") == 1
    one_each = Packing("lz4", (49, 384, 384), np.dtype(np.uint8), 1)
    assert [len(one_each.chunks_of(start, start + 25)) for start in (0, 12, 24)] == [25, 25, 25]
    assert max(len(packing("lz4", codes((49, 2, 2))).chunks_of(start, start + 25)) for start in range(25)) * 4 == 28


def test_frames_that_are_stored_are_read_straight_to_their_place() -> None:
    whole_THW = codes((7, 3, 5), np.uint16)
    how = packing("raw", whole_THW, 1)
    blob = bytearray(how.pack(whole_THW))
    table, asked = how.table(bytes(blob[-how.table_bytes :]), len(blob)), []

    def read(offset: int, into: memoryview) -> None:
        asked.append((offset, len(into)))
        into[:] = blob[offset : offset + len(into)]

    for at_once, expected in ((True, [(60, 90)]), (False, [(60, 30), (90, 30), (120, 30)])):
        out_tHW = np.empty((3, 3, 5), np.uint16)
        how.read_into(read, table, 2, out_tHW, at_once=at_once)
        np.testing.assert_array_equal(out_tHW, whole_THW[2:5])
        assert asked == expected
        asked.clear()
    blob[95] ^= 1
    with pytest.raises(ValueError, match="its checksum is not the one in the table"):
        how.read_into(read, table, 2, out_tHW, at_once=True)


@EVERY_CODEC
def test_only_the_chunks_of_the_part_are_decoded(codec: str) -> None:
    whole_THW = codes((12, 8, 8))
    how = packing(codec, whole_THW)
    blob = bytearray(how.pack(whole_THW))
    blob[60] ^= 255  # in the first chunk
    out_tHW = np.empty((8, 8, 8), np.uint8)
    how.unpack(bytes(blob), 4, out_tHW)
    np.testing.assert_array_equal(out_tHW, whole_THW[4:])
    with pytest.raises(ValueError, match="damaged chunk"):
        how.unpack(bytes(blob), 3, out_tHW)


@EVERY_CODEC
def test_the_same_codes_give_the_same_bytes_whatever_their_memory_layout(codec: str) -> None:
    whole_THW = codes((6, 5, 7))
    pack = packing(codec, whole_THW).pack
    assert pack(whole_THW) == pack(np.asfortranarray(whole_THW)) == pack(np.flip(np.flip(whole_THW, 1).copy(), 1))


@EVERY_CODEC
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
def test_a_blob_of_another_shape_chunking_or_type_is_refused(
    codec: str, shape: Any, per_chunk: int, dtype: Any
) -> None:
    whole_THW = codes((6, 5, 7))
    blob = packing(codec, whole_THW).pack(whole_THW)
    with pytest.raises(ValueError, match=r"chunks|seek table"):
        Packing(codec, shape, np.dtype(dtype), per_chunk).unpack(blob, 0, np.empty((1, *shape[1:]), dtype))


@pytest.mark.parametrize(("ours", "theirs"), [("lz4", "zstd"), ("zstd", "lz4")])
def test_a_blob_of_the_other_codec_is_refused(ours: str, theirs: str) -> None:
    whole_THW = codes((6, 5, 7))
    with pytest.raises(ValueError, match="damaged chunk"):
        packing(ours, whole_THW).unpack(packing(theirs, whole_THW).pack(whole_THW), 0, np.empty_like(whole_THW))


@given(st.sampled_from(list(CODECS)), st.sampled_from([1, 4]), st.data())
def test_a_changed_byte_or_a_cut_is_refused_or_harmless(codec: str, per_chunk: int, data: st.DataObject) -> None:
    whole_THW = codes((6, 5, 7))
    how = packing(codec, whole_THW, per_chunk)
    blob = bytearray(how.pack(whole_THW))
    place = data.draw(st.integers(0, len(blob) - 1))
    if data.draw(st.booleans()):
        blob[place] ^= data.draw(st.integers(1, 255))
    else:
        del blob[place:]
    out_THW = np.empty_like(whole_THW)
    try:
        how.unpack(bytes(blob), 0, out_THW)
    except ValueError:
        return
    np.testing.assert_array_equal(out_THW, whole_THW)


@EVERY_CODEC
@pytest.mark.parametrize("size", [139, 141, 50_000_000])
def test_a_chunk_of_another_size_than_it_claims_is_refused_without_room_for_more(codec: str, size: int) -> None:
    how = packing(codec, codes((4, 5, 7)))
    other, tail = CODECS[codec].compress(bytes(size)), bytearray(how.pack(codes((4, 5, 7)))[-8 - how.table_bytes :])
    tail[-len(tail) + 8 : -len(tail) + 12] = len(other).to_bytes(4, "little")
    with pytest.raises(ValueError, match=r"not of the size|damaged chunk"):
        how.unpack(other + bytes(tail), 0, np.empty((4, 5, 7), np.uint8))
