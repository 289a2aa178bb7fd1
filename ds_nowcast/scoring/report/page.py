"""The report of an evaluation: `index.html`, one file that needs nothing else, and its charts as PNG beside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from data_prep.files import write_atomically
from data_prep.pictures import Chart, chart_svgs, write_chart
from data_prep.pictures.keys import line_key
from ds_nowcast.scoring.report import charts_by_lead, charts_by_scale, charts_by_threshold
from ds_nowcast.scoring.report.cases import Case, write_case
from ds_nowcast.scoring.report.html import Html, facts, joined, one_line, picture, section, tag
from ds_nowcast.scoring.report.numbers import at
from ds_nowcast.scoring.report.summary import head, headlines
from ds_nowcast.scoring.report.tables import all_tables
from ds_nowcast.scoring.report.told import Told
from ds_nowcast.scoring.report.training import config_text, metric_lines, training

_NOT_HERE = "These scores do not hold what this would show."
_CASE_WORDS = (
    "Each row shows frames at the times above it, in UTC with the lead time. All rows but the last are in the colours of "
    "the upper bar; grey hatching is no data. The last is forecast minus observed in the colours of the lower bar: "
    "blue-green where too much was forecast, brown where too little, white where they agree."
)


def write_report(folder: Path, scores: dict[str, Any], cases: Sequence[Case], run: Path | None) -> Path:
    """Writes `index.html` and PNGs into `folder`; returns the path of the page.

    scores: the content of `scores.json`; what it lacks is left out and said. run: the run folder of the model, where
    there is one. Raises UserError where matplotlib is not installed, OSError where the disk takes no file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sections = [
        section("leads", "By lead time", *_leads(folder, scores)),
        section("thresholds", "By threshold", *_thresholds(folder, scores)),
        section("scales", "By scale", *_scales(folder, scores)),
        section("cases", "Cases", *_cases(folder, scores, cases)),
        section("training", "Training", *_training(folder, run)),
        section("scores", "All scores", all_tables(scores)),
        section("made", "How it was made", *_made(scores, run)),
    ]
    write_atomically(folder / "index.html", document(scores, sections).encode())
    return folder / "index.html"


def document(scores: dict[str, Any], sections: Sequence[Html]) -> Html:
    """The whole page."""
    style = files("ds_nowcast.scoring.report").joinpath("style.css").read_text("utf-8")
    names = {"leads": "lead time", "thresholds": "threshold", "scales": "scale", "cases": "cases",
             "training": "training", "scores": "all scores", "made": "config"}  # fmt: skip
    links = joined(tag("a", words, href=f"#{name}") for name, words in names.items())
    title = f"{at(scores, 'task', 'model', 'name') or 'model'} on {at(scores, 'task', 'split') or '?'}: evaluation"
    top = joined(
        [
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            Html('<link rel="icon" href="data:,">'),
            tag("title", title),
            tag("style", Html(style)),
        ]
    )
    main = tag("main", head(scores), headlines(scores), tag("nav", links, aria_label="Parts of the report"), *sections)
    return Html(f'<!DOCTYPE html>\n<html lang="en">{tag("head", top)}{tag("body", main)}</html>\n')


def _leads(folder: Path, scores: dict[str, Any]) -> list[Html]:
    return [
        _figure(folder, "csi_by_lead", charts_by_lead.csi_by_lead(scores)),
        _figure(folder, "error_by_lead", charts_by_lead.error_by_lead(scores)),
        tag(
            "details",
            tag("summary", "POD, FAR and bias by lead time"),
            _figure(folder, "detection_by_lead", charts_by_lead.detection_by_lead(scores)),
        ),
    ]


def _thresholds(folder: Path, scores: dict[str, Any]) -> list[Html]:
    return [
        _figure(folder, "by_threshold", charts_by_threshold.by_threshold(scores)),
        tag(
            "div",
            _figure(folder, "performance", charts_by_threshold.performance(scores)),
            _figure(folder, "quantiles", charts_by_threshold.quantiles(scores)),
            class_="pair",
        ),
    ]


def _scales(folder: Path, scores: dict[str, Any]) -> list[Html]:
    return [
        _figure(folder, "fss_by_scale", charts_by_scale.fss_by_scale(scores)),
        tag(
            "div",
            _figure(folder, "spectra", charts_by_scale.spectra(scores)),
            _figure(folder, "blur", charts_by_scale.blur(scores)),
            class_="two-and-one",
        ),
    ]


_TITLES = {"csi_by_lead": "Critical success index", "error_by_lead": "Errors", "detection_by_lead": "Detection",
           "by_threshold": "CSI and bias", "performance": "Performance diagram", "quantiles": "Match of intensities",
           "fss_by_scale": "Fractions skill score", "spectra": "Power spectra", "blur": "Blur", "training": "Training"}  # fmt: skip


def _figure(folder: Path, name: str, told: Told | None) -> Html:
    """A chart with its legend and how to read it; an earlier one's file goes where there is none."""
    path = folder / f"{name}.png"
    if told is None:
        path.unlink(missing_ok=True)
        return tag("figure", tag("h3", _TITLES[name]), tag("p", _NOT_HERE, class_="note"))
    write_chart(path, told.chart)
    panels = [
        tag("div", *([tag("h4", panel.title)] if panel.title else []), _with_words(svg, told.chart, panel.title))
        for panel, svg in zip(told.chart.panels, chart_svgs(told.chart, name), strict=True)
    ]
    return tag(
        "figure",
        tag("h3", told.chart.title),
        _legend(told.chart),
        tag("div", *panels, class_="panels"),
        tag("figcaption", told.words),
    )


def _with_words(svg: str, chart: Chart, title: str) -> Html:
    """The picture with what it shows for those who cannot see it."""
    words = escape(f"{chart.title}{': ' if title else ''}{title}. Lines: {', '.join(chart.shown())}.")
    return Html(svg.replace("<svg ", f'<svg class="chart" role="img" aria-label="{words}" ', 1))


def _legend(chart: Chart) -> Html:
    keys = [tag("li", Html(line_key(chart.look(name))), tag("span", name)) for name in chart.shown()]
    return tag("ul", *keys, class_="legend")


def _cases(folder: Path, scores: dict[str, Any], cases: Sequence[Case]) -> list[Html]:
    if not cases:
        return [tag("p", "No window was shown.", class_="note")]
    found = [tag("p", _CASE_WORDS, class_="note")]
    for case in cases:
        path = folder / f"case_{case.name}.png"
        write_case(path, case, str(at(scores, "task", "split") or "?"))
        errors = "; ".join(f"{name} {error:.4g}" for name, error in case.errors.items())
        words = f"{case.name.capitalize()} case: {case.key}, forecast from {case.times[len(case.past_THW) - 1]:%Y-%m-%d %H:%M} UTC"
        found.append(
            tag(
                "figure",
                tag("h3", f"{case.name.capitalize()} case"),
                picture(path.read_bytes(), words),
                tag("figcaption", f"{words}.{f' Mean squared error in [0, 1]: {errors}.' if errors else ''}"),
            )
        )
    return found


def _training(folder: Path, run: Path | None) -> list[Html]:
    told = training(metric_lines(run))
    if told is None:
        (folder / "training.png").unlink(missing_ok=True)
        return [tag("p", "There is no run folder with a metrics.jsonl beside these scores.", class_="note")]
    return [_figure(folder, "training", told)]


def _made(scores: dict[str, Any], run: Path | None) -> list[Html]:
    task = at(scores, "task") or {}
    versions: dict[str, Any] = at(task, "versions") or {}
    parts = [
        facts(
            [
                ("Data split hash (index)", str(task.get("index_hash", "not known"))),
                *((f"Version of {name}", str(version)) for name, version in versions.items()),
            ]
        )
    ]
    config = config_text(run)
    if config is not None:
        lines = "\n".join(map(one_line, config.splitlines()))
        shown = Html(f'<pre tabindex="0">{escape(lines)}</pre>')
        parts.append(tag("details", tag("summary", "The run's config.json"), shown))
    return parts
