"""How a physical field becomes integer codes in a shard, and codes become the model's input and physical values again.

An encoding is a table from code to value. Shards hold codes: a quarter of float32 to store, stream and copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_prep.errors import UserError
from data_prep.float_table import FloatTable

_MANY = 1 << 16  # values from which on a table is worth making
Unit = Literal["mm/h", "dBZ", "kg/m2"]
Floating = TypeVar("Floating", bound=np.floating[Any])
NO_ECHO: dict[Unit, float] = {"mm/h": 0.0, "dBZ": -32.0, "kg/m2": 0.0}  # what is dry; dbz8 begins there
_LEAST: dict[Unit, float] = {"mm/h": -0.01, "dBZ": -100.0, "kg/m2": -0.01}  # a packed 0 may lie a little below it
_MOST = float(np.finfo(np.float32).max)
ZR_A, ZR_B = 200.0, 1.6  # Marshall and Palmer (1948): Z = 200 R^1.6, Z in mm^6/m^3, R in mm/h


def plausible(values: NDArray[Floating], unit: Unit) -> NDArray[Floating]:
    """The values, any shape, changed in place: NaN where none of that unit can have been measured.

    Archives use infinity, rain below 0 and less than -100 dBZ as codes that they do not declare, and missing is not dry.
    Rain and VIL that lie below 0 by less than 0.01 are 0, and -inf dBZ is no echo.
    """
    dry = np.isneginf(values) if unit == "dBZ" else (values < 0.0) & (values >= _LEAST[unit])
    values[(values < _LEAST[unit]) | (values > _MOST)] = np.nan
    values[dry] = NO_ECHO[unit]
    return values


def rain_to_dbz(rain_mm_h: ArrayLike) -> NDArray[np.float64]:
    """Reflectivity (dBZ) of a rain rate (mm/h) by Z = 200 R^1.6; no rain is -inf dBZ, NaN stays NaN."""
    with np.errstate(divide="ignore"):
        return np.asarray(10.0 * np.log10(ZR_A * np.maximum(np.asarray(rain_mm_h, np.float64), 0.0) ** ZR_B))


def dbz_to_rain(dbz: ArrayLike) -> NDArray[np.float64]:
    """Rain rate (mm/h) of a reflectivity (dBZ), the inverse of `rain_to_dbz`."""
    return np.asarray((10.0 ** (np.asarray(dbz, np.float64) / 10.0) / ZR_A) ** (1.0 / ZR_B))


def vil_of_code(code: ArrayLike) -> NDArray[np.float64]:
    """SEVIR's VIL (kg/m2) of codes 0..254 (Veillette et al. 2020, SEVIR tutorial): zero, linear, then exponential."""
    x = np.asarray(code, np.float64)
    return np.where(x <= 5, 0.0, np.where(x <= 18, (x - 2.0) / 90.66, np.exp((x - 83.9) / 38.9))).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Encoding:
    """A table of codes.

    values: per unit, float64 (codes,), non-decreasing, the value of each code, `missing` left out (it is the last).
    missing: the code for no data. no_echo: the code for "looked and saw nothing". thresholds: per unit, the customary
    thresholds for scores; the unit "code" means the code itself, as SEVIR's published tables do.
    """

    name: str
    dtype: np.dtype[Any]
    values: dict[str, NDArray[np.float64]]
    no_echo: int
    thresholds: dict[str, tuple[float, ...]]
    wet_code: int  # from this code on a pixel counts as wet in a shard's statistics
    missing: int = field(init=False)
    _fast: dict[str, FloatTable] = field(init=False, repr=False, default_factory=dict)  # `encode` by unit

    def __post_init__(self) -> None:
        sizes = {len(table) for table in self.values.values()}
        assert len(sizes) == 1 and all(np.all(np.diff(table) >= 0) for table in self.values.values())
        object.__setattr__(self, "missing", sizes.pop())
        assert self.missing <= np.iinfo(self.dtype).max

    @property
    def units(self) -> tuple[str, ...]:
        """The physical units its codes can be read in."""
        return tuple(self.values)

    def _values(self, unit: str) -> NDArray[np.float64]:
        if unit == "code":
            return np.arange(self.missing, dtype=np.float64)
        if unit not in self.values:
            allowed = ", ".join(self.units)
            raise UserError(
                f"encoding {self.name} holds {allowed}, not {unit!r}; give --encoding one that holds {unit}"
            )
        return self.values[unit]

    def encode(self, values: NDArray[np.floating[Any]], unit: str) -> NDArray[Any]:
        """Codes, same shape, nearest in value; NaN becomes `missing`, values outside the table its ends."""
        if values.dtype == np.float32 and values.size > _MANY:
            if unit not in self._fast:
                self._fast[unit] = FloatTable(lambda some: self._searched(some, unit))
            if self._fast[unit].exact:
                return self._fast[unit](values)
        return self._searched(values, unit)

    def _searched(self, values: NDArray[np.floating[Any]], unit: str) -> NDArray[Any]:
        table = self._values(unit)
        midpoints = (table[1:] + table[:-1]) / 2.0
        codes = np.searchsorted(midpoints, np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf))
        return np.where(np.isnan(values), self.missing, codes).astype(self.dtype)

    def decode(self, codes: NDArray[Any], unit: str) -> NDArray[np.float32]:
        """Values in `unit`, float32, same shape, NaN where the code is `missing` (or beyond the table)."""
        table = np.full(np.iinfo(self.dtype).max + 1, np.nan, np.float32)
        table[: self.missing] = self._values(unit)
        return np.asarray(table[codes])

    def model_table(self) -> NDArray[np.float32]:
        """Model space in [0, 1] of every code the dtype can hold, float32; `missing` and beyond are 0 (and masked)."""
        table = np.zeros(np.iinfo(self.dtype).max + 1, np.float32)
        table[: self.missing] = np.arange(self.missing, dtype=np.float32) / np.float32(self.missing)
        return table

    def to_model(self, value: float, unit: str) -> float:
        """Where `value` lies in model space, exact in float32: a pixel's code reaches it exactly when its value does.

        Infinite where `value` lies above the table. A value within 1e-9 of a code's counts as that code's.
        """
        table, model = self._values(unit), self.model_table()[: self.missing]
        first = int(np.searchsorted(table, value - 1e-9 * max(abs(value), 1.0)))
        if first == self.missing:
            return np.inf
        if first == 0:
            return float(model[0])
        between = np.interp(value, table[first - 1 : first + 1], model[first - 1 : first + 1])
        # in float32 a value just above the code before would round down to it, and that code would reach it
        lowest = np.nextafter(model[first - 1], model[first])
        return float(np.clip(np.float32(between), lowest, model[first]))

    def from_model(self, model: NDArray[np.floating[Any]], unit: str) -> NDArray[np.float32]:
        """Values in `unit`, float32, of model-space numbers, linear between codes, NaN kept; clipped to the table."""
        codes = np.asarray(model, np.float64) * self.missing
        return np.interp(codes, np.arange(self.missing), self._values(unit)).astype(np.float32)


def _dbz8() -> Encoding:
    dbz = np.linspace(NO_ECHO["dBZ"], 95.0, 255)
    rain = dbz_to_rain(dbz)
    rain[0] = 0.0  # code 0 is no echo: dry, not the tiny rate that -32 dBZ would be
    return Encoding(
        name="dbz8",
        dtype=np.dtype(np.uint8),
        values={"dBZ": dbz, "mm/h": rain},
        no_echo=0,
        thresholds={"mm/h": (0.5, 2.0, 5.0, 10.0), "dBZ": (20.0, 30.0, 40.0)},
        wet_code=int(np.searchsorted(rain, 0.1)),
    )


def _vil255() -> Encoding:
    return Encoding(
        name="vil255",
        dtype=np.dtype(np.uint8),
        values={"kg/m2": vil_of_code(np.arange(255))},
        no_echo=0,
        thresholds={"code": (16, 74, 133, 160, 181, 219)},
        wet_code=16,
    )


_MAKERS: dict[str, Callable[[], Encoding]] = {"vil255": _vil255, "dbz8": _dbz8}
ENCODINGS: dict[str, Encoding] = {name: make() for name, make in _MAKERS.items()}


def known_units() -> list[str]:
    """The physical units that the encodings have."""
    return sorted({unit for encoding in ENCODINGS.values() for unit in encoding.units})


def encoding_named(name: str) -> Encoding:
    """The encoding of that name. Raises UserError naming those there are."""
    if name not in ENCODINGS:
        raise UserError(f"encoding {name!r} is not known; choose one of {', '.join(ENCODINGS)}")
    return ENCODINGS[name]
