"""What a figure was measured on: cores, processor, accelerator, versions, and the commit of the code."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version

import torch

ROOT = Path(__file__).parent.parent
_STATED = ("torch", "deepspeed", "webdataset")
_MEASURED = ("ds_nowcast", "data_prep", "benchmarks")


def package_version(package: str) -> str:
    """An installed package's, or that it is absent."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def accelerator() -> str:
    """The GPU's name, or that there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"


def processor() -> str:
    """What the kernel calls it."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else "an unnamed processor"


def commit() -> str:
    """The commit of the code that was measured; with a + where files differ from it."""
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *_MEASURED)
    return (_git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")


def stamp() -> str:
    """Date, commit, machine and versions, in a line."""
    versions = ", ".join(f"{name} {package_version(name)}" for name in _STATED)
    gpu = "no GPU" if accelerator() == "none" else accelerator()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit()}, {cores()} cores of {processor()}, {gpu}, "
        f"Python {python_version()}, {versions}"
    )


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:  # without git nothing is known
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
