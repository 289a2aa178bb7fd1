"""Damage to a file anywhere in it, whatever it is; as often in its first or last bytes."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

Mutation = Callable[[bytes, random.Random], bytes]

EXTREMES = (
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
HEAD = 4096
_MOST_TEXT = 1 << 17


def _place(content: bytes, rng: random.Random) -> int:
    """Anywhere; as often in the first or last bytes, where headers and directories are."""
    size = max(len(content), 1)
    where = rng.random()
    if where < 0.4:
        return rng.randrange(min(size, HEAD))
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
    some[at : at + size] = extreme(rng, size)
    return bytes(some)


def extreme(rng: random.Random, size: int) -> bytes:
    value = rng.choice((*EXTREMES, rng.getrandbits(8 * size))) & ((1 << 8 * size) - 1)
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
    words = list(re.finditer(rb"-?\d[\d.]*|[A-Za-z_]{2,}", content[:HEAD]))
    tail = max(len(content) - HEAD, HEAD)
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
