"""The committed figures of a V100: the shape of 59 hours becoming about one, what limits it, and what is refused."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import UserError
from ds_nowcast.projecting.figures import Number, read_figures
from ds_nowcast.projecting.outlook import Outlook, outlooks
from ds_nowcast.scaling import main
from tests.launching import ROOT

V100 = ROOT / "docs/scaling_v100.json"


def weak(*ranks: int) -> list[Outlook]:
    file = read_figures(V100)
    return outlooks(("weak",), ranks, file.task(), file.band())


def hours(one: Outlook) -> float:
    found = one.hours(one.likely)
    assert found is not None
    return found


def test_59_hours_on_one_become_about_one_between_64_and_128() -> None:
    one, at_64, at_128 = weak(1, 64, 128)
    assert hours(one) == pytest.approx(59.0)
    assert (
        hours(at_64) > 1.0 > hours(at_128) > 59 / 128
    )  # the likely curve passes an hour there, never better than ideal
    slowest = at_128.hours(at_128.worst)
    assert slowest is not None and 1.0 < slowest < 1.25  # "just over 1 hour" with the slow network of the band


def test_hours_fall_with_every_doubling_until_something_but_the_gpus_limits() -> None:
    curve = weak(*(2**n for n in range(13)))
    falling = [hours(b) < hours(a) for a, b in pairwise(curve)]
    assert falling == [True] * 10 + [False] * 2
    assert [one.limit for one in curve if one.ranks in (128, 512, 4096)] == ["compute", "compute", "file system"]
    efficiencies = [one.efficiency or 0.0 for one in curve]
    assert efficiencies == sorted(efficiencies, reverse=True)


def test_more_ranks_need_more_shards() -> None:
    shards = [one.shards or 0 for one in weak(128, 512, 4096)]
    assert shards == sorted(shards) and shards[0] >= 1
    one = weak(4096)[0]
    assert one.shards_to_mix == -(-16384 // 96)  # a step of 16,384 windows, 96 in a shard


def test_a_step_of_64_samples_ends_strong_scaling_at_64_ranks() -> None:
    file = read_figures(V100)
    at_64, at_128 = outlooks(("strong",), (64, 128), file.task(), file.band())
    assert at_64.likely is not None and at_64.limit == "communication"
    assert at_128.likely is None and at_128.limit == "batch"


def test_every_figure_says_where_it_is_from() -> None:
    file = read_figures(V100)
    numbers = [getattr(file, name) for name in type(file).model_fields if isinstance(getattr(file, name), Number)]
    assert len(file.sources()) == len(numbers) == 13
    assert all(len(number.source) > 5 for number in numbers)
    for number in numbers:  # what is likely lies between best and worst
        ends = sorted((number.at("best"), number.at("worst")))
        assert ends[0] <= number.value <= ends[1]


def test_the_command_prints_the_table_and_leaves_json_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "v100"
    assert main(["--figures", str(V100), "--project", "1,128,512,4096", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert (
        "projected, not measured" in printed and "whose layers are not at hand" not in printed.split("hours_of_one")[0]
    )
    assert "hours_of_one 59: Samsi" in printed and "file system" in printed and "batch (ranks > samples)" in printed
    found = json.loads((out / "scaling.json").read_text())
    assert [row["limit"] for row in found["projection"][:4]] == ["compute", "compute", "compute", "file system"]
    assert found["projection"][0]["hours"] == pytest.approx(59.0) and "not at hand" in found["title"]
    assert (out / "scaling.png").read_bytes().startswith(b"\x89PNG")


def changed(path: Path, **keys: Any) -> Path:
    content = json.loads(V100.read_text()) | keys
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"link_gb_s": {"value": 0.0, "source": "nobody"}}, "link_gb_s has a value that is not above 0"),
        ({"link_gb_s": {"value": 1.0}}, "missing key 'link_gb_s.source'"),
        ({"zero_stage": 4}, "zero_stage is 4; give 0, 1, 2 or 3"),
        ({"windws": 3}, "unknown key 'windws'; did you mean 'windows'"),
        ({"trees": {"best": True}}, "trees says true or false of each of best, value and worst"),
        ({"exposed": {"value": -1, "source": "x"}}, "exposed.value is -1; give at least 0"),
    ],
)
def test_figures_that_cannot_be_used_are_refused(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("'", ".")):
        read_figures(changed(tmp_path / "f.json", **keys))


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_figures(tmp_path / "nowhere.json")
    (tmp_path / "f.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        read_figures(tmp_path / "f.json")


def test_figures_and_a_study_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--figures", str(V100), "--link-gb-s", "3", "--out", str(tmp_path / "out")]) == 2
    assert "--figures FILE says all that --link-gb-s would; leave one of them out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
