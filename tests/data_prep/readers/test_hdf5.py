"""The door to HDF5: values as h5py reads them, and hostile files refused before anything large is allocated."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.errors import RadarFileError
from data_prep.readers import hdf5
from data_prep.readers.files import RadarFile
from data_prep.readers.hdf5 import dataset, member, names, numbers, open_hdf5, text
from data_prep.readers.hdf5_chunks import _inflated, blocks, read

VALUES = np.random.default_rng(0).integers(0, 9, (70, 50))


def written(path: Path, fill: Callable[[Any], object]) -> Path:
    with h5py.File(path, "w") as file:
        fill(file)
    return path


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">i2", "<f4", ">f8"])
@pytest.mark.parametrize(
    "storage",
    [
        {},
        {"chunks": (70, 50)},
        {"chunks": (16, 11)},
        {"chunks": (16, 11), "compression": "gzip"},
        {"chunks": (16, 11), "compression": "gzip", "shuffle": True},
    ],
    ids=str,
)
def test_all_ways_of_storage_give_the_values_that_h5py_reads(tmp_path: Path, dtype: str, storage: Any) -> None:
    path = written(tmp_path / "a.h5", lambda file: file.create_dataset("d", data=VALUES.astype(dtype), **storage))
    with open_hdf5(path) as file:
        found = read(dataset(file, "d", (70, 50), np.number))
        assert found.dtype.isnative and found.dtype == np.dtype(dtype).newbyteorder("=")
        np.testing.assert_array_equal(found, file["d"][()])


def test_chunks_that_were_never_written_hold_the_fill_value(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        data = file.create_dataset("d", (30, 30), np.uint8, chunks=(8, 8), compression="gzip", fillvalue=255)
        data[8:16, 16:24] = 3

    with open_hdf5(written(tmp_path / "a.h5", fill)) as file:
        found = read(dataset(file, "d", (30, 30), np.uint8))
    assert (found == 3).sum() == 64 and (found == 255).sum() == 900 - 64


def test_a_chunk_that_gzip_could_not_shrink_is_read_as_it_lies(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)

    def fill(file: Any) -> None:
        data = file.create_dataset("d", (64, 64), np.uint8, chunks=(64, 64), compression="gzip")
        data.id.write_direct_chunk((0, 0), noise.tobytes(), filter_mask=1)

    with open_hdf5(written(tmp_path / "a.h5", fill)) as file:
        np.testing.assert_array_equal(read(dataset(file, "d", (64, 64), np.uint8)), noise)


def test_without_chunks_the_rows_come_in_bands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_prep.readers.hdf5_chunks._BAND", 1000)
    path = written(tmp_path / "a.h5", lambda file: file.create_dataset("d", data=VALUES.astype(np.uint8)))
    with open_hdf5(path) as file:
        parts = list(blocks(dataset(file, "d", (70, 50), np.uint8)))
    assert [len(part) for _, part in parts] == [20, 20, 20, 10]
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), VALUES)


def test_gzip_and_open_files_are_read_and_named_in_messages(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5", lambda file: file.create_dataset("d", data=VALUES.astype(np.uint8)))
    packed = tmp_path / "a.h5.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for source in (RadarFile(packed), RadarFile(io.BytesIO(packed.read_bytes())), RadarFile(path)):
        with open_hdf5(source) as file:
            np.testing.assert_array_equal(read(dataset(file, "d", (70, 50), np.uint8)), VALUES)
        with pytest.raises(RadarFileError, match="has no 'e'") as caught, open_hdf5(source) as file:
            member(file, "e")
        assert caught.value.path == source.name
        break_off = RadarFile(io.BytesIO(packed.read_bytes()[:-20]), name="torn.gz")
        with pytest.raises(RadarFileError, match=r"torn\.gz: cannot be unpacked"), open_hdf5(break_off):
            pass


def bomb(chunk: int, inflated: int) -> Callable[[Any], None]:
    def fill(file: Any) -> None:
        data = file.create_dataset("d", (chunk,), np.uint8, chunks=(chunk,), compression="gzip")
        data.id.write_direct_chunk((0,), zlib.compress(bytes(inflated), 9))

    return fill


@pytest.mark.parametrize(
    ("chunk", "inflated", "reason"),
    [
        (100, 1 << 25, "stores more or larger chunks than it declares"),  # 32 KB stored where 100 bytes belong
        (100, 1 << 21, "inflates to other than the 100 bytes"),
        (1 << 16, 1 << 25, "inflates to other than the 65536 bytes"),
        (100, 99, "inflates to other|damaged chunk"),
    ],
)
def test_a_chunk_that_inflates_to_more_than_it_declares_is_refused_at_once(
    tmp_path: Path, chunk: int, inflated: int, reason: str
) -> None:
    path = written(tmp_path / "bomb.h5", bomb(chunk, inflated))
    tracemalloc.start()
    try:
        with pytest.raises(RadarFileError, match=reason), open_hdf5(path) as file:
            read(dataset(file, "d", (chunk,), np.uint8))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1 << 12), st.integers(0, 255)), max_size=4),
    st.integers(0, 1 << 12),
    st.sampled_from([4999, 5000, 5001]),
)
def test_chunks_are_inflated_and_refused_just_as_by_zlib(changes: list[tuple[int, int]], kept: int, size: int) -> None:
    plain = np.random.default_rng(0).integers(0, 4, 5000).astype(np.uint8).tobytes()
    stored = bytearray(zlib.compress(plain))
    for place, value in changes:
        stored[place % len(stored)] = value
    del stored[kept + len(stored) // 2 :]
    inflater = zlib.decompressobj()
    try:
        expected = inflater.decompress(bytes(stored), size + 1)
        whole = inflater.eof and len(expected) == size
    except zlib.error:
        whole = False
    try:
        found = _inflated(np.frombuffer(stored, np.uint8), size).tobytes()
    except ValueError:
        found = b""
    assert (found == expected) if whole else len(found) != size


def test_a_chunk_with_a_wrong_byte_is_refused(tmp_path: Path) -> None:
    data = VALUES.astype(np.uint8)
    path = written(tmp_path / "a.h5", lambda file: file.create_dataset("d", data=data, compression="gzip"))
    with h5py.File(path) as file:
        chunk = file["d"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(RadarFileError, match="'/d' has a damaged chunk"), open_hdf5(path) as file:
        read(dataset(file, "d", (70, 50), np.uint8))


@pytest.mark.parametrize(
    ("shape", "options", "reason"),
    [
        ((1 << 20, 1 << 20), {"chunks": (10, 10)}, "declares more than 1073741824 bytes"),
        ((1 << 15, 1 << 15), {"chunks": (1, 1)}, "declares 1073741824 chunks, at most 65536"),
        ((64, 64), {"chunks": (8, 8), "compression": "lzf"}, "HDF5 filter lzf, .*h5repack -f GZIP=4"),
        ((64, 64), {"chunks": (8, 8), "fletcher32": True}, "HDF5 filter fletcher32"),
        ((64, 64), {"chunks": (8, 8), "scaleoffset": 0}, "HDF5 filter scaleoffset"),
    ],
)
def test_forged_sizes_and_unknown_filters_are_refused(tmp_path: Path, shape: Any, options: Any, reason: str) -> None:
    path = written(tmp_path / "a.h5", lambda file: file.create_dataset("d", shape, np.uint8, **options))
    with pytest.raises(RadarFileError, match=reason), open_hdf5(path) as file:
        read(dataset(file, "d", (None, None), np.number))


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((4, 4), np.uint8, maxshape=(None, 4))
    source = h5py.VirtualSource("absent.h5", "d", (4, 4), maxshape=(None, 4))
    layout[: h5py.h5s.UNLIMITED, :] = source[: h5py.h5s.UNLIMITED, :]
    file.create_virtual_dataset("d", layout)


def soft(file: Any) -> None:
    file["elsewhere"] = np.zeros((4, 4), np.uint8)
    file["d"] = h5py.SoftLink("/elsewhere")


def put(name: str, value: Any) -> Callable[[Any], object]:
    return lambda file: file.__setitem__(name, value)


COMPOUND = np.zeros((4, 4), [("a", "u1"), ("b", "f8")])


@pytest.mark.parametrize(
    ("fill", "reason"),
    [
        (put("d", h5py.ExternalLink("absent.h5", "/d")), "link to another file or place"),
        (soft, "link to another file or place"),
        (virtual, "keeps its values in other files"),
        (
            lambda file: file.create_dataset("d", (4, 4), np.uint8, external=[("absent.bin", 0, 16)]),
            "keeps its values in other files",
        ),
        (put("d", np.dtype("f8")), "is not a dataset"),  # a committed datatype
        (lambda file: file.create_group("d"), "is not a dataset"),
        (put("d", COMPOUND), "has type .*, expected number"),
        (lambda file: file.create_dataset("d", (4, 4), h5py.ref_dtype), "has type object, expected number"),
        (lambda file: file.create_dataset("d", (4, 4), h5py.vlen_dtype(np.uint8)), "has type object, expected"),
        (lambda file: file.create_dataset("d", (4, 4), h5py.string_dtype()), "has type object, expected"),
        (put("d", np.zeros((4, 4), complex)), "has type complex128, expected"),
        (put("d", np.zeros((4, 4), bool)), "has type bool, expected"),
        (lambda file: file.create_dataset("d", (), np.uint8), r"has shape \(\), expected \(4, 4\)"),
        (put("d", h5py.Empty("u1")), "cannot be read as HDF5|has shape"),
    ],
)
def test_what_is_no_plain_dataset_of_numbers_in_the_file_is_refused(
    tmp_path: Path, fill: Callable[[Any], object], reason: str
) -> None:
    path = written(tmp_path / "a.h5", fill)
    with pytest.raises(RadarFileError, match=reason) as caught, open_hdf5(path) as file:
        dataset(file, "d", (4, 4), np.number)
    assert caught.value.path == str(path)


def test_no_link_on_the_way_to_a_place_is_followed(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        file["real/d"] = 1
        file["a"] = h5py.SoftLink("/real")
        file["b"] = h5py.ExternalLink("absent.h5", "/real")

    with open_hdf5(written(tmp_path / "a.h5", fill)) as file:
        assert member(file, "real/d")[()] == 1
        for name in ("a/d", "b/d"):
            with pytest.raises(RadarFileError, match="is not followed"):
                member(file, name)
        with pytest.raises(RadarFileError, match="has no 'real/d/e'"):
            member(file, "real/d/e")  # a dataset holds no members


def test_groups_may_be_deep_or_go_round_but_not_hold_too_much_to_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(file: Any) -> None:
        group = file
        for _ in range(300):
            group = group.create_group("g")
        group["g"] = file["/"]  # a circle of hard links

    with open_hdf5(written(tmp_path / "a.h5", fill)) as file:
        assert names(file) == ["g"] and names(member(file, "g/" * 400 + "g")) == ["g"]
        monkeypatch.setattr(hdf5, "MOST_LINKS", 0)
        with pytest.raises(RadarFileError, match="/ holds 1 entries, at most 0"):
            names(file)


@pytest.mark.parametrize(
    "value", ["0.5", np.bytes_("0.5"), np.array([b"0.5\0\0"]), np.array(["0.5"], h5py.string_dtype())]
)
def test_texts_are_read_however_they_are_stored(tmp_path: Path, value: Any) -> None:
    with open_hdf5(written(tmp_path / "a.h5", lambda file: file.attrs.__setitem__("a", value))) as file:
        assert text(file, "a") == "0.5"
        with pytest.raises(RadarFileError, match="is not 1 finite numbers"):
            numbers(file, "a", 1)


@pytest.mark.parametrize("value", [2, 2.0, np.uint64(2), np.array([2], ">i2"), np.float32([[2.0]])])
def test_numbers_are_read_however_they_are_stored(tmp_path: Path, value: Any) -> None:
    with open_hdf5(written(tmp_path / "a.h5", lambda file: file.attrs.__setitem__("a", value))) as file:
        assert numbers(file, "a", 1) == [2.0]
        with pytest.raises(RadarFileError, match="'a' of / is not one text"):
            text(file, "a")


@pytest.mark.parametrize("value", ["x" * 5000, np.bytes_("x" * 5000)])
def test_a_text_on_which_a_reader_might_work_for_ever_is_refused(tmp_path: Path, value: Any) -> None:
    path = written(tmp_path / "a.h5", lambda file: file.attrs.create("a", value))
    with open_hdf5(path) as file, pytest.raises(RadarFileError, match="'a' of / is longer than 4096 characters"):
        text(file, "a")


def vlen(file: Any) -> None:
    lists = np.empty(1, object)
    lists[0] = np.arange(3)
    file.attrs.create("a", lists, dtype=h5py.vlen_dtype(np.int32))


def reference(file: Any) -> None:
    file.attrs.create("a", file.ref, dtype=h5py.ref_dtype)


@pytest.mark.parametrize(
    ("fill", "reason"),
    [
        (lambda file: None, "has no attribute 'a' of /"),
        (reference, "is neither numbers nor text"),
        (lambda file: file.attrs.create("a", COMPOUND[0, 0]), "is neither numbers nor text"),
        (vlen, "is neither"),
        (lambda file: file.attrs.create("a", h5py.Empty("f8")), "is not 1 finite numbers"),
        (lambda file: file.attrs.create("a", [1.0, 2.0]), "is not 1 finite numbers"),
        (lambda file: file.attrs.create("a", np.inf), "is not 1 finite numbers"),
        (lambda file: file.attrs.create("a", np.zeros(2000)), "holds more than 1024 values"),
    ],
)
def test_an_attribute_that_is_not_what_is_asked_for_is_named(
    tmp_path: Path, fill: Callable[[Any], object], reason: str
) -> None:
    with open_hdf5(written(tmp_path / "a.h5", fill)) as file, pytest.raises(RadarFileError, match=reason):
        numbers(file, "a", 1)
