"""The benchmarks' arithmetic, and that each runs. The speeds themselves are no test."""

from __future__ import annotations

import csv
import getpass
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks import large_batches, large_model
from benchmarks.__main__ import ENTRIES
from benchmarks.archive import replicate
from benchmarks.page import ENDING, Measured, collected, leave, put
from benchmarks.report import Goal, Report, publish
from benchmarks.timing import in_turns, ratio
from data_prep.simulate import simulate
from ds_nowcast.training.run_folder import RunFolder

RATES = {"ours": [8.0, 30.0, 10.0], "slow peer": [2.0, 2.0, 2.0], "fast peer": [4.0, 10.0, 1.0]}


@pytest.mark.slow
def test_contenders_take_turns_and_the_first_round_does_not_count() -> None:
    now, turns = 0.0, ""

    def contender(name: str, seconds: float) -> float:
        nonlocal now, turns
        now, turns = now + seconds * (100 if len(turns) < 2 else 1), turns + name
        return 6.0

    contenders = {"A": lambda: contender("A", 2.0), "B": lambda: contender("B", 3.0)}
    assert in_turns(contenders, 3, clock=lambda: now) == {"A": [3.0] * 3, "B": [2.0] * 3}
    assert turns == "ABABABAB"


def test_ratios_are_paired_by_round() -> None:
    found = ratio(RATES, "ours", "fast peer")
    assert (found.least, found.median, found.most) == (2.0, 3.0, 10.0)


@pytest.mark.parametrize(("at_least", "verdict"), [(3.0, "reached"), (3.1, "missed")])
def test_a_goal_is_measured_against_the_fastest_peer_and_written(tmp_path: Path, at_least: float, verdict: str) -> None:
    out = io.StringIO()
    report = Report("name", "work", "frames/s", RATES, [Goal("ours", ["slow peer", "fast peer"], at_least)])
    publish(report, tmp_path, Console(file=out, width=120))
    assert "ours / fast peer" in out.getvalue()
    assert verdict in out.getvalue()
    written = json.loads((tmp_path / "name.json").read_text())
    assert written["rates"]["ours"] == {"median": 10.0, "least": 8.0, "most": 30.0, "rounds": RATES["ours"]}
    [found] = written["ratios"]
    assert (found["against"], found["median"], found["reached"]) == ("fast peer", 3.0, verdict == "reached")


def test_notes_stand_beside_the_rates(tmp_path: Path) -> None:
    out = io.StringIO()
    publish(
        Report("name", "work", "frames/s", RATES, [], {"ours": "4.0x smaller"}), tmp_path, Console(file=out, width=120)
    )
    assert "4.0x smaller" in out.getvalue()
    assert json.loads((tmp_path / "name.json").read_text())["notes"] == {"ours": "4.0x smaller"}


PAGE = """# Speed
before <!-- measured: steps -->
old
<!-- end of steps -->
between
<!-- measured: other -->
stays
<!-- end of other -->
"""


def test_a_printed_table_takes_the_place_of_the_one_before_on_the_page(tmp_path: Path) -> None:
    table = Table()
    for column in ("", "samples/s"):
        table.add_column(column)
    table.add_row(Text("ours | theirs"), "[bold red]3.0[/]")
    leave(tmp_path, "steps", "steps of a net", table)
    leave(tmp_path, "unknown", "nothing", table)
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    tables = collected(tmp_path)
    assert tables[0] == Measured("steps", "steps of a net", ["", "samples/s"], [["ours | theirs", "3.0"]])
    assert put(page, tables, "python -m benchmarks.steps") == put(page, tables, "python -m benchmarks.x") == ["unknown"]
    text = page.read_text()
    assert "| ours \\| theirs | 3.0 |" in text and "old" not in text and text.count("python -m benchmarks.x") == 1
    assert "\nbetween\n<!-- measured: other -->\nstays\n<!-- end of other -->\n" in text


TABLES = {
    "loader": ["loader"],
    "codecs": ["codecs", "threads"],
    "build": ["build"],
    "train_step": ["train_step", "step_overhead"],
    "compute_keys": ["compute_convnext_unet_tiny"],
    "baselines": ["baselines"],
    "large_model": ["large_model"],
    "stream_at_scale": ["stream_coverage", "stream_reading"],
    "large_batches": ["large_batches"],
    "real_skill": ["real_skill"],
    "gpu_step": ["gpu_step"],
}


def test_every_benchmark_of_make_bench_has_a_place_for_its_tables() -> None:
    assert TABLES.keys() == {entry.name for entry in ENTRIES}
    page = (Path(__file__).parent.parent / "docs/performance.md").read_text()
    for name in (name for names in TABLES.values() for name in names):
        assert f"<!-- measured: {name} -->" in page and f"<!-- end of {name} -->" in page


def test_an_archive_is_replicated_by_mirroring_and_turning_its_events(tmp_path: Path) -> None:
    simulate(tmp_path / "source", 3, 16, 8, seed=0, workers=1)
    assert replicate(tmp_path / "source", tmp_path / "copy", 7) == 3
    rows = {which: rows_of(tmp_path / which / "CATALOG.csv") for which in ("source", "copy")}
    vil = {which: [event_of(tmp_path / which, row) for row in rows[which]] for which in rows}
    assert len(vil["copy"]) == len({row["id"] for row in rows["copy"]}) == 7
    for number, event_HWT in enumerate(vil["copy"]):
        source_HWT = vil["source"][number % 3]
        expected_HWT = (source_HWT, source_HWT[:, ::-1], np.rot90(source_HWT))[number // 3]
        np.testing.assert_array_equal(event_HWT, expected_HWT)


def rows_of(catalog: Path) -> list[dict[str, str]]:
    with catalog.open(newline="") as file:
        return list(csv.DictReader(file))


def event_of(archive: Path, row: dict[str, str]) -> np.ndarray:
    with h5py.File(archive / "data" / row["file_name"]) as file:
        return file["vil"][int(row["file_index"])]


@pytest.mark.slow  # alone in their processes: side by side with others
@pytest.mark.parametrize(
    ("name", "reports"),
    [
        ("loader", ["loader"]),
        ("codecs", ["codecs", "threads"]),
        ("build", ["build"]),
        ("train_step", ["train_step", "step_overhead"]),
    ],
)
def test_each_benchmark_runs_and_leaves_nothing_but_its_figures(tmp_path: Path, name: str, reports: list[str]) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--repeats", "1", "--out", str(tmp_path)]
    with TemporaryDirectory() as folder:  # not below tmp_path: the name of a socket must be short
        environment = {**os.environ, "TMPDIR": folder}  # HOME stays: DeepSpeed would compile its operator anew
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr[-2000:]
        others = {"torchinductor_root", f"torchinductor_{getpass.getuser()}"}  # torch's own, which stays
        assert set(os.listdir(folder)) <= others
    tables = collected(tmp_path)
    assert {table.name for table in tables} == set(reports)
    assert {path.name for path in tmp_path.iterdir()} == {f"{r}{end}" for r in reports for end in (".json", ENDING)}
    for table in tables:
        rates = json.loads((tmp_path / f"{table.name}.json").read_text())["rates"]
        assert rates and all(found["median"] > 0 for found in rates.values())
        assert [row[0] for row in table.rows][: len(rates)] == list(rates)


@pytest.mark.slow  # alone in their processes: side by side with others
def test_the_study_of_large_batches_trains_what_is_not_trained_yet_and_says_what_came_of_each(tmp_path: Path) -> None:
    def run() -> str:
        command = [sys.executable, "-m", "benchmarks.large_batches", "--quick", "--out", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    told = run()
    rows = json.loads((tmp_path / "large_batches.json").read_text())["rows"]
    found = {(row["batch"], row["rule"], row["steps"]): row["seeds"][0] for row in rows}
    assert [found[key]["lr"] for key in ((8, "none", 4), (16, "none", 2), (16, "linear", 2), (16, "square_root", 2))] == [
        pytest.approx(0.001), pytest.approx(0.001), pytest.approx(0.002), pytest.approx(0.001 * 2**0.5)
    ]  # fmt: skip
    assert (8, "none", 2) in found and all(one["step_s"] > 0 and 0 < one["mse"] < 1 for one in found.values())
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/last.safetensors")}
    assert len(written) == 5
    assert run() == told
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/last.safetensors")}


def test_a_study_has_each_batch_at_fixed_samples_and_fixed_steps_and_tells_the_spread_over_seeds() -> None:
    study = large_batches.Study(1, 8, (8, 32), samples=64, steps=4, seeds=2, rates=(2.0,))
    parts = list(large_batches.parts(study).values())
    assert [[(case.batch, case.rule, case.steps, case.times) for case in part] for part in parts] == [
        [(8, "none", 8, 1), (32, "none", 2, 1), (32, "linear", 2, 1), (32, "square_root", 2, 1)],
        [(8, "none", 4, 1), (32, "none", 4, 1), (32, "linear", 4, 1), (32, "square_root", 4, 1)],
        [(8, "none", 8, 2)],
    ]
    trained = [
        large_batches.Trained(lr=0.1, step_s=s, csi=csi, mse=0.02, persistence=(0.3, 0.04))
        for s, csi in ((4, 0.2), (8, 0.4))
    ]
    out = io.StringIO()
    found = dict.fromkeys(parts[0][:2], trained)
    Console(file=out, width=160).print(large_batches.tables(found, study)["64 samples each"])
    words = [line.replace("│", " ").split() for line in out.getvalue().splitlines()]
    spread = ["0.300", "(0.200", "-", "0.400)", "0.0200", "(0.0200", "-", "0.0200)"]
    # 32 samples in four seconds, the fastest, are one second a step of 8
    assert ["8", "none", "0.1", "8", "64", "2", *spread, "8", "8.0"] in words
    assert ["32", "none", "0.1", "2", "64", "2", *spread, "8", "2.0"] in words


@pytest.mark.slow
def test_the_stream_at_scale_is_simulated_small(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.stream_at_scale", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads((tmp_path / "stream_at_scale.json").read_text())
    assert all(row["missing"] == row["repeated"] == row["uneven"] == 0 for row in figures["coverage"])
    [rank] = figures["ranks"]
    assert rank["most"] >= rank["opened"] > rank["imported"] > 10**7
    resume, steady = rank["resume"], rank["steady"]
    assert (resume["samples"], steady["samples"]) == (3, 30)
    for counts in (resume, steady):
        assert counts["opened"] == counts["shards"] <= counts["samples"]
        read = counts["bytes of tars"] + counts["tables of contents"]
        assert counts["needed"] < read < 1.5 * counts["needed"]
    assert steady["needed"] < 30 * figures["shard"]["bytes"] / 8  # windows of 25 of 49 frames, of 8 sequences


@pytest.mark.slow  # alone in their processes: side by side with others
def test_the_benchmark_of_a_gpu_runs_on_a_cpu_where_it_finds_plain_pytorch_and_every_stage_equal(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_step", "--quick", "--micro", "2", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    content = json.loads((tmp_path / "gpu_step.json").read_text())
    rows = content["rows"]
    assert {row["stage"] for row in rows} == {None, 0, 1, 2, 3}
    for row in rows:
        assert row["samples_per_s"] == pytest.approx(2 / row["seconds"])
        work = row["samples_per_s"] * content["training_flops_per_sample"]
        assert row["share"] == pytest.approx(work / content["matrix_flops_per_s"])
        assert row["epoch_s"] == pytest.approx(35_718 / row["samples_per_s"])
    assert "an epoch of 35,718 windows" in done.stdout


@pytest.mark.slow  # to import deepspeed
def test_what_one_way_of_training_begins_with_the_others_do() -> None:
    from benchmarks import gpu_step
    from benchmarks.gpu_case import Timed, Way

    ours, plain = Timed(Way(2, 4), 1.0, loss=0.100), Timed(Way(None, 4), 1.0, loss=0.101)
    gpu_step._check_equal([ours, plain, Timed(Way(2, 8), 1.0, loss=0.3), Timed(Way(0, 4), said="out of memory")])
    with pytest.raises(RuntimeError, match=r"ZeRO 0, as it is begins with a loss of 0[.]11 and ZeRO 2, as it is with"):
        gpu_step._check_equal([ours, plain, Timed(Way(0, 4), 1.0, loss=0.11)])


def test_phases_of_a_launch_are_told_by_what_it_printed_and_wrote(tmp_path: Path) -> None:
    run, log = RunFolder(tmp_path / "run"), tmp_path / "log"
    run.checkpoints.mkdir(parents=True)
    told = {
        "": "constructing model and engine",
        "2 ranks on cpu, 1 threads each\n": "optimizer steps",
        "step 1/2  loss 0.1\n": "optimizer steps",
        "step 2/2  loss 0.1\n": "evaluation and export",
        "step 2: val CSI 0.1\n": "saving the checkpoint",
    }
    for line, phase in told.items():
        with log.open("a") as file:
            file.write(line)
        assert large_model.phase_of(run, log, 2) == phase
    (run.checkpoints / "latest").write_text("step_00000002")
    assert large_model.phase_of(run, log, 2) == "export of the last step"
