"""Every real archive there is, built by the command and verified: what is expected of each is said here."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_prep.__main__ import COMMANDS
from data_prep.console import main
from data_prep.shards.index import open_shards

# format, sources below the data folder, options, samples, unit, frames' rows and columns, cadence
CASES = [
    ("sevir", "derived/sevir_layout", "--max-missing 1", 4, "kg/m2", (384, 384), 300),
    ("knmi", "knmi", "--frames 25 --tile 384 --overlap 64 --max-missing 0.5", 3, "mm/h", (384, 384), 300),
    ("mrms", "mrms", "--product PrecipRate --frames 18 --tile 384 --min-wet 0.05", 88, "mm/h", (384, 384), 120),
    ("mrms", "mrms/gz", "--product ReflectivityAtLowestAltitude --frames 1", 1, "dBZ", (3500, 7000), 120),
    ("odim", "opera/CIRRUS", "--frames 4 --tile 512", 60, "dBZ", (512, 512), 300),
    ("odim", "opera/NIMBUS", "--frames 3", 1, "mm/h", (2200, 1900), 900),
    ("fmi", "fmi/pgm", "--frames 12 --pixel 2000", 3, "dBZ", (612, 379), 300),
    ("fmi", "fmi/geotiff", "--frames 3", 1, "dBZ", (7316, 4963), 300),
    ("radolan", "dwd/radolan_rw", "--frames 12", 2, "mm/h", (900, 900), 3600),
    ("radolan", "dwd/radolan_ry", "--frames 6", 2, "mm/h", (900, 900), 300),
    ("radolan", "dwd/radolan_yw", "--frames 6 --cadence 600 --stride 1", 1, "mm/h", (1100, 900), 600),
    ("radolan", "dwd/wradlib/RW-20221018.tar.gz", "--frames 24", 1, "mm/h", (900, 900), 3600),
    ("radolan", "dwd/wradlib/raa01-rx_10000-1408102050-dwd---bin.gz", "--frames 1", 1, "dBZ", (900, 900), 300),
    ("radolan", "dwd/wradlib/raa01-rz_10000-1408102050-dwd---bin.gz", "--frames 1", 1, "mm/h", (900, 900), 300),
    ("radolan", "dwd/wradlib/DE1200_RV2210180700.tar.bz2", "--frames 1", 1, "mm/h", (1200, 1100), 300),
    ("meteonet", "meteonet", "--product rainfall_NW --frames 12", 2, "mm/h", (565, 784), 300),
    ("meteonet", "meteonet", "--product reflectivity_old_NW --frames 5", 2, "dBZ", (565, 784), 300),
    ("netcdf", "derived/dwd_yw_20170816_cf.nc", "--frames 6", 2, "mm/h", (1100, 900), 300),
]


@pytest.mark.slow
def test_every_real_archive_becomes_shards_that_are_sound(
    radar_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []
    for number, (name, source, options, *_) in enumerate(CASES):
        out = str(tmp_path / f"{number}")
        words = ["build", "--format", name, "--source", str(radar_data / source), "--out", out, "--split", "train"]
        assert main("data_prep", "", COMMANDS, [*words, *options.split()]) == 0, capsys.readouterr().err
        assert main("data_prep", "", COMMANDS, ["verify", out, "--quiet"]) == 0
        index = open_shards(out).index
        samples = index.splits["train"].samples
        seen.append((name, source, options, samples, index.unit, index.shape, index.cadence_s))
        print(f"{name} {source} {options}\n{capsys.readouterr().out}")
    assert seen == CASES
