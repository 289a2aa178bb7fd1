from __future__ import annotations

import io

import pytest
from rich.console import Console

from data_prep.building.account import in_bytes, show_left_out
from data_prep.building.left_out import LeftOuts
from data_prep.readers import LeftOut


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (999_600, "1 MB"), (3.2e9, "3.2 GB"), (5e15, "5e+03 TB")],
)
def test_sizes_are_read_at_a_glance(number: float, text: str) -> None:
    assert in_bytes(int(number)) == text


def test_reasons_are_counted_the_commonest_first() -> None:
    left_out = [LeftOut("a", "dry"), LeftOut("b", "gap"), LeftOut("c", "gap")]
    assert list(LeftOuts.of(left_out).by_count().items()) == [("gap", 2), ("dry", 1)]


def test_what_a_file_is_called_and_holds_is_noted_as_what_can_be_printed_and_written() -> None:
    found = LeftOuts.of([LeftOut("a\nb\udcff.h5", "unreadable", "\x1b[2J" + "9" * 100_000)])
    [example] = found.of_reason("unreadable")
    assert example.what == r"a\nb\udcff.h5" and len(example.detail) == 1000 and example.detail.startswith(r"\x1b[2J999")
    assert LeftOuts.model_validate_json(found.model_dump_json()) == found


def test_taking_in_one_more_does_not_look_through_all_that_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    found = LeftOuts.of(LeftOut(str(number), "unreadable") for number in range(1001))
    monkeypatch.setattr(LeftOuts, "of_reason", None)
    again = LeftOuts.model_validate_json(found.model_dump_json())
    again.merge(found)
    again.add(LeftOut("one more", "unreadable"))
    assert again.counts == {"unreadable": 2003} and again.examples == found.examples and len(again.examples) == 1000


def test_a_reason_names_its_first_few_and_prints_names_as_they_are() -> None:
    console = Console(file=io.StringIO(), width=40)
    names = ["[red]a[/red].h5", *(f"{'long' * 20}{number}.h5" for number in range(4))]
    show_left_out(console, LeftOuts.of(LeftOut(name, "dry", "torn") for name in names))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[:2] == ["left out 5: dry", "  [red]a[/red].h5: torn"]
    assert lines[2] == f"  {'long' * 20}0.h5: torn" and lines[-1] == "  and 2 more"
