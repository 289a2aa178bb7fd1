"""MRMS's own parameters in GRIB 2, discipline 209: their names, units and flags.

Source: NOAA/NSSL, "Operational MRMS GRIB2 Tables" (UserTable_MRMS, versions 10.0 to 12.2; nssl.noaa.gov/projects/mrms and
github.com/NOAA-National-Severe-Storms-Laboratory/mrms-support). Names are those of the files; older names of a number give
way to newer ones.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from data_prep.encoding import Unit
from data_prep.readers import Product

DISCIPLINE = 209
LONGEST_SUM_S = 3600  # a longer sum is no frame of a nowcast
_HOURS = ("01H", "03H", "06H", "12H", "24H", "48H", "72H")
_QPE_HOURS = re.compile(r"_QPE_(\d\d)([HM])")


def _family(first: int, form: str) -> dict[int, str]:
    return {first + n: form.format(hours) for n, hours in enumerate(_HOURS)}


NAMES: dict[int, dict[int, str]] = {  # by category, then number
    2: {
        0: "NLDN_CG_001min_AvgDensity",
        1: "NLDN_CG_005min_AvgDensity",
        2: "NLDN_CG_015min_AvgDensity",
        3: "NLDN_CG_030min_AvgDensity",
        4: "LightningProbabilityNext30min",
        5: "LightningProbabilityNext30minGrid",
        6: "LightningProbabilityNext60minGrid",
        7: "LightningJumpGrid",
        8: "LightningJumpGrid_Max_005min",
    },
    3: {
        0: "MergedAzShear0to2kmAGL",
        1: "MergedAzShear3to6kmAGL",
        **{2 + n: f"RotationTrack{minutes}min" for n, minutes in enumerate((30, 60, 120, 240, 360, 1440))},
        **{14 + n: f"RotationTrackML{minutes}min" for n, minutes in enumerate((30, 60, 120, 240, 360, 1440))},
        26: "SHI",
        27: "POSH",
        28: "MESH",
        **{29 + n: f"MESHMax{minutes}min" for n, minutes in enumerate((30, 60, 120, 240, 360, 1440))},
        37: "VIL_Max_120min",
        40: "VIL_Max_1440min",
        41: "VIL",
        42: "VIL_Density",
        43: "VII",
        44: "EchoTop_18",
        45: "EchoTop_30",
        46: "EchoTop_50",
        47: "EchoTop_60",
        48: "H50AboveM20C",
        49: "H50Above0C",
        50: "H60AboveM20C",
        51: "H60Above0C",
        **{52 + n: f"Reflectivity_{-5 * n}C" for n in range(5)},
        57: "ReflectivityAtLowestAltitude",
        58: "MergedReflectivityAtLowestAltitude",
    },
    4: {0: "IRband4", 1: "Visible", 2: "WaterVapor", 3: "CloudCover"},
    6: {
        0: "PrecipFlag",
        1: "PrecipRate",
        **_family(2, "RadarOnly_QPE_{}"),
        **_family(9, "GaugeCorr_QPE_{}"),
        **_family(16, "GaugeOnly_QPE_{}"),
        **_family(23, "MountainMapper_QPE_{}"),
        **_family(30, "MultiSensor_QPE_{}_Pass1"),
        **_family(37, "MultiSensor_QPE_{}_Pass2"),
        44: "SyntheticPrecipRateID",
        45: "RadarOnly_QPE_15M",
        46: "RadarOnly_QPE_Since12Z",
    },
    7: {
        0: "Model_SurfaceTemp",
        1: "Model_WetBulbTemp",
        2: "WarmRainProbability",
        3: "Model_0degC_Height",
        4: "BrightBandTopHeight",
        5: "BrightBandBottomHeight",
    },
    8: {
        0: "RadarQualityIndex",
        **_family(1, "GaugeInflIndex_{}_Pass1"),
        8: "SeamlessHSR",
        9: "SeamlessHSRHeight",
        **_family(10, "RadarAccumulationQualityIndex_{}"),
        **_family(17, "GaugeInflIndex_{}_Pass2"),
    },
    9: {0: "MergedReflectivityQC", 1: "ConusPlusMergedReflectivityQC", 3: "MergedRhoHV", 4: "MergedZdr"},
    10: {
        0: "MergedReflectivityQCComposite",
        1: "HeightCompositeReflectivity",
        2: "LowLevelCompositeReflectivity",
        3: "HeightLowLevelCompositeReflectivity",
        4: "LayerCompositeReflectivity_Low",
        5: "LayerCompositeReflectivity_High",
        6: "LayerCompositeReflectivity_Super",
        7: "CREF_1HR_MAX",
        8: "ReflectivityMaxAboveM10C",
        9: "LayerCompositeReflectivity_ANC",
        10: "BREF_1HR_MAX",
    },
    11: {
        0: "MergedBaseReflectivityQC",
        1: "MergedReflectivityComposite",
        2: "MergedReflectivityQComposite",
        3: "MergedBaseReflectivity",
        4: "Merged_LVL3_BaseDHC",
    },
    12: {
        0: "FLASH_CREST_MAXUNITSTREAMFLOW",
        1: "FLASH_CREST_MAXSTREAMFLOW",
        2: "FLASH_CREST_MAXSOILSAT",
        4: "FLASH_SAC_MAXUNITSTREAMFLOW",
        5: "FLASH_SAC_MAXSTREAMFLOW",
        6: "FLASH_SAC_MAXSOILSAT",
        **{14 + n: f"FLASH_QPE_ARI{what}" for n, what in enumerate(("30M", "01H", "03H", "06H", "12H", "24H", "MAX"))},
        **{26 + n: f"FLASH_QPE_FFG{what}" for n, what in enumerate(("01H", "03H", "06H", "MAX"))},
        39: "FLASH_HP_MAXUNITSTREAMFLOW",
        40: "FLASH_HP_MAXSTREAMFLOW",
    },
    13: {0: "ANC_ConvectiveLikelihood", 1: "ANC_FinalForecast"},
    14: {0: "LVL3_HREET", 1: "LVL3_HighResVIL"},
}
_REFLECTIVITY = {  # in dBZ, at a time (CREF_1HR_MAX and its like are of an hour)
    3: {*range(52, 59)},
    8: {8},
    9: {0, 1},
    10: {0, 2, 4, 5, 6, 8, 9},
    11: {0, 1, 2, 3},
}
_VIL = {3: {41}, 14: {1}}
MANY_LEVELS = 9  # the category of which each time has one file per height


class Flags(NamedTuple):
    """What values below `least` mean: `no_echo` is dry; all others are no data."""

    least: float
    no_echo: float | None


# "Missing" in the table is where radars look and find nothing, "No Coverage" (-999, -3) where none looks: of a real
# ReflectivityAtLowestAltitude 61 % are -99. So say NOAA-EMC/wgrib2 pull request 348, JCSDA-internal/ioda-converters issue
# 1474, and NSSL's own MRMS_to_CFncdf (mrms-support), whose "missing" rain rate is 0. Rain has 0 where it is dry, and its
# flag -1, which those files do not use, is taken as no data.
FLAGS: dict[Unit, Flags] = {
    "dBZ": Flags(-90.0, -99.0),
    "kg/m2": Flags(0.0, -1.0),
    "mm/h": Flags(0.0, None),
}


def name_of(category: int, number: int) -> str:
    """The name in the table, or the numbers where it has none."""
    return NAMES.get(category, {}).get(number, f"{DISCIPLINE}/{category}/{number}")


def sum_s(name: str) -> int | None:
    """Seconds that a precipitation sum (in mm) covers; None of another product."""
    match = _QPE_HOURS.search(name)
    return int(match[1]) * (3600 if match[2] == "H" else 60) if match and not name.startswith("FLASH") else None


def product_of(category: int, number: int, height_km: float) -> Product | None:
    """The product of these numbers; None where it is no rain, reflectivity or VIL, or a sum over more than an hour.

    height_km: of its level, which the name of a product of many levels ends with, as the names of its files do.
    """
    name = name_of(category, number)
    seconds = sum_s(name)
    if (category, number) == (6, 1) or (seconds is not None and seconds <= LONGEST_SUM_S):
        return Product(name, "mm/h")
    if number in _REFLECTIVITY.get(category, ()):
        level = f"_{height_km:05.2f}" if category == MANY_LEVELS else ""
        return Product(name + level, "dBZ")
    return Product(name, "kg/m2") if number in _VIL.get(category, ()) else None
