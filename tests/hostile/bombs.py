"""Files made to do harm: a few bytes that declare or unpack to gigabytes, that never end, that lead elsewhere, that run code."""

from __future__ import annotations

import bz2
import gzip
import io
import tarfile
from collections.abc import Iterator

from tests.hostile import array_bombs, hdf5_bombs
from tests.hostile.specimens import Specimen, knmi, made

MARK = array_bombs.MARK
_ZEROS = bytes(1 << 24)


def bombs() -> Iterator[Specimen]:
    """All of them; the name of each tells what it does."""
    yield from knmi_bombs()
    sound = {specimen.format: specimen for specimen in reversed(made())}
    yield from hdf5_bombs.of_others(sound["odim"], sound["sevir"])
    yield from array_bombs.of_arrays(sound["meteonet"])
    yield from array_bombs.of_pictures()


def knmi_bombs() -> Iterator[Specimen]:
    """Those that say to be of KNMI, or are packed as files of any format may be."""
    content = knmi()
    yield from _packed(content)
    yield from _tars(content)
    yield from hdf5_bombs.of_knmi(Specimen("knmi", "a.h5", content))


def _packed(knmi: bytes) -> Iterator[Specimen]:
    gigabyte = gzip.compress(_ZEROS, 1, mtime=0) * 64
    yield Specimen("knmi", "gigabyte.h5.gz", gigabyte)
    yield Specimen("fmi", "gigabyte.pgm.gz", gzip.compress(b"P5\n", mtime=0) + gigabyte)
    yield Specimen("radolan", "raa01-rw_10000-1408102050-dwd---bin.gz", gigabyte)
    yield Specimen("mrms", "gigabyte.grib2.gz", gzip.compress(b"GRIB\0\0", mtime=0) + gigabyte)
    yield Specimen("knmi", "gigabyte.h5.bz2", bz2.compress(_ZEROS) * 64)
    yield Specimen("knmi", "gzip-in-gzip.h5.gz", gzip.compress(gigabyte, mtime=0))
    yield Specimen("knmi", "long-name.h5.gz", b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * (1 << 24))
    yield Specimen("knmi", "empty-members.h5.gz", gzip.compress(b"", mtime=0) * 100_000 + gzip.compress(knmi, mtime=0))
    yield Specimen("knmi", "rubbish-behind.h5.gz", gzip.compress(knmi, mtime=0) + b"x" * 1000)


def tar(*items: tuple[str, bytes, bytes]) -> bytes:
    """Of (name, kind, content)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, content in items:
            item = tarfile.TarInfo(name)
            item.type = kind
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                item.linkname = content.decode()
                archive.addfile(item)
            else:
                item.size = len(content)
                archive.addfile(item, io.BytesIO(content))
    return out.getvalue()


def _tars(knmi: bytes) -> Iterator[Specimen]:
    file = tarfile.REGTYPE
    gigabyte = gzip.compress(_ZEROS, 1, mtime=0) * 64
    header = bytearray(tar(("big.h5", file, b""))[:512])
    header[124:136] = b"%011o\0" % (1 << 30)
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    yield Specimen("knmi", "member-of-a-gigabyte.tar.gz", gzip.compress(bytes(header), mtime=0) + gigabyte)
    yield Specimen("knmi", "member-longer-than-the-tar.tar", bytes(header) + knmi)
    for kind, name in ((b"x", "pax"), (b"L", "long-name"), (b"g", "global-pax"), (b"5", "folder"), (b"S", "sparse")):
        other = bytearray(header)
        other[156:157] = kind
        other[148:156] = b"        "
        other[148:156] = b"%06o\0 " % sum(other)
        yield Specimen("knmi", f"{name}-of-a-gigabyte.tar", bytes(other) + knmi)
        yield Specimen("knmi", f"{name}-of-a-gigabyte.tar.gz", gzip.compress(bytes(other), mtime=0) + gigabyte)
    many = tar(("a.h5", file, b""))[:512] * 20_000
    yield Specimen("knmi", "a-million-headers.tar.gz", gzip.compress(many, mtime=0) * 50)
    yield Specimen("knmi", "outside.tar", tar(("../../outside.h5", file, knmi), ("/tmp/absolute.h5", file, knmi)))
    links = (("link.h5", tarfile.SYMTYPE, b"/etc/passwd"), ("hard.h5", tarfile.LNKTYPE, b"link.h5"))
    yield Specimen(
        "knmi", "links.tar", tar(*links, ("pipe.h5", tarfile.FIFOTYPE, b""), ("zero.h5", tarfile.CHRTYPE, b""))
    )
    yield Specimen(
        "knmi",
        "odd-names.tar",
        tar(("a\n\x1b[31m.h5", file, b"x"), ("\udcff\udcfe.h5", file, b"x"), ("n" * 50_000 + ".h5", file, b"x")),
    )
    yield Specimen("knmi", "tar-in-tar.tar", tar(("inner.h5", file, tar(("a.h5", file, knmi)))))
    yield Specimen("knmi", "bomb-in-a-tar.tar", tar(("a.h5", file, gigabyte), ("b.h5", file, knmi)))
