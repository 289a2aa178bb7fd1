"""The door to rasterio (extra `geotiff`): GeoTIFFs opened and read within bounds, and nothing but that one file.

GDAL opens many things by a name, and looks for more beside a file. Here it gets the one driver GTiff and a local path or
bytes in memory, lists no folder and reads no `.aux.xml`, `.tfw`, `.ovr` or `.msk`: a file means the same anywhere.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import RadarFileError, UserError, not_installed
from data_prep.frames import Grid
from data_prep.projection import ProjectionError, proj_of_wkt
from data_prep.readers.files import RadarFile
from data_prep.readers.unpacking import MOST_BYTES

MOST_BANDS = 1024
_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_CACHEMAX": 64,  # MB
}
_PICTURE = {"red", "green", "blue", "cyan", "magenta", "yellow", "black", "hue", "saturation", "lightness"}
_MEMORY_NAME = re.compile(r"(/vsimem/)?[0-9a-f]{8}-[0-9a-f-]{27}(/[0-9a-f-]{36})?")  # a new one each time
_REPROJECT = "; reproject it (gdalwarp -t_srs)"


def require_rasterio() -> Any:
    """The module rasterio. Raises UserError naming the extra that brings it."""
    try:
        import rasterio
    except ModuleNotFoundError as error:  # other kinds: it is there, but short of memory, say
        raise not_installed("GeoTIFF", "rasterio", "geotiff") from error
    return rasterio


@contextmanager
def open_geotiff(file: RadarFile) -> Iterator[Any]:
    """An open rasterio dataset whose declared sizes are within bounds; no picture is read yet.

    What rasterio raises while it is open becomes RadarFileError.
    """
    rasterio = require_rasterio()
    try:
        with ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")  # of one without a place: `grid_of` says it as an error
            stack.enter_context(rasterio.Env(**_OPTIONS))
            dataset = stack.enter_context(_dataset(rasterio, file, stack))
            _check_sizes(file, dataset)
            yield dataset
    except UserError:
        raise
    except (rasterio.errors.RasterioError, OSError, ValueError, TypeError, LookupError, MemoryError) as error:
        says = str(error.__cause__ or error)  # rasterio's own words on top are "see previous exception"
        what = _MEMORY_NAME.sub("it", (says.splitlines() or [""])[0])
        raise RadarFileError(file.name, f"cannot be read as GeoTIFF ({type(error).__name__}: {what})") from error


def _dataset(rasterio: Any, file: RadarFile, stack: ExitStack) -> Any:
    path = file.path.resolve() if file.path else None
    # the whole path, so that no prefix means something to GDAL; and one that would is read like a file object
    if path and not str(path).startswith("/vsi"):
        return rasterio.open(path, driver="GTiff", GEOREF_SOURCES="INTERNAL")
    memory = stack.enter_context(rasterio.MemoryFile(file.content))
    return memory.open(driver="GTiff", GEOREF_SOURCES="INTERNAL")


def _check_sizes(file: RadarFile, dataset: Any) -> None:
    rows, columns = file.check_pixels(dataset.height, dataset.width)
    if not 1 <= dataset.count <= MOST_BANDS:
        raise RadarFileError(file.name, f"declares {dataset.count} bands, expected 1 to {MOST_BANDS}")
    kinds = {np.dtype(kind) for kind in dataset.dtypes}
    if any(kind.kind not in "iuf" for kind in kinds):
        names = ", ".join(sorted(map(str, kinds)))
        raise RadarFileError(file.name, f"holds numbers of type {names}, expected integers or floating point")
    blocks = dataset.count if dataset.interleaving is not None and dataset.interleaving.value == "PIXEL" else 1
    largest = max(rows * columns, blocks * max(math.prod(block) for block in dataset.block_shapes))
    if largest * max(kind.itemsize for kind in kinds) > MOST_BYTES:
        raise RadarFileError(file.name, f"declares more than {MOST_BYTES} bytes for one band or block")


def data_bands(file: RadarFile, dataset: Any) -> list[int]:
    """The numbers of its bands but for one of transparency. Raises RadarFileError where it is a coloured picture."""
    colours = [colour.name for colour in dataset.colorinterp]
    if _PICTURE.intersection(colours):
        raise RadarFileError(file.name, "is a coloured picture; give a GeoTIFF of the numbers themselves")
    return [number for number, colour in enumerate(colours, 1) if colour != "alpha"]


def grid_of(file: RadarFile, dataset: Any) -> Grid:
    """Where it lies, with row 0 in the north. Raises RadarFileError where it has no place, is rotated, or in feet."""
    place = dataset.transform
    if not dataset.crs or place.is_identity:
        lacks = "coordinate system" if not dataset.crs else "place in its coordinate system"
        raise RadarFileError(file.name, f"has no {lacks} of its own; add it (gdal_translate -a_srs, -a_ullr)")
    if place.b or place.d or place.a <= 0 or not place.e or not all(map(math.isfinite, place)):
        raise RadarFileError(file.name, f"its rows do not run from west to east{_REPROJECT}")
    rows, columns = dataset.height, dataset.width
    try:
        proj = proj_of_wkt(dataset.crs.to_wkt(version="WKT2_2019"))
    except ProjectionError as error:
        raise RadarFileError(file.name, str(error)) from error
    north, west = max(place.f, place.f + rows * place.e), place.c
    grid = Grid((rows, columns), proj, (abs(place.e), place.a), west, north)
    if grid.unit == "degree" and west >= 180.0:
        grid = Grid(grid.shape, proj, grid.pixel, west - 360.0, north)
    return grid


def read_band(dataset: Any, number: int) -> NDArray[Any]:
    """(rows, columns) of a band, numbers as they are stored, row 0 in the north."""
    return _north_up(dataset, dataset.read(number))


def unseen(dataset: Any, number: int) -> NDArray[np.bool_] | None:
    """(rows, columns), row 0 in the north: where the file's own mask or transparency leaves a band out. None without one."""
    if not {flag.name for flag in dataset.mask_flag_enums[number - 1]} & {"per_dataset", "alpha"}:
        return None
    return np.asarray(_north_up(dataset, dataset.read_masks(number)) == 0)


def _north_up(dataset: Any, values: NDArray[Any]) -> NDArray[Any]:
    return values if dataset.transform.e < 0 else np.ascontiguousarray(values[::-1])
