"""Searches and studies whose launches go to several hosts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import Hosts
from tests.launching import until, wait

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]  # several launches each


def command(hosts: Hosts, module: str, config: Path, shards: Path, out: Path, *more: str) -> list[str]:
    return [
        "python", "-m", f"ds_nowcast.{module}", "--deepspeed_config", str(config), "--shards", str(shards),
        "--hostfile", str(hosts.hostfile()), "--out", str(out), "--steps", "3", *more,
    ]  # fmt: skip


def test_a_search_over_two_hosts_measures_both_and_leaves_nothing_of_what_does_not_end_in_time(
    two_hosts: Hosts, config: Path, shards: Path, tmp_path: Path
) -> None:
    (tmp_path / "space.json").write_text('{"zero_optimization.stage": [1]}')
    more = ["--space", str(tmp_path / "space.json"), "--trials", "1", "--turns", "1", "--device", "cpu"]
    search = command(two_hosts, "tune", config, shards, tmp_path / "tuned.json", *more)
    ended = wait(two_hosts.popen(0, search, cwd=two_hosts.workplace()), 300)
    assert ended.code == 0, ended.output[-3000:]
    [trial] = (tmp_path / "tuned.trials").glob("0*")
    outcome = json.loads((trial / "outcome.json").read_text())
    assert outcome["result"]["ended"] == "measured", outcome
    measured = json.loads((trial / "measured.json").read_text())
    assert (measured["ranks"], measured["hosts"]) == (2, 2)
    assert all(f"{address}: " in (trial / "log").read_text() for address in two_hosts.addresses)
    assert not two_hosts.processes()

    search = command(two_hosts, "tune", config, shards, tmp_path / "late.json", *more, "--trial-minutes", "0.1")
    late = wait(two_hosts.popen(0, search, cwd=two_hosts.workplace()), 300)
    assert late.code == 2, late.output[-3000:]
    assert "no trial could be measured: it did not end within 6 s" in late.output
    until(lambda: not two_hosts.processes(), 60, "the end of all ranks on all hosts")


def test_a_study_over_two_hosts_times_the_network_between_them(
    two_hosts: Hosts, config: Path, shards: Path, tmp_path: Path
) -> None:
    study = command(
        two_hosts, "scaling", config, shards, tmp_path / "study", "--ranks", "2", "--warmup", "1", "--project", "4"
    )
    ended = wait(two_hosts.popen(0, study, cwd=two_hosts.workplace()), 400)
    assert ended.code == 0, ended.output[-3000:]
    assert "within one host" not in ended.output
    found: dict[str, Any] = json.loads((tmp_path / "study/scaling.json").read_text())
    assert {(point["ranks"], point["hosts"]) for point in found["points"]} == {(2, 2)}
    assert all(point["split_s"]["communication"] > 0 for point in found["points"])
    assert found["figures"]["link"]["bytes_per_s"] > 1e6
    assert found["traffic"]["measured_bytes"] == pytest.approx(found["traffic"]["expected_bytes"], rel=0.01)
    assert not two_hosts.processes()
