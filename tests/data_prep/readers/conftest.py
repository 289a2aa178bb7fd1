"""Tiny archives in the layouts of SEVIR and KNMI, so that the readers are tested without real data too."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

SEVIR_FILE = "vil/2019/SEVIR_VIL_STORMEVENTS_2019_0101_0630.h5"
# lower-left corner at lon -98, lat 38: the projection's origin, so x = y = 0 there
SEVIR_ROW = {
    "id": "S1",
    "file_name": SEVIR_FILE,
    "file_index": "0",
    "img_type": "vil",
    "time_utc": "2019-05-12 18:30:00",
    "minute_offsets": "-5:0:5",
    "llcrnrlat": "38.0",
    "llcrnrlon": "-98.0",
    "urcrnrlat": "38.1",
    "urcrnrlon": "-97.9",
    "proj": "+proj=laea +lat_0=38 +lon_0=-98 +units=m +a=6370997.0 +ellps=sphere ",
    "size_x": "8",
    "size_y": "6",
    "height_m": "6000.0",
    "width_m": "8000.0",
    "pct_missing": "0.0",
}
KNMI_PROJ = "+proj=stere +lat_0=90 +lon_0=0.0 +lat_ts=60.0 +a=6378.137 +b=6356.752 +x_0=0 +y_0=0"
KNMI_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "image1": {"image_geo_parameter": np.bytes_("ACCUMULATED_PRECIPITATION_[MM]")},
    "image1/calibration": {
        "calibration_formulas": np.bytes_("GEO=0.01*PV+0.0"),
        "calibration_missing_data": np.array([65535], np.int32),
        "calibration_out_of_image": np.array([65534], np.int32),
    },
    "overview": {
        "product_datetime_start": np.array([b"26-AUG-2010;07:25:00.000"]),
        "product_datetime_end": np.array([b"26-AUG-2010;07:30:00.000"]),
    },
    "geographic": {
        "geo_number_rows": np.array([2], np.int32),
        "geo_number_columns": np.array([3], np.int32),
        "geo_pixel_size_x": np.array([1.0], np.float32),
        "geo_pixel_size_y": np.array([-1.0], np.float32),
        "geo_row_offset": np.array([3650.0], np.float32),
        "geo_column_offset": np.array([0.0], np.float32),
        "geo_dim_pixel": np.bytes_("KM,KM"),
    },
    "geographic/map_projection": {"projection_proj4_params": np.bytes_(KNMI_PROJ)},
}

MakeSevir = Callable[..., Path]
MakeKnmi = Callable[..., Path]


@pytest.fixture
def vil() -> NDArray[np.uint8]:
    """Codes (events, rows, columns, frames) = (3, 6, 8, 3), row 0 in the south, one pixel of 255."""
    codes = np.arange(3 * 6 * 8 * 3).reshape(3, 6, 8, 3) % 255
    codes[0, 0, 0, 0] = 255
    return codes.astype(np.uint8)


@pytest.fixture
def make_sevir(tmp_path: Path, vil: NDArray[np.uint8]) -> MakeSevir:
    """make_sevir(row, ...): writes tmp_path/CATALOG.csv with a row per mapping of changes, and the file of `vil`."""

    def make(*changes: Mapping[str, str], ids: Sequence[bytes] = (b"S1", b"S2", b"S3"), **storage: Any) -> Path:
        with open(tmp_path / "CATALOG.csv", "w", newline="") as file:
            table = csv.DictWriter(file, SEVIR_ROW)
            table.writeheader()
            table.writerows(SEVIR_ROW | dict(change) for change in changes)
        path = tmp_path / "data" / SEVIR_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file["id"] = np.array(ids)
            file.create_dataset("vil", data=vil, **storage)
        return tmp_path

    return make


@pytest.fixture
def make_knmi(tmp_path: Path) -> MakeKnmi:
    """make_knmi(name, codes, dtype, **changes): writes tmp_path/name; a change `geo_row_offset=None` leaves that one out."""

    def make(
        name: str = "a.h5", codes: Any = ((0, 1, 12), (1152, 65534, 65535)), dtype: Any = np.uint16, **changes: Any
    ) -> Path:
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            for group, attributes in KNMI_ATTRIBUTES.items():
                for key, value in attributes.items():
                    if changes.get(key, value) is not None:
                        file.require_group(group).attrs[key] = changes.get(key, value)
            file.create_dataset("image1/image_data", data=np.array(codes, dtype), compression="gzip")
        return path

    return make
