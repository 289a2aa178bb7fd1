"""The command: what it refuses before it launches anything, and a real study of one and two ranks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ds_nowcast import scaling
from tests.launching import ON_ALL_RANKS, ROOT


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ranks", "1,two"], "'two' of '1,two' is no number of ranks"),
        (["--ranks", "3,3"], "names 3 ranks twice"),
        (["--ranks", "3"], "train_batch_size=4 does not divide over 3 ranks"),
        (["--ranks", "1,2", "--project", "0"], "'0' of '0' is no number of ranks"),
        (["--ranks", "1,2,4", "--hostfile", "HOSTS"], "has 2 slots and 4 ranks were asked for"),
        (["--ranks", "1", "--shards", "nowhere"], "nowhere is not a folder"),
        (["--ranks", "1", "--set", "nowcast.stps=3"], "unknown key 'nowcast.stps'"),
        ([], "give --ranks, or --figures FILE"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line_and_leaves_nothing(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str], config: Path, shards: Path, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("localhost slots=2\n")
    out = tmp_path / "out"
    words = [str(hosts) if word == "HOSTS" else word for word in options]
    command = ["--deepspeed_config", str(config), "--shards", str(shards), "--out", str(out), *words]
    assert scaling.main(command) == 2
    printed = capsys.readouterr()
    assert message in printed.err and len(printed.err.splitlines()) == 1 and printed.out == ""
    assert not out.exists()


def test_numbers_that_are_none_are_refused_by_their_option(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--link-gb-s", "--link-latency-us", "--file-system-gb-s", "--epochs"):
        with pytest.raises(SystemExit) as ended:
            scaling.main([option, "-1"])
        assert ended.value.code == 2 and option in capsys.readouterr().err


def run(out: Path, config: Path, shards: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ds_nowcast.scaling", "--deepspeed_config", config, "--shards", shards]
    options = ["--ranks", "1,2", "--steps", "4", "--warmup", "1", "--project", "4,4096", "--epochs", "2", "--out", out]
    environment = {**ON_ALL_RANKS, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [str(word) for word in (*command, *options)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.hosts
@pytest.mark.timeout(900)
def test_a_real_study_of_one_and_two_ranks(config: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    ended = run(out, config, shards)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    for text in (
        "measured: milliseconds of a step",
        "stream only",
        "held back     weak scaling at 2 ranks, from 1:",
        "projected",
    ):
        assert text in ended.stdout
    found: dict[str, Any] = json.loads((out / "scaling.json").read_text())
    points = {(point["mode"], point["ranks"]): point for point in found["points"]}
    assert {key: point["samples_per_step"] for key, point in points.items()} == {
        ("weak", 1): 2, ("weak", 2): 4, ("strong", 1): 4, ("strong", 2): 4,
    }  # fmt: skip
    for point in points.values():
        split = point["split_s"]
        assert split["compute"] > 0 and point["samples_per_s"] > 0 and point["bottleneck"]
        assert sum(split.values()) == pytest.approx(point["step_s"], rel=0.5)
    assert points["weak", 2]["split_s"]["communication"] > 0
    assert [(rate["ranks"], min(rate["stream"], rate["synthetic"], rate["full"]) > 0) for rate in found["rates"]] == [
        (1, True), (2, True),
    ]  # fmt: skip
    # what DeepSpeed handed to collectives is what the formula says, but for a few numbers that ranks agree on
    assert found["traffic"]["measured_bytes"] == pytest.approx(found["traffic"]["expected_bytes"], rel=0.01)
    assert found["figures"]["link"]["bytes_per_s"] > 1e7
    assert [(one["mode"], one["ranks"], one["fitted_to"]) for one in found["held_back"]] == [
        ("weak", 2, [1]), ("strong", 2, [1]),
    ]  # fmt: skip
    assert [(one["mode"], one["ranks"]) for one in found["projection"]] == [
        ("weak", 4), ("weak", 4096), ("strong", 4), ("strong", 4096),
    ]  # fmt: skip
    assert (out / "scaling.png").stat().st_size > 50_000

    again = run(out, config, shards)  # nothing is launched
    assert again.returncode == 0 and again.stderr.count("measured before") == 7
    assert json.loads((out / "scaling.json").read_text()) == found
