"""Damage to a file: anywhere, or in the fields by which its format says how much of what lies where.

A mutation is a pure function of the content and a random generator, so that a seed brings any of them back.
"""

from __future__ import annotations

import bz2
import gzip
import io
import random
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import lru_cache

import h5py
import numpy as np

Mutation = Callable[[bytes, random.Random], bytes]

_EXTREMES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 24,
    1 << 30,
    1 << 48,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)
_HEAD = 4096
_MOST_TEXT = 1 << 17


def _place(content: bytes, rng: random.Random) -> int:
    """Anywhere; as often in the first or last bytes, where headers and directories are."""
    size = max(len(content), 1)
    where = rng.random()
    if where < 0.4:
        return rng.randrange(min(size, _HEAD))
    return size - 1 - rng.randrange(min(size, 1024)) if where < 0.5 else rng.randrange(size)


def truncated(content: bytes, rng: random.Random) -> bytes:
    return content[: _place(content, rng)]


def flipped(content: bytes, rng: random.Random) -> bytes:
    some = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        some[_place(content, rng)] ^= 1 << rng.randrange(8)
    return bytes(some)


def number_replaced(content: bytes, rng: random.Random) -> bytes:
    some, size = bytearray(content), rng.choice((1, 2, 4, 8))
    at = max(min(_place(content, rng), len(some) - size), 0)
    some[at : at + size] = _extreme(rng, size)
    return bytes(some)


def _extreme(rng: random.Random, size: int) -> bytes:
    value = rng.choice((*_EXTREMES, rng.getrandbits(8 * size))) & ((1 << 8 * size) - 1)
    return value.to_bytes(size, rng.choice(("big", "little")))


def swapped(content: bytes, rng: random.Random) -> bytes:
    length = min(rng.choice((1, 4, 16, 256, 4096)), len(content) // 2)
    first, second = sorted(min(_place(content, rng), len(content) - 2 * length) for _ in range(2))
    second = max(second, first + length)
    a, b = content[first : first + length], content[second : second + length]
    return content[:first] + b + content[first + length : second] + a + content[second + length :]


def filled(content: bytes, rng: random.Random) -> bytes:
    at, length = _place(content, rng), rng.choice((1, 8, 64, 512, 8192))
    length = min(length, len(content) - at)
    return content[:at] + rng.choice((b"\0", b"\xff", b"9", b" ")) * length + content[at + length :]


def repeated(content: bytes, rng: random.Random) -> bytes:
    at, length = _place(content, rng), rng.choice((1, 8, 64, 512, 8192))
    return content[: at + length] + content[at : at + length] * rng.choice((1, 1, 3)) + content[at + length :]


def removed(content: bytes, rng: random.Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + rng.choice((1, 2, 8, 64, 512, 8192)) :]


def word_replaced(content: bytes, rng: random.Random) -> bytes:
    """A number or word in the file's first or last bytes, by another text, of the same length or not."""
    words = list(re.finditer(rb"-?\d[\d.]*|[A-Za-z_]{2,}", content[:_HEAD]))
    tail = max(len(content) - _HEAD, _HEAD)
    places = [found.span() for found in words]
    places += [(tail + a, tail + b) for a, b in (found.span() for found in re.finditer(rb"-?\d[\d.]*", content[tail:]))]
    if not places:
        return flipped(content, rng)
    start, end = rng.choice(places)
    texts = (
        b"0",
        b"-1",
        b"9" * (end - start),
        b"9" * rng.choice((20, 400, 5000)),
        b"1e309",
        b"nan",
        b"\0",
        b"\x1b[2J",
        b"\xff\xfe",
        b"00",
        b"1" * rng.choice((1000, _MOST_TEXT)),
        b" " * _MOST_TEXT,
    )
    new = rng.choice(texts)
    if rng.random() < 0.5:
        new = new[: end - start].ljust(end - start, b"0")
    return content[:start] + new + content[end:]


ANYWHERE: tuple[Mutation, ...] = (
    truncated,
    flipped,
    flipped,
    number_replaced,
    number_replaced,
    swapped,
    filled,
    repeated,
    removed,
    word_replaced,
)


# ---- in the fields of a format


def near(*marks: bytes, reach: int = 64) -> Mutation:
    """Numbers replaced in the bytes behind one of some marks."""

    def mutated(content: bytes, rng: random.Random) -> bytes:
        places = [found.start() for mark in marks for found in re.finditer(re.escape(mark), content)]
        if not places:
            return number_replaced(content, rng)
        some = bytearray(content)
        for _ in range(rng.choice((1, 1, 2))):
            at, size = rng.choice(places) + rng.randrange(reach), rng.choice((1, 2, 4, 8))
            at = min(at, len(some) - size)
            some[at : at + size] = _extreme(rng, size)
        return bytes(some)

    return mutated


def hdf5_rewritten(content: bytes, rng: random.Random) -> bytes:
    """By h5py: another attribute, dataset or link in the place of one that is there; what results is valid HDF5."""
    memory = io.BytesIO(content)
    try:
        with h5py.File(memory, "r+") as file:
            nodes = [file]
            file.visititems(lambda _, node: nodes.append(node))
            attributes = [(node, name) for node in nodes for name in node.attrs]
            datasets = [node.name for node in nodes if isinstance(node, h5py.Dataset)]
            if rng.random() < 0.6 and attributes:
                node, name = rng.choice(attributes)
                _other_attribute(node, name, rng)
            elif datasets:
                _other_dataset(file, rng.choice(datasets), rng)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError):
        return flipped(content, rng)
    return memory.getvalue()


def _other_attribute(node: h5py.Group, name: str, rng: random.Random) -> None:
    values = (
        None,
        b"",
        b"\0" * 8,
        b"\x1b[31m\nred",
        "9" * 60_000,
        "GEO=" + "1" * 50_000 + "x",
        np.nan,
        np.inf,
        -np.inf,
        0,
        -1,
        1e300,
        1e308,
        2**31,
        2**63 - 1,
        np.zeros(0),
        np.zeros((3, 3)),
        np.zeros(8000),
        h5py.Empty("f"),
        np.array([b"a", b"b"]),
        np.array((1, 2.0), [("a", int), ("b", float)]),
        np.bool_(True),
        1 + 2j,
        "+proj=longlat +ellps=WGS84",
        "+proj=pipeline +step +proj=utm +zone=33",
        "+init=../../etc/passwd +proj=stere",
        "+proj=stere +lat_0=90 +nadgrids=/etc/passwd",
        "+proj=stere +a=" + "9" * 300,
        "31-FEB-2010;25:61:61.000",
        "01-JAN-9999;23:55:00.000",
        "01-JAN-0001;00:00:00.000",
        "20240231",
        "99991231",
        "00010101",
        "COMP",
        "TH",
        "ACRR",
    )
    value = rng.choice(values)
    if value is None:
        del node.attrs[name]
    else:
        node.attrs[name] = value


def _other_dataset(file: h5py.File, name: str, rng: random.Random) -> None:
    old = file[name]
    shape, dtype = old.shape, old.dtype
    match rng.randrange(9):
        case 0:
            del file[name]
            file.create_dataset(
                name, tuple(size << 14 for size in shape), dtype, chunks=tuple(min(size, 64) for size in shape)
            )
        case 1:
            del file[name]
            file[name] = h5py.ExternalLink("/etc/passwd", "/")
        case 2:
            del file[name]
            file[name] = h5py.SoftLink("/")
        case 3:
            del file[name]
            file.create_dataset(name, shape, dtype, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
        case 4:
            del file[name]
            layout = h5py.VirtualLayout(shape, dtype)
            layout[...] = h5py.VirtualSource("/etc/passwd", "x", shape)
            file.create_virtual_dataset(name, layout)
        case 5:
            kind = rng.choice(
                (
                    "f2",
                    ">f8",
                    ">u4",
                    "i8",
                    "u1",
                    "S3",
                    h5py.string_dtype(),
                    h5py.ref_dtype,
                    h5py.vlen_dtype("i4"),
                    h5py.enum_dtype({"a": 1}),
                    np.dtype([("a", "i4")]),
                    "c16",
                    "?",
                )
            )
            del file[name]
            file.create_dataset(name, shape, kind)
        case 6:
            del file[name]
            how = rng.choice(
                ({"compression": "lzf"}, {"fletcher32": True}, {"scaleoffset": 0}, {"shuffle": True, "compression": 9})
            )
            file.create_dataset(name, shape, dtype, chunks=True, **how)
        case 7:
            del file[name]
            file.create_dataset(
                name,
                rng.choice(((), (0,), (1,), (0, 0), shape[::-1], (*shape, 1), h5py.Empty))
                if rng.random() < 0.8
                else None,
                dtype,
            )
        case _:
            del file[name]
            file.create_group(name)


def grib_header(content: bytes, rng: random.Random) -> bytes:
    """An octet, or a number of 2 or 4, of one of the sections before the values."""
    starts, at = [0], 16
    while at + 5 <= len(content) and len(starts) < 8:
        starts.append(at)
        at += max(int.from_bytes(content[at : at + 4], "big"), 5)
    some, size = bytearray(content), rng.choice((1, 1, 2, 4))
    at = min(rng.choice(starts) + rng.randrange(80), len(some) - size)
    some[at : at + size] = _extreme(rng, size)
    return bytes(some)


def png_header(content: bytes, rng: random.Random) -> bytes:
    """The PNG's size or depth, with the checksum made right again; or the values of its picture."""
    at = content.find(b"IHDR")
    if at < 0:
        return grib_header(content, rng)
    head = bytearray(content[at : at + 17])
    place = rng.randrange(4, 17)
    head[place] = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    return content[:at] + bytes(head) + struct.pack(">I", zlib.crc32(head)) + content[at + 21 :]


def tiff_directory(content: bytes, rng: random.Random) -> bytes:
    """The tag, type, count or value of an entry of the first directory."""
    order = "<" if content[:2] == b"II" else ">"
    if len(content) < 8:
        return content
    at = struct.unpack_from(order + "I", content, 4)[0]
    if at + 2 > len(content):
        return number_replaced(content, rng)
    count = struct.unpack_from(order + "H", content, at)[0]
    entry = at + 2 + 12 * rng.randrange(max(count, 1))
    some, (place, size) = bytearray(content), rng.choice(((0, 2), (2, 2), (4, 4), (8, 4), (8, 2)))
    place = min(entry + place, len(some) - size)
    value = rng.choice(
        (*_EXTREMES, rng.getrandbits(16), 256, 257, 258, 259, 273, 277, 278, 279, 322, 323, 324, 325, 339)
    )
    some[place : place + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little" if order == "<" else "big")
    return bytes(some)


def npy_header(content: bytes, rng: random.Random) -> bytes:
    """Another text, of the same length, for a part of the header."""
    found = list(re.finditer(rb"'(?:descr|fortran_order|shape)': *([^'{}]*?|'[^']*')(?=, '|, \})", content[:400]))
    if not found:
        return number_replaced(content, rng)
    part = rng.choice(found)
    texts = (
        b"'|O'",
        b"'<f4'",
        b"'>f8'",
        b"'<i2'",
        b"'S9'",
        b"'V0'",
        b"'<M8[s]'",
        b"[('a','<i4')]",
        b"()",
        b"(-1,)",
        b"(0,)",
        b"(9999999999,9)",
        b"(1e9,)",
        b"True",
        b"None",
        b"__import__('os')",
        b"(" * 30,
        b"-" * 40,
        b"'f4,f4'",
        b"('<f4',(9,9))",
        b"{'names':[],'formats':[]}",
    )
    start, end = part.span(1)
    header_end = content.find(b"\n") + 1
    head = content[:start] + rng.choice(texts) + content[end:header_end]
    return head.rstrip(b"\n ")[: header_end - 1].ljust(header_end - 1) + b"\n" + content[header_end:]


def zip_rewritten(inner: Mutation) -> Mutation:
    """A member of the zip mutated, the zip around it sound again; or its name or way of packing another."""

    def mutated(content: bytes, rng: random.Random) -> bytes:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = [(info.filename, archive.read(info)) for info in archive.infolist()]
        except (zipfile.BadZipFile, OSError, zlib.error, NotImplementedError, EOFError, ValueError):
            return flipped(content, rng)
        chosen, out = rng.randrange(len(members)), io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for number, (name, some) in enumerate(members):
                method = rng.choice((0, 8, 8, 8, 12, 14)) if number == chosen else 8
                archive.writestr(name, inner(some, rng) if number == chosen else some, method)
        return out.getvalue()

    return mutated


def packed(inner: Mutation) -> Mutation:
    """What is inside a gzip, bzip2 or a tar's member mutated, and packed again; a plain file itself."""

    def mutated(content: bytes, rng: random.Random) -> bytes:
        if content[:2] == b"\x1f\x8b":
            return gzip.compress(packed(inner)(gzip.decompress(content), rng), 1, mtime=0)
        if content[:3] == b"BZh":
            return bz2.compress(packed(inner)(bz2.decompress(content), rng), 1)
        if content[257:262] == b"ustar":
            return _tar_rewritten(content, rng, inner)
        return inner(content, rng)

    mutated.__qualname__ = getattr(inner, "__qualname__", "")
    return mutated


def _tar_rewritten(content: bytes, rng: random.Random, inner: Mutation) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(content)) as old, tarfile.open(fileobj=out, mode="w") as new:
        items = [item for item in old if item.isfile()][:3]
        chosen = rng.randrange(len(items))
        for number, item in enumerate(items):
            stream = old.extractfile(item)
            assert stream is not None
            some = stream.read()
            if number == chosen:
                some = inner(some, rng)
                if rng.random() < 0.3:
                    item.name = rng.choice(
                        (
                            "../" + item.name,
                            "/etc/" + item.name,
                            "a\n\x1b[2J" + item.name,
                            "x" * 3000 + item.name,
                            "\udcff" + item.name,
                        )
                    )
                item.size = len(some)
            new.addfile(item, io.BytesIO(some))
    return out.getvalue()


_HDF5 = near(
    b"TREE",
    b"SNOD",
    b"HEAP",
    b"OHDR",
    b"FRHP",
    b"FHDB",
    b"BTHD",
    b"BTLF",
    b"FADB",
    b"FAHD",
    b"OCHK",
    b"\x01\x00",
    b"\x89HDF",
)
_FIELDS: dict[str, tuple[Mutation, ...]] = {
    "hdf5": (_HDF5, _HDF5, hdf5_rewritten, hdf5_rewritten),
    "grib": (grib_header, grib_header, png_header),
    "tiff": (tiff_directory, tiff_directory, word_replaced),
    "zip": (
        zip_rewritten(npy_header),
        zip_rewritten(flipped),
        zip_rewritten(number_replaced),
        zip_rewritten(word_replaced),
        near(b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", reach=46),
    ),
    "npy": (npy_header, npy_header),
    "netcdf": (near(b"CDF", b"\0\0\0\x0a", b"\0\0\0\x0b", b"\0\0\0\x0c", reach=40),),
    "text": (word_replaced, word_replaced, word_replaced),
}
_MAGIC = (
    (b"\x89HDF", "hdf5"),
    (b"GRIB", "grib"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"PK", "zip"),
    (b"\x93NUMPY", "npy"),
    (b"CDF", "netcdf"),
)


def _unpacked(content: bytes) -> bytes:
    """The innermost file's first bytes."""
    if content[:2] == b"\x1f\x8b":
        return _unpacked(gzip.decompress(content))
    if content[:3] == b"BZh":
        return _unpacked(bz2.decompress(content))
    return content[512:] if content[257:262] == b"ustar" else content


@lru_cache(maxsize=8)
def mutations_of(content: bytes) -> tuple[Mutation, ...]:
    """Those that fit a file, by its first bytes: of its outside, and, where it is packed, of what is inside."""
    head = _unpacked(content)
    kind = next((kind for magic, kind in _MAGIC if head.startswith(magic)), "text")
    inside = tuple(packed(one) for one in (*ANYWHERE, *_FIELDS[kind], *_FIELDS[kind], *_FIELDS[kind]))
    return inside if head is content else (*inside, *ANYWHERE)


def mutant(content: bytes, seed: int) -> tuple[str, bytes]:
    """(name of the mutation, content) of that seed; sometimes two or three mutations on one another.

    Only the first may know the format: what it leaves may be such that libraries crash over it, here too.
    """
    rng = random.Random(seed)
    chosen = [rng.choice(mutations_of(content)), *rng.choices(ANYWHERE, k=rng.choice((0, 0, 0, 1, 2)))]
    for mutation in chosen:
        content = mutation(content, rng) if content else content
    return "+".join(mutation.__qualname__.split(".")[0] for mutation in chosen), content
