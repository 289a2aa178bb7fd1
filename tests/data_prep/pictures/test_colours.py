"""Colours of radar fields and of lines."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from data_prep.encoding import Unit, encoding_named
from data_prep.pictures.colours import LINES, colour_scale, difference_scale

UNITS: tuple[Unit, ...] = ("mm/h", "dBZ", "kg/m2")


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


@pytest.mark.parametrize("unit", UNITS)
def test_a_colour_scale_has_a_colour_above_every_bound_and_neighbours_differ(unit: Unit) -> None:
    scale = colour_scale(unit)
    assert len(scale.bounds) == len(scale.colours) == len(set(scale.colours))
    assert list(scale.bounds) == sorted(set(scale.bounds))
    assert unit.replace("m2", "m²") in scale.label
    for one, other in pairwise(("#ffffff", *scale.colours)):
        assert np.abs(np.subtract(rgb(one), rgb(other))).sum() > 40


def test_vil_colours_begin_at_the_codes_of_the_sevir_tutorial() -> None:
    vil = encoding_named("vil255").decode(np.arange(255, dtype=np.uint8), "kg/m2")
    steps = np.searchsorted(colour_scale("kg/m2").bounds, vil, side="right")
    assert [int(code) for code in np.flatnonzero(np.diff(steps)) + 1] == [16, 31, 59, 74, 100, 133, 160, 181, 219]


def test_lines_differ_in_colour_dash_or_marker() -> None:
    assert len(set(LINES)) == len({colour for colour, _, _ in LINES}) == len({marker for _, _, marker in LINES}) == 7


@pytest.mark.parametrize("unit", UNITS)
def test_differences_are_white_around_zero_and_of_two_hues_that_deepen(unit: Unit) -> None:
    scale = difference_scale(unit)
    colours = [scale.below, *scale.colours]
    middle = len(colours) // 2
    assert len(scale.bounds) + 1 == len(colours) == len(set(colours)) and colours[middle] == "#ffffff"
    assert [-bound for bound in reversed(scale.bounds)] == list(scale.bounds) == sorted(scale.bounds)
    light = [sum(rgb(colour)) for colour in colours]
    assert light[: middle + 1] == sorted(light[: middle + 1]) and light[middle:] == sorted(light[middle:], reverse=True)
    assert all(rgb(colour)[0] > rgb(colour)[2] for colour in colours[:middle])  # brown
    assert all(rgb(colour)[0] < rgb(colour)[2] for colour in colours[middle + 1 :])  # blue-green
    assert unit.replace("m2", "m²") in scale.label
