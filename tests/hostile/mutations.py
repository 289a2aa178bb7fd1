"""Mutants of a file: damage anywhere, in its format's fields, around or inside what it is packed in.

A mutant is a pure function of the content and a seed, so that the seed brings any of them back.
"""

from __future__ import annotations

import bz2
import gzip
import io
import random
import tarfile
import zipfile
import zlib
from functools import lru_cache

from tests.hostile.anywhere import ANYWHERE, Mutation, flipped, number_replaced, word_replaced
from tests.hostile.fields import grib_header, near, npy_header, png_header, tiff_directory
from tests.hostile.hdf5_fields import hdf5_rewritten


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
