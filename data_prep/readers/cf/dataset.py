"""What the CF logic sees of an open file: what its variables declare, and their values as they are stored, within bounds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import RadarFileError

MOST_BYTES = 1 << 30  # of one chunk or one picture; a national composite is some MB
MOST_CHUNKS = 1 << 16  # of one read
MOST_VALUES = 1 << 22  # of one coordinate: 40 years of 5-minute steps
MOST_TEXT = 1 << 12  # of one attribute, in characters or numbers
Attributes = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Variable:
    """What a variable declares.

    chunks: the shape of the pieces that can be read alone, None where the values lie one after the other.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: Attributes
    chunks: tuple[int, ...] | None = None

    @property
    def is_numeric(self) -> bool:
        """Whether its values are integers or floating-point numbers."""
        return self.dtype.kind in "iuf" and len(self.shape) == len(self.dims)

    def text(self, attribute: str) -> str:
        """A text attribute; "" where there is none."""
        return text(self.attributes, attribute)


class Dataset(ABC):
    """An open file or store. name: in messages. Variables and attributes are those of its root group."""

    name: str
    attributes: Attributes
    variables: Mapping[str, Variable]

    @abstractmethod
    def stored(self, variable: Variable, index: tuple[slice, ...]) -> NDArray[Any]:
        """Values as they are stored, neither scaled nor masked, in the machine's byte order; one slice per dimension."""

    @abstractmethod
    def close(self) -> None:
        """Frees the file."""

    def values(self, variable: Variable, index: tuple[slice, ...]) -> NDArray[Any]:
        """As `stored`, after what is declared was found within bounds. Raises RadarFileError."""
        shape = tuple(len(range(length)[part]) for length, part in zip(variable.shape, index, strict=True))
        largest = max(math.prod(shape), math.prod(variable.chunks or ()))
        if largest * variable.dtype.itemsize > MOST_BYTES:
            raise self.error(f"variable {variable.name!r} declares more than {MOST_BYTES} bytes for one read or chunk")
        chunks = zip(shape, variable.chunks or shape, strict=True)
        if math.prod(length // max(chunk, 1) + 1 for length, chunk in chunks) > MOST_CHUNKS:
            raise self.error(f"variable {variable.name!r} is cut into {variable.chunks}: too small to be read")
        values = self.stored(variable, index)
        if values.shape != shape:
            raise self.error(f"variable {variable.name!r} gave {values.shape} values, expected {shape}")
        return values

    def coordinate(self, variable: Variable) -> NDArray[np.float64]:
        """All values of a coordinate, unpacked, float64, NaN where one is missing. Raises RadarFileError."""
        if not variable.is_numeric or math.prod(variable.shape) > MOST_VALUES:
            raise self.error(f"coordinate {variable.name!r} is not of at most {MOST_VALUES} numbers")
        stored = self.values(variable, tuple(slice(None) for _ in variable.shape))
        scale, offset = scale_and_offset(variable, self.name)
        values = stored.astype(np.float64) * scale + offset
        for name in ("_FillValue", "missing_value"):
            for missing in numbers(variable.attributes, name, self.name):
                values[stored == missing] = np.nan
        return values

    def error(self, reason: str) -> RadarFileError:
        """A RadarFileError of this file."""
        return RadarFileError(self.name, reason)


def text(attributes: Attributes, name: str, most: int = MOST_TEXT) -> str:
    """A text attribute without space around it; "" where it is absent, no text, or longer than `most`."""
    value = attributes.get(name, "")
    value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return value.strip("\0 \n") if isinstance(value, str) and len(value) <= most else ""


def numbers(attributes: Attributes, name: str, file: str) -> tuple[float, ...]:
    """The numbers of an attribute, NaN among them; none where it is absent. Raises RadarFileError where it is no number."""
    if name not in attributes:
        return ()
    try:
        values = np.ravel(np.asarray(attributes[name], np.float64))
    except (TypeError, ValueError):
        raise RadarFileError(file, f"attribute {name} is {str(attributes[name])[:40]!r}, expected numbers") from None
    if len(values) > MOST_TEXT:
        raise RadarFileError(file, f"attribute {name} holds {len(values)} numbers")
    return tuple(values.tolist())


def scale_and_offset(variable: Variable, file: str) -> tuple[float, float]:
    """scale_factor and add_offset, 1 and 0 where absent. Raises RadarFileError where they are not one finite number each."""
    found = []
    for name, usual in (("scale_factor", 1.0), ("add_offset", 0.0)):
        given = numbers(variable.attributes, name, file) or (usual,)
        if len(given) != 1 or not math.isfinite(given[0]) or (name == "scale_factor" and given[0] == 0.0):
            raise RadarFileError(file, f"{name} of {variable.name!r} is {given}, expected one finite number, not zero")
        found.append(given[0])
    return found[0], found[1]
