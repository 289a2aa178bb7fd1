"""HDF5 files that are valid and hold something else than they should: attributes, datasets and links replaced by h5py."""

from __future__ import annotations

import io
import random

import h5py
import numpy as np

from tests.hostile.anywhere import flipped


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
