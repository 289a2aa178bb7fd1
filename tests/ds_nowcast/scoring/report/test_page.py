"""A report is one page that needs nothing else, whole whatever its scores lack, and nothing in them can break it."""

from __future__ import annotations

import copy
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_prep.errors import UserError
from ds_nowcast.scoring.report import Case, write_report
from tests.ds_nowcast.scoring.report.reading import Reading

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("error::UserWarning")]
Evaluation = tuple[dict[str, Any], list[Case]]
HOSTILE = """</style></svg><script>alert("1")</script><img src=x onerror='alert(2)'>$\\frac{{$ & \x1b[2J\n"""
SECTIONS = ["leads", "thresholds", "scales", "cases", "training", "scores", "made"]
CHARTS = ["blur", "by_threshold", "csi_by_lead", "detection_by_lead", "error_by_lead", "fss_by_scale", "performance",
          "quantiles", "spectra", "training"]  # fmt: skip
SVG = {"svg", "g", "path", "use", "defs", "clippath", "rect", "text", "tspan", "style"}


def external(read: Reading) -> list[str]:
    """What a browser would fetch or run."""
    urls = [
        value for name in ("src", "href", "xlink:href", "data", "srcset", "action") for value in read.attributes(name)
    ]
    handlers = [name for _, attributes in read.elements for name in attributes if name.startswith("on")]
    active = [name for name, _ in read.elements if name in ("script", "iframe", "object", "embed", "form", "base")]
    return [url for url in urls if not url.startswith(("#", "data:"))] + handlers + active


def test_the_page_has_all_parts_and_its_links_lead_to_them(written: Path) -> None:
    read = Reading(written.read_text("utf-8"))
    assert [attributes["id"] for name, attributes in read.elements if name == "section"] == SECTIONS
    links = [attributes["href"] for name, attributes in read.elements if name == "a"]
    assert links == [f"#{name}" for name in SECTIONS]
    assert sum(name == "h1" for name, _ in read.elements) == 1 and read.unclosed == []
    for words in ("Performance diagram", "Fractions skill score by scale", "Power spectra", "Match of intensities",
                  "Best case", "Median case", "Worst case", "Loss, learning rate and evaluations", "train_batch_size",
                  "73f2d68333e2e7ee2c6416e1baa89328354f2c1ea1de99a7623b076bc51bceb9", "0.19.8"):  # fmt: skip
        assert words in read.text


def test_the_page_needs_no_network_and_no_script(written: Path) -> None:
    page = written.read_text("utf-8")
    assert external(Reading(page)) == []
    assert "@import" not in page and not re.search(r"url\((?!#)", page)
    assert written.stat().st_size < 5_000_000


def test_charts_lie_beside_the_page_as_pictures(written: Path) -> None:
    names = [*CHARTS, "case_best", "case_median", "case_worst"]
    assert sorted(path.name for path in written.parent.iterdir()) == sorted(
        ["index.html", *(f"{n}.png" for n in names)]
    )
    for path in written.parent.glob("*.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 200


def test_charts_on_the_page_have_words_as_text_and_follow_the_theme(written: Path) -> None:
    page = written.read_text("utf-8")
    charts = re.findall(r'<svg class="chart".*?</svg>', page, re.DOTALL)
    assert len(charts) == 46
    for chart in charts:
        assert "<text" in chart and "var(--ink" in chart and 'role="img" aria-label="' in chart
        assert "width=" not in chart[: chart.index(">")] and "<metadata" not in chart
    assert "var(--line-1, #d55e00)" in charts[0]
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_the_same_scores_give_the_same_page(written: Path, evaluation: Evaluation, tmp_path: Path) -> None:
    again = write_report(tmp_path, *evaluation, written.parent.parent / "run")
    assert again.read_bytes() == written.read_bytes()


def test_nothing_in_keys_names_and_configs_can_break_the_page(evaluation: Evaluation, tmp_path: Path) -> None:
    scores, cases = copy.deepcopy(evaluation[0]), [replace(evaluation[1][0], key=HOSTILE)]
    task = scores["task"]
    task |= {"split": HOSTILE, "data": HOSTILE, "index_hash": HOSTILE, "unit": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    task["model"]["name"], task["thresholds"]["unit"] = HOSTILE, HOSTILE
    scores["extrapolation"] = {"absent": HOSTILE}
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(f'{{"a": "{HOSTILE}", "url": "https://me:secret@host/x?key=hidden"}}')
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 1}\n{"step": 2, "loss": 2}\n')
    read = Reading(write_report(tmp_path / "report", scores, cases, run).read_text("utf-8"))
    assert external(read) == [] and read.unclosed == []
    assert read.text.count("onerror") > 10 and "\x1b" not in read.text
    assert "secret" not in read.text and "hidden" not in read.text


def test_what_the_scores_lack_is_said(evaluation: Evaluation, tmp_path: Path) -> None:
    whole = evaluation[0]
    keys = ("csi_pooled", "csi_lead_mean", "pod", "far", "bias", "mean", "mse", "mae", "by_lead")
    scores = {
        "task": whole["task"],
        "model": {key: whole["model"][key] for key in keys},
        "persistence": {"absent": "x"},
    }
    stale = tmp_path / "fss_by_scale.png"
    stale.write_bytes(b"of an earlier evaluation")
    read = Reading(write_report(tmp_path, scores, [], None).read_text("utf-8"))
    assert [attributes["id"] for name, attributes in read.elements if name == "section"] == SECTIONS
    assert read.text.count("These scores do not hold what this would show.") >= 2
    assert "Persistence was not scored: x." in read.text and "No window was shown." in read.text
    assert "no run folder" in read.text and not stale.exists()


def test_scores_of_nothing_are_a_page_still(tmp_path: Path) -> None:
    read = Reading(write_report(tmp_path, {}, [], None).read_text("utf-8"))
    assert read.unclosed == [] and external(read) == []


def test_a_full_disk_leaves_the_page_of_before(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "index.html"
    page.write_bytes(b"before")

    def full_disk(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_report(tmp_path, evaluation[0], [], None)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"] and page.read_bytes() == b"before"


def test_without_matplotlib_the_error_names_the_extra(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"pip install 'ds-nowcast\[pictures\]'"):
        write_report(tmp_path, *evaluation, None)
    assert not list(tmp_path.iterdir())
