"""Damage in the fields by which a format says how much of what lies where: GRIB, PNG, TIFF, npy; near marks of any other."""

from __future__ import annotations

import random
import re
import struct
import zlib

from tests.hostile.anywhere import EXTREMES, Mutation, extreme, number_replaced


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
            some[at : at + size] = extreme(rng, size)
        return bytes(some)

    return mutated


def grib_header(content: bytes, rng: random.Random) -> bytes:
    """An octet, or a number of 2 or 4, of one of the sections before the values."""
    starts, at = [0], 16
    while at + 5 <= len(content) and len(starts) < 8:
        starts.append(at)
        at += max(int.from_bytes(content[at : at + 4], "big"), 5)
    some, size = bytearray(content), rng.choice((1, 1, 2, 4))
    at = min(rng.choice(starts) + rng.randrange(80), len(some) - size)
    some[at : at + size] = extreme(rng, size)
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
        (*EXTREMES, rng.getrandbits(16), 256, 257, 258, 259, 273, 277, 278, 279, 322, 323, 324, 325, 339)
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
