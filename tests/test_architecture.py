"""Who may import what: the rules of docs/architecture.md, read from the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launching import ROOT

# One door for each heavy library: the modules that may import it.
DOORS = {
    "deepspeed": {
        "ds_nowcast/engine/engine.py",
        "ds_nowcast/engine/placing.py",
        "ds_nowcast/engine/portable.py",
        "ds_nowcast/engine/starting.py",
        "ds_nowcast/engine/writer.py",
    },
    "webdataset": {"data_prep/building/task.py", "data_prep/workers/imports.py", "ds_nowcast/stream/pipeline.py"},
    "matplotlib": {"data_prep/pictures/canvas.py"},
    "PIL": {
        "data_prep/pictures/film.py",
        "data_prep/pictures/gif.py",
        "data_prep/pictures/indexed.py",
        "data_prep/readers/png.py",
    },
    "av": {"data_prep/pictures/film.py"},
    "h5py": {"data_prep/readers/hdf5.py", "data_prep/simulate.py"},
    "onnx": {"ds_nowcast/exporting/onnx_files.py"},
    "onnxscript": {"ds_nowcast/exporting/onnx_files.py"},
    "onnxruntime": {"ds_nowcast/exporting/onnx_files.py"},
    "netCDF4": {"data_prep/readers/netcdf.py", "ds_nowcast/forecasting/netcdf.py"},
    "zarr": {"data_prep/readers/zarr_stores.py"},
    "pyproj": {"data_prep/projection.py"},
    "rasterio": {"data_prep/readers/raster.py"},
    "zstandard": {"data_prep/shards/codecs.py"},
    "lz4": {"data_prep/shards/codecs.py"},
    "cramjam": {"data_prep/shards/codecs.py", "data_prep/readers/unpacking.py", "data_prep/readers/hdf5_chunks.py"},
    "xxhash": {"data_prep/shards/codecs.py"},
    "safetensors": {"ds_nowcast/exported.py"},
    "urllib3": {"data_prep/shards/sources/http.py"},
    "fsspec": {"data_prep/shards/sources/objects.py"},
    "s3fs": {"data_prep/shards/sources/objects.py"},
    "botocore": {"data_prep/shards/sources/objects.py"},
    "optuna": {"ds_nowcast/tuning/study.py"},
    "psutil": {
        "ds_nowcast/launch/interfaces.py",
        "ds_nowcast/launch/launcher.py",
        "ds_nowcast/doctor/ports.py",
        "ds_nowcast/measuring/session.py",
    },
}
LAZY = {
    "webdataset",
    "matplotlib",
    "PIL",
    "av",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "h5py",
    "netCDF4",
    "zarr",
    "pyproj",
    "rasterio",
    "urllib3",
    "fsspec",
    "s3fs",
    "botocore",
    "optuna",
}  # extras, or slow: imported when used

ALLOWED = {
    ("webdataset", "ds_nowcast/stream/pipeline.py"),
    ("webdataset", "data_prep/workers/imports.py"),  # nothing else imports it: workers' common ancestor does
}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(dotted name, whether at the top of the module when it runs) of every import."""
    tree = ast.parse(path.read_text())
    inside = {
        id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)
    }
    typing_only = {
        id(n)
        for i in ast.walk(tree)
        if isinstance(i, ast.If) and ast.unparse(i.test) == "TYPE_CHECKING"
        for n in ast.walk(i)
    }
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) == "import_module"
            and isinstance(node.args[0], ast.Constant)
        ):
            names = [str(node.args[0].value)]
        for name in names:
            if id(node) not in typing_only:
                yield name, id(node) not in inside


def sources(package: str) -> Iterator[tuple[str, str, bool]]:
    """(file, imported name, at the top) for every file of a package."""
    for path in sorted((ROOT / package).rglob("*.py")):
        for name, top in imports(path):
            yield path.relative_to(ROOT).as_posix(), name, top


def test_data_prep_needs_neither_the_trainer_nor_torch_nor_deepspeed() -> None:
    wrong = [
        (file, name)
        for file, name, _ in sources("data_prep")
        if name.split(".")[0] in ("ds_nowcast", "torch", "deepspeed")
    ]
    assert wrong == []


def test_each_heavy_library_has_one_door() -> None:
    found: dict[str, set[str]] = {library: set() for library in DOORS}
    for package in ("data_prep", "ds_nowcast"):
        for file, name, _ in sources(package):
            if name.split(".")[0] in DOORS:
                found[name.split(".")[0]].add(file)
    assert found == DOORS


def test_extras_are_imported_when_used() -> None:
    eager = [
        (file, name)
        for package in ("data_prep", "ds_nowcast")
        for file, name, top in sources(package)
        if top and name.split(".")[0] in LAZY and (name, file) not in ALLOWED
    ]
    assert eager == []


def test_the_config_needs_no_torch_to_be_checked() -> None:
    wrong = [(f, n) for f, n, top in sources("ds_nowcast/config") if top and n.split(".")[0] in ("torch", "deepspeed")]
    assert wrong == []


@pytest.mark.slow
def test_evaluating_and_forecasting_need_no_deepspeed() -> None:
    modules = ", ".join(f"ds_nowcast.{name}" for name in ("evaluate", "export", "forecast", "order"))
    blocked = f"import sys; sys.modules['deepspeed'] = None; import {modules}"
    subprocess.run([sys.executable, "-c", blocked], check=True, cwd=ROOT)
