"""Which launches a study makes, that it makes none twice, and what it makes of their results."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import UserError
from ds_nowcast.config import Batch, RunConfig, changed, load_config
from ds_nowcast.measuring.launching import Job
from ds_nowcast.measuring.outcomes import Outcome
from ds_nowcast.projecting import launches
from ds_nowcast.projecting.collectives import Link
from ds_nowcast.projecting.findings import Asked, report_of, task_of, traffic_of
from ds_nowcast.projecting.launches import Study, cores_of, made, on_cores
from ds_nowcast.projecting.projection import Figures
from ds_nowcast.projecting.report import Report
from ds_nowcast.projecting.series import Found, Series, Wanted, ranks_of, series_of
from ds_nowcast.projecting.traffic import Traffic
from tests.ds_nowcast.projecting.made_points import made_result

TRUTH = Figures(
    compute_s=0.02,
    optimizer_s=0.01,
    other_s=0.001,
    traffic=Traffic(5_000_000, 4, 2),
    link=Link(50e-6, 1e9),
    ranks_per_host=8,
    stream_per_s=1000.0,
    stored_bytes=5e4,
)


class Machine:
    """Answers launches as a machine of known figures would; some as the test says."""

    def __init__(self, noise: float = 0.0, ends: Mapping[str, str] | None = None) -> None:
        self.noise, self.ends, self.jobs = noise, ends or {}, list[Job]()
        self.cores = list[int]()

    def measure(self, job: Job, folder: Path, timeout_s: float) -> Outcome:
        self.jobs.append(job)
        self.cores.append(len(os.sched_getaffinity(0)))
        ended = self.ends.get(folder.name, "measured")
        if ended != "measured":
            return Outcome(ended, "as the test says", None, 1.0, folder / "log", 1)  # type: ignore[arg-type]
        sizes = dict(word.split("=") for word in job.overrides)
        total, micro = int(sizes["train_batch_size"]), int(sizes["train_micro_batch_size_per_gpu"])
        feed = job.arguments[job.arguments.index("--feed") + 1]
        result = made_result(
            TRUTH,
            total,
            micro,
            int(sizes["gradient_accumulation_steps"]),
            feed=feed,
            noise=self.noise,
            seed=len(self.jobs),
        )
        if "--collectives" not in job.arguments:
            del result["collectives"]
        return Outcome("measured", "", result, 1.0, folder / "log", 0)


@pytest.fixture
def study(tmp_path: Path, config: Path) -> Study:
    loaded = load_config(config, ["train_batch_size=32", "gradient_accumulation_steps=4"])
    return Study(config, loaded, [], "shards", "f" * 64, None, tmp_path / "out", ["--steps", "5"], 10.0)


def told(lines: list[str]) -> Any:
    return lines.append


def made_by(machine: Machine, study: Study, series: Series, lines: list[str] | None = None) -> Found:
    return made(study, series, told([] if lines is None else lines), machine.measure)


def test_weak_scaling_keeps_the_part_of_a_rank_and_strong_scaling_the_step(study: Study) -> None:
    series = series_of(study.config, [1, 2, 4])
    assert series.base == Batch(32, 2, 4, 4)
    assert list(series.weak.values()) == [Batch(8, 2, 4, 1), Batch(16, 2, 4, 2), Batch(32, 2, 4, 4)]
    assert list(series.strong.values()) == [Batch(32, 2, 16, 1), Batch(32, 2, 8, 2), Batch(32, 2, 4, 4)]
    names = [wanted.name for wanted in series.wanted()]
    assert len(names) == len(set(names)) == 4 + 4 + 3  # at the largest number both are one
    assert [wanted.name for wanted in series.wanted() if wanted.collectives] == [
        "full-2-ranks-16-samples", "full-4-ranks-32-samples",
    ]  # fmt: skip


def test_a_step_that_does_not_divide_is_refused(study: Study) -> None:
    with pytest.raises(UserError, match="32 samples a step, which do not divide over 3 ranks"):
        series_of(study.config, [3, 4])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,x", "'x' of '1,x' is no number of ranks"),
        ("0", "'0' of '0' is no number of ranks"),
        ("1,,2", "'' of '1,,2' is no number"),
        ("-1,2", "'-1' of '-1,2' is no number"),
        ("1.5", "'1.5' of '1.5' is no number"),
        ("2,1,2", "'2,1,2' names 2 ranks twice"),
    ],
)
def test_numbers_of_ranks_that_are_none_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ranks_of(text)


def test_numbers_of_ranks_are_taken_in_order() -> None:
    assert ranks_of("4,1, 2") == [1, 2, 4]


def test_what_was_measured_is_not_measured_again_unless_what_it_depends_on_changed(study: Study) -> None:
    series, first = series_of(study.config, [1, 2]), Machine()
    found = made_by(first, study, series)
    assert len(first.jobs) == 7 and not found.failed

    again, lines = Machine(), list[str]()
    assert made_by(again, study, series, lines).results == found.results
    assert again.jobs == [] and all("measured before" in line for line in lines)

    changes = {
        "shards": dataclasses.replace(study, shards_hash="e" * 64),
        "config": dataclasses.replace(study, config=changed(study.config, ["nowcast.model.width=16"])),
        "steps": dataclasses.replace(study, arguments=["--steps", "6"]),
    }
    for what, other in changes.items():
        machine = Machine()
        made_by(machine, other, series)
        assert len(machine.jobs) == 7, what
        made_by(Machine(), study, series)  # as it was


def test_a_point_that_failed_is_told_and_tried_again_and_the_others_are_made(study: Study) -> None:
    series, lines = series_of(study.config, [1, 2]), list[str]()
    machine = Machine(ends={"full-1-ranks-32-samples": "out_of_memory"})
    found = made_by(machine, study, series, lines)
    assert len(found.results) == 6 and len(found.failed) == 1
    assert any("out of memory: as the test says" in line for line in lines)
    again = Machine()
    assert not made_by(again, study, series).failed
    assert len(again.jobs) == 1


def test_a_torn_result_is_measured_again(study: Study) -> None:
    series = series_of(study.config, [1])
    made_by(Machine(), study, series)
    for content in ("{", "[]", json.dumps({"identity": "x", "result": {}})):
        (study.folder / "stream-1-ranks-32-samples" / "point.json").write_text(content)
        machine = Machine()
        made_by(machine, study, series)
        assert len(machine.jobs) == 1


def test_a_rank_has_as_many_cores_alone_as_among_others(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cores_of(1, len(os.sched_getaffinity(0))) == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert [cores_of(ranks, 4) for ranks in (1, 2, 4)] == [2, 4, 8]
    assert [cores_of(ranks, 16) for ranks in (1, 16)] == [1, 8]


def test_cores_are_given_back(study: Study) -> None:
    before = os.sched_getaffinity(0)
    with on_cores(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_other_hosts_keep_their_cores(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostfile = tmp_path / "hosts"
    hostfile.write_text("node01 slots=1\nnode02 slots=1\n")
    monkeypatch.setattr(launches, "is_here", lambda host: host.name == "node01")
    far = dataclasses.replace(study, hostfile=hostfile)
    series = series_of(study.config, [1, 2])
    assert far.cores(Wanted("full", series.weak[2]), 2) is None
    assert far.cores(Wanted("full", series.weak[1]), 2) == cores_of(1, 2)


def reported(study: Study, ranks: list[int], machine: Machine, asked: Asked) -> Report:
    series = series_of(study.config, ranks)
    found = made_by(machine, study, series)
    return report_of(study.config, series, found, task_of(study.config, series, 4000, 10, None), asked, ranks[-1])


def test_a_study_finds_the_machine_that_it_measured(study: Study) -> None:
    report = reported(study, [1, 2, 4], Machine(noise=0.01), Asked([128], file_system_bytes_per_s=1e9))
    figures = report.figures
    assert figures is not None and report.link is not None
    assert figures.compute_s == pytest.approx(0.02, rel=0.05) and figures.link.bytes_per_s == pytest.approx(
        1e9, rel=0.1
    )
    assert figures.stream_per_s == pytest.approx(1000.0) and figures.file_system_bytes_per_s == 1e9
    assert not figures.link.trees  # on a CPU
    assert [(one.mode, one.ranks) for one in report.checked] == [("weak", 4), ("strong", 4)]
    assert 0.0 < report.error < 0.06
    assert report.sent_bytes == report.expected_bytes > 0
    assert {rate.ranks: rate.stream for rate in report.rates} == pytest.approx({1: 1000.0, 2: 1000.0, 4: 1000.0})
    content = report.to_json()
    assert [point["bottleneck"] for point in content["points"]][:2] == ["compute", "compute"]
    json.dumps(content, allow_nan=False)


def test_what_is_given_of_the_link_is_projected_with_and_not_fitted_with(study: Study) -> None:
    timed = reported(study, [1, 2], Machine(), Asked([8]))
    given = reported(study, [1, 2], Machine(), Asked([8], link_bytes_per_s=5e6))
    assert timed.figures is not None and given.figures is not None and given.link == timed.link
    assert given.figures.link.bytes_per_s == 5e6
    assert given.figures.link.latency_s == pytest.approx(50e-6, rel=1e-3)
    assert dataclasses.replace(given.figures, link=timed.figures.link) == timed.figures
    assert given.checked == timed.checked
    assert given.outlooks[0].limit == "communication" != timed.outlooks[0].limit
    both = reported(study, [1, 2], Machine(), Asked([8], link_bytes_per_s=5e9, link_latency_s=1e-6))
    assert both.figures is not None and both.figures.link == Link(1e-6, 5e9)
    assert "within one host" in "\n".join(given.notes) and "within one host" not in "\n".join(both.notes)


def test_hosts_of_another_size_change_the_projection_and_not_the_fit(study: Study) -> None:
    here = reported(study, [1, 2], Machine(), Asked([8]))
    other = reported(study, [1, 2], Machine(), Asked([8], ranks_per_host=1))
    assert here.figures is not None and other.figures is not None
    assert dataclasses.replace(other.figures, ranks_per_host=2) == here.figures
    assert other.checked == here.checked
    slow, fast = here.outlooks[0].likely, other.outlooks[0].likely
    assert slow is not None and fast is not None and fast.stream == slow.stream / 2  # a stream on each host


def test_the_notes_say_what_is_not_known(study: Study) -> None:
    notes = "\n".join(reported(study, [1, 2], Machine(), Asked([128])).notes)
    assert "within one host" in notes and "give --file-system-gb-s" in notes
    alone = reported(study, [1], Machine(), Asked([128]))
    wide = reported(study, [1, 2], Machine(), Asked([128], ranks_per_host=8))
    assert "no slower with 8 ranks on a host than with 4" in "\n".join(wide.notes) and "no slower" not in notes
    assert "no link is known" in "\n".join(alone.notes) and not alone.checked


def test_nothing_is_projected_from_nothing(study: Study) -> None:
    series = series_of(study.config, [1])
    failing = Machine(ends={wanted.name: "crashed" for wanted in series.wanted()})
    report = reported(study, [1], failing, Asked([128]))
    assert not report.outlooks and report.figures is None and len(report.failed) == len(series.wanted())
    json.dumps(report.to_json(), allow_nan=False)


def test_epochs_or_steps_say_how_much_is_to_be_seen(study: Study) -> None:
    series = series_of(study.config, [1, 2])
    assert task_of(study.config, series, 4000, 10, None).samples == study.config.nowcast.steps * 32
    task = task_of(study.config, series, 4000, 10, 2.5)
    assert (task.samples, task.per_shard, task.windows) == (10_000, 400.0, 4000)


@pytest.mark.parametrize(
    ("settings", "width", "buckets", "scatters"),
    [
        ([], 4, (500_000_000, 500_000_000), False),
        (["bf16.enabled=true", "zero_optimization.reduce_bucket_size=1000"], 2, (1000, 500_000_000), False),
        (["communication_data_type=fp16"], 2, (500_000_000, 500_000_000), False),
        (["zero_optimization.use_multi_rank_bucket_allreduce=false"], 4, (500_000_000, 500_000_000), True),
        (["zero_optimization.stage=3"], 4, (500_000_000, 50_000_000), False),
    ],
)
def test_the_config_says_what_is_sent(
    study: Study, settings: list[str], width: int, buckets: tuple[int, int], scatters: bool
) -> None:
    config: RunConfig = changed(study.config, settings)
    stage = config.zero_optimization.stage
    assert traffic_of(config, 7) == Traffic(7, width, stage, buckets, scatters)
