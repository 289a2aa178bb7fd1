"""Tiny GRIB 2 files, written octet by octet as WMO's Manual on Codes says, so that the MRMS reader is tested without data."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_prep.frames import RadarFrame
from data_prep.readers import LeftOut
from data_prep.readers.file_reader import Entry, FileReader
from data_prep.readers.files import RadarFile
from data_prep.readers.mrms import READER as _READER

assert isinstance(_READER, FileReader)
READER: FileReader = _READER

RAIN, LOWEST, HOURLY = (
    (209, 6, 1),
    (209, 3, 57),
    (209, 6, 2),
)  # PrecipRate, ReflectivityAtLowestAltitude, RadarOnly_QPE_01H


def signed(value: int, octets: int) -> bytes:
    return (abs(value) | (1 << 8 * octets - 1 if value < 0 else 0)).to_bytes(octets, "big")


def section(number: int, content: bytes) -> bytes:
    return struct.pack(">IB", 5 + len(content), number) + content


def identification(time: Sequence[int] = (2019, 6, 10, 0, 2, 39)) -> bytes:
    return section(1, struct.pack(">HHBBBH5BBB", 161, 0, 255, 1, 3, *time, 0, 7))


def grid(
    shape: tuple[int, int] = (2, 3),
    first: tuple[int, int] = (54_995_000, 230_005_000),
    last: tuple[int, int] | None = None,
    step: tuple[int, int] = (10_000, 10_000),
    scan: int = 0,
    earth: int = 2,
    basic: tuple[int, int] = (0, 0xFFFFFFFF),
    radius: tuple[int, int] = (0, 0),
    template: int = 0,
    flags: int = 0x30,
) -> bytes:
    """first, last: (latitude, longitude) of those points in millionths of a degree; step likewise, towards south and east."""
    rows, columns = shape
    south, east = (-1 if scan & 0x40 else 1), (-1 if scan & 0x80 else 1)
    ends = last or (first[0] - south * (rows - 1) * step[0], first[1] + east * (columns - 1) * step[1])
    content = struct.pack(">BIBBH", 0, rows * columns % (1 << 32), 0, 0, template)
    content += bytes([earth]) + signed(radius[0], 1) + struct.pack(">I", radius[1])
    content += (signed(radius[0], 1) + struct.pack(">I", radius[1])) * 2
    content += struct.pack(">IIII", columns, rows, *basic)
    content += signed(first[0], 4) + signed(first[1], 4) + bytes([flags]) + signed(ends[0], 4) + signed(ends[1], 4)
    return section(3, content + struct.pack(">IIB", step[1], step[0], scan))


def product(
    category: int, number: int, template: int = 0, ahead: tuple[int, int] = (0, 0), height_m: int = 0, level: int = 102
) -> bytes:
    """ahead: the forecast time's (unit, number)."""
    content = struct.pack(">HHBBBBBHBB", 0, template, category, number, 8, 0, 97, 0, 0, ahead[0]) + signed(ahead[1], 4)
    return section(4, content + bytes([level, 0]) + signed(height_m, 4) + bytes([255, 0, 0, 0, 0, 0]))


def over(category: int, number: int, end: Sequence[int], length: tuple[int, int], ranges: int = 1) -> bytes:
    """A product of template 4.8. length: its interval's (unit, number)."""
    interval = struct.pack(">H5BBI", *end, ranges, 0) + struct.pack(">BBBIBI", 1, 2, length[0], length[1], 255, 0)
    return section(4, product(category, number, template=8)[5:] + interval)


def png(pixels: Any, depth: int, colour: int = 0, **chunks: bytes) -> bytes:
    """(rows, columns) of non-negative integers as a PNG without filters. chunks: further ones, or others of these kinds."""
    rows = np.asarray(pixels)
    lines = b"".join(b"\0" + _bits(row, depth * {0: 1, 2: 3, 4: 2, 6: 4}[colour]) for row in rows)
    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], depth, colour, 0, 0, 0)
    parts = {"IHDR": header, **chunks, "IDAT": chunks.get("IDAT", zlib.compress(lines)), "IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind.encode(), content) for kind, content in parts.items())


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _bits(values: Any, bits: int) -> bytes:
    text = "".join(f"{int(value):0{bits}b}" for value in values)
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")


def packing(
    count: int, reference: float = -30.0, binary: int = 0, decimal: int = 1, bits: int = 16, template: int = 41
) -> bytes:
    content = struct.pack(">IHf", count, template, reference) + signed(binary, 2) + signed(decimal, 2)
    return section(5, content + bytes([bits, 0]))


def values(codes: Any, bits: int = 16, template: int = 41) -> bytes:
    if template == 41:
        return section(7, png(codes, *{24: (8, 2), 32: (8, 6)}.get(bits, (bits, 0))))
    return section(7, _bits(np.ravel(codes), bits) if bits else b"")


def message(*sections: bytes, discipline: int = 209, edition: int = 2) -> bytes:
    length = 16 + sum(map(len, sections)) + 4
    return b"GRIB\0\0" + struct.pack(">BBQ", discipline, edition, length) + b"".join(sections) + b"7777"


def grib(
    codes: Any = ((0, 30, 31), (40, 50, 65535)),
    parameter: tuple[int, int, int] = RAIN,
    time: Sequence[int] = (2019, 6, 10, 0, 2, 39),
    meaning: bytes | None = None,
    place: bytes | None = None,
    bitmap: Any = None,
    packs: bytes | None = None,
    **stored: Any,
) -> bytes:
    """One message of one field. stored: of `packing`. Sections may be given as they are."""
    codes = np.asarray(codes)
    how = {key: stored[key] for key in ("bits", "template") if key in stored}
    mask = section(6, b"\xff" if bitmap is None else b"\0" + np.packbits(np.ravel(bitmap)).tobytes())
    return message(
        identification(time),
        place or grid(codes.shape),
        meaning or product(*parameter[1:]),
        packs or packing(codes.size, **stored),
        mask,
        values(codes, **how),
        discipline=parameter[0],
    )


def read(content: bytes) -> RadarFrame:
    [frame] = READER.frames(io.BytesIO(content))
    return frame


def listed(content: bytes) -> list[Entry | LeftOut]:
    return list(READER.contents(RadarFile(io.BytesIO(content))))
