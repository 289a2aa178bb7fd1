"""Small shards folders for tests, made of given codes without an archive."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.encoding import ENCODINGS
from data_prep.files import sha256_of
from data_prep.frames import Grid
from data_prep.shards.index import FORMAT_VERSION, BuildNote, Shard, ShardsIndex, Split, make_idx
from data_prep.shards.samples import META_MEMBER, Packing
from data_prep.shards.statistics import statistics_of
from data_prep.shards.tally import tally_of

PROJ = "+proj=laea +lat_0=38 +lon_0=-98 +units=m +a=6370997.0 +ellps=sphere"
Codes = NDArray[np.uint8]
FRAMES_PER_CHUNK = 4


def make_shards(
    folder: Path,
    splits: Mapping[str, Sequence[Codes]],
    per_shard: int = 4,
    encoding: str = "vil255",
    codec: str = "lz4",
) -> Path:
    """Shards of sequences (T, H, W) of codes, `per_shard` in a tar; the sample's key is its split and number."""
    codes = next(iter(splits.values()))[0]
    packing = Packing(codec, codes.shape, codes.dtype, 1 if codec == "raw" else FRAMES_PER_CHUNK)
    index = ShardsIndex(
        format_version=FORMAT_VERSION,
        archive="made",
        encoding=encoding,
        unit=ENCODINGS[encoding].units[0],
        cadence_s=300,
        frames=codes.shape[0],
        shape=codes.shape[1:],
        pixel=(1000.0, 1000.0),
        pixel_unit="m",
        codec=packing.form,
        frames_per_chunk=packing.frames_per_chunk,
        splits={
            name: _split(folder, name, sequences, per_shard, encoding, packing) for name, sequences in splits.items()
        },
        archive_shape=codes.shape[1:],
        archive_pixel=(1000.0, 1000.0),
        importance=False,
        guard_s=0,
        left_out={},
        builds=[BuildNote(plan="0" * 64, settings="0" * 64, spans=[], events=[])],
    )
    (folder / "index.json").write_text(index.model_dump_json(indent=1))
    return folder


def _split(
    folder: Path, name: str, sequences: Sequence[Codes], per_shard: int, encoding: str, packing: Packing
) -> Split:
    (folder / name).mkdir(parents=True)
    shards = []
    for number, start in enumerate(range(0, len(sequences), per_shard)):
        tar = folder / name / f"{name}-{number:06d}.tar"
        members = {f"{name}{start + i:04d}": codes for i, codes in enumerate(sequences[start : start + per_shard])}
        tar.write_bytes(tar_of(members, packing))
        tar.with_suffix(".idx").write_bytes(make_idx(tar))
        shards.append(
            Shard(name=f"{name}/{tar.name}", samples=len(members), bytes=tar.stat().st_size, sha256=sha256_of(tar))
        )
    tally = tally_of(np.stack(sequences), ENCODINGS[encoding])
    return Split(
        shards=shards,
        first_time="2019-01-01T00:00:00Z",
        last_time="2019-01-01T04:00:00Z",
        code_counts=tally.code_counts,
        pixels=tally.pixels,
        missing=tally.missing,
        wet=tally.wet,
        statistics=statistics_of(tally, ENCODINGS[encoding]),
    )


def tar_of(samples: Mapping[str, Codes], packing: Packing) -> bytes:
    """A shard's bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for key, codes in samples.items():
            for ext, content in (
                (packing.member, packing.pack(codes)),
                (META_MEMBER, json.dumps(meta_of(key, codes, packing)).encode()),
            ):
                info = tarfile.TarInfo(f"{key}.{ext}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def meta_of(key: str, codes: Codes, packing: Packing) -> dict[str, Any]:
    """The sample's JSON; each key is an event of its own day."""
    day = int(hashlib.sha256(key.encode()).hexdigest()[:4], 16)
    first = datetime(2019, 1, 1, tzinfo=UTC) + timedelta(days=day)
    times = [(first + timedelta(minutes=5 * t)).strftime("%Y-%m-%dT%H:%M:%SZ") for t in range(len(codes))]
    grid = Grid(codes.shape[1:], PROJ, (1000.0, 1000.0), 0.0, 0.0)
    frames = {
        "shape": list(codes.shape),
        "dtype": str(codes.dtype),
        "codec": packing.form,
        "frames_per_chunk": packing.frames_per_chunk,
    }
    return {"key": key, "event": key, "times": times, "grid": grid.to_dict(), "frames": frames}


def moving_blobs(rng: np.random.Generator, frames: int = 25, size: int = 32, missing: float = 0.0) -> Codes:
    """Smooth moving echoes, (T, H, W) codes below 255; about a share `missing` of the rows has no data."""
    field = rng.normal(size=(size, size))
    spectrum = np.fft.rfft2(field) / (1.0 + 40.0 * np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)) ** 2)
    field = np.fft.irfft2(spectrum, s=(size, size))
    steps = rng.integers(-2, 3, size=2)
    codes = np.stack([np.roll(field, tuple(steps * t), (0, 1)) for t in range(frames)])
    codes = np.clip(120.0 * (codes / codes.std()), 0, 254).astype(np.uint8)
    codes[:, : round(missing * size)] = 255
    return codes
