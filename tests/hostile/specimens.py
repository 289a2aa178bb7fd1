"""Sound radar files of every format, as bytes: small ones made here, and real ones where they lie on this machine."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np

from data_prep.readers import READERS
from tests.data_prep.readers import grib2_files
from tests.data_prep.readers.conftest import KNMI_ATTRIBUTES, SEVIR_FILE, SEVIR_ROW
from tests.data_prep.readers.test_fmi import fmi_tiff, pgm_bytes
from tests.data_prep.readers.test_geotiff import tiff_bytes
from tests.data_prep.readers.test_netcdf import KINDS
from tests.data_prep.readers.test_netcdf import made as netcdf_made
from tests.data_prep.readers.test_npy import SIDE_CAR
from tests.data_prep.readers.test_radolan import made as radolan_made
from tests.data_prep.readers.test_radolan import text as radolan_text
from tests.data_prep.readers.test_zarr import write as zarr_written

_REAL = (
    ("knmi", "knmi/RAD_NL25_RAP_5min_201008260730.h5"),
    ("odim", "opera/NIMBUS/T_PAAH22_C_EUOC_20241126010000.hdf"),
    ("odim", "opera/CIRRUS/T_PABV21_C_EUOC_20241126010000.hdf"),
    ("fmi", "fmi/pgm/20160928/201609281445_fmi.radar.composite.lowest_FIN_SUOMI1.pgm.gz"),
    ("fmi", "fmi/geotiff/20160928/201609281445_FINUTM.tif"),
    ("mrms", "mrms/PrecipRate_00.00_20190610-000000.grib2"),
    ("mrms", "mrms/gz/MRMS_ReflectivityAtLowestAltitude_00.50_20230406-120039.grib2.gz"),
    ("radolan", "dwd/radolan_yw/raa01-yw2017.002_10000-1708160055-dwd---bin.gz"),
    ("radolan", "dwd/wradlib/raa01-rx_10000-1408102050-dwd---bin.gz"),
    ("radolan", "dwd/wradlib/DE1200_RV2210180700.tar.bz2"),
    ("radolan", "dwd/wradlib/RW-20221018.tar.gz"),
    ("meteonet", "meteonet/rainfall_NW_2016_08.3.npz"),
    ("netcdf", "derived/dwd_yw_20170816_cf.nc"),
)
_SEVIR_REAL = "derived/sevir_layout/data/vil/2010/DERIVED_NOT_SEVIR_VIL_KNMI_20100826.h5"


@dataclass(frozen=True)
class Specimen:
    """A sound file of a format. name: with folders below the archive's. beside: other files of the archive, by name."""

    format: str
    name: str
    content: bytes = field(repr=False)
    beside: dict[str, bytes] = field(default_factory=dict, repr=False)

    def write(self, folder: Path, content: bytes | None = None) -> Path:
        """The archive in a folder, with other content if given; the file's path."""
        for name, some in {**self.beside, self.name: self.content if content is None else content}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(some)
        return folder / self.name


def made() -> list[Specimen]:
    """Small ones, at least one of each format that is there."""
    found = [
        Specimen("knmi", "a.h5", knmi()),
        Specimen("fmi", "201609281445.pgm", pgm_bytes()),
        Specimen("fmi", "201609281445.tif", fmi_tiff()),
        Specimen(
            "geotiff",
            "rain_202001020304.tif",
            tiff_bytes(np.arange(600, dtype=np.uint16).reshape(1, 20, 30), unit="mm/h"),
        ),
        Specimen("mrms", "a.grib2", grib2_files.grib(np.arange(600).reshape(20, 30))),
        Specimen(
            "mrms", "b.grib2.gz", gzip.compress(grib2_files.grib(np.arange(600).reshape(20, 30), template=0), mtime=0)
        ),
        Specimen("radolan", "raa01-rx_10000-1408102050-dwd---bin.gz", gzip.compress(radolan_made("RX"), 1, mtime=0)),
        Specimen("radolan", "RW_20221018-0050.asc", radolan_text()),
        Specimen("npy", "a.npy", _npy(), {"a.json": json.dumps(SIDE_CAR).encode()}),
        Specimen("npy", "a.npz", _npz(radar=_FIELDS), {"a.json": json.dumps(SIDE_CAR).encode()}),
        Specimen(
            "meteonet", "rainfall_NW_2016_08.3.npz", _meteonet(), {"radar_coords_NW.npz": _npz(lats=_LATS, lons=_LONS)}
        ),
        Specimen("sevir", *_sevir()),
        Specimen("odim", "a.hdf", _odim()),
        *(Specimen("netcdf", f"{kind}.nc", netcdf_made(kind)) for kind in KINDS),
        *(Specimen("zarr", f"v{version}.zarr.zip", _zarr(version)) for version in (2, 3)),
    ]
    return [specimen for specimen in found if specimen.format in READERS]


def real(data: Path) -> Iterator[Specimen]:
    """Whole files of weather services. data: the folder that NOWCAST_RADAR_DATA names."""
    for name, path in _REAL:
        if name in READERS:
            beside = {}
            if name == "meteonet":
                beside["radar_coords_NW.npz"] = (data / "meteonet/radar_coords_NW.npz").read_bytes()
            yield Specimen(name, Path(path).name, (data / path).read_bytes(), beside)
    root = data / "derived/sevir_layout"
    inside = (data / _SEVIR_REAL).relative_to(root)
    beside = {"CATALOG.csv": (root / "CATALOG.csv").read_bytes()}
    yield Specimen("sevir", str(inside), (data / _SEVIR_REAL).read_bytes(), beside)


_FIELDS = np.arange(600, dtype=np.float32).reshape(2, 15, 20)
_LATS = np.repeat(45.005 - 0.01 * np.arange(15)[:, None], 20, 1)
_LONS = np.repeat(3.005 + 0.01 * np.arange(20)[None], 15, 0)


def knmi(end: datetime = datetime(2010, 8, 26, 7, 30)) -> bytes:
    """KNMI's rain in 20 x 30 pixels, of the five minutes before `end`."""
    stamps = [f"{time:%d-AUG-%Y;%H:%M:%S.000}".encode() for time in (end - timedelta(minutes=5), end)]
    changed = {
        "geo_number_rows": np.array([20], np.int32),
        "geo_number_columns": np.array([30], np.int32),
        "product_datetime_start": np.array(stamps[:1]),
        "product_datetime_end": np.array(stamps[1:]),
    }
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for group, attributes in KNMI_ATTRIBUTES.items():
            for key, value in attributes.items():
                file.require_group(group).attrs[key] = changed.get(key, value)
        codes = np.arange(600, dtype=np.uint16).reshape(20, 30)
        file.create_dataset("image1/image_data", data=codes, chunks=(10, 30), compression="gzip")
    return content.getvalue()


def _odim() -> bytes:
    content = io.BytesIO()
    groups: dict[str, dict[str, Any]] = {
        "what": {
            "object": b"COMP",
            "date": b"20240501",
            "time": b"120000",
            "source": b"ORG:247",
            "version": b"H5rad 2.3",
        },
        "where": {
            "projdef": b"+proj=longlat +ellps=WGS84",
            "xsize": 30,
            "ysize": 20,
            "xscale": 0.1,
            "yscale": 0.1,
            "UL_lon": 5.0,
            "UL_lat": 50.0,
            "UR_lon": 8.0,
            "UR_lat": 50.0,
            "LL_lon": 5.0,
            "LL_lat": 48.0,
            "LR_lon": 8.0,
            "LR_lat": 48.0,
        },
        "dataset1/what": {
            "startdate": b"20240501",
            "starttime": b"115500",
            "enddate": b"20240501",
            "endtime": b"120000",
        },
        "dataset1/data1/what": {"quantity": b"DBZH", "gain": 0.5, "offset": -32.0, "nodata": 255.0, "undetect": 0.0},
    }
    with h5py.File(content, "w") as file:
        for group, attributes in groups.items():
            for key, value in attributes.items():
                file.require_group(group).attrs[key] = np.bytes_(value) if isinstance(value, bytes) else value
        codes = (np.arange(600) % 256).astype(np.uint8).reshape(20, 30)
        file.create_dataset("dataset1/data1/data", data=codes, chunks=(20, 15), compression="gzip", shuffle=True)
    return content.getvalue()


def _npy() -> bytes:
    content = io.BytesIO()
    np.save(content, _FIELDS)
    return content.getvalue()


def _npz(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def _zarr(version: int) -> bytes:
    out = io.BytesIO()
    with TemporaryDirectory() as folder:
        store = zarr_written(Path(folder, "a.zarr"), version)
        with zipfile.ZipFile(out, "w") as archive:
            for path in sorted(path for path in store.rglob("*") if path.is_file()):
                archive.writestr(str(path.relative_to(store)), path.read_bytes())
    return out.getvalue()


def _meteonet() -> bytes:
    dates = np.array([datetime(2016, 8, 21) + timedelta(minutes=5 * i) for i in range(2)], object)
    return _npz(data=np.arange(600, dtype=np.int16).reshape(2, 15, 20), dates=dates, miss_dates=dates[:0])


def _sevir() -> tuple[str, bytes, dict[str, bytes]]:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["id"] = np.array([b"S1", b"S2"])
        codes = (np.arange(2 * 6 * 8 * 3) % 255).astype(np.uint8).reshape(2, 6, 8, 3)
        file.create_dataset("vil", data=codes, chunks=(1, 6, 8, 1), compression="gzip")
    second = SEVIR_ROW | {"id": "S2", "file_index": "1", "time_utc": "2019-05-13 18:30:00"}
    lines = [",".join(line) for line in (SEVIR_ROW, SEVIR_ROW.values(), second.values())]
    return f"data/{SEVIR_FILE}", content.getvalue(), {"CATALOG.csv": ("\n".join(lines) + "\n").encode()}
