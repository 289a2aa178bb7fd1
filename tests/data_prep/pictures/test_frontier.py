"""Which attempts no other beats at both cost and gain."""

from __future__ import annotations

from data_prep.pictures.frontier import Point, front


def point(cost: float, gain: float, counts: bool = True) -> Point:
    return Point("", cost, gain, "measured", counts)


def test_the_front_gains_more_for_more_and_nothing_on_it_is_beaten() -> None:
    cheap, dear = point(1, 2), point(3, 5)
    beaten, as_dear, no_better, failed = point(2, 1), point(3, 4), point(4, 5), point(0.5, 9, counts=False)
    assert front([dear, as_dear, failed, no_better, beaten, cheap]) == [cheap, dear]
    assert front([failed]) == [] and front([]) == []
