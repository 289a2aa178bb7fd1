"""How training windows are usually read: a plain webdataset recipe, a PyTorch Dataset over the HDF5 archive, litdata."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
import webdataset as wds
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from benchmarks.archive import Archive

Loader = Iterable[torch.Tensor]  # of batches (B, T, H, W)
Codes = NDArray[np.uint8]
_PER_TAR = 6  # windows; two workers need two tars or more


class Window(NamedTuple):
    """One training sample."""

    event: int
    first: int  # frame


def codes_of(archive: Archive, windows: Sequence[Window], frames: int) -> Iterator[Codes]:
    """Each window's codes (T, H, W), row 0 in the north."""
    events = list(archive.codes())
    for event, first in windows:
        yield events[event][first : first + frames]


# Each loader reads the same windows `passes` times over, shuffled


def write_npy_tars(windows: Iterable[Codes], folder: Path) -> list[str]:
    """Tars of windows as uint8 npy (T, H, W), each under `__key__` and `npy`."""
    folder.mkdir()
    with wds.ShardWriter(f"{folder}/%06d.tar", maxcount=_PER_TAR, verbose=0) as writer:
        for number, codes_THW in enumerate(windows):
            content = io.BytesIO()
            np.save(content, codes_THW)
            writer.write({"__key__": f"{number:06d}", "npy": content.getvalue()})
    return sorted(map(str, folder.iterdir()))


def webdataset_loader(tars: list[str], passes: int, batch: int, workers: int) -> Loader:
    """Yields float32 in [0, 1]."""
    samples = wds.WebDataset(tars * passes, shardshuffle=len(tars)).decode().to_tuple("npy").map_tuple(_in_unit_range)
    dataset = samples.batched(batch).map(itemgetter(0))
    loader: Loader = wds.WebLoader(dataset, batch_size=None, **in_processes(workers))
    return loader


def _in_unit_range(codes: Codes) -> NDArray[np.float32]:
    return codes.astype(np.float32) / np.float32(255)


class HDF5Windows(Dataset[torch.Tensor]):
    """Windows of SEVIR's files, float32 (T, H, W) in [0, 1]."""

    def __init__(self, archive: Archive, windows: list[Window], frames: int) -> None:
        self._frames, self._windows = frames, windows
        self._places = [(path, i) for path in archive.files for i in range(_length(path))]
        self._files: dict[Path, Any] = {}  # opened where it is read, in the worker

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, number: int) -> torch.Tensor:
        event, first = self._windows[number]
        path, i = self._places[event]
        if path not in self._files:
            self._files[path] = h5py.File(path)
        window_HWT = self._files[path]["vil"][i, :, :, first : first + self._frames]
        return torch.from_numpy(np.ascontiguousarray(window_HWT.transpose(2, 0, 1))).float() / 255


def _length(path: Path) -> int:
    with h5py.File(path) as file:
        return len(file["vil"])


def hdf5_loader(dataset: HDF5Windows, batch: int, workers: int) -> Loader:
    """Yields float32 in [0, 1]."""
    return DataLoader(dataset, batch, shuffle=True, **in_processes(workers))


def in_processes(workers: int) -> dict[str, Any]:
    """How a DataLoader starts its workers: anew, for a fork would copy locks that other contenders' threads hold."""
    return {
        "num_workers": workers, "persistent_workers": workers > 0,
        "multiprocessing_context": "spawn" if workers else None,
    }  # fmt: skip


def has_litdata() -> bool:
    """Whether the extra `bench` is installed."""
    return find_spec("litdata") is not None


def write_litdata(windows: Iterable[Codes], folder: Path, compression: str | None) -> None:
    """Windows as uint8 tensors in chunks of 64 MB, as its documentation has them."""
    from litdata.streaming import Cache

    cache = Cache(str(folder), chunk_bytes="64MB", compression=compression)
    for number, codes_THW in enumerate(windows):
        cache[number] = torch.from_numpy(codes_THW.copy())
    cache.done()
    cache.merge()


def litdata_loader(folder: Path, passes: int, batch: int, workers: int) -> Loader:
    """Yields uint8 codes."""
    from litdata import StreamingDataLoader, StreamingDataset

    own = folder.with_name(f"{folder.name}-cache-{workers}")  # else below the home folder
    dataset = StreamingDataset(str(folder), cache_dir=str(own), shuffle=True, subsample=float(passes))
    loader: Loader = StreamingDataLoader(dataset, batch_size=batch, num_workers=workers, persistent_workers=workers > 0)
    return loader
