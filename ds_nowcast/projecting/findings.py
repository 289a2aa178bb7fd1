"""What follows from a study's launches: figures, how right they are, and the projection."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ds_nowcast.config import RunConfig
from ds_nowcast.planning.training import autocast_dtype, weight_dtype
from ds_nowcast.projecting.collectives import Fit, Link, fit_link
from ds_nowcast.projecting.fitting import Given, fit, held_back
from ds_nowcast.projecting.outlook import Task, outlooks
from ds_nowcast.projecting.points import Point, Rates, samples_of
from ds_nowcast.projecting.projection import Batch, Figures, band_of
from ds_nowcast.projecting.report import Report
from ds_nowcast.projecting.series import Found, Series
from ds_nowcast.projecting.traffic import Traffic

_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}


@dataclass(frozen=True)
class Asked:
    """What is to be projected; None where it is measured or not known."""

    ranks: Sequence[int]
    link_bytes_per_s: float | None = None
    link_latency_s: float | None = None
    file_system_bytes_per_s: float | None = None
    file_bytes_per_s: float | None = None
    ranks_per_host: int | None = None


def traffic_of(config: RunConfig, parameters: int) -> Traffic:
    """What DeepSpeed sends of a model of so many parameters."""
    zero, kind = config.zero_optimization, config.communication_data_type
    width = _BYTES[kind] if kind else (autocast_dtype(config) or weight_dtype(config)).itemsize
    gathered = zero.stage3_prefetch_bucket_size if zero.stage == 3 else zero.allgather_bucket_size
    return Traffic(
        parameters=parameters,
        width=width,
        stage=zero.stage,
        buckets=(max(1, zero.reduce_bucket_size), max(1, gathered)),
        scatters=zero.reduce_scatter and not zero.use_multi_rank_bucket_allreduce,
    )


def report_of(config: RunConfig, series: Series, found: Found, task: Task, asked: Asked, slots: int) -> Report:
    """All of it. slots: of the fullest host of the hostfile, or the most ranks here. Without full steps there is no projection."""
    points, rates, results = found.points(series), found.rates(series), list(found.results.values())
    full = [result for result in results if result["feed"] == "full"]
    failed = {str(wanted): why for wanted, why in found.failed.items()}
    measured = Report(_title(config, full), points, rates, failed)
    if not any(point.mode == "weak" for point in points):
        return dataclasses.replace(
            measured, notes=["no full steps of weak scaling were measured, so nothing is projected"]
        )
    timed = timed_link(full)
    link = _asked_link(full, asked, timed)
    given = Given(
        traffic=traffic_of(config, full[0]["parameters"]),
        link=timed.link if timed else link,  # that the measured steps went over
        ranks_per_host=slots,
        stored_bytes=max((result["stored_bytes"] for result in results), default=0.0),
        file_system_bytes_per_s=asked.file_system_bytes_per_s or math.inf,
    )
    measured = _with_traffic(dataclasses.replace(measured, link=timed), full, given.traffic)
    checked = held_back(points, rates, dataclasses.replace(given, link=_link_of_fewer(full, given.link)))
    figures = dataclasses.replace(
        fit(points, rates, given),
        link=link,
        file_bytes_per_s=asked.file_bytes_per_s or math.inf,
        ranks_per_host=asked.ranks_per_host or slots,
    )
    return _projected(dataclasses.replace(measured, figures=figures, checked=checked), figures, task, asked)


def _with_traffic(report: Report, full: Sequence[Mapping[str, Any]], traffic: Traffic) -> Report:
    """What was seen of the largest launch's collectives, beside what is expected of them."""
    most = max(full, key=lambda result: (result["ranks"], result["batch"]["total"]))
    expected = traffic.of_step(most["batch"]["accumulation"]) if most["ranks"] > 1 else []
    seen = sum(most["collective_bytes"].values())
    return dataclasses.replace(report, sent_bytes=seen, expected_bytes=sum(sent.bytes for sent in expected))


def _projected(report: Report, figures: Figures, task: Task, asked: Asked) -> Report:
    return dataclasses.replace(
        report,
        outlooks=outlooks(("weak", "strong"), asked.ranks, task, band_of(figures, report.error)),
        notes=_notes(report.points, report.rates, asked, figures),
    )


def _title(config: RunConfig, full: Sequence[Mapping[str, Any]]) -> str:
    name = f"{config.nowcast.model.name}, ZeRO {config.zero_optimization.stage}"
    return (
        f"{name}, {full[0]['precision']}, {full[0]['parameters']:,} parameters, {full[0]['device']}" if full else name
    )


def timed_link(full: Sequence[Mapping[str, Any]]) -> Fit | None:
    """Fitted to all timed collectives; None where there are none."""
    trees = any(result["device"] != "cpu" for result in full)  # NCCL has them, gloo does not
    return fit_link([sample for result in full for sample in samples_of(result)], trees=trees)


def _asked_link(full: Sequence[Mapping[str, Any]], asked: Asked, timed: Fit | None) -> Link:
    """That of the projection: what was given of it, the rest as timed."""
    base = timed.link if timed else Link(0.0, math.inf, any(result["device"] != "cpu" for result in full))
    return Link(
        base.latency_s if asked.link_latency_s is None else asked.link_latency_s,
        base.bytes_per_s if asked.link_bytes_per_s is None else asked.link_bytes_per_s,
        base.trees,
    )


def _link_of_fewer(full: Sequence[Mapping[str, Any]], otherwise: Link) -> Link:
    """As timed without the largest number of ranks; where only that had any to talk to, as known with it."""
    most = max(result["ranks"] for result in full)
    fewer = timed_link([result for result in full if result["ranks"] < most])
    return fewer.link if fewer else otherwise


def _notes(points: Sequence[Point], rates: Sequence[Rates], asked: Asked, figures: Figures) -> list[str]:
    notes, one_host = [], all(point.hosts == 1 for point in points)
    given = asked.link_bytes_per_s is not None and asked.link_latency_s is not None
    if one_host and not given and max(asked.ranks) > figures.ranks_per_host:
        notes.append(
            "beware: the link was timed within one host, where ranks share memory; between hosts give --link-gb-s and --link-latency-us"
        )
    if figures.ranks_per_host > figures.crowded_to:
        notes.append(
            f"beware: computing is taken as no slower with {figures.ranks_per_host} ranks on a host than with {figures.crowded_to:g}, "
            "twice the most that were measured"
        )
    if math.isinf(figures.link.bytes_per_s):
        notes.append("beware: no link is known, so communication costs nothing; measure 2 ranks or give --link-gb-s")
    if not any(point.ranks > 1 for point in points):
        notes.append("no step of two ranks was measured: the projection hides no communication behind computation")
    if all(rate.stream is None for rate in rates):
        notes.append("the stream alone was not measured, so it limits nothing here")
    if asked.file_system_bytes_per_s is None:
        notes.append("the file system limits nothing here; give --file-system-gb-s to know when it would")
    notes.append(
        "shards: an epoch shows every window at any number of them; so many keep files from being read by too many at once, and let "
        "a step come out of one group of the shuffle (docs/scaling.md)"
    )
    return notes


def task_of(config: RunConfig, series: Series, windows: int, shards: int, epochs: float | None) -> Task:
    """What is trained: the config's steps of the largest launch's batch, or so many epochs."""
    base = series.base
    samples = float(config.nowcast.steps * base.total) if epochs is None else epochs * windows
    return Task(samples, Batch(base.per_rank, base.accumulation), base.total, windows, windows / shards)
