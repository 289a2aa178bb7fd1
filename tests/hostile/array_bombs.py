"""Arrays and pictures that run code, that never end, or that are far larger than they look."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.data_prep.readers import grib2_files
from tests.data_prep.readers.test_fmi import HEADER
from tests.data_prep.readers.test_geotiff import tiff_bytes
from tests.data_prep.readers.test_npy import SIDE_CAR
from tests.hostile.hdf5_bombs import deflated_zeros
from tests.hostile.specimens import Specimen

MARK = "nowcast-was-executed"  # a file that appears in the working folder where code of a file was run


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
    return b"\x8c\x01x\x94" + b"".join(b"h" + bytes([i]) + b"\x86\x94" for i in range(levels))


def of_arrays(meteonet: Specimen) -> Iterator[Specimen]:
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


def of_pictures() -> Iterator[Specimen]:
    for rows, columns in ((10_000, 13_000), (60_000, 60_000), (0, 0), (1, 134_000_000)):
        place = grib2_files.grid((rows, columns), step=(1, 1))
        packs = grib2_files.packing(rows * columns % (1 << 32))
        body = deflated_zeros(rows * (2 * columns + 1))
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
