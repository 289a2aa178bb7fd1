"""GRIB edition 2, as much of it as radar composites use: latitude/longitude grids, simple and PNG packing.

A message is a chain of numbered sections, each with its own length before it; sections 2 to 7 may come again for further
fields of the message. Numbers are big-endian, signed ones have their sign in the highest bit. "Octet n" is that of WMO's
Manual on Codes (WMO-No. 306, volume I.2, FM 92 GRIB), counted from 1 in each section.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import RadarFileError
from data_prep.readers.files import RadarFile

MOST_FIELDS = 4096  # of one file
_LENGTHS_S = {0: 60, 1: 3600, 2: 86400, 10: 3 * 3600, 11: 6 * 3600, 12: 12 * 3600, 13: 1}  # code table 4.4
_LARGEST = 1e30  # value that a field may have: float32 holds it
_KEPT = (1, 3, 4, 5)  # sections that say what section 7 means


@dataclass(frozen=True)
class Section:
    """The octets of one section, its length and number among them."""

    file: RadarFile
    octets: bytes

    def unsigned(self, first: int, last: int) -> int:
        """The number in octets first to last. Raises RadarFileError where the section is too short."""
        if last > len(self.octets):
            raise RadarFileError(self.file.name, f"a GRIB section ends before its octet {last}, or the file does")
        return int.from_bytes(self.octets[first - 1 : last], "big")

    def signed(self, first: int, last: int) -> int:
        """As `unsigned`, of a number with a sign."""
        value, sign = self.unsigned(first, last), 1 << (8 * (last - first + 1) - 1)
        return sign - value if value & sign else value


@dataclass(frozen=True)
class Field:
    """One field of a file. sections: by number. bitmap, values: from which to which byte of the file they lie."""

    file: RadarFile
    discipline: int
    sections: dict[int, Section]
    bitmap: tuple[int, int] | None
    values: tuple[int, int]
    # where the file would end if this was all that it holds; None where more follows or is before
    only_until: int | None

    @property
    def parameter(self) -> tuple[int, int, int]:
        """(discipline, category, number)."""
        product = self.sections[4]
        return self.discipline, product.unsigned(10, 10), product.unsigned(11, 11)

    @property
    def height_km(self) -> float:
        """The height above mean sea level of its level. Raises RadarFileError where that is of another kind."""
        product = self.sections[4]
        if product.unsigned(23, 23) != 102:  # code table 4.5
            raise RadarFileError(
                self.file.name, f"its level is of type {product.unsigned(23, 23)}, expected 102 (height)"
            )
        scale = product.signed(24, 24)
        return float(product.signed(25, 28) / 10.0**scale / 1000.0)


def fields(data: bytes, file: RadarFile, size: int) -> Iterator[Field]:
    """The fields of a file of `size` bytes, of which `data` are all or the first, in their order.

    Raises RadarFileError where it is no GRIB, damaged, or ends too early; the fields before that have been given by then.
    """
    at, count = 0, 0
    while (start := data.find(b"GRIB", at)) >= 0:
        if len(data) < start + 16:
            raise RadarFileError(file.name, "ends in the header of a GRIB message")
        discipline, edition, length = struct.unpack_from(">BBQ", data, start + 6)
        if edition != 2:
            raise RadarFileError(file.name, f"is GRIB edition {edition}, this reader takes edition 2")
        at = start + length
        if at > size or not b"7777".startswith(data[at - 4 : at]):  # of which not all need be in data
            raise RadarFileError(file.name, "ends in the middle of a GRIB message, or the message is damaged")
        found = 0
        for field in _fields_of(data, start, at, discipline, file):
            found += 1
            count += 1
            if count > MOST_FIELDS:
                raise RadarFileError(file.name, f"holds more than {MOST_FIELDS} GRIB fields; split it")
            yield field
        if not found:
            raise RadarFileError(file.name, "holds a GRIB message without a field")
    if not count:
        raise RadarFileError(file.name, "holds no GRIB message")


def _fields_of(data: bytes, start: int, end: int, discipline: int, file: RadarFile) -> Iterator[Field]:
    sections: dict[int, Section] = {}
    bitmap: tuple[int, int] | None = None
    at, previous = start + 16, 0
    while at != end - 4:  # there 7777 stands
        if at + 6 > len(data):
            raise RadarFileError(file.name, "ends in the middle of a GRIB message")
        length, number = struct.unpack_from(">IB", data, at)
        in_order = previous < number <= 7 or (previous == 7 and number in (2, 3, 4))
        if length < 5 or at + length > end - 4 or not in_order:
            raise RadarFileError(file.name, f"the GRIB section at byte {at} is damaged, or its message")
        stop = at + length
        if number in _KEPT:
            sections[number] = Section(file, data[at:stop])
        elif number == 6:
            bitmap = _bitmap(data[at + 5], (at + 6, stop), bitmap, file)
        elif number == 7:
            if len(sections) != len(_KEPT):
                raise RadarFileError(file.name, "a GRIB message lacks a section")
            alone = start == 0 and previous != 7 and stop == end - 4
            yield Field(file, discipline, dict(sections), bitmap, (at + 5, stop), end if alone else None)
        at, previous = stop, number


def _bitmap(
    indicator: int, place: tuple[int, int], before: tuple[int, int] | None, file: RadarFile
) -> tuple[int, int] | None:
    """Code table 6.0: 0 one follows, 254 the one before again, 255 none, else one of the producing centre's own."""
    if indicator not in (0, 254, 255):
        raise RadarFileError(file.name, f"uses predefined bitmap {indicator}, which is not in the file")
    return place if indicator == 0 else before if indicator == 254 else None


def interval(field: Field) -> tuple[datetime, int | None]:
    """(end, UTC, seconds that it covers or None) of templates 4.0 (at a time) and 4.8 (over an interval).

    Raises RadarFileError for another template or where they are no times.
    """
    start, product, name = field.sections[1], field.sections[4], field.file.name
    template = product.unsigned(8, 9)
    if template not in (0, 8):
        raise RadarFileError(name, f"its product template is 4.{template}, this reader takes 4.0 and 4.8")
    try:
        if template == 0:
            ahead_s = product.signed(19, 22) * _seconds(product.unsigned(18, 18), name)
            return _moment(start, 13) + timedelta(seconds=ahead_s), None
        if product.unsigned(42, 42) != 1:
            raise RadarFileError(name, f"its interval is made of {product.unsigned(42, 42)} intervals, expected one")
        covered_s = product.unsigned(50, 53) * _seconds(product.unsigned(49, 49), name)
        return _moment(product, 35), covered_s
    except (ValueError, OverflowError) as error:
        raise RadarFileError(name, f"its time is no time ({error})") from None


def _moment(section: Section, first: int) -> datetime:
    year = section.unsigned(first, first + 1)
    month, day, hour, minute, second = (section.unsigned(first + n, first + n) for n in range(2, 7))
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def _seconds(unit: int, name: str) -> int:
    if unit not in _LENGTHS_S:
        raise RadarFileError(name, f"its time is in units of code {unit}, which have no fixed length")
    return _LENGTHS_S[unit]


@dataclass(frozen=True)
class Packing:
    """How a field's values are stored: value = (reference + code * 2**binary) / 10**decimal, codes of `bits` bits."""

    template: int
    count: int
    reference: float
    binary: int
    decimal: int
    bits: int

    def values(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """Of each code, float64 (regulation 92.9.4).

        All values of a constant field (bits 0) are the reference itself, which its writers do not scale: so read NCEP's
        g2c and ECMWF's ecCodes.
        """
        if self.bits == 0:
            return np.full(np.shape(codes), self.reference)
        return np.asarray((self.reference + codes * 2.0**self.binary) / 10.0**self.decimal, np.float64)


def packing(field: Field) -> Packing:
    """Templates 5.0 (simple packing) and 5.41 (PNG). Raises RadarFileError for another."""
    section, name = field.sections[5], field.file.name
    template = section.unsigned(10, 11)
    if template not in (0, 41):
        raise RadarFileError(name, f"its values are packed by template 5.{template}, this reader takes 5.0 and 5.41")
    section.unsigned(21, 21)
    [reference] = struct.unpack(">f", section.octets[11:15])
    binary, decimal, bits = section.signed(16, 17), section.signed(18, 19), section.unsigned(20, 20)
    within = math.isfinite(reference) and abs(binary) <= 127 and abs(decimal) <= 127 and bits <= 32
    if not within or (abs(reference) + 2.0 ** (bits + binary)) / 10.0**decimal > _LARGEST:
        raise RadarFileError(name, f"its packing is {reference} + code * 2^{binary}, / 10^{decimal}, of {bits} bits")
    return Packing(template, section.unsigned(6, 9), reference, binary, decimal, bits)
