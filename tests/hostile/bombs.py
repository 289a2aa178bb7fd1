"""Files made to do harm: a few bytes that declare or unpack to gigabytes, that never end, that lead elsewhere, that run code."""

from __future__ import annotations

import bz2
import gzip
import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np

from tests.data_prep.readers import grib2_files
from tests.data_prep.readers.test_fmi import HEADER
from tests.data_prep.readers.test_geotiff import tiff_bytes
from tests.data_prep.readers.test_npy import SIDE_CAR
from tests.hostile.specimens import Specimen, made

_ZEROS = bytes(1 << 24)
MARK = "nowcast-was-executed"  # a file that appears in the working folder where code of a file was run


def bombs() -> Iterator[Specimen]:
    """All of them; the name of each tells what it does."""
    sound = {specimen.format: specimen for specimen in reversed(made())}
    yield from _packed(sound["knmi"].content)
    yield from _tars(sound["knmi"].content)
    yield from _hdf5(sound["knmi"], sound["odim"], sound["sevir"])
    yield from _arrays(sound["meteonet"])
    yield from _pictures()


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


def _changed(specimen: Specimen, name: str, change: Callable[[Any], None]) -> Specimen:
    memory = io.BytesIO(specimen.content)
    with h5py.File(memory, "r+") as file:
        change(file)
    return Specimen(specimen.format, name, memory.getvalue(), specimen.beside)


def _hdf5(knmi: Specimen, odim: Specimen, sevir: Specimen) -> Iterator[Specimen]:
    formula = "GEO=" + "1" * 60_000 + "x"
    yield _changed(
        knmi,
        "slow-formula.h5",
        lambda file: file["image1/calibration"].attrs.__setitem__("calibration_formulas", formula),
    )

    def huge(file: Any) -> None:
        for name in ("rows", "columns"):
            file["geographic"].attrs[f"geo_number_{name}"] = np.array([30_000], np.int32)
        _one_chunk(file, "image1/image_data", (30_000, 30_000), np.uint8, 1 << 30)

    yield _changed(knmi, "900-megapixels.h5", huge)

    def chunks(file: Any) -> None:
        for name in ("rows", "columns"):
            file["geographic"].attrs[f"geo_number_{name}"] = np.array([8_000], np.int32)
        del file["image1/image_data"]
        file.create_dataset("image1/image_data", (8_000, 8_000), np.uint16, chunks=(1, 1))

    yield _changed(knmi, "64-million-chunks.h5", chunks)
    yield _changed(
        knmi, "chunk-of-a-gigabyte.h5", lambda file: _one_chunk(file, "image1/image_data", (20, 30), np.uint16, 1 << 30)
    )
    yield _changed(
        odim,
        "chunk-of-a-gigabyte.hdf",
        lambda file: _one_chunk(file, "dataset1/data1/data", (20, 30), np.uint8, 1 << 30),
    )
    yield _changed(sevir, sevir.name, lambda file: _one_chunk(file, "vil", (2, 6, 8, 3), np.uint8, 1 << 32))
    yield _changed(
        odim, "many-attributes.hdf", lambda file: [file["what"].attrs.__setitem__(f"a{i}", i) for i in range(20_000)]
    )

    def many(file: Any) -> None:
        for number in range(1, 1500):
            file[f"dataset1/data{number + 1}"] = file["dataset1/data1"]
            file[f"dataset{number + 1}"] = file["dataset1"]

    yield _changed(odim, "two-million-pictures.hdf", many)
    for word in (
        "+proj=pipeline +step +proj=utm +zone=33",
        "+proj=stere +lat_0=90 +nadgrids=x" + "9" * 50_000,
        "+proj=" + "x" * 60_000,
    ):
        yield _changed(
            odim, "odd-projection.hdf", lambda file, word=word: file["where"].attrs.__setitem__("projdef", word)
        )  # type: ignore[misc]
        yield _changed(
            knmi,
            "odd-projection.h5",
            lambda file, word=word: file["geographic/map_projection"].attrs.__setitem__(
                "projection_proj4_params", word
            ),
        )  # type: ignore[misc]


def _one_chunk(file: Any, name: str, shape: tuple[int, ...], dtype: Any, inflated: int) -> None:
    """A dataset whose one chunk inflates to so many bytes."""
    del file[name]
    data = file.create_dataset(name, shape, dtype, chunks=shape, compression="gzip")
    packer = zlib.compressobj(1)
    parts = [packer.compress(_ZEROS) for _ in range(inflated // len(_ZEROS))]
    data.id.write_direct_chunk((0,) * len(shape), b"".join([*parts, packer.flush()]))


class _Runs:
    def __reduce__(self) -> Any:
        return open, (MARK, "w")


def _pickle(body: bytes) -> bytes:
    """A .npy of objects."""
    header = repr({"descr": "|O", "fortran_order": False, "shape": (2,)}).encode()
    header = header.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\x80\x04" + body


def _nested(levels: int) -> bytes:
    """Opcodes of a tuple that holds the same tuple twice, and so on: 2 ** levels leaves in a few bytes."""
    return b"\x8c\x01x\x94" + b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86\x94" for i in range(levels))


def _arrays(meteonet: Specimen) -> Iterator[Specimen]:
    dag = _nested(60)
    bodies = {
        "runs-code": pickle.dumps(np.array([_Runs(), _Runs()], object)),
        "name-of-a-billion-parts": dag + dag + b"\x93.",
        "text-of-a-billion-parts": b"c_codecs\nencode\n" + dag + b"\x8c\x06latin1\x86R.",
        "encoding-of-a-billion-parts": b"c_codecs\nencode\n\x8c\x01a" + dag + b"\x86R.",
        "state-of-a-billion-parts": b"cnumpy.core.multiarray\n_reconstruct\n)R" + dag + b"b.",
        "four-million-opcodes": b"N0" * (1 << 21) + b".",
        "sixty-million-opcodes": b"N" * 60_000_000 + b".",
        "nested-deep": b")" + b"\x85" * 2_000_000 + b".",
    }
    with zipfile.ZipFile(io.BytesIO(meteonet.content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for what, body in bodies.items():
        yield _npz(meteonet, f"rainfall_NW_{what}.npz", members | {"dates.npy": _pickle(body)})
    head = (
        b"\x93NUMPY\x01\x00\x76\x00"
        + repr({"descr": "<i2", "fortran_order": False, "shape": (2, 10_000, 13_000)}).encode().ljust(117)
        + b"\n"
    )
    yield _npz(
        meteonet,
        "rainfall_NW_two-frames-of-130-megapixels.npz",
        members | {"data.npy": head + bytes(2 * 2 * 130_000_000)},
    )
    yield _npz(meteonet, "rainfall_NW_many-members.npz", members | {f"a{i}.npy": b"" for i in range(20_000)})
    beside = {"a.json": b"[" * 100_000}
    yield Specimen("npy", "a.npy", members["data.npy"], beside)
    for header in (
        b"(" * 9000,
        b"-" * 9000 + b"1",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 9000 + b",)}",
        b"[" * 100 + b"]" * 100,
    ):
        content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n"
        yield Specimen("npy", "a.npy", content, {"a.json": repr(SIDE_CAR).replace("'", '"').encode()})
    yield Specimen(
        "npy", "pickle.npy", _pickle(bodies["runs-code"]), {"pickle.json": repr(SIDE_CAR).replace("'", '"').encode()}
    )


def _npz(meteonet: Specimen, name: str, members: dict[str, bytes]) -> Specimen:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return Specimen("meteonet", name, out.getvalue(), meteonet.beside)


def _pictures() -> Iterator[Specimen]:
    for rows, columns in ((10_000, 13_000), (60_000, 60_000), (0, 0), (1, 134_000_000)):
        place = grib2_files.grid((rows, columns), step=(1, 1))
        packs = grib2_files.packing(rows * columns % (1 << 32))
        lines = zlib.compressobj(1)
        parts = [lines.compress(bytes(1 << 24)) for _ in range(min(rows * (2 * columns + 1) >> 24, 20))]
        body = b"".join([*parts, lines.compress(bytes(rows * (2 * columns + 1) % (1 << 24))), lines.flush()])
        head = struct.pack(">IIBBBBB", columns, rows, 16, 0, 0, 0, 0)
        png = b"\x89PNG\r\n\x1a\n" + b"".join(
            grib2_files.chunk(kind, some) for kind, some in ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
        )
        sections = (
            grib2_files.identification(),
            place,
            grib2_files.product(6, 1),
            packs,
            grib2_files.section(6, b"\xff"),
            grib2_files.section(7, png),
        )
        yield Specimen("mrms", f"png-{rows}-x-{columns}.grib2", grib2_files.message(*sections))
    lines = "\n".join(f"# {key} {value}" for key, value in HEADER.items())
    for size in ("999999999 999999999", "11000 12000", "0 0", "1" * 5000 + " 1"):
        yield Specimen(
            "fmi", f"pgm-of-{size[:9].replace(' ', '-')}.pgm", f"P5\n{lines}\n{size}\n255\n".encode() + bytes(1000)
        )
    blank = {"compress": "deflate", "SPARSE_OK": True, "unit": "mm/h"}
    for side in (11_000, 30_000):
        small = tiff_bytes(np.zeros((1, 16, 16), np.uint16), **blank)
        yield Specimen("geotiff", f"blank-{side}_202001020304.tif", _tiff_sized(small, side))
    yield Specimen("geotiff", "long-unit_202001020304.tif", tiff_bytes(unit="1" * 30_000 + "x"))
    yield Specimen(
        "fmi",
        "blank_201609281445.tif",
        tiff_bytes(tags={"GDAL_METADATA": '<Item name="a"' + " " * 30_000 + '<Item name="' * 3000}),
    )


def _tiff_sized(content: bytes, side: int) -> bytes:
    """Width, height and rows of a strip of a little TIFF replaced."""
    some = bytearray(content)
    at = struct.unpack_from("<I", some, 4)[0]
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", some, at)[0], 12):
        if struct.unpack_from("<H", some, entry)[0] in (256, 257, 278):
            struct.pack_into("<HII", some, entry + 2, 4, 1, side)
    return bytes(some)
