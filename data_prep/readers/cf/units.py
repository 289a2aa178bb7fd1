"""Units as CF files write them (UDUNITS-2 grammar, the part that rain and reflectivity need): "kg m-2 s-1", "mm/h".

Also what people write that UDUNITS would not take as they mean it: "mm/5min", "mm hour^-1", "kg m**-2".
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Kind = Literal["rate", "amount", "dBZ", "Z"]  # mm/h, mm, dBZ, mm6/m3


class Quantity(NamedTuple):
    """A unit: how many of the SI's it is, and the exponents of metre, kilogram and second."""

    scale: float
    length: int = 0
    mass: int = 0
    time: int = 0


class Measure(NamedTuple):
    """What a unit of rain or reflectivity measures: `factor` times the value is in mm/h, mm, dBZ or mm6/m3."""

    kind: Kind
    factor: float


_MILLI = {"": 1.0, "milli": 1e-3, "micro": 1e-6, "nano": 1e-9}
_SECONDS = {f"{prefix}second{s}": size for prefix, size in _MILLI.items() for s in ("", "s")}
_SECONDS |= {"s": 1.0, "sec": 1.0, "secs": 1.0, "ms": 1e-3, "msec": 1e-3, "us": 1e-6, "ns": 1e-9}
_SECONDS |= dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0)
_SECONDS |= dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0) | dict.fromkeys(("d", "day", "days"), 86400.0)
_METRES = {"m": 1.0, "mm": 1e-3, "cm": 1e-2, "dm": 0.1, "km": 1e3} | dict.fromkeys(("in", "inch", "inches"), 0.0254)
for _prefix, _size in {"": 1.0, "milli": 1e-3, "centi": 1e-2, "kilo": 1e3}.items():
    _METRES |= dict.fromkeys((f"{_prefix}{word}{s}" for word in ("metre", "meter") for s in ("", "s")), _size)
_KILOGRAMS = {"kg": 1.0, "g": 1e-3} | dict.fromkeys(("kilogram", "kilograms"), 1.0)
_LITRES = dict.fromkeys(("l", "litre", "litres", "liter", "liters"), 1e-3)
_UNITS = (
    {name: Quantity(size, time=1) for name, size in _SECONDS.items()}
    | {name: Quantity(size, length=1) for name, size in _METRES.items()}
    | {name: Quantity(size, mass=1) for name, size in _KILOGRAMS.items()}
    | {name: Quantity(size, length=3) for name, size in _LITRES.items()}
)
_TOKEN = re.compile(
    r"\s*(?:(?P<divide>/|per\b)|(?P<times>\*(?!\*)|·|\.(?!\d))"
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?:(?:\^|\*\*)(?P<raised>[-+]?\d+))?"
    r"|(?P<unit>[A-Za-z]+)(?P<power>(?:\^|\*\*)?[-+]?\d+)?)\s*"
)
_DEGREES = re.compile(r"degrees?(_?(north|south|east|west|[nsew]))?|deg", re.IGNORECASE)
_DBZ = re.compile(r"dbze?|decibels? of z|dB\(?Z\)?", re.IGNORECASE)


def parsed(units: str) -> Quantity | None:
    """The unit that a text names, None where it is none that is known here."""
    found, place, inverse, kept_inverse = Quantity(1.0), 0, False, False
    if not 0 < len(units) <= 64:
        return None
    while place < len(units):
        token = _TOKEN.match(units, place)
        if token is None:
            return None
        place = token.end()
        if token["divide"] or token["times"]:
            inverse, kept_inverse = bool(token["divide"]), False
            continue
        if token["number"]:
            factor, power = Quantity(float(token["number"])), int(token["raised"] or 1)
        else:
            known = _UNITS.get(token["unit"]) or _UNITS.get(token["unit"].lower())
            if known is None:
                return None
            factor, power = known, int((token["power"] or "1").lstrip("^*"))
            inverse |= kept_inverse and bool(known.time)  # "mm/5min" is per 5 minutes, not a fifth of mm times a minute
        if abs(power) > 9 or not 1e-30 < factor.scale < 1e30:
            return None
        found = _times(found, factor, -power if inverse else power)
        inverse, kept_inverse = False, inverse and bool(token["number"])
    return found


def _times(a: Quantity, b: Quantity, power: int) -> Quantity:
    return Quantity(
        a.scale * b.scale**power, a.length + power * b.length, a.mass + power * b.mass, a.time + power * b.time
    )


def measure(units: str) -> Measure | None:
    """What a unit of rain or reflectivity measures, None for other units. A kg/m2 of water is 1 mm of it."""
    if _DBZ.fullmatch(units):
        return Measure("dBZ", 1.0)
    quantity = parsed(units)
    if quantity is None:
        return None
    match (quantity.length, quantity.mass, quantity.time):
        case (1, 0, -1):
            return Measure("rate", quantity.scale * 3.6e6)
        case (-2, 1, -1):
            return Measure("rate", quantity.scale * 3600.0)
        case (1, 0, 0):
            return Measure("amount", quantity.scale * 1000.0)
        case (-2, 1, 0):
            return Measure("amount", quantity.scale)
        case (3, 0, 0):
            return Measure("Z", quantity.scale * 1e18)
        case _:
            return None


def metres(units: str) -> float | None:
    """How many metres a unit of length is, None for other units."""
    quantity = parsed(units)
    return quantity.scale if quantity and quantity[1:] == (1, 0, 0) else None


def seconds(units: str) -> float | None:
    """How many seconds a unit of time is, None for other units."""
    quantity = parsed(units)
    return quantity.scale if quantity and quantity[1:] == (0, 0, 1) else None


def in_degrees(units: str) -> bool:
    """Whether a unit is the degree of an angle, as "degrees_north" is."""
    return bool(_DEGREES.fullmatch(units))
