"""How training windows are usually read: a plain webdataset recipe, and a PyTorch Dataset over the HDF5 archive."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import webdataset as wds
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from benchmarks.archive import Archive

Loader = Iterable[torch.Tensor]
_PER_TAR = 6  # windows; two workers need two tars or more


def write_npy_tars(archive: Archive, windows: list[tuple[int, int]], frames: int, folder: Path) -> list[str]:
    """Tars of windows (event, first frame) as uint8 npy (T, H, W), each under `__key__` and `npy`."""
    folder.mkdir()
    codes = [event_THW for path in archive.files for event_THW in _events(path)]
    paths = []
    for start in range(0, len(windows), _PER_TAR):
        paths.append(str(folder / f"{start:06d}.tar"))
        with wds.TarWriter(paths[-1]) as tar:
            for number, (event, first) in enumerate(windows[start : start + _PER_TAR], start):
                content = io.BytesIO()
                np.save(content, codes[event][first : first + frames])
                tar.write({"__key__": f"{number:06d}", "npy": content.getvalue()})
    return paths


def _events(path: Path) -> Iterator[NDArray[np.uint8]]:
    with h5py.File(path) as file:
        for event_HWT in file["vil"]:
            yield np.ascontiguousarray(event_HWT[::-1].transpose(2, 0, 1))


def webdataset_loader(tars: list[str], batch: int, workers: int) -> Loader:
    """Yields float32 (B, T, H, W) in [0, 1]."""
    samples = wds.WebDataset(tars, shardshuffle=len(tars)).decode().to_tuple("npy").map_tuple(_in_unit_range)
    dataset = samples.batched(batch).map(itemgetter(0))
    loader: Loader = wds.WebLoader(dataset, batch_size=None, num_workers=workers, persistent_workers=workers > 0)
    return loader


def _in_unit_range(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    return codes.astype(np.float32) / np.float32(255)


class HDF5Windows(Dataset[torch.Tensor]):
    """Windows (event, first frame) of SEVIR's files, float32 (T, H, W) in [0, 1]."""

    def __init__(self, archive: Archive, windows: list[tuple[int, int]], frames: int) -> None:
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


def hdf5_loader(archive: Archive, windows: list[tuple[int, int]], frames: int, batch: int, workers: int) -> Loader:
    """Yields float32 (B, T, H, W) in [0, 1], shuffled."""
    dataset = HDF5Windows(archive, windows, frames)
    return DataLoader(dataset, batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
