"""Builds by a launcher's ranks, and within a bounded memory: the real commands."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from data_prep.__main__ import COMMANDS
from data_prep.console import main
from data_prep.shards.index import open_shards
from data_prep.simulate import simulate
from tests.data_prep.fake_builds import hashes
from tests.launching import ROOT, launch


@pytest.mark.launch
def test_deepspeeds_ranks_build_what_one_process_builds(tmp_path: Path) -> None:
    simulate(tmp_path / "storms", 12, 64, 13, seed=0)
    given = ["--format", "sevir", "--source", str(tmp_path / "storms"), "--samples-per-shard", "2", "--tile", "48"]
    ended = launch("data_prep", "build", *given, "--out", tmp_path / "three", ranks=3)
    assert ended.code == 0, ended.output
    assert len(ended.lines("wrote ")) == 1 and len(ended.lines("is done (the launcher)")) <= 2
    assert main("data_prep", "", COMMANDS, ["build", *given, "--out", str(tmp_path / "one"), "--workers", "1"]) == 0
    assert hashes(tmp_path / "three") == hashes(tmp_path / "one")


def memory_of(process: psutil.Process) -> int:
    """Bytes that a process and all below it hold, what they share counted once."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.Error):
            total += one.memory_full_info().pss
    return total


@pytest.mark.slow
def test_a_continent_is_built_within_a_bounded_memory(radar_data: Path, tmp_path: Path) -> None:
    words = ["build", "--format", "mrms", "--source", str(radar_data / "mrms"), "--product", "PrecipRate", "--quiet"]
    cut = ["--frames", "18", "--tile", "384", "--min-wet", "0.05", "--split", "train", "--workers", "2"]
    command = [sys.executable, "-m", "data_prep", *words, *cut, "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, cwd=ROOT)
    peak = 0
    try:
        while process.poll() is None:
            with suppress(psutil.Error):
                peak = max(peak, memory_of(psutil.Process(process.pid)))
            time.sleep(0.1)
    finally:
        process.kill()
    assert process.returncode == 0
    assert open_shards(tmp_path / "out").index.archive_shape == (3500, 7000)
    assert 100e6 < peak < 1e9
