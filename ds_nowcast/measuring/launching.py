"""Launches of this package's modules with a limit of time: whatever a launch does is an Outcome, and none is left behind."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.files import writing
from ds_nowcast.measuring.outcomes import Outcome, outcome_of
from ds_nowcast.measuring.session import run
from ds_nowcast.measuring.slots import environment_for, hosts_for, launcher_options


@dataclass(frozen=True)
class Job:
    """A measurement to launch."""

    config: Path
    shards: str
    overrides: Sequence[str] = ()  # of the config: key=value
    ranks: int = 1
    hostfile: Path | None = None  # None: this machine
    arguments: Sequence[str] = ()  # further options of ds_nowcast.measure
    environment: Mapping[str, str] = field(default_factory=dict)  # on all ranks, beside this process's own


def measured(job: Job, folder: Path, timeout_s: float) -> Outcome:
    """Launches `ds_nowcast.measure`; its files lie in the folder, which is made.

    Raises UserError where nothing can be launched: too few slots, a folder that cannot be written.
    """
    out = folder / "measured.json"
    overrides = ["--set", *job.overrides] if job.overrides else []
    arguments = [
        "--deepspeed_config", str(job.config), "--shards", job.shards, "--out", str(out), *overrides, *job.arguments,
    ]  # fmt: skip
    with writing(out):
        out.unlink(missing_ok=True)
    outcome = launched(
        "ds_nowcast.measure", arguments, folder, timeout_s,
        ranks=job.ranks, hostfile=job.hostfile, environment=job.environment,
    )  # fmt: skip
    if outcome.ended != "measured":
        return outcome
    result = _read(out)
    if result is None:
        return dataclasses.replace(
            outcome, ended="crashed", reason=f"it ended without {out}; give a folder that its first host shares"
        )
    return dataclasses.replace(outcome, result=result)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        result = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def launched(
    module: str,
    arguments: Sequence[str],
    folder: Path,
    timeout_s: float,
    *,
    ranks: int,
    hostfile: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Launches any module as `deepspeed --module` would; `measured` means that its exit code was 0.

    hostfile: None is this machine; else its first slots. environment: further variables of all ranks. All output goes to
    `folder/log`. Raises UserError where nothing can be launched.
    """
    hosts = hosts_for(ranks, hostfile)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "deepspeed.launcher.runner", *launcher_options(hosts, folder),
        "--module", module, *arguments,
    ]  # fmt: skip
    ended = run(command, folder / "log", timeout_s, environment_for(environment or {}, folder))
    return outcome_of(ended.code, folder / "log", ended.seconds, None if ended.in_time else timeout_s)
